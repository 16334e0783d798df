import { chmod, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Failure } from '../../src/kernel/failure.ts'
import { Secret } from '../../src/kernel/secret.ts'
import { runBaseBackup } from '../../src/postgres/replication/base-backup.ts'
import { openReplicationConnection } from '../../src/postgres/replication/replication-connection.ts'
import { identifySystem, readSetting } from '../../src/postgres/replication/replication-commands.ts'
import { openSession } from '../../src/postgres/session.ts'
import type { ConnectionTarget } from '../../src/postgres/target.ts'
import { backupOptions, discard, manifestComplaints, openRoom, receiveBaseBackup, type Room } from '../support/base-backups.ts'
import { makeCertificates } from '../support/certificates.ts'
import { ownCluster, sharedCluster, type TestCluster } from '../support/cluster.ts'
import { withOverrides } from '../support/targets.ts'

const named = { applicationName: 'tidemark test' }
const majors = [13, 14, 15, 16, 17, 18]

/** Waits, at most ten seconds, until nothing of ours is left on the server. */
async function walsendersAreGone({ server }: TestCluster): Promise<boolean> {
  await using session = await openSession(server.socketTarget, named)
  const deadline = performance.now() + 10_000
  while (performance.now() < deadline) {
    const [row] = await session.query<{ left: number }>(
      `SELECT ((SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender') + (SELECT count(*) FROM pg_stat_progress_basebackup)
        + (SELECT count(*) FROM pg_replication_slots))::int AS left`,
    )
    if (row?.left === 0) return true
  }
  return false
}

describe.each(majors)('a replication connection to PostgreSQL %i', (major) => {
  it('answers SQL and replication commands one after the other, refusals in between', async () => {
    const { target } = await sharedCluster(major)
    await using wire = await openReplicationConnection(target, named)
    expect(await wire.run(`SELECT 1 AS one, NULL AS nothing, 'ü' AS text; SELECT i FROM generate_series(1, 3) i`)).toEqual([
      [{ one: '1', nothing: null, text: 'ü' }],
      [{ i: '1' }, { i: '2' }, { i: '3' }],
    ])
    await expect(wire.run('SELECT 1/0')).rejects.toMatchObject({
      code: 'query-failed',
      message: 'cannot run SELECT: division by zero',
      details: { sqlState: '22012' },
    })
    expect((await identifySystem(wire)).systemIdentifier).toMatch(/^\d{15,20}$/)
    expect(await readSetting(wire, 'wal_segment_size')).toBe('16777216')
    await expect(wire.run('IDENTIFY_SYSTEM nonsense')).rejects.toMatchObject({ code: 'query-failed', details: { sqlState: '42601' } })
    const [long] = await wire.run(`SELECT repeat('x', 3000000) AS x, i FROM generate_series(1, 4) i`)
    expect(long?.map(({ x }) => x?.length)).toEqual([3_000_000, 3_000_000, 3_000_000, 3_000_000])
    await expect(wire.run('COPY (SELECT 1) TO STDOUT')).rejects.toMatchObject({ code: 'connection-lost', message: expect.stringContaining('nobody asked for') })
    await expect(wire.run('SELECT 1')).rejects.toMatchObject({ code: 'connection-lost' })
  })

  it('is gone from the server soon after the signal aborts in the middle of a stream, whose reason is thrown', async () => {
    const cluster = await sharedCluster(major)
    const stop = new AbortController()
    await using wire = await openReplicationConnection(cluster.target, { ...named, signal: stop.signal })
    const reason = new Failure('cancelled', 'stopped')
    let after = 0
    const backing = runBaseBackup(wire, backupOptions(major), {
      ...discard,
      data: () => {
        if (stop.signal.aborted) after += 1
        else stop.abort(reason)
      },
    })
    await expect(backing).rejects.toBe(reason)
    expect(after).toBe(0)
    expect(await walsendersAreGone(cluster)).toBe(true)
    await expect(wire.run('SELECT 1')).rejects.toBe(reason)
  })

  it('fails as lost when its walsender is ended in the middle of a stream that we read slowly', async () => {
    const cluster = await sharedCluster(major)
    await using wire = await openReplicationConnection(cluster.target, named)
    await using killer = await cluster.session()
    let killed = false
    const backing = runBaseBackup(wire, backupOptions(major), {
      ...discard,
      data: async () => {
        if (killed) return
        killed = true
        await killer.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'walsender'`)
      },
    })
    await expect(backing).rejects.toMatchObject({ code: 'connection-lost' })
    expect(await walsendersAreGone(cluster)).toBe(true)
  })
})

describe('a command that is left', () => {
  it('ends on the server although that waits for a slow checkpoint and does not look at its connection', async () => {
    const cluster = await ownCluster(15, { checkpoint_timeout: '1h' })
    await using _server = cluster.server
    await using session = await cluster.session()
    await session.query('CREATE TABLE t AS SELECT i FROM generate_series(1, 300000) i')
    const stop = new AbortController()
    await using wire = await openReplicationConnection(cluster.target, { ...named, signal: stop.signal })
    const backing = runBaseBackup(wire, backupOptions(15, { fastCheckpoint: false }), discard).then(
      () => 'finished',
      (error: unknown) => error,
    )
    for (;;) if ((await session.query(`SELECT 1 FROM pg_stat_progress_basebackup WHERE phase = 'waiting for checkpoint to finish'`)).length > 0) break
    const reason = new Failure('cancelled', 'stopped')
    stop.abort(reason)
    expect(await backing).toBe(reason)
    expect(await walsendersAreGone(cluster)).toBe(true)
  })

  it('because of what the sink threw, at once or later, throws exactly that', async () => {
    const cluster = await sharedCluster(18)
    const full = new Error('the disk is full')
    for (const fail of [
      () => {
        throw full
      },
      () => Promise.reject(full),
    ]) {
      for (const sink of [{ data: fail }, { started: fail }, { archive: fail }, { archiveEnd: fail }, { manifest: fail }]) {
        await using wire = await openReplicationConnection(cluster.target, named)
        await expect(runBaseBackup(wire, backupOptions(18), { ...discard, ...sink })).rejects.toBe(full)
      }
    }
    expect(await walsendersAreGone(cluster)).toBe(true)
  })

  it('because the connection is closed fails too, and takes nothing with it', async () => {
    const cluster = await sharedCluster(18)
    const wire = await openReplicationConnection(cluster.target, named)
    const closing: PromiseLike<void>[] = []
    const backing = runBaseBackup(wire, backupOptions(18), { ...discard, data: () => void (closing.length > 0 || closing.push(wire[Symbol.asyncDispose]())) })
    await expect(backing).rejects.toMatchObject({ code: 'cancelled' })
    await Promise.all(closing)
    expect(await walsendersAreGone(cluster)).toBe(true)
  })
})

describe('logging in for replication', () => {
  let cluster: TestCluster
  let hba: string
  let rules: string

  beforeAll(async () => {
    cluster = await ownCluster(15, { max_wal_senders: '1', max_replication_slots: '2' })
    await using session = await cluster.session()
    await session.query(`CREATE ROLE replicator LOGIN REPLICATION PASSWORD 'r:\\pl'; CREATE ROLE reader LOGIN PASSWORD 'secret'`)
    hba = join(cluster.server.dataDirectory, 'pg_hba.conf')
    rules = await readFile(hba, 'utf8')
  })
  afterAll(() => cluster.server[Symbol.asyncDispose]())

  const as = (user: string, password: string): ConnectionTarget => withOverrides(cluster.target, { user, password: new Secret(password) })
  const attempt = async (target: ConnectionTarget, signal?: AbortSignal) => {
    await using wire = await openReplicationConnection(target, { ...named, ...(signal === undefined ? {} : { signal }) })
    const backup = await runBaseBackup(wire, backupOptions(15, { verifyChecksums: false }), discard)
    return backup.startTimeline
  }

  it('needs LOGIN and REPLICATION, and a password by SCRAM or from a file', async () => {
    expect(await attempt(as('replicator', 'r:\\pl'))).toBe(1)
    await using room = await openRoom()
    const passFile = join(room.path, 'pgpass')
    await writeFile(passFile, `127.0.0.1:${cluster.server.port}:postgres:replicator:r\\:\\\\pl\n`)
    await chmod(passFile, 0o600)
    expect(await attempt(withOverrides(cluster.target, { user: 'replicator', password: null, passFile }))).toBe(1)
  })

  it('with a wrong password, or as a role without REPLICATION, fails and says what to do', async () => {
    await expect(attempt(as('replicator', 'wrong'))).rejects.toMatchObject({ code: 'connection-failed', details: { sqlState: '28P01' } })
    await expect(attempt(as('reader', 'secret'))).rejects.toMatchObject({
      code: 'permission-denied',
      hints: ['as superuser: ALTER ROLE reader REPLICATION;'],
      details: { sqlState: '42501' },
    })
    const newer = await sharedCluster(18)
    await using session = await newer.session()
    await session.query(`DROP ROLE IF EXISTS "Odd one"; CREATE ROLE "Odd one" LOGIN`)
    await expect(openReplicationConnection(withOverrides(newer.server.socketTarget, { user: 'Odd one' }), named)).rejects.toMatchObject({
      code: 'permission-denied',
      hints: ['as superuser: ALTER ROLE "Odd one" REPLICATION;'],
    })
  })

  it('needs no line for replication in pg_hba.conf, only one for the database; without that it fails and says so', async () => {
    await using session = await cluster.session()
    const withRules = async (text: string) => {
      await writeFile(hba, text)
      await session.query('SELECT pg_reload_conf()')
      for (;;)
        if (
          (await session.query('SELECT 1 FROM pg_hba_file_rules WHERE address IS NOT NULL')).length ===
          text.split('\n').filter((line) => line.startsWith('host')).length
        )
          break
    }
    try {
      await withRules('local all all trust\nhost postgres all 127.0.0.1/32 scram-sha-256\n')
      await expect.poll(() => attempt(as('replicator', 'r:\\pl')).catch(() => 0)).toBe(1)
      await withRules('local all all trust\n')
      const refused = () => attempt(as('replicator', 'r:\\pl')).catch((error: unknown) => error)
      await expect.poll(refused).toMatchObject({
        code: 'connection-failed',
        details: { sqlState: '28000' },
        hints: expect.arrayContaining(['add a line for this host, user and database to pg_hba.conf and reload the server']),
      })
    } finally {
      await withRules(rules)
    }
  })

  it('with all walsenders taken fails and names the setting', async () => {
    await using _first = await openReplicationConnection(cluster.target, named)
    await expect(openReplicationConnection(cluster.target, named)).rejects.toMatchObject({
      code: 'connection-failed',
      details: { sqlState: '53300' },
      hints: [expect.stringContaining('max_wal_senders')],
    })
  })

  it('does not begin when the signal has aborted', async () => {
    const reason = new Failure('cancelled', 'stopped')
    await expect(attempt(cluster.target, AbortSignal.abort(reason))).rejects.toBe(reason)
    expect(await walsendersAreGone(cluster)).toBe(true)
  })
})

describe('TLS', () => {
  let room: Room
  let cluster: TestCluster

  beforeAll(async () => {
    room = await openRoom()
    await makeCertificates(room.path)
    cluster = await ownCluster(15, { ssl: 'on', ssl_cert_file: join(room.path, 'server.crt'), ssl_key_file: join(room.path, 'server.key') })
    const hba = join(cluster.server.dataDirectory, 'pg_hba.conf')
    await writeFile(hba, (await readFile(hba, 'utf8')).replaceAll(/^host /gm, 'hostssl '))
    await cluster.server.restart()
  })
  afterAll(async () => {
    await cluster.server[Symbol.asyncDispose]()
    await room[Symbol.asyncDispose]()
  })

  it.each(['verify-full', 'require', 'prefer', 'allow'] as const)('carries a base backup unharmed with sslmode=%s, slow sink or not', async (mode) => {
    await using files = await openRoom()
    const target = withOverrides(cluster.target, { tls: { mode, rootCertFile: mode === 'verify-full' ? join(room.path, 'ca.crt') : null } })
    await using wire = await openReplicationConnection(target, named)
    expect(await wire.run('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()')).toEqual([[{ ssl: 't' }]])
    expect(await manifestComplaints(await receiveBaseBackup(wire, backupOptions(15), files.path))).toEqual([])
  })

  it('is refused where the certificate is not trusted, or where the server wants it and we do not', async () => {
    const attempt = (mode: 'verify-full' | 'disable') => openReplicationConnection(withOverrides(cluster.target, { tls: { mode } }), named)
    await expect(attempt('verify-full')).rejects.toMatchObject({ message: expect.stringContaining('not signed by an authority') })
    await expect(attempt('disable')).rejects.toMatchObject({ message: expect.stringContaining('no encryption') })
  })

  it('ends on the server when the signal aborts', async () => {
    const stop = new AbortController()
    await using wire = await openReplicationConnection(withOverrides(cluster.target, { tls: { mode: 'require' } }), { ...named, signal: stop.signal })
    const reason = new Failure('cancelled', 'stopped')
    await expect(runBaseBackup(wire, backupOptions(15), { ...discard, data: () => stop.abort(reason) })).rejects.toBe(reason)
    expect(await walsendersAreGone(cluster)).toBe(true)
  })
})
