import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { beforeAll, describe, expect, test } from 'vitest'
import type { Backup } from '../../src/repository/backup.ts'
import { sharedCluster, type TestCluster } from '../support/cluster.ts'
import { openShop, type Shop } from '../support/shop.ts'
import { tidemarkRoom, type RunningTidemark } from '../support/tidemark-cli.ts'

interface FailureDocument {
  error: { code: string; message: string; hints: string[]; exitCode: number }
}

let cluster: TestCluster
beforeAll(async () => {
  cluster = await sharedCluster(15)
})

describe('exit code 2: what cannot be meant', () => {
  test.each([
    [['frobnicate']],
    [['backup', '--frobnicate']],
    [['backup', '--format', 'tar']],
    [['backup', '--type', 'hourly']],
    [['backup', '--jobs', '0']],
    [['backup', '--compress', 'zstd:99']],
    [['backup', '--schema-only', '--data-only']],
    [['backup', '--type', 'full', '--table', 'orders']],
    [['backup', '--type', 'full', '--compress', 'gzip:6']],
    [['restore', '--into', 'somewhere', '--as', 'a']],
    [['restore', '--into', 'somewhere', '--tablespace-map', '=b']],
    [['restore', '--delta']],
    [['backup', 'nobody']],
    [['restore', '--as', 'a', '--test']],
    [['restore', '--drop']],
    [['restore', '--drop-existing']],
    [['restore', '--replace', '--table', 'orders']],
    [['restore', '--data-only', '--table', 'orders', '--as', 'x']],
    [['restore', '--to', '2 hours ago']],
    [['restore', '--role-map', 'a']],
    [['restore', '--role-map', '=b']],
    [['delete']],
    [['list', '--category', 'hourly']],
    [['wal', 'status']],
    [['expire']],
  ])('tidemark %j', async (args) => {
    await using room = await tidemarkRoom({ target: cluster.target })
    const end = await room.run(args)
    expect({ exitCode: end.exitCode, stdout: end.stdout }).toEqual({ exitCode: 2, stdout: '' })
    expect(end.stderr).not.toContain('unexpected error')
    expect(end.stderr.length).toBeGreaterThan(10)
    // Nothing was begun.
    expect(await readdir(room.directory)).toEqual(['work'])
  })

  test('no database is configured, and the answer says how to name one', async () => {
    await using room = await tidemarkRoom()
    const end = await room.run(['backup', '--json'])
    expect(end.exitCode).toBe(2)
    expect(end.json<FailureDocument>().error).toMatchObject({ code: 'config-invalid', exitCode: 2, hints: [expect.stringContaining('DATABASE_URL')] })
  })

  test('a name in the configuration is wrong: the line is said, and JSON is printed all the same', async () => {
    await using room = await tidemarkRoom({ config: 'clusters:\n  shop:\n    url: env:DATABASE_URL\n    dmup: {}\n', target: cluster.target })
    const end = await room.run(['list', '--json'])
    expect(end.exitCode).toBe(2)
    expect(end.json<FailureDocument>().error.message).toMatch(/dmup/)
    expect(`${end.json<FailureDocument>().error.message}${end.stderr}`).toMatch(/line 4|:4/)
  })
})

describe('exit code 1: tried and failed', () => {
  test('nobody listens: the place is named', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await new Promise((done) => server.once('listening', done))
    const address = server.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    await new Promise((done) => server.close(done))
    await using room = await tidemarkRoom({ env: { DATABASE_URL: `postgresql://app:x@127.0.0.1:${port}/shop` } })
    const end = await room.run(['backup', '--json'])
    expect(end.exitCode).toBe(1)
    expect(end.json<FailureDocument>().error).toMatchObject({ code: 'connection-failed', exitCode: 1 })
    expect(end.json<FailureDocument>().error.message).toContain(String(port))
  })

  test('the database does not exist', async () => {
    await using room = await tidemarkRoom({ target: { ...cluster.target, database: 'never_made' } })
    const end = await room.run(['backup', '--json'])
    expect(end.exitCode).toBe(1)
    expect(end.json<FailureDocument>().error).toMatchObject({ code: 'database-missing' })
  })

  test('a role that may not read a table: the dump fails as a whole, names the table, and nothing is kept', async () => {
    await using shop = await openShop(cluster)
    await shop.sql(
      `DO $$ BEGIN CREATE ROLE e2e_reader LOGIN PASSWORD 'r'; EXCEPTION WHEN duplicate_object THEN NULL; END $$; GRANT SELECT ON orders TO e2e_reader`,
    )
    const url = `postgresql://e2e_reader:r@127.0.0.1:${shop.target.port}/${shop.name}`
    const end = await shop.room.run(['backup', '--json'], { DATABASE_URL: url })
    expect(end.exitCode).toBe(1)
    const { error } = end.json<FailureDocument>()
    expect(error.code).toBe('permission-denied')
    expect(`${error.message} ${error.hints.join(' ')}`).toMatch(/customers/)
    await expectNoBackup(shop)
  })

  test('a role that reads everything and still may not see every row: refused, with the statement that lets it', async () => {
    await using shop = await openShop(cluster)
    await shop.sql(
      `DO $$ BEGIN CREATE ROLE e2e_read_all LOGIN PASSWORD 'x'; EXCEPTION WHEN duplicate_object THEN NULL; END $$; GRANT pg_read_all_data TO e2e_read_all; ALTER TABLE orders ENABLE ROW LEVEL SECURITY`,
    )
    const { error } = await shop.room.json<FailureDocument>(['backup'], {
      exitCode: 1,
      env: { DATABASE_URL: `postgresql://e2e_read_all:x@127.0.0.1:${shop.target.port}/${shop.name}` },
    })
    expect(error.code).toBe('permission-denied')
    expect(error.hints.join(' ')).toContain('BYPASSRLS')
    await expectNoBackup(shop)
  })

  test('there is no backup of that name', async () => {
    await using shop = await openShop(cluster)
    await shop.room.json(['backup'])
    for (const args of [
      ['show', 'nothing'],
      ['verify', 'nothing'],
      ['restore', 'nothing'],
      ['drill', '--backup', 'nothing'],
      ['delete', 'nothing', '--yes'],
      ['restore', './nothing.dump'],
    ]) {
      const { error } = await shop.room.json<FailureDocument>(args, { exitCode: 1 })
      expect(error.code).toBe('backup-missing')
    }
  })

  test('a name is taken: refused before anything is dumped, unless a suffix is wanted', async () => {
    await using shop = await openShop(cluster)
    const first = await shop.room.json<Backup>(['backup', '--name', 'before-v5'])
    expect(first).toMatchObject({ name: 'before-v5', fileName: 'before-v5.dump.zst' })
    expect((await shop.room.json<FailureDocument>(['backup', '--name', 'before-v5'], { exitCode: 1 })).error.code).toBe('name-taken')
    const second = await shop.room.json<Backup>(['backup', '--name', 'before-v5', '--name-unique'])
    expect(second.fileName).toMatch(/^before-v5-[0-9a-z]{4}\.dump\.zst$/)
    expect(await shop.room.json<Backup>(['show', first.id])).toMatchObject({ checksum: first.checksum })
  })

  test('`latest` without a backup prints nothing but the reason, and with a partial one still none', async () => {
    await using shop = await openShop(cluster)
    await shop.room.json(['backup', '--schema-only'])
    const end = await shop.room.run(['latest'])
    expect(end).toMatchObject({ exitCode: 1, stdout: '' })
    expect(end.stderr).toContain('partial')
    const backup = await shop.room.json<Backup>(['backup'])
    const found = await shop.room.run(['latest'])
    expect(found).toMatchObject({ exitCode: 0, stdout: `${backup.id}\n` })
    expect((await shop.room.run(['latest', '--path'])).stdout).toBe(`${backup.path}\n`)
  })
})

describe('exit code 3: done, but not all of it', () => {
  test('one of two repositories cannot be written: the backup is in the other, and the failure is told', async () => {
    await using shop = await openShop(cluster, {
      config:
        'clusters:\n  shop: { url: "env:DATABASE_URL", repositories: [local, second] }\nrepositories:\n  local: { path: ./backups }\n  second: { path: ./occupied/by/a/file }\n',
    })
    await writeFile(join(shop.room.directory, 'occupied'), 'a file')
    const backup = await shop.room.json<Backup & { warnings: string[] }>(['backup'], { exitCode: 3 })
    expect(backup).toMatchObject({ state: 'verified', repositories: ['local'] })
    expect((await shop.room.run(['backup'])).stderr).toContain('second')
  })

  test('one of several databases cannot be dumped: the others are, and it is named', async () => {
    await using shop = await openShop(cluster)
    const both = await shop.room.json<{ backups: Backup[]; warnings: string[] }>(['backup', '--database', shop.name, '--database', 'never_made'], {
      exitCode: 3,
    })
    const listed = 'backups' in both ? both.backups : [both as unknown as Backup]
    expect(listed.map((backup) => backup.database)).toEqual([shop.name])
    expect(both.warnings.join('\n')).toContain('never_made')
  })
})

describe('exit code 10: no repository', () => {
  test('there is none', async () => {
    await using room = await tidemarkRoom({ target: cluster.target })
    for (const args of [['list'], ['latest'], ['verify'], ['restore', 'latest'], ['drill'], ['undo', '--yes']]) {
      const { error } = await room.json<FailureDocument>(args, { exitCode: 10 })
      expect(error.code).toBe('repository-missing')
    }
    expect(await readdir(room.directory)).toEqual(['work'])
  })

  test('it has a format of the future: named, and not written to', async () => {
    await using shop = await openShop(cluster)
    await shop.room.json(['backup'])
    const file = join(shop.room.repository, '.tidemark/repository.json')
    const text = (await readFile(file, 'utf8')).replace('tidemark-repository/1', 'tidemark-repository/2')
    await writeFile(file, text)
    const before = await readdir(shop.room.repository, { recursive: true })
    for (const args of [['list'], ['backup'], ['restore', 'latest']]) {
      const { error } = await shop.room.json<FailureDocument>(args, { exitCode: 10 })
      expect(error.code).toBe('repository-format')
      expect(error.message).toContain('tidemark-repository/2')
    }
    expect(await readdir(shop.room.repository, { recursive: true })).toEqual(before)
  })
})

describe('a run in progress', () => {
  test('locks others out (11); Ctrl-C ends it with 130, its session on the server, and every trace of a half backup', async () => {
    await using shop = await openShop(cluster)
    await using blocker = await cluster.session(shop.name)
    await blocker.query('BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE')
    const first = shop.room.start(['backup', '--json'])
    await dumpWaits(shop, first)

    const second = await shop.room.json<FailureDocument>(['backup'], { exitCode: 11 })
    expect(second.error.code).toBe('locked')

    const begunAt = performance.now()
    first.child.kill('SIGINT')
    const end = await first.end
    expect(performance.now() - begunAt).toBeLessThan(10_000)
    expect(end.exitCode).toBe(130)
    expect(end.json<FailureDocument>().error).toMatchObject({ code: 'cancelled', exitCode: 130 })
    expect(await sessionsOf(shop)).toEqual([])
    await expectNoBackup(shop)

    await blocker.query('ROLLBACK')
    expect(await shop.room.json<Backup>(['backup'])).toMatchObject({ state: 'verified' })
  })

  test('killed outright (SIGKILL) leaves no backup; the next run takes over at once and clears what it left', async () => {
    await using shop = await openShop(cluster)
    await using blocker = await cluster.session(shop.name)
    await blocker.query('BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE')
    const first = shop.room.start(['backup'])
    await dumpWaits(shop, first)
    first.child.kill('SIGKILL')
    await first.end
    await blocker.query('ROLLBACK')
    const { backups } = await shop.room.json<{ backups: Backup[] }>(['list'])
    expect(backups).toEqual([])
    expect(await shop.room.json<Backup>(['backup'])).toMatchObject({ state: 'verified' })
  })

  test('that waits for a lock gives up by itself and names who holds it', async () => {
    await using shop = await openShop(cluster, {
      config:
        'clusters:\n  shop:\n    url: env:DATABASE_URL\n    dump: { lockWait: 1s }\n    repositories: [local]\nrepositories:\n  local: { path: ./backups }\n',
    })
    await using blocker = await cluster.session(shop.name)
    await blocker.query('BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE')
    const { error } = await shop.room.json<FailureDocument>(['backup'], { exitCode: 1 })
    expect(error.code).toBe('lock-timeout')
    expect(`${error.message} ${error.hints.join(' ')}`).toContain(String(blocker.backendPid))
    await expectNoBackup(shop)
  })
})

test('two runs that begin in one second never overwrite each other: both exist, under names of their own', async () => {
  await using shop = await openShop(cluster)
  await shop.room.json(['backup', '--name', 'first'])
  const config =
    'clusters:\n  a: { url: "env:DATABASE_URL", repositories: [local] }\n  b: { url: "env:DATABASE_URL", repositories: [local] }\nrepositories:\n  local: { path: ./backups }\n'
  await writeFile(join(shop.room.directory, 'two.yaml'), config)
  const ends = await Promise.all(
    ['a', 'b', 'a'].map((name, index) => shop.room.run(['backup', name, '--config', 'two.yaml', '--json', ...(index === 2 ? ['--name', 'third'] : [])])),
  )
  const done = ends.filter((end) => end.exitCode === 0).map((end) => end.json<Backup>())
  // Of one cluster only one may run at a time; different clusters may share the second and the folder.
  for (const end of ends) expect([0, 11]).toContain(end.exitCode)
  expect(done.length).toBeGreaterThanOrEqual(2)
  expect(new Set(done.map((backup) => backup.path)).size).toBe(done.length)
  for (const backup of done) expect((await stat(backup.path ?? '')).size).toBe(backup.storedBytes)
})

test('a setting that only says where the repository is suffices: no file is needed, and BACKUP_DIR is made', async () => {
  await using shop = await openShop(cluster)
  const backup = await shop.room.json<Backup>(['backup'], { env: { BACKUP_DIR: '~/elsewhere' } })
  expect(backup).toMatchObject({ cluster: shop.name, database: shop.name, path: join(shop.room.directory, 'elsewhere', backup.fileName) })
  await mkdir(join(shop.room.directory, 'empty'))
  expect((await stat(join(shop.room.directory, 'elsewhere'))).mode & 0o777).toBe(0o700)
  expect((await stat(backup.path ?? '')).mode & 0o777).toBe(0o600)
})

/** Waits until pg_dump of the run stands before the lock. */
async function dumpWaits(shop: Shop, run: RunningTidemark): Promise<void> {
  let ended = false
  void run.end.then(() => (ended = true))
  for (;;) {
    const waiting = await shop.sql(
      `SELECT pid FROM pg_stat_activity WHERE datname = '${shop.name}' AND application_name LIKE 'tidemark pg_dump%' AND wait_event_type = 'Lock'`,
      'postgres',
    )
    if (waiting.length > 0) return
    if (ended) throw new Error(`the backup ended before it met the lock: ${(await run.end).stderr}`)
    await delay(20)
  }
}

async function sessionsOf(shop: Shop): Promise<readonly unknown[]> {
  return shop.sql(
    `SELECT application_name, state, query FROM pg_stat_activity WHERE datname = '${shop.name}' AND application_name LIKE 'tidemark%' AND application_name <> 'tidemark test'`,
    'postgres',
  )
}

/** Nothing outside `.tidemark/`, nothing listed, nothing staged. */
async function expectNoBackup(shop: Shop): Promise<void> {
  const names = await readdir(shop.room.repository).catch(() => [])
  expect(names.filter((name) => !name.startsWith('.tidemark'))).toEqual([])
  expect(await readdir(shop.room.work)).toEqual([])
  const listed = await shop.room.run(['list', '--json'])
  if (listed.exitCode === 0) expect(listed.json<{ backups: Backup[] }>().backups).toEqual([])
  else expect(listed.exitCode).toBe(10)
}
