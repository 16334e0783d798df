import { mkdir, readFile, readdir, stat, symlink, truncate, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { AdoptOutcome } from '../../src/api/adopt-files.ts'
import { runProgram } from '../../src/postgres/run-program.ts'
import type { Backup } from '../../src/repository/backup.ts'
import { sharedCluster, type ScratchDatabase } from '../support/cluster.ts'
import { tidemarkRoom, type TidemarkRoom } from '../support/tidemark-cli.ts'

const pgBin = '/usr/lib/postgresql/15/bin'
let scratch: ScratchDatabase
const dumps: Record<'plain' | 'custom' | 'schemaOnly' | 'all', Buffer> = {
  plain: Buffer.alloc(0),
  custom: Buffer.alloc(0),
  schemaOnly: Buffer.alloc(0),
  all: Buffer.alloc(0),
}

beforeAll(async () => {
  scratch = await (await sharedCluster(15)).createScratchDatabase()
  await using session = await scratch.session()
  await session.query(
    `CREATE TABLE customers (id int PRIMARY KEY, name text); INSERT INTO customers SELECT n, 'name ' || n FROM generate_series(1, 500) n; CREATE TABLE notes (t text)`,
  )
  dumps.plain = await dump('pg_dump', ['--format=plain'])
  dumps.custom = await dump('pg_dump', ['--format=custom'])
  dumps.schemaOnly = await dump('pg_dump', ['--format=plain', '--schema-only'])
  dumps.all = await dump('pg_dumpall', ['--database=postgres'])
})

afterAll(() => scratch[Symbol.asyncDispose]())

async function dump(program: string, args: readonly string[]): Promise<Buffer> {
  const { host, port, user, password } = scratch.target
  await using room = await tidemarkRoom()
  const file = join(room.directory, 'dump')
  const environment = { PGHOST: host ?? '', PGPORT: String(port), PGUSER: user, PGPASSWORD: password?.reveal() ?? '', PGDATABASE: scratch.name }
  const end = await runProgram(join(pgBin, program), [...args, `--file=${file}`], { environment })
  if (end.exitCode !== 0) throw new Error(end.stderr)
  return await readFile(file)
}

/** The plain dump with another name in one row, so that it is another file. */
function otherRow(id: string): Buffer {
  return Buffer.from(dumps.plain.toString('latin1').replace(`name ${id}\n`, `other ${id}\n`), 'latin1')
}

/** A directory as the seeds' scripts leave it, in a room whose repository is elsewhere unless it is `backups`. */
async function oldDumps(files: Readonly<Record<string, Uint8Array | string>>, folder = 'backups'): Promise<TidemarkRoom & { folder: string }> {
  const room = await tidemarkRoom()
  const path = join(room.directory, folder)
  await mkdir(path, { recursive: true })
  for (const [name, content] of Object.entries(files)) {
    await mkdir(join(path, name, '..'), { recursive: true })
    await writeFile(join(path, name), content)
  }
  return { ...room, folder: path }
}

const env = { DATABASE_URL: 'postgres://app@localhost:1/nexo', BACKUP_DIR: './backups', TZ: 'America/New_York' }

function verdicts(outcome: AdoptOutcome): Record<string, string> {
  return Object.fromEntries((outcome.repositories[0]?.files ?? []).map((file) => [file.file, file.verdict]))
}

describe('repo adopt', () => {
  it('takes in what the seeds named, where it lies, dated by the names in the zone of the cluster', async () => {
    await using room = await oldDumps({
      'nexo_20260120_143000.sql.gz': gzipSync(dumps.plain),
      'nexo_20260120_143000.info': JSON.stringify({ database: 'nexo', container: 'nexo-postgres', user: 'nexo_user', hostname: 'server', compression: '9' }),
      'pivotal_flow_backup_20241201_120000.sql': otherRow('1'),
      'postgres-dump-20250101-020000.dump': dumps.custom,
      '2025/06/backup_2025-06-01_02-00-00.sql.zst': zstdCompressSync(otherRow('2')),
      'README.txt': 'not a backup',
    })
    const before = await readdir(room.folder, { recursive: true })
    const end = await room.run(['repo', 'adopt', 'backups', '--yes', '--json'], env)
    expect(end.stderr).not.toContain('✗')
    expect(end.exitCode).toBe(0)
    const outcome = end.json<AdoptOutcome>()
    expect(outcome.repositories[0]?.inPlace).toBe(true)
    expect(outcome.adopted).toHaveLength(4)

    const listed = (await room.run(['list', '--json'], env)).json<{ backups: Backup[] }>().backups
    const byFile = Object.fromEntries(listed.map((backup) => [backup.fileName, backup]))
    expect(byFile['nexo_20260120_143000.sql.gz']).toMatchObject({
      startedAt: '2026-01-20T19:30:00.000Z',
      database: 'nexo',
      container: 'nexo-postgres',
      user: 'nexo_user',
      compression: 'gzip:9',
      state: 'verified',
      adopted: true,
      partial: false,
      format: 'plain',
    })
    expect(byFile['nexo_20260120_143000.sql.gz']?.tables).toContainEqual({ schema: 'public', name: 'customers', rows: 500 })
    expect(byFile['pivotal_flow_backup_20241201_120000.sql']).toMatchObject({
      startedAt: '2024-12-01T17:00:00.000Z',
      database: 'pivotal_flow',
      category: 'monthly',
    })
    // The archive itself says which database it is of.
    expect(byFile['postgres-dump-20250101-020000.dump']).toMatchObject({
      startedAt: '2025-01-01T07:00:00.000Z',
      database: scratch.name,
      format: 'custom',
      compression: 'gzip',
      postgresVersion: expect.stringContaining('15.') as string,
    })
    expect(byFile['backup_2025-06-01_02-00-00.sql.zst']).toMatchObject({
      key: '2025/06/backup_2025-06-01_02-00-00.sql.zst',
      startedAt: '2025-06-01T06:00:00.000Z',
      database: 'nexo',
    })

    const after = (await readdir(room.folder, { recursive: true })).filter((name) => !name.startsWith('.tidemark') && !name.startsWith('latest_backup'))
    expect(after.toSorted()).toEqual(before.toSorted())
    const verified = await room.run(['verify', '--all', '--json'], env)
    expect(verified.exitCode).toBe(0)
    expect(verified.json<{ backups: unknown[] }>().backups).toHaveLength(4)
  })

  it('refuses a truncated .sql.gz, an empty dump, and what is not one dump of one database, and says why', async () => {
    const whole = gzipSync(dumps.plain)
    await using room = await oldDumps({
      'nexo_20260101_020000.sql.gz': whole,
      'nexo_20260102_020000.sql.gz': whole.subarray(0, whole.length - 100),
      'nexo_20260103_020000.dump': '',
      'nexo_20260104_020000.dump': dumps.custom.subarray(0, dumps.custom.length - 10),
      'nexo_20260105_020000.sql': dumps.plain.subarray(0, dumps.plain.indexOf('-- PostgreSQL database dump complete')),
      'nexo_20260106_020000.sql': dumps.all,
      'nexo_20260107_020000.sql': 'this is no SQL',
      'nexo_20260108_020000.sql.gpg': 'x',
      // Named as plain, and is not: in place the name must tell how the file is opened.
      'nexo_20260109_020000.sql': whole,
    })
    const end = await room.run(['repo', 'adopt', 'backups', '--yes', '--json'], env)
    expect(end.exitCode).toBe(3)
    const outcome = end.json<AdoptOutcome>()
    expect(outcome.adopted.map((backup) => backup.fileName)).toEqual(['nexo_20260101_020000.sql.gz'])
    const reasons = Object.fromEntries(
      (outcome.repositories[0]?.files ?? []).filter((file) => file.verdict === 'refused').map((file) => [file.file, file.reason]),
    )
    expect(Object.keys(reasons)).toHaveLength(8)
    expect(reasons['nexo_20260102_020000.sql.gz']).toMatch(/ends|cut|incomplete|unexpected/i)
    expect(reasons['nexo_20260103_020000.dump']).toMatch(/empty/)
    expect(reasons['nexo_20260104_020000.dump']).toMatch(/not complete/)
    expect(reasons['nexo_20260105_020000.sql']).toMatch(/end marker/)
    expect(reasons['nexo_20260106_020000.sql']).toMatch(/several databases/)
    expect(reasons['nexo_20260107_020000.sql']).toMatch(/neither SQL/)
    expect(reasons['nexo_20260108_020000.sql.gpg']).toMatch(/encrypted/)
    expect(reasons['nexo_20260109_020000.sql']).toMatch(/rename it to nexo_20260109_020000\.sql\.gz/)

    const text = await room.run(['repo', 'adopt', 'backups', '--dry-run'], env)
    expect(text.stdout).toContain('✗ nexo_20260103_020000.dump')
    expect(text.exitCode).toBe(3)
  })

  it('copies files from elsewhere under a free name, leaves them alone, and adopts nothing twice', async () => {
    await using room = await oldDumps(
      { 'nexo_20260120_143000.dump': dumps.custom, 'again/nexo_20260120_143000.sql.gz': gzipSync(dumps.plain), 'copy/nexo_20260121_143000.dump': dumps.custom },
      'old',
    )
    await mkdir(join(room.directory, 'backups'))
    await writeFile(join(room.directory, 'backups/nexo_20260120_143000.dump'), 'somebody else’s file')
    const first = (await room.run(['repo', 'adopt', 'old', '--yes', '--json'], env)).json<AdoptOutcome>()
    expect(first.repositories[0]?.inPlace).toBe(false)
    expect(verdicts(first)).toEqual({
      'again/nexo_20260120_143000.sql.gz': 'adopt',
      'copy/nexo_20260121_143000.dump': 'adopt',
      'nexo_20260120_143000.dump': 'known',
    })
    expect(first.adopted.map((backup) => backup.key).toSorted()).toEqual(['nexo_20260120_143000.sql.gz', 'nexo_20260121_143000.dump'])
    expect(await readFile(join(room.directory, 'backups/nexo_20260120_143000.dump'), 'utf8')).toBe('somebody else’s file')

    const second = await room.run(['repo', 'adopt', 'old', '--yes', '--json'], env)
    expect(second.exitCode).toBe(0)
    expect(second.json<AdoptOutcome>().adopted).toEqual([])
    expect(new Set(Object.values(verdicts(second.json())))).toEqual(new Set(['known']))
    expect((await room.run(['list', '--json'], env)).json<{ backups: Backup[] }>().backups).toHaveLength(2)
  })

  it('does not bring back by itself what was adopted and deleted', async () => {
    await using room = await oldDumps({ 'nexo_20260120_143000.sql.gz': gzipSync(otherRow('3')), 'nexo_20260121_143000.sql': dumps.plain }, 'old')
    const { adopted } = (await room.run(['repo', 'adopt', 'old', '--yes', '--json'], env)).json<AdoptOutcome>()
    const id = adopted.find((backup) => backup.fileName.endsWith('.sql'))?.id ?? ''
    expect((await room.run(['delete', id, '--yes', '--json'], env)).exitCode).toBe(0)
    const again = (await room.run(['repo', 'adopt', 'old', '--yes', '--json'], env)).json<AdoptOutcome>()
    expect(again.adopted).toEqual([])
    expect(again.repositories[0]?.files.find((file) => file.file.endsWith('.sql'))?.reason).toMatch(/--again/)
    const forced = (await room.run(['repo', 'adopt', 'old', '--yes', '--json', '--again'], env)).json<AdoptOutcome>()
    expect(forced.adopted).toHaveLength(1)
    expect(forced.adopted[0]?.id).not.toBe(id)
  })

  it('writes nothing in a dry run, and nothing without a yes', async () => {
    await using room = await oldDumps({ 'nexo_20260120_143000.dump': dumps.custom })
    const dry = await room.run(['repo', 'adopt', 'backups', '--dry-run'], env)
    expect(dry.stdout).toContain('1 would be taken in where they lie')
    expect(dry.exitCode).toBe(0)
    const asked = await room.run(['repo', 'adopt', 'backups'], env)
    expect(asked.exitCode).toBe(15)
    expect(await readdir(room.folder)).toEqual(['nexo_20260120_143000.dump'])
  })

  it('never makes a dump without rows, or one dated in the future, the latest backup', async () => {
    await using room = await oldDumps({
      'nexo_20260120_143000.sql': dumps.plain,
      'nexo_20260601_000000.sql': dumps.schemaOnly,
      'nexo_21500101_000000.dump': dumps.custom,
    })
    const past = new Date('2020-05-05T00:00:00Z')
    await utimes(join(room.folder, 'nexo_21500101_000000.dump'), past, past)
    const { adopted } = (await room.run(['repo', 'adopt', 'backups', '--yes', '--json'], env)).json<AdoptOutcome>()
    expect(adopted.find((backup) => backup.fileName === 'nexo_20260601_000000.sql')?.partial).toBe(true)
    expect(adopted.find((backup) => backup.fileName === 'nexo_21500101_000000.dump')?.startedAt).toBe('2020-05-05T00:00:00.000Z')
    const latest = await room.run(['latest', '--path'], env)
    expect(latest.stdout.trim()).toBe(join(room.folder, 'nexo_20260120_143000.sql'))
  })

  it('follows no link, and says so when a link of somebody’s script stands where the alias belongs', async () => {
    await using room = await oldDumps({ 'nexo_20260120_143000.sql': dumps.plain })
    await writeFile(join(room.directory, 'outside.sql'), dumps.plain)
    await symlink(join(room.directory, 'outside.sql'), join(room.folder, 'nexo_20260122_143000.sql'))
    await symlink(join(room.folder, 'nexo_20260120_143000.sql'), join(room.folder, 'latest_backup.sql'))
    const end = await room.run(['repo', 'adopt', 'backups', '--yes', '--json'], env)
    const outcome = end.json<AdoptOutcome>()
    expect(outcome.adopted.map((backup) => backup.fileName)).toEqual(['nexo_20260120_143000.sql'])
    expect((await stat(join(room.folder, 'latest_backup.sql'))).isFile()).toBe(true)
  })

  it('notices damage done after the adoption', async () => {
    await using room = await oldDumps({ 'nexo_20260120_143000.dump': dumps.custom })
    await room.run(['repo', 'adopt', 'backups', '--yes'], env)
    await truncate(join(room.folder, 'nexo_20260120_143000.dump'), dumps.custom.length - 1)
    expect((await room.run(['verify'], env)).exitCode).toBe(13)
  })
})
