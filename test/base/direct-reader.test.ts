import { chmod, lstat, mkdir, open, readFile, rename, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { LeafEntry } from '../../src/packs/leaf.ts'
import { relationFileOf } from '../../src/pgdata/relation-path.ts'
import type { Session } from '../../src/postgres/session.ts'
import { amcheck, baseRoom, contentOf, tablespaceDirectory } from '../support/base-room.ts'
import { giveToServer } from '../support/base-backups.ts'
import { backUpServer, entriesOf } from '../support/backed-up-server.ts'
import { ownCluster, type TestCluster } from '../support/cluster.ts'

/** Nothing writes by itself. */
const idle = { autovacuum: 'off', full_page_writes: 'on' }
const majors = [13, 15, 18]
/** Who may become somebody with fewer rights. */
const isRoot = process.getuid?.() === 0

async function fill(cluster: TestCluster): Promise<void> {
  const place = await tablespaceDirectory(cluster, 'elsewhere')
  await using admin = await cluster.session()
  await admin.query(`CREATE TABLESPACE elsewhere LOCATION '${place}'`)
  await admin.query('CREATE TABLE orders AS SELECT g AS id, repeat(md5(g::text), 8) AS note FROM generate_series(1, 100000) g')
  await admin.query('CREATE INDEX ON orders (id)')
  await admin.query('CREATE TABLE far TABLESPACE elsewhere AS SELECT g AS id FROM generate_series(1, 5000) g')
  await admin.query('CREATE UNLOGGED TABLE unlogged AS SELECT g AS id FROM generate_series(1, 5000) g')
  await admin.query('VACUUM FREEZE')
  await admin.query('CHECKPOINT')
}

const pathOf = async (session: Session, table: string) =>
  (await session.query<{ path: string }>(`SELECT pg_relation_filepath('${table}') AS path`))[0]?.path ?? ''

/** What both readers must find alike: everything but WAL, and what each backup writes about itself. */
function comparable(entries: ReadonlyMap<string, LeafEntry>): ReadonlyMap<string, string> {
  const own = /^(pg_wal\/[0-9A-F]{24}|backup_manifest|backup_label|global\/pg_control)$/
  return new Map(
    [...entries]
      .filter(([path]) => !own.test(path))
      .map(([path, { kind, mode, sizeBytes }]): [string, string] => [path, `${kind} ${mode.toString(8)} ${sizeBytes}`])
      .toSorted(([a], [b]) => (a < b ? -1 : 1)),
  )
}

describe.for(majors)('the files of an idle PostgreSQL %i', (major) => {
  it('are the same, and nothing is stored twice, whoever reads them first', { timeout: 180_000 }, async () => {
    const cluster = await ownCluster(major, idle, ['-k'])
    await using _server = cluster.server
    await fill(cluster)
    // A temporary table, which no backup has.
    await using session = await cluster.session()
    await session.query('CREATE TEMPORARY TABLE mine AS SELECT g AS id FROM generate_series(1, 5000) g')
    const temporary = await pathOf(session, 'mine')
    for (const [first, second] of [
      ['direct', 'stream'],
      ['stream', 'direct'],
    ] as const) {
      const server = await backUpServer(cluster.target)
      const full = await server.take(first, 'full')
      const incremental = await server.take(second, 'incr')
      expect([full, incremental]).toMatchObject([
        { partial: false, warnings: [], backup: { type: 'full', state: 'verified' } },
        { partial: false, warnings: [], backup: { type: 'incr', state: 'verified' } },
      ])
      expect(full.backup.storedBytes).toBeGreaterThan(1_000_000)
      expect(incremental.backup.storedBytes).toBeLessThan(150_000)
      const backups = [await server.open(full), await server.open(incremental)]
      expect(backups.map(({ root }) => root.read.how)).toEqual([first, second])
      expect(backups[0]?.root.tablespaces).toEqual(backups[1]?.root.tablespaces)
      for (const backup of backups) expect(await server.problems(backup)).toEqual([])
      const [one, other] = [await entriesOf(backups[0]!), await entriesOf(backups[1]!)]
      expect(comparable(other)).toEqual(comparable(one))
      expect([...other].filter(([path, { hashes }]) => relationFileOf(path) !== null && !one.get(path)?.hashes.equals(hashes))).toEqual([])

      const unlogged = await pathOf(session, 'unlogged')
      const far = await pathOf(session, 'far')
      for (const entries of [one, other]) {
        expect(entries.has(temporary)).toBe(false)
        expect(entries.has(unlogged)).toBe(false)
        expect(entries.get(`${unlogged}_init`)).toMatchObject({ kind: 'file' })
        expect(entries.get(far)?.sizeBytes).toBeGreaterThan(100_000)
        expect(far).toContain('pg_tblspc/')
      }
    }
  })
})

describe.for([14, 17])('a PostgreSQL %i that works while it is read directly', (major) => {
  it('comes back whole from a full backup and from an incremental one', { timeout: 180_000 }, async () => {
    const cluster = await ownCluster(major, { full_page_writes: 'on', checkpoint_timeout: '30s', max_wal_size: '64MB', shared_buffers: '4MB' }, ['-k'])
    await using _server = cluster.server
    await fill(cluster)
    await using room = await baseRoom(cluster)
    const stop = new AbortController()
    const work = churn(cluster, stop.signal)
    try {
      for (const type of ['full', 'incr'] as const) {
        const backup = await room.backup(type, ['--reader', 'direct'])
        expect(backup).toMatchObject({ type, state: 'verified', warnings: [] })
        const copy = await room.restore(backup.id)
        const content = await contentOf(copy.session)
        expect(content['postgres "public"."orders"']).toMatch(/^100000 /)
        await using session = await copy.session()
        // Every transaction took from one account what it gave to another.
        expect(await session.query('SELECT count(*)::int AS accounts, sum(balance)::int AS sum FROM accounts')).toEqual([{ accounts: 10_000, sum: 0 }])
        expect(await session.query('SELECT count(*)::int AS count FROM unlogged')).toEqual([{ count: 0 }])
        expect(await amcheck(session)).toEqual([])
        await copy.stop()
      }
    } finally {
      stop.abort()
      expect(await work).toBeGreaterThan(50)
    }
  })
})

/** Payments, and all that makes files come and go. Resolves with how many rounds there were. */
async function churn(cluster: TestCluster, signal: AbortSignal): Promise<number> {
  await using admin = await cluster.session()
  await admin.query('CREATE TABLE accounts AS SELECT g AS id, 0 AS balance FROM generate_series(1, 10000) g')
  await admin.query('CREATE UNIQUE INDEX ON accounts (id)')
  const pay = async (): Promise<number> => {
    await using session = await cluster.session()
    let rounds = 0
    for (; !signal.aborted; rounds += 1) {
      await session.query(
        `UPDATE accounts SET balance = balance + d FROM (VALUES (1 + (random() * 9998)::int, 7), (0, -7)) v (k, d) WHERE id = CASE WHEN k = 0 THEN 10000 ELSE k END`,
      )
    }
    return rounds
  }
  const change = async (): Promise<void> => {
    await using session = await cluster.session()
    for (let round = 0; !signal.aborted; round += 1) {
      await session.query(`CREATE TABLE come_${round} AS SELECT g AS id, repeat('x', 500) AS note FROM generate_series(1, 4000) g`)
      await session.query('VACUUM FULL far')
      await session.query(`TRUNCATE come_${round}`)
      await session.query(`ALTER TABLE come_${round} SET TABLESPACE elsewhere`)
      if (round > 0) await session.query(`DROP TABLE come_${round - 1}`)
      if (round % 5 === 0) await session.query(`CREATE DATABASE passing_${round}`)
      if (round % 5 === 2) await session.query(`DROP DATABASE passing_${round - 2}`)
      if (round % 7 === 3) await session.query(`ALTER SYSTEM SET work_mem = '${4 + round}MB'`)
    }
  }
  const [rounds] = await Promise.all([pay(), change()])
  return rounds
}

describe('the direct reader', () => {
  it('names bad pages, five for each file, counts all, and keeps the backup', { timeout: 120_000 }, async () => {
    const cluster = await ownCluster(15, idle, ['-k'])
    await using _server = cluster.server
    await fill(cluster)
    await using session = await cluster.session()
    const path = await pathOf(session, 'orders')
    const far = await pathOf(session, 'far')
    await cluster.server.stop()
    for (const block of [3, 140, 141, 142, 300, 301, 1_000]) await damage(join(cluster.server.dataDirectory, path), block)
    await damage(join(cluster.server.dataDirectory, far), 2)
    await cluster.server.start()
    const server = await backUpServer(cluster.target)
    const direct = await server.take('direct', 'full')
    const streamed = await server.take('stream', 'incr')
    expect([direct.partial, streamed.partial]).toEqual([true, true])
    const named = (warnings: readonly string[]) =>
      warnings
        // The server names the files of a tablespace by its place.
        .map((warning) => warning.replace(/"[^"]*(\/PG_15)/, '"$1'))
        .flatMap(
          (warning) => /in file "(?:\.\/)?([^"]+)", block (\d+): calculated ([0-9A-F]+) but expected ([0-9A-F]+)/.exec(warning)?.slice(1).join(' ') ?? [],
        )
        .toSorted()
    expect(named(direct.warnings)).toHaveLength(6)
    expect(named(direct.warnings)).toEqual(named(streamed.warnings))
    expect(direct.warnings).toEqual(
      expect.arrayContaining([
        expect.stringContaining('keep older backups'),
        `file "${path}" has 7 pages that fail their checksum`,
        '8 pages fail their checksum',
      ]),
    )
    // What was read is what is there: the server read the same.
    expect(streamed.backup.storedBytes).toBeLessThan(150_000)
    expect(await server.problems(await server.open(direct))).toEqual([])
  })

  it('reads a cluster without checksums, and says nothing of its pages', { timeout: 60_000 }, async () => {
    const cluster = await ownCluster(18, idle, ['--no-data-checksums'])
    await using _server = cluster.server
    await fill(cluster)
    await using session = await cluster.session()
    const path = await pathOf(session, 'orders')
    await damage(join(cluster.server.dataDirectory, path), 3)
    const server = await backUpServer(cluster.target)
    expect(await server.take('direct', 'full')).toMatchObject({ partial: false, warnings: [] })
  })

  it('says what lies in the data directory that no backup can hold', { timeout: 60_000 }, async () => {
    const cluster = await ownCluster(15, idle)
    await using _server = cluster.server
    const { dataDirectory } = cluster.server
    await symlink('/etc/hostname', join(dataDirectory, 'linked.conf'))
    const socket = createServer().listen(join(dataDirectory, 'a socket'))
    try {
      // The old way to keep statistics in memory: a link in the place of a directory that is sent empty.
      await rename(join(dataDirectory, 'pg_stat_tmp'), join(dataDirectory, '..', 'statistics'))
      await symlink(join(dataDirectory, '..', 'statistics'), join(dataDirectory, 'pg_stat_tmp'))
      const server = await backUpServer(cluster.target)
      const outcome = await server.take('direct', 'full')
      expect(outcome.backup.leftOut).toEqual([
        { what: 'a socket', why: 'it is neither a file nor a directory' },
        { what: 'linked.conf', why: 'it is a link, and only tablespaces and pg_wal may be links' },
      ])
      expect((await entriesOf(await server.open(outcome))).get('pg_stat_tmp')).toMatchObject({ kind: 'directory' })
    } finally {
      socket.close()
    }
  })

  it('follows pg_wal to another place, and walks a tablespace inside the data directory once', { timeout: 60_000 }, async () => {
    const cluster = await ownCluster(16, idle)
    await using _server = cluster.server
    const { dataDirectory } = cluster.server
    await mkdir(join(dataDirectory, 'inner'))
    await giveToServer(join(dataDirectory, 'inner'), cluster.server)
    {
      await using session = await cluster.session()
      await session.query(`CREATE TABLESPACE inner_space LOCATION '${join(dataDirectory, 'inner')}'`)
      await session.query('CREATE TABLE t TABLESPACE inner_space AS SELECT g AS id FROM generate_series(1, 5000) g')
    }
    await cluster.server.stop()
    await rename(join(dataDirectory, 'pg_wal'), join(dataDirectory, '..', 'wal'))
    await symlink(join(dataDirectory, '..', 'wal'), join(dataDirectory, 'pg_wal'))
    await cluster.server.start()
    const server = await backUpServer(cluster.target)
    const direct = await server.take('direct', 'full')
    const streamed = await server.take('stream', 'incr')
    const entries = await entriesOf(await server.open(direct))
    expect(comparable(entries)).toEqual(comparable(await entriesOf(await server.open(streamed))))
    expect([...entries.keys()].filter((path) => path.startsWith('inner'))).toEqual(['inner'])
    expect([...entries.keys()].filter((path) => path.startsWith('pg_tblspc/')).length).toBeGreaterThan(1)
  })

  it.runIf(isRoot)('ends the backup where a file cannot be read, and leaves nothing behind', { timeout: 60_000 }, async () => {
    const cluster = await ownCluster(15, idle)
    await using _server = cluster.server
    const { dataDirectory } = cluster.server
    const { uid } = await lstat(dataDirectory)
    // Somebody else's file among those of the server, which may not read it either.
    await writeFile(join(dataDirectory, 'base', 'note of root'), 'x', { mode: 0o600 })
    const server = await backUpServer(cluster.target)
    await asUser(uid, async () => {
      await expect(server.take('auto', 'full')).rejects.toMatchObject({ code: 'source-unreadable', details: { path: 'base/note of root' } })
    })
    expect(await server.count()).toBe(0)
    expect((await server.take('auto', 'full')).partial).toBe(false)
    expect(await server.count()).toBe(1)
  })
})

describe('who reads the files', () => {
  it.runIf(isRoot)('is the server where this account may not look into its directory', { timeout: 60_000 }, async () => {
    const cluster = await ownCluster(15, idle)
    await using _server = cluster.server
    const server = await backUpServer(cluster.target)
    await asUser(65_534, async () => {
      const { backup } = await server.take('auto', 'full')
      const { root } = await server.open({ backup })
      expect(root.read).toEqual({ how: 'stream', why: [expect.stringContaining('may not look into')] })
      await expect(server.take('direct', 'full')).rejects.toMatchObject({
        code: 'usage-invalid',
        message: expect.stringContaining('may not look into') as string,
      })
    })
    const asRoot = await server.open(await server.take('auto', 'full'))
    expect(asRoot.root.read).toEqual({ how: 'direct', why: [] })
    const asked = await server.open(await server.take('stream', 'full'))
    expect(asked.root.read).toEqual({ how: 'stream', why: [expect.stringContaining('that was asked for (--reader stream)')] })
  })

  it.runIf(isRoot)('is the server where a group may read the directory, but one file is for the server alone', { timeout: 60_000 }, async () => {
    const cluster = await ownCluster(15, idle, ['--allow-group-access'])
    await using _server = cluster.server
    const { dataDirectory } = cluster.server
    await chmod(join(dataDirectory, '..'), 0o755)
    const { gid } = await lstat(dataDirectory)
    const server = await backUpServer(cluster.target)
    const how = async () => (await server.open(await server.take('auto', 'full'))).root.read
    await asUser(65_534, async () => expect(await how()).toEqual({ how: 'direct', why: [] }), gid)
    await writeFile(join(dataDirectory, 'server.key'), 'x', { mode: 0o600 })
    await giveToServer(join(dataDirectory, 'server.key'), cluster.server)
    await asUser(65_534, async () => expect(await how()).toEqual({ how: 'stream', why: [expect.stringContaining('cannot read server.key')] }), gid)
  })

  it('is the server where the role may not begin a backup, and we as soon as it may', { timeout: 60_000 }, async () => {
    const cluster = await ownCluster(17, idle)
    await using _server = cluster.server
    await using admin = await cluster.session()
    await admin.query(`CREATE ROLE backup LOGIN REPLICATION PASSWORD '${cluster.target.password?.reveal() ?? ''}'; GRANT pg_read_all_settings TO backup`)
    const server = await backUpServer({ ...cluster.target, user: 'backup' })
    const how = async () => (await server.open(await server.take('auto', 'full'))).root.read
    expect(await how()).toEqual({ how: 'stream', why: [expect.stringContaining('GRANT EXECUTE ON FUNCTION pg_backup_start')] })
    await admin.query('GRANT EXECUTE ON FUNCTION pg_backup_start, pg_backup_stop TO backup')
    expect(await how()).toEqual({ how: 'direct', why: [] })
    await admin.query('REVOKE pg_read_all_settings FROM backup')
    expect(await how()).toEqual({ how: 'stream', why: [expect.stringContaining('may not know where')] })
  })

  it('is the server where a directory of the same name belongs to another one', { timeout: 60_000 }, async () => {
    const cluster = await ownCluster(15, idle)
    await using _server = cluster.server
    const pidFile = join(cluster.server.dataDirectory, 'postmaster.pid')
    const own = await readFile(pidFile, 'utf8')
    const server = await backUpServer(cluster.target)
    // As if ours were seen through a tunnel, and this one were another machine's.
    await writeFile(pidFile, own.replace(/^\d+/, String(process.pid)))
    try {
      const { root } = await server.open(await server.take('auto', 'full'))
      expect(root.read).toEqual({ how: 'stream', why: [expect.stringContaining('belongs to another one')] })
    } finally {
      await writeFile(pidFile, own)
    }
  })
})

/** Changes a byte of a page behind the server's back. */
async function damage(path: string, block: number): Promise<void> {
  await using file = await open(path, 'r+')
  const byte = Buffer.alloc(1)
  await file.read(byte, 0, 1, block * 8_192 + 5_000)
  await file.write(Buffer.from([(byte[0] ?? 0) ^ 0x55]), 0, 1, block * 8_192 + 5_000)
}

/** Takes the rights of root away from this process for a while. */
async function asUser(uid: number, work: () => Promise<void>, gid?: number): Promise<void> {
  if (gid !== undefined) process.setegid?.(gid)
  process.seteuid?.(uid)
  try {
    await work()
  } finally {
    process.seteuid?.(0)
    process.setegid?.(0)
  }
}
