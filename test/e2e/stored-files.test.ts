import { lstat, readdir, readFile, readlink, rename, stat, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Backup } from '../../src/repository/backup.ts'
import { sharedCluster } from '../support/cluster.ts'
import { openShop, type Shop } from '../support/shop.ts'
import { debianClients, libpqEnvironment, stockClient, stockProgram } from '../support/stock-tools.ts'

let shop: Shop

beforeAll(async () => {
  shop = await openShop(await sharedCluster(15))
})

afterAll(() => shop[Symbol.asyncDispose]())

const pgRestore = join(debianClients, 'pg_restore')
const psql = join(debianClients, 'psql')

describe('every format and compression is readable by stock programs, without Tidemark', () => {
  test.each([
    ['custom', 'none', '.dump', ['none']],
    ['custom', 'gzip:6', '.dump', ['none']],
    ['custom', 'zstd:3', '.dump.zst', ['zstd', '-dcq']],
    ['plain', 'none', '.sql', ['none']],
    ['plain', 'gzip:9', '.sql.gz', ['gzip', '-dc']],
    ['plain', 'zstd:19', '.sql.zst', ['zstd', '-dcq']],
    ['directory', 'gzip:1', '.d', ['none']],
    ['directory', 'zstd:3', '.d', ['none']],
    ['directory', 'none', '.d', ['none']],
  ])('%s, %s', async (format, compress, extension, [program = 'none', ...args]) => {
    const backup = await shop.room.json<Backup>(['backup', '--format', format, '--compress', compress])
    expect(backup).toMatchObject({ state: 'verified', format })
    expect(backup.fileName).toMatch(new RegExp(`^${shop.name}_\\d{8}_\\d{6}(-[0-9a-z]{4})?\\${extension.replaceAll('.', '\\.')}$`.replaceAll('\\\\', '\\')))
    const path = backup.path ?? ''
    if (program !== 'none') expect(await stockProgram(program, ['-tq', path])).toMatchObject({ exitCode: 0 })
    const dump = program === 'none' ? path : join(shop.room.directory, `plain-${extension}`)
    if (program !== 'none') await writeOutput(await stockProgram(program, [...args, path]), dump)

    const copy = `${shop.name}_stock`
    await shop.sql(`CREATE DATABASE ${copy}`, 'postgres')
    const environment = { ...libpqEnvironment(shop.target), PGDATABASE: copy }
    const restored =
      format === 'plain'
        ? await stockProgram(psql, ['-Xq', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-f', dump], environment)
        : await stockProgram(pgRestore, ['--exit-on-error', '-d', copy, dump], environment)
    expect(restored).toMatchObject({ exitCode: 0, stderr: '' })
    if (format !== 'plain') expect((await stockProgram(pgRestore, ['--list', dump])).stdout.toString()).toContain('TABLE DATA public orders')
    expect(await shop.sql('SELECT (SELECT count(*)::int FROM orders) AS orders, (SELECT count(*)::int FROM customers) AS customers', copy)).toEqual([
      { orders: 200, customers: 50 },
    ])
    await shop.sql(`DROP DATABASE ${copy}`, 'postgres')

    // Our own checksum is what sha256sum says.
    if (format !== 'directory') expect(backup.checksum).toBe(`sha256:${(await stockProgram('sha256sum', [path])).stdout.toString().split(' ')[0] ?? ''}`)
    const shown = await shop.room.run(['show', backup.id])
    expect(shown.stdout).toContain(path)
    expect(shown.stdout).toMatch(format === 'plain' ? /psql --set ON_ERROR_STOP=1/ : /pg_restore --dbname=/)
    await expectAlias(backup)
  })

  test('the roles beside the dump are what pg_dumpall writes, and psql reads them', async () => {
    const backup = await shop.room.json<Backup>(['backup'])
    const globals = (backup.path ?? '').replace(/\.dump\.zst$/, '.globals.sql')
    const text = await readFile(globals, 'utf8')
    expect(text).toContain('CREATE ROLE postgres')
    expect(text).toMatch(/PostgreSQL database cluster dump complete/)
    expect((await stat(globals)).mode & 0o777).toBe(0o600)
  })
})

describe('.info', () => {
  test("has the seed's keys with their type and form (golden: 000's example), and ours beside them", async () => {
    const backup = await shop.room.json<Backup>(['backup', '--format', 'plain', '--compress', 'gzip:9'], { env: { TZ: 'America/Los_Angeles' } })
    const path = (backup.path ?? '').replace(/\.sql\.gz$/, '.info')
    const info = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>
    const golden = {
      timestamp: '20260120_143000',
      database: 'nexo',
      container: 'nexo-postgres',
      user: 'nexo_user',
      backup_file: 'nexo_20260120_143000.sql.gz',
      size: '2.3M',
      compression: '9',
      created_at: '2026-01-20T14:30:00-08:00',
      hostname: 'dev-server',
      postgres_version: 'PostgreSQL 15.3',
    }
    const [timestamp] = /\d{8}_\d{6}/.exec(backup.fileName) ?? []
    const ours = Object.keys(info).slice(0, Object.keys(golden).length)
    expect(ours).toEqual(Object.keys(golden))
    for (const [key, value] of Object.entries(golden)) expect({ key, type: typeof info[key] }).toEqual({ key, type: typeof value })
    // The same shapes: digits for digits, letters for letters.
    const shape = (value: unknown) => String(value).replaceAll(/\d+/g, '0')
    expect(shape(info['created_at'])).toBe(shape(golden.created_at))
    expect(String(info['created_at'])).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d-0[78]:00$/)
    expect(shape(info['timestamp'])).toBe(shape(golden.timestamp))
    expect(String(info['size'])).toMatch(/^\d+(\.\d)?[KMGTP]?$/)
    expect(info).toMatchObject({
      timestamp,
      database: shop.name,
      container: '',
      user: 'postgres',
      backup_file: backup.fileName,
      compression: '9',
      hostname: hostname(),
      postgres_version: `PostgreSQL ${backup.postgresVersion}`,
      id: backup.id,
      checksum: backup.checksum,
      size_bytes: backup.storedBytes,
      dump_bytes: backup.sizeBytes,
      tables: backup.tables,
      partial: false,
    })
    // Local time of the file name and of created_at are the same moment in the same zone.
    expect(String(info['created_at']).slice(0, 19).replaceAll(/[-:]/g, '').replace('T', '_')).toBe(timestamp)
    expect((await stat(path)).mode & 0o777).toBe(0o600)
  })
})

describe('latest_backup', () => {
  test('is a relative link to the newest verified complete dump; it never dangles, whatever is deleted, and is a way to name it', async () => {
    await using other = await openShop(shop.cluster)
    const first = await other.room.json<Backup>(['backup'])
    const alias = join(other.room.repository, 'latest_backup.dump.zst')
    expect(await readlink(alias)).toBe(first.fileName)
    await other.room.json(['backup', '--no-verify'])
    // Stored is not verified: the link stays where it is.
    expect(await readlink(alias)).toBe(first.fileName)
    const verified = await other.room.json<Backup>(['backup'])
    expect(await readlink(alias)).toBe(verified.fileName)
    await other.room.json(['backup', '--data-only'])
    expect(await readlink(alias)).toBe(verified.fileName)
    const named = await other.room.json<{ backups: { valid: boolean }[] }>(['verify', './backups/latest_backup.dump.zst'])
    expect(named.backups).toMatchObject([{ valid: true }])
    const text = await other.room.run(['verify', './backups/latest_backup.dump.zst'])
    expect(`${text.stdout}${text.stderr}`).toContain(verified.id)
    expect(
      (await other.room.json<{ result: { tables: unknown[] } }>(['restore', './backups/latest_backup.dump.zst', '--as', `${other.name}_alias`])).result.tables,
    ).toHaveLength(2)

    await other.room.json(['delete', verified.id, '--yes'])
    expect(await readlink(alias)).toBe(first.fileName)
    expect((await stat(alias)).isFile()).toBe(true)
  })
})

describe('layout tiered', () => {
  test("puts a day's backup into daily/, its week's and month's first good one into weekly/ and monthly/ too, byte for byte", async () => {
    const config = 'clusters:\n  shop: { url: "env:DATABASE_URL", repositories: [local] }\nrepositories:\n  local: { path: ./backups, layout: tiered }\n'
    await using other = await openShop(shop.cluster, { config })
    await other.room.json(['backup', '--schema-only'])
    const first = await other.room.json<Backup>(['backup'])
    const second = await other.room.json<Backup>(['backup'])
    const day = Temporal.Instant.from(first.startedAt).toZonedDateTimeISO('UTC').toPlainDate()
    const two = (n: number) => String(n).padStart(2, '0')
    const week = (await stockProgram('date', ['-u', `--date=${day.toString()}`, '+%U'])).stdout.toString().trim()
    const daily = `daily/${day.year}/${two(day.month)}/${two(day.day)}`
    expect(first.key).toBe(`${daily}/${first.fileName}`)
    const folders = { weekly: `weekly/${day.year}/week-${week}`, monthly: `monthly/${day.year}/${two(day.month)}` }
    for (const folder of Object.values(folders)) {
      const names = await readdir(join(other.room.repository, folder))
      // A Sunday's and a first's backups all go there; on other days the first good one does.
      expect(names).toContain(first.fileName)
      const copy = await readFile(join(other.room.repository, folder, first.fileName))
      expect(copy).toEqual(await readFile(first.path ?? ''))
    }
    if (day.dayOfWeek !== 7) expect(await readdir(join(other.room.repository, folders.weekly))).toEqual([first.fileName])
    if (day.day !== 1) expect(await readdir(join(other.room.repository, folders.monthly))).toEqual([first.fileName])
    expect(await readlink(join(other.room.repository, 'latest_backup.dump.zst'))).toBe(second.key)

    // A copy is the backup's file like any other, as long as the backup is whole; then it is what is left.
    const copy = join(folders.monthly, first.fileName)
    const text = await other.room.run(['verify', `./backups/${copy}`])
    expect(`${text.stdout}${text.stderr}`).toContain(first.id)
    const original = join(other.room.repository, first.key)
    await rename(original, `${original}.away`)
    const rescued = await other.room.run(['verify', `./backups/${copy}`])
    expect([rescued.exitCode, `${rescued.stdout}${rescued.stderr}`.includes(first.id)]).toEqual([0, false])
    await rename(`${original}.away`, original)

    await other.room.json(['delete', first.id, '--yes'])
    for (const folder of Object.values(folders)) expect(await readdir(join(other.room.repository, folder)).catch(() => [])).not.toContain(first.fileName)
  })
})

test('nothing in a repository can be read by others, and nothing is left in the work directory', async () => {
  await shop.room.json(['backup'])
  const entries = await readdir(shop.room.repository, { recursive: true, withFileTypes: true })
  expect(entries.length).toBeGreaterThan(10)
  for (const entry of entries) {
    if (entry.isSymbolicLink()) continue
    const { mode } = await lstat(join(entry.parentPath, entry.name))
    expect({ name: entry.name, mode: (mode & 0o777).toString(8) }).toEqual({ name: entry.name, mode: entry.isDirectory() ? '700' : '600' })
  }
  expect(await readdir(shop.room.work)).toEqual([])
  const leaked = await stockClient(
    debianClients,
    'psql',
    ['-XAtc', `SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'tidemark%' AND application_name <> 'tidemark test'`],
    shop.target,
  )
  expect(leaked.toString()).toBe('0\n')
})

async function expectAlias(backup: Backup): Promise<void> {
  const links = (await readdir(shop.room.repository)).filter((name) => name.startsWith('latest_backup'))
  expect(links).toEqual([`latest_backup${backup.fileName.slice(backup.fileName.indexOf('.'))}`])
  expect(await readlink(join(shop.room.repository, links[0] ?? ''))).toBe(backup.fileName)
}

async function writeOutput(end: { exitCode: number; stdout: Buffer; stderr: string }, path: string): Promise<void> {
  expect(end).toMatchObject({ exitCode: 0 })
  await writeFile(path, end.stdout)
}
