import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { lstat, mkdir, readdir, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { openTidemark } from '../../src/api/index.ts'
import { parseServerManifest } from '../support/server-manifest.ts'
import type { Exported } from '../../src/restore/export/export-request.ts'
import { baseRoom, contentOf, tablespaceDirectory, type BaseRoom } from '../support/base-room.ts'
import { ownCluster, sharedCluster, type TestCluster } from '../support/cluster.ts'
import { filesIn, verifyBackup, withServerIn } from '../support/exported.ts'
import { sealedRoom } from '../support/sealed-room.ts'
import { openShop } from '../support/shop.ts'
import { debianClients, libpqEnvironment, stockProgram } from '../support/stock-tools.ts'
import { urlOf } from '../support/tidemark-cli.ts'

const run = promisify(execFile)
const settings = { full_page_writes: 'on', wal_level: 'replica' }

async function fill(cluster: TestCluster, { tablespace }: { readonly tablespace: boolean }): Promise<void> {
  const place = tablespace ? await tablespaceDirectory(cluster, 'space one') : null
  await using admin = await cluster.session()
  if (place !== null) await admin.query(`CREATE TABLESPACE elsewhere LOCATION '${place}'`)
  await admin.query('CREATE TABLE orders (id serial PRIMARY KEY, cents int NOT NULL, note text)')
  await admin.query(`INSERT INTO orders (cents, note) SELECT g, repeat(md5(g::text), g % 40) FROM generate_series(1, 40000) g`)
  if (place !== null) await admin.query('CREATE TABLE spaced TABLESPACE elsewhere AS SELECT g AS id FROM generate_series(1, 5000) g')
}

async function change(cluster: TestCluster): Promise<void> {
  await using admin = await cluster.session()
  await admin.query('UPDATE orders SET cents = cents + 1 WHERE id % 500 = 7')
  await admin.query('DELETE FROM orders WHERE id % 700 = 3')
  await admin.query('CREATE TABLE later AS SELECT g AS id FROM generate_series(1, 3000) g')
}

const exportTo = (room: BaseRoom, wanted: string, directory: string, flags: readonly string[] = []) =>
  room.room.json<Exported>(['export', wanted, '--to', directory, ...flags])

/** Judges a directory by its manifest where no pg_verifybackup of a new enough major is at hand: every listed file is there with its size and SHA-256 or CRC, and no other is. */
async function judge(directory: string, major: number): Promise<void> {
  // Manifests of 17 and 18 name the cluster, which 15 does not know.
  if (major <= 16) {
    const parsesWal = major === 15 ? [] : ['--no-parse-wal']
    expect(await verifyBackup(debianClients, directory, parsesWal)).toMatchObject({ ok: true })
    return
  }
  const manifest = parseServerManifest(await readFile(join(directory, 'backup_manifest')))
  const listed = new Map(manifest.files.map((file) => [file.path, file]))
  const files = (await filesIn(directory)).filter((path) => path !== 'backup_manifest' && !path.startsWith('pg_wal/'))
  expect([...listed.keys()].toSorted()).toEqual(files)
  for (const path of files) {
    const bytes = await readFile(join(directory, path))
    const { sizeBytes, checksum } = listed.get(path) ?? { sizeBytes: -1, checksum: null }
    expect(bytes.length).toBe(sizeBytes)
    if (checksum?.algorithm === 'SHA256') expect(createHash('sha256').update(bytes).digest('hex')).toBe(checksum.hex)
  }
}

describe.for([13, 14, 15, 16, 17, 18])('an exported base backup of PostgreSQL %i', (major) => {
  it('is accepted as directory and as archives, and starts as the cluster that it was', { timeout: 240_000 }, async () => {
    const cluster = await ownCluster(major, settings, ['-k'])
    await using _server = cluster.server
    await fill(cluster, { tablespace: true })
    await using room = await baseRoom(cluster)
    const full = await room.backup('full', ['--reader', 'direct'])
    const before = await contentOf(cluster.session)
    await change(cluster)
    const incremental = await room.backup('incr', ['--reader', 'stream'])
    const after = await contentOf(cluster.session)

    for (const { id, content } of [
      { id: incremental.id, content: after },
      { id: full.id, content: before },
    ]) {
      const directory = room.place()
      const { plan, result } = await exportTo(room, id, directory)
      expect(plan.refusals).toEqual([])
      expect(result).toMatchObject({ target: directory, check: ['pg_verifybackup', directory] })
      await judge(directory, major)
      // The links are there as pg_basebackup makes them, so nothing leads to the original's tablespace.
      const [tablespace] = plan.tablespaces
      expect(await readlink(join(directory, 'pg_tblspc', tablespace?.oid ?? ''))).toBe(`${directory}-tablespaces/${tablespace?.oid ?? ''}`)
      expect(await filesIn(directory)).not.toContain('tablespace_map')
      expect((await stat(directory)).mode & 0o777).toBe(0o700)

      const archives = room.place()
      const tar = await exportTo(room, id, archives, ['--format', 'tar', '--compress', 'zstd:1'])
      expect(tar.result?.outputs.map(({ path }) => path)).toEqual(
        ['base.tar.zst', `${tablespace?.oid ?? ''}.tar.zst`, 'pg_wal.tar.zst', 'backup_manifest'].map((name) => join(archives, name)),
      )
      const unpacked = await unpack(room, archives, tablespace?.oid ?? '')
      await judge(unpacked, major)
      // Apart from what a directory has instead of a map, they are the same.
      const byName = (names: readonly string[]) => names.filter((name) => name !== 'tablespace_map' && !name.endsWith('.done'))
      expect(byName(await filesIn(unpacked))).toEqual(byName(await filesIn(directory)))

      await withServerIn(cluster, { directory, beside: [`${directory}-tablespaces`] }, async (session) => expect(await contentOf(session)).toEqual(content))
    }
  })
})

/** As the manual of pg_basebackup says, by the tar of this machine. */
async function unpack(room: BaseRoom, archives: string, oid: string): Promise<string> {
  const directory = room.place()
  const tar = async (name: string, into: string): Promise<void> => {
    await mkdir(into, { recursive: true, mode: 0o700 })
    await run('tar', ['--zstd', '-xf', join(archives, name), '-C', into])
  }
  await tar('base.tar.zst', directory)
  await tar('pg_wal.tar.zst', join(directory, 'pg_wal'))
  await tar(`${oid}.tar.zst`, join(directory, 'pg_tblspc', oid))
  await writeFile(join(directory, 'backup_manifest'), await readFile(join(archives, 'backup_manifest')))
  return directory
}

describe('an exported directory', () => {
  it('has the files and the manifest that pg_basebackup would have brought, and pg_verifybackup sees a changed byte, a missing file and one too many', async () => {
    const cluster = await ownCluster(15, settings, ['-k'])
    await using _server = cluster.server
    await fill(cluster, { tablespace: false })
    await using room = await baseRoom(cluster)
    const stock = room.place()
    const { id } = await room.backup('full', ['--reader', 'stream'])
    const taken = await stockProgram(join(debianClients, 'pg_basebackup'), ['-D', stock, '-X', 'stream', '-c', 'fast'], libpqEnvironment(cluster.target))
    expect(taken).toMatchObject({ exitCode: 0 })
    const directory = room.place()
    const { plan } = await exportTo(room, id, directory)
    expect(plan.manifest).toBe('server')
    const comparable = (names: readonly string[]) => names.map((name) => name.replace(/[0-9A-F]{24}/, 'SEGMENT')).filter((name) => name !== 'tablespace_map')
    expect(comparable(await filesIn(directory))).toEqual(comparable(await filesIn(stock)))
    expect(await readdir(join(directory, 'pg_tblspc'))).toEqual([])
    for (const name of ['postgresql.auto.conf', 'postgresql.conf', 'PG_VERSION', 'pg_hba.conf'])
      expect(await readFile(join(directory, name), 'utf8')).toBe(await readFile(join(stock, name), 'utf8'))

    expect(await verifyBackup(debianClients, directory)).toMatchObject({ ok: true })
    const path = join(directory, 'global/1260')
    const right = await readFile(path)
    const wrong = Buffer.from(right)
    wrong[100] = (wrong[100] ?? 0) ^ 1
    await writeFile(path, wrong)
    expect(await verifyBackup(debianClients, directory)).toMatchObject({ ok: false, text: expect.stringContaining('global/1260') as string })
    await rm(path)
    expect(await verifyBackup(debianClients, directory)).toMatchObject({ ok: false, text: expect.stringContaining('global/1260') as string })
    await writeFile(path, right)
    await writeFile(join(directory, 'stranger'), '')
    expect(await verifyBackup(debianClients, directory)).toMatchObject({ ok: false, text: expect.stringContaining('stranger') as string })
    await rm(join(directory, 'stranger'))
    expect(await verifyBackup(debianClients, directory)).toMatchObject({ ok: true })
    // WAL is judged where pg_waldump is of the same major.
    const [segment = ''] = (await readdir(join(directory, 'pg_wal'))).filter((name) => /^[0-9A-F]{24}$/.test(name))
    await writeFile(join(directory, 'pg_wal', segment), Buffer.alloc((await stat(join(directory, 'pg_wal', segment))).size))
    expect(await verifyBackup(debianClients, directory)).toMatchObject({ ok: false, text: expect.stringContaining('WAL') as string })
  })

  it('is refused where anything is, in a data directory, and in the repository, and nothing is touched', async () => {
    const cluster = await ownCluster(15, settings)
    await using _server = cluster.server
    await using room = await baseRoom(cluster)
    const { id } = await room.backup('full')
    const taken = room.place()
    await mkdir(taken)
    await writeFile(join(taken, 'mine'), 'precious')
    const dry = await room.room.json<Exported>(['export', id, '--to', taken, '--dry-run'], { exitCode: 15 })
    expect(dry).toMatchObject({ plan: { refusals: [expect.stringContaining('not empty')] }, result: null })
    const at = [
      taken,
      cluster.server.dataDirectory,
      join(cluster.server.dataDirectory, 'base/export'),
      join(room.room.repository, 'export'),
      join(taken, 'mine'),
    ]
    for (const [index, place] of at.entries()) {
      const flags = index % 2 === 0 ? ['--format', 'tar'] : []
      expect((await room.room.json<{ error: unknown }>(['export', id, '--to', place, ...flags], { exitCode: 15 })).error).toMatchObject({
        code: 'target-unsafe',
      })
    }
    expect(await readdir(taken)).toEqual(['mine'])
    expect(await readdir(room.room.repository)).not.toContain('export')
    for (const flags of [
      ['--compress', 'zstd:3'],
      ['--format', 'tar', '--tablespace-map', '1=/x'],
      ['--format', 'tar', '--compress', 'lz4'],
    ])
      await room.room.json(['export', id, '--to', room.place(), ...flags], { exitCode: 2 })
  })

  it('is not left behind where a page of the backup is damaged', async () => {
    const cluster = await ownCluster(15, settings)
    await using _server = cluster.server
    await fill(cluster, { tablespace: false })
    await using room = await baseRoom(cluster)
    const { id } = await room.backup('full')
    const packs = (await filesIn(join(room.room.repository, '.tidemark/packs'))).map((name) => join(room.room.repository, '.tidemark/packs', name))
    const pack = packs[0] ?? ''
    const right = await readFile(pack)
    const wrong = Buffer.from(right)
    wrong[5_000] = (wrong[5_000] ?? 0) ^ 1
    await writeFile(pack, wrong)
    const empty = room.place()
    await mkdir(empty)
    for (const flags of [[], ['--format', 'tar', '--compress', 'gzip:1']]) {
      const directory = room.place()
      const end = await room.room.json<{ error: { message: string } }>(['export', id, '--to', directory, ...flags], { exitCode: 13 })
      expect(end.error.message).toContain('is damaged')
      await expect(lstat(directory)).rejects.toMatchObject({ code: 'ENOENT' })
      await room.room.json(['export', id, '--to', empty, ...flags], { exitCode: 13 })
      expect(await readdir(empty)).toEqual([])
    }
    await writeFile(pack, right)
    await exportTo(room, id, empty)
    expect(await verifyBackup(debianClients, empty)).toMatchObject({ ok: true })
  })

  it('is removed where it is stopped, and marked where it is killed', { timeout: 180_000 }, async () => {
    const cluster = await ownCluster(15, settings)
    await using _server = cluster.server
    await fill(cluster, { tablespace: false })
    await using room = await baseRoom(cluster)
    const { id } = await room.backup('full')
    // So slow that nothing can be ready before the signal comes.
    const slow = join(room.room.directory, 'slow.yaml')
    await writeFile(
      slow,
      `clusters:\n  main: { url: '${urlOf(cluster.target)}' }\nrepositories:\n  local: { path: ${room.room.repository}, bandwidth: 1MB/s }\n`,
    )
    for (const flags of [[], ['--format', 'tar', '--compress', 'zstd:1']]) {
      for (const signal of ['SIGINT', 'SIGKILL'] as const) {
        const directory = room.place()
        const started = room.room.start(['export', id, '--to', directory, '--config', slow, '--progress', 'json', ...flags])
        await new Promise<void>((resolve) => {
          started.child.stderr?.on('data', (text: string) => {
            if (text.includes('"step-begun","step":"export"')) resolve()
          })
          void started.end.then(() => resolve())
        })
        started.child.kill(signal)
        const end = await started.end
        if (signal === 'SIGINT') {
          expect(end, end.stderr).toMatchObject({ exitCode: 130 })
          await expect(lstat(directory)).rejects.toMatchObject({ code: 'ENOENT' })
          continue
        }
        const left = await filesIn(directory)
        expect(left).toContain('tidemark-export.partial')
        expect(left.filter((name) => ['backup_manifest', 'global/pg_control', 'base.tar.zst'].includes(name))).toEqual([])
        const again = await room.room.json<{ error: { message: string } }>(['export', id, '--to', directory, ...flags], { exitCode: 15 })
        expect(again.error.message).toContain('was killed')
      }
    }
  })
})

describe('an exported dump', () => {
  it.each([
    ['custom', [], '.dump.zst'],
    ['plain', ['--compress', 'gzip:6'], '.sql.gz'],
    ['directory', [], '.d'],
  ] as const)('of format %s is the bytes that were stored, with its .info and the globals', async (format, flags, extension) => {
    await using shop = await openShop(await sharedCluster(15))
    const { room } = shop
    const { id, key } = await room.json<{ id: string; key: string }>(['backup', '--format', format, '--name', 'monday', ...flags])
    const directory = join(room.directory, 'out')
    const { plan, result } = await room.json<Exported>(['export', id, '--to', directory])
    expect(plan).toMatchObject({ format: 'native', manifest: null, database: shop.name })
    const parts = extension === '.d' ? await filesIn(join(room.repository, key)) : []
    const names = [...(extension === '.d' ? parts.map((name) => `monday.d/${name}`) : [`monday${extension}`]), 'monday.globals.sql', 'monday.info'].toSorted()
    expect(await filesIn(directory)).toEqual(names)
    expect(result?.outputs.map(({ path }) => path).toSorted()).toEqual(names.map((name) => join(directory, name)))
    for (const name of names) expect(await readFile(join(directory, name))).toEqual(await readFile(join(room.repository, name)))
    // Where something is there, not a byte of it changes.
    expect((await room.json<{ error: unknown }>(['export', id, '--to', directory], { exitCode: 15 })).error).toMatchObject({ code: 'target-unsafe' })
    expect(await filesIn(directory)).toEqual(names)
    await room.json(['export', id, '--to', join(room.directory, 'x'), '--format', 'tar'], { exitCode: 2 })
  })

  it('goes to a file of any name with the right ending, beside others, and overwrites none', async () => {
    await using shop = await openShop(await sharedCluster(15))
    const { room } = shop
    const { id, key } = await room.json<{ id: string; key: string }>(['backup', '--name', 'monday', '--no-globals'])
    await room.json(['export', id, '--to', './here.dump.zst'])
    expect((await readdir(room.directory)).filter((name) => name.startsWith('here.')).toSorted()).toEqual(['here.dump.zst', 'here.info'])
    expect(await readFile(join(room.directory, 'here.dump.zst'))).toEqual(await readFile(join(room.repository, key)))
    await room.json(['export', id, '--to', './here.dump.zst'], { exitCode: 15 })
    await room.json(['export', id, '--to', './other.sql.gz'], { exitCode: 2 })
    // A directory of such a name is a directory.
    await mkdir(join(room.directory, 'folder.dump.zst'))
    await room.json(['export', id, '--to', './folder.dump.zst'])
    expect(await filesIn(join(room.directory, 'folder.dump.zst'))).toEqual(['monday.dump.zst', 'monday.info'])
  })

  it('that is damaged is not left behind', async () => {
    await using shop = await openShop(await sharedCluster(15))
    const { room } = shop
    const { id, key } = await room.json<{ id: string; key: string }>(['backup'])
    const path = join(room.repository, key)
    const bytes = await readFile(path)
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1
    await writeFile(path, bytes)
    await room.json(['export', id, '--to', 'out'], { exitCode: 13 })
    await room.json(['export', id, '--to', 'file.dump.zst'], { exitCode: 13 })
    expect((await readdir(room.directory)).filter((name) => name.startsWith('out') || name.startsWith('file'))).toEqual([])
  })
})

describe('what is exported of a sealed repository', () => {
  it('is not sealed, and without a key nothing is exported', async () => {
    const cluster = await ownCluster(15, settings)
    await using _server = cluster.server
    await fill(cluster, { tablespace: false })
    await using sealed = await sealedRoom(cluster.target)
    const { room } = sealed
    const dump = await room.json<{ id: string }>(['backup', '--type', 'dump'])
    const base = await room.json<{ id: string }>(['backup', '--type', 'full'])
    for (const { id } of [dump, base]) {
      const directory = join(room.directory, 'out')
      await room.json(['export', id, '--to', directory], { exitCode: 12, env: { XDG_CONFIG_HOME: '/nowhere' } })
      await expect(lstat(directory)).rejects.toMatchObject({ code: 'ENOENT' })
      for (const flags of [[], ['--kit', sealed.kit]]) {
        await room.json(['export', id, '--to', directory, ...flags], flags.length === 0 ? {} : { env: { XDG_CONFIG_HOME: '/nowhere' } })
        if (id === base.id) expect(await verifyBackup(debianClients, directory)).toMatchObject({ ok: true })
        else {
          expect(await filesIn(directory)).toEqual([`${id}.dump.zst`, `${id}.globals.sql`, `${id}.info`])
          await run('zstd', ['-dq', join(directory, `${id}.dump.zst`)])
          expect((await run(join(debianClients, 'pg_restore'), ['--list', join(directory, `${id}.dump`)])).stdout).toContain('TABLE DATA public orders')
          expect(await readFile(join(directory, `${id}.globals.sql`), 'utf8')).toContain('CREATE ROLE')
          expect(JSON.parse(await readFile(join(directory, `${id}.info`), 'utf8'))).toBeTypeOf('object')
        }
        await rm(directory, { recursive: true })
      }
    }
  })
})

describe('the API', () => {
  it('plans and exports as the command does', async () => {
    await using shop = await openShop(await sharedCluster(15))
    const { room } = shop
    await room.json(['backup', '--name', 'monday'])
    await using tide = await openTidemark({
      databaseUrl: urlOf(shop.target),
      directory: room.repository,
      cwd: room.directory,
      env: { PATH: process.env['PATH'] },
    })
    const plan = await tide.planExport('monday', { to: 'out' })
    expect(plan).toMatchObject({ action: 'export', target: join(room.directory, 'out'), refusals: [] })
    await expect(lstat(plan.target)).rejects.toMatchObject({ code: 'ENOENT' })
    const { result } = await tide.exportBackup('monday', { to: 'out' })
    expect(await filesIn(result.target)).toEqual([...plan.outputs].toSorted())
    await expect(tide.exportBackup('monday', { to: 'out' })).rejects.toMatchObject({ code: 'target-unsafe' })
    expect((await tide.planExport('monday', { to: 'out' })).refusals).toHaveLength(1)
  })
})
