import { cp, link, lstat, mkdir, open, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Backup } from '../../src/repository/backup.ts'
import { baseRoom, tablespaceDirectory, type BaseRoom } from '../support/base-room.ts'
import { ownCluster, type TestCluster } from '../support/cluster.ts'

let cluster: TestCluster
let base: BaseRoom
let backup: Backup
let oid: string

beforeAll(async () => {
  cluster = await ownCluster(15, { wal_keep_size: '256MB' }, ['-k'])
  const place = await tablespaceDirectory(cluster, 'elsewhere')
  await using session = await cluster.session()
  await session.query(`CREATE TABLESPACE elsewhere LOCATION '${place}'`)
  await session.query('CREATE TABLE kept AS SELECT g AS id FROM generate_series(1, 1000) g')
  await session.query('CREATE TABLE far TABLESPACE elsewhere AS SELECT g AS id FROM generate_series(1, 1000) g')
  oid = (await session.query<{ oid: string }>(`SELECT oid::text FROM pg_tablespace WHERE spcname = 'elsewhere'`))[0]?.oid ?? ''
  base = await baseRoom(cluster)
  backup = await base.backup('full')
})
afterAll(async () => {
  await base[Symbol.asyncDispose]()
  await cluster.server[Symbol.asyncDispose]()
})

const restore = (into: string, flags: readonly string[] = []) => base.room.run(['restore', backup.id, '--into', into, '--yes', ...flags])
async function restored(): Promise<string> {
  const directory = base.place()
  const end = await restore(directory)
  expect(end.exitCode, end.stderr).toBe(0)
  return directory
}

describe('a restore into a directory that holds something', () => {
  it('replays no WAL of a later state that lies behind a link in the place of pg_wal', { timeout: 120_000 }, async () => {
    const directory = await restored()
    const wal = `${directory}-wal`
    await rename(join(directory, 'pg_wal'), wal)
    await symlink(wal, join(directory, 'pg_wal'))
    {
      await using session = await cluster.session()
      await session.query('DROP TABLE kept')
      await session.query('SELECT pg_switch_wal()')
    }
    const later = (await readdir(join(cluster.server.dataDirectory, 'pg_wal'))).filter((name) => /^[0-9A-F]{24}$/.test(name))
    for (const name of later) await cp(join(cluster.server.dataDirectory, 'pg_wal', name), join(wal, name))

    const end = await restore(directory, ['--delta'])
    expect(end.exitCode, end.stderr).toBe(0)
    expect(end.stderr).toContain('was a link and is a directory now')
    expect((await lstat(join(directory, 'pg_wal'))).isDirectory()).toBe(true)
    expect(await readdir(wal)).toEqual(expect.arrayContaining(later))
    const segments = (await readdir(join(directory, 'pg_wal'))).filter((name) => /^[0-9A-F]{24}$/.test(name))
    expect(segments).toHaveLength(1)
  })

  it(
    'writes and removes nothing outside: through links, second names, or links to tablespaces that the backup does not have',
    { timeout: 60_000 },
    async () => {
      const directory = await restored()
      const outside = `${directory}-outside`
      await mkdir(join(outside, 'database'), { recursive: true })
      await writeFile(join(outside, 'file'), 'keep')
      const empty = join(directory, await firstFile(directory, 0))
      await rm(empty)
      await symlink(join(outside, 'file'), empty)
      await rm(join(directory, 'base/1'), { recursive: true })
      await symlink(join(outside, 'database'), join(directory, 'base/1'))
      await symlink(outside, join(directory, 'pg_tblspc/99999'))
      const second = join(outside, 'second')
      await link(join(directory, 'global/1262'), second)
      {
        await using file = await open(second, 'r+')
        await file.write('changed', 0)
      }

      const end = await restore(directory, ['--delta'])
      expect(end.exitCode, end.stderr).toBe(0)
      expect(await readFile(join(outside, 'file'), 'utf8')).toBe('keep')
      expect(await readdir(join(outside, 'database'))).toEqual([])
      expect((await readFile(second)).subarray(0, 7).toString()).toBe('changed')
      expect((await readFile(join(directory, 'global/1262'))).subarray(0, 7).toString()).not.toBe('changed')
      expect(await readdir(join(directory, 'pg_tblspc'))).toEqual([oid])
      expect((await lstat(join(directory, 'base/1'))).isDirectory()).toBe(true)
    },
  )

  it('takes no directory for a tablespace that holds something else', { timeout: 60_000 }, async () => {
    const directory = await restored()
    const outside = `${directory}-precious`
    await mkdir(outside)
    await writeFile(join(outside, 'file'), 'keep')
    const end = await restore(directory, ['--delta', '--tablespace-map', `${oid}=${outside}`])
    expect(end.exitCode).toBe(15)
    expect(await readdir(outside)).toEqual(['file'])
    expect((await restore(directory, ['--delta'])).exitCode).toBe(0)
  })

  it('leaves a server alone that runs where the mark of a restore stayed', { timeout: 60_000 }, async () => {
    const copy = await base.restore(backup.id)
    const { result } = copy.outcome
    const repository = JSON.parse(await readFile(join(base.room.repository, '.tidemark/repository.json'), 'utf8')) as { readonly id: string }
    const marker = { format: 'tidemark-restore/1', backup: backup.id, repository: repository.id, run: result?.run }
    await writeFile(join(copy.directory, 'tidemark-restore.json'), JSON.stringify(marker))
    const end = await restore(copy.directory)
    expect(end.exitCode).toBe(15)
    expect(end.stderr).toContain('a server is running there')
    await using session = await copy.session()
    expect(await session.query('SELECT count(*)::int AS count FROM far')).toEqual([{ count: 1000 }])
  })

  it('goes into no repository and no data directory of a server', { timeout: 60_000 }, async () => {
    for (const [place, why] of [
      [join(base.room.repository, '.tidemark/packs/copy'), 'lies inside the repository'],
      [join(cluster.server.dataDirectory, 'base/copy'), 'lies inside the data directory'],
    ] as const) {
      const end = await restore(place)
      expect(end.exitCode).toBe(15)
      expect(end.stderr).toContain(why)
    }
  })
})

it.for(['direct', 'stream'])('a backup without a database that lies behind a link ends with 3, whoever reads: %s', { timeout: 60_000 }, async (reader) => {
  const place = join(cluster.server.dataDirectory, 'base/77777')
  await symlink('/nowhere', place)
  const end = await base.room.run(['backup', '--type', 'full', '--reader', reader, '--json'])
  await rm(place)
  expect(end.exitCode, end.stderr).toBe(3)
  const backup = end.json<Backup>()
  expect(backup).toMatchObject({ leftOut: [{ what: 'base/77777' }] })
  // What lacks rows is never what `latest` means, or a restore of it would be called whole.
  const shown = await base.room.run(['show', 'latest', '--json'])
  expect(shown.exitCode, shown.stderr).toBe(0)
  expect(shown.json<Backup>().id).not.toBe(backup.id)
})

it('a copy that is started is that of its own directory, whatever its configuration names', { timeout: 60_000 }, async () => {
  const configuration = join(cluster.server.dataDirectory, 'postgresql.conf')
  const before = await readFile(configuration, 'utf8')
  await writeFile(configuration, `${before}\ndata_directory = '${cluster.server.dataDirectory}'\n`)
  const taken = await base.backup('incr')
  await writeFile(configuration, before)
  const copy = await base.restore(taken.id)
  await using session = await copy.session()
  expect(await session.query('SHOW data_directory')).toEqual([{ data_directory: copy.directory }])
  // Nor does it take from the publishers of the original's subscriptions.
  expect(await session.query('SHOW max_logical_replication_workers')).toEqual([{ max_logical_replication_workers: '0' }])
})

it('a file of the original that is called as our own are takes no place of pg_control, or of the mark of a restore', { timeout: 60_000 }, async () => {
  const names = ['global/pg_control.tidemark', 'tidemark-restore.json']
  for (const name of names) await writeFile(join(cluster.server.dataDirectory, name), 'hostile', { mode: 0o644 })
  const taken = await base.backup('incr')
  for (const name of names) await rm(join(cluster.server.dataDirectory, name))
  const copy = await base.restore(taken.id)
  expect(await readdir(copy.directory)).not.toContain('tidemark-restore.json')
  await using session = await copy.session()
  expect(await session.query('SELECT count(*)::int AS count FROM far')).toEqual([{ count: 1000 }])
})

/** The first file of a database with this size. */
async function firstFile(directory: string, sizeBytes: number): Promise<string> {
  for (const name of await readdir(join(directory, 'base/5'))) {
    const stat = await lstat(join(directory, 'base/5', name))
    if (stat.isFile() && stat.size === sizeBytes) return join('base/5', name)
  }
  throw new Error(`no file of ${sizeBytes} bytes`)
}
