import { once } from 'node:events'
import { createServer } from 'node:net'
import { describe, expect, it } from 'vitest'
import { Failure } from '../../src/kernel/failure.ts'
import { Secret } from '../../src/kernel/secret.ts'
import { openSession } from '../../src/postgres/session.ts'
import { ownCluster, sharedCluster } from '../support/cluster.ts'

const named = { applicationName: 'tidemark test' }

async function failureOf(work: Promise<unknown>): Promise<Failure> {
  const error = await work.then(
    () => new Error('it succeeded'),
    (thrown: unknown) => thrown,
  )
  if (error instanceof Failure) return error
  throw error
}

describe.each([13, 18])('a session with PostgreSQL %i', (major) => {
  it('gives values as documented, so that nothing is rounded and no time zone slips in', async () => {
    const cluster = await sharedCluster(major)
    await using session = await openSession(cluster.target, { ...named, settings: { TimeZone: 'Europe/Berlin', IntervalStyle: 'iso_8601' } })
    const [row] = await session.query(
      `SELECT true AS flag, 7::int AS i, 9007199254740993::bigint AS big, 0.1::numeric AS num, 1.5::float8 AS f, 'a'::text AS t, NULL::text AS nothing,
        '2026-07-01 12:00:00+00'::timestamptz AS at, ARRAY['a','b,"',NULL]::text[] AS texts, ARRAY[1,2]::int[] AS ints, '{"a":[1]}'::jsonb AS j,
        '\\x00ff'::bytea AS bytes, $1::text AS p, $2::int AS n, $3::text[] AS ps`,
      ["it's \\ $1", 42, ['x', 'y z']],
    )
    expect(row).toEqual({
      flag: true,
      i: 7,
      big: '9007199254740993',
      num: '0.1',
      f: 1.5,
      t: 'a',
      nothing: null,
      at: '2026-07-01 14:00:00+02',
      texts: ['a', 'b,"', null],
      ints: [1, 2],
      j: { a: [1] },
      bytes: '\\x00ff',
      p: "it's \\ $1",
      n: 42,
      ps: ['x', 'y z'],
    })
    expect(Math.floor(session.serverVersionNum / 10_000)).toBe(major)
    expect((await session.query<{ pid: number }>('SELECT pg_backend_pid() AS pid'))[0]?.pid).toBe(session.backendPid)
  })

  it('streams a COPY without holding it in memory and can be used afterwards', async () => {
    const cluster = await sharedCluster(major)
    await using session = await openSession(cluster.target, named)
    let bytes = 0
    for await (const chunk of session.copyOut(`COPY (SELECT repeat('x', 999) FROM generate_series(1, 50000)) TO STDOUT`)) bytes += chunk.byteLength
    expect(bytes).toBe(50_000_000)
    expect(await session.query('SELECT 1 AS one')).toEqual([{ one: 1 }])
  })

  it('rejects when the statement fails in the middle of a COPY, instead of ending early', async () => {
    const cluster = await sharedCluster(major)
    await using session = await openSession(cluster.target, named)
    const copy = async () => {
      for await (const _ of session.copyOut(`COPY (SELECT 1 / (100000 - i) FROM generate_series(1, 200000) i) TO STDOUT`));
    }
    const failure = await failureOf(copy())
    expect(failure.code).toBe('query-failed')
    expect(failure.message).toContain('division by zero')
    expect(await session.query('SELECT 1 AS one')).toEqual([{ one: 1 }])
  })

  it('rejects when the server process dies in the middle of a COPY that we read slowly', async () => {
    const cluster = await sharedCluster(major)
    const session = await openSession(cluster.target, named)
    await using killer = await cluster.session()
    const copy = async () => {
      let first = true
      for await (const _ of session.copyOut(`COPY (SELECT repeat('x', 999) FROM generate_series(1, 500000)) TO STDOUT`)) {
        if (first) await killer.query('SELECT pg_terminate_backend($1)', [session.backendPid])
        first = false
      }
    }
    const failure = await failureOf(copy())
    expect(failure.code).toBe('connection-lost')
    expect((await failureOf(session.query('SELECT 1'))).code).toBe('connection-lost')
    await session[Symbol.asyncDispose]()
  })

  it('stops the statement on the server when the signal aborts', async () => {
    const cluster = await sharedCluster(major)
    const stop = new AbortController()
    await using watcher = await cluster.session()
    await using session = await openSession(cluster.target, { applicationName: 'to be stopped', signal: stop.signal })
    const sleeping = failureOf(session.query('SELECT pg_sleep(60)'))
    for (;;) {
      const [found] = await watcher.query(`SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND state = 'active'`, [session.backendPid])
      if (found !== undefined) break
    }
    const reason = new Failure('cancelled', 'stopped by the test')
    stop.abort(reason)
    expect(await sleeping).toBe(reason)
    for (;;) if ((await watcher.query('SELECT 1 FROM pg_stat_activity WHERE pid = $1', [session.backendPid])).length === 0) break
  })

  it('ends the server process when a COPY is left early', async () => {
    const cluster = await sharedCluster(major)
    await using watcher = await cluster.session()
    const session = await openSession(cluster.target, named)
    for await (const _ of session.copyOut(`COPY (SELECT repeat('x', 999) FROM generate_series(1, 10000000)) TO STDOUT`)) break
    for (;;) if ((await watcher.query('SELECT 1 FROM pg_stat_activity WHERE pid = $1', [session.backendPid])).length === 0) break
    await session[Symbol.asyncDispose]()
  })

  it('loads by COPY, and loads nothing when the source breaks or the server refuses a row', async () => {
    const cluster = await sharedCluster(major)
    await using scratch = await cluster.createScratchDatabase()
    await using session = await scratch.session()
    await session.query('CREATE TABLE t (i int)')
    const lines = Array.from({ length: 10_000 }, (_, i) => Buffer.from(`${i}\n`))
    expect(await session.copyIn('COPY t FROM STDIN', lines)).toBe(10_000)
    const broken = async function* () {
      yield Buffer.from('1\n')
      throw new Error('the source broke')
    }
    await expect(session.copyIn('COPY t FROM STDIN', broken())).rejects.toThrow('the source broke')
    const bad = await failureOf(session.copyIn('COPY t FROM STDIN', [Buffer.from('1\n'), Buffer.from('not a number\n'), ...lines]))
    expect(bad.message).toContain('not a number')
    expect(await session.query('SELECT count(*)::int AS rows FROM t')).toEqual([{ rows: 10_000 }])
  })

  it('explains refusals: password, database, right, port, and says no secret', async () => {
    const cluster = await sharedCluster(major)
    const { target } = cluster
    await using admin = await cluster.session()
    await admin.query(`CREATE TABLE IF NOT EXISTS "Private thing" (i int)`)
    await admin.query(`DO $$ BEGIN CREATE ROLE poor LOGIN PASSWORD 'poor'; EXCEPTION WHEN duplicate_object THEN NULL; END $$`)

    const password = await failureOf(openSession({ ...target, password: new Secret('canary-7f3a') }, named))
    expect([password.code, password.message]).toEqual(['connection-failed', expect.stringContaining('refuses the password')])
    expect(JSON.stringify([password.message, password.hints, password.details]) + password.stack).not.toContain('canary')

    expect((await failureOf(openSession({ ...target, password: null }, named))).message).toContain('none is configured')
    expect((await failureOf(openSession(target, { ...named, database: 'no such' }))).code).toBe('database-missing')
    await using poor = await openSession({ ...target, user: 'poor', password: new Secret('poor') }, named)
    const right = await failureOf(poor.query('SELECT * FROM "Private thing"'))
    expect([right.code, right.hints[0]]).toEqual(['permission-denied', expect.stringContaining('GRANT SELECT ON')])
    expect((await failureOf(openSession({ ...target, host: '/nowhere' }, named))).message).toContain('no such socket')
    expect((await failureOf(openSession({ ...target, host: 'nowhere.invalid' }, named))).message).toMatch(/name is not known|name server/)
    expect((await failureOf(openSession({ ...target, tls: { ...target.tls, mode: 'require' } }, named))).message).toContain('does not offer TLS')
  })
})

it('gives up on a host that accepts and never answers, after connect_timeout', async () => {
  const silent = createServer().listen(0, '127.0.0.1')
  await once(silent, 'listening')
  const port = (silent.address() as { port: number }).port
  const { target } = await sharedCluster(18)
  const failure = await failureOf(openSession({ ...target, port, connectTimeoutSeconds: 1 }, named))
  expect(failure.message).toContain('no answer within 1 s')
  silent.close()
})

it('reports a server that was shut down as a lost connection, and one that is down as refused', async () => {
  const cluster = await ownCluster(18)
  await using server = cluster.server
  await using session = await openSession(cluster.target, named)
  const sleeping = failureOf(session.query('SELECT pg_sleep(60)'))
  await using watcher = await cluster.session()
  for (;;) if ((await watcher.query(`SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND state = 'active'`, [session.backendPid])).length === 1) break
  await server.stop()
  expect((await sleeping).code).toBe('connection-lost')
  expect((await failureOf(openSession(cluster.target, named))).message).toContain('nothing listens there')
  await server.start()
  await using again = await openSession(cluster.target, named)
  expect(await again.query('SELECT 1 AS one')).toEqual([{ one: 1 }])
})
