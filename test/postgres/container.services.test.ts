import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { Event } from '../../src/kernel/event.ts'
import { Failure } from '../../src/kernel/failure.ts'
import { Secret } from '../../src/kernel/secret.ts'
import { startClient } from '../../src/postgres/client-process.ts'
import { chooseClientTools, type ClientTool, type ClientToolName } from '../../src/postgres/client-tools.ts'
import type { DockerAccess } from '../../src/postgres/container.ts'
import { defaultTarget } from '../../src/postgres/connection-url.ts'
import { quoteIdentifier } from '../../src/postgres/identifiers.ts'
import { findRoute, openSessionByRoute } from '../../src/postgres/route.ts'
import type { Session } from '../../src/postgres/session.ts'
import type { ConnectionTarget } from '../../src/postgres/target.ts'
import { describeWith } from '../support/services.ts'
import { withOverrides } from '../support/targets.ts'

const run = promisify(execFile)
const named = { applicationName: 'tidemark test' }

async function failureOf(work: Promise<unknown>): Promise<Failure> {
  const error = await work.then(
    () => new Error('it succeeded'),
    (thrown: unknown) => thrown,
  )
  if (error instanceof Failure) return error
  throw error
}

describeWith('docker', 'a server that only its container can reach', (engine) => {
  const name = `tidemark-${randomBytes(4).toString('hex')}`
  const docker: DockerAccess = { environment: { PATH: process.env['PATH'], DOCKER_HOST: engine.host } }
  const command = (...args: string[]) => run('docker', args, { env: { PATH: process.env['PATH'], DOCKER_HOST: engine.host } })
  const target: ConnectionTarget = withOverrides(defaultTarget('nexo_user'), { database: 'nexo', container: { kind: 'container', name } })
  const open = async (options: object = {}): Promise<Session> => (await openSessionByRoute(target, { ...named, docker, ...options })).session
  const tool = async (wanted: ClientToolName): Promise<ClientTool> => {
    const routed = await openSessionByRoute(target, { ...named, docker })
    await routed.session[Symbol.asyncDispose]()
    const found = chooseClientTools(routed.tools ?? [], { serverMajor: 15, purpose: 'dump', programs: [wanted] }).tools.programs[wanted]
    if (found === undefined) throw new Error('none')
    return found
  }

  beforeAll(async () => {
    await command(
      'run',
      '-d',
      '--name',
      name,
      '--network',
      'none',
      '-e',
      'POSTGRES_PASSWORD=canary-44f1',
      '-e',
      'POSTGRES_USER=nexo_user',
      '-e',
      'POSTGRES_DB=nexo',
      engine.image,
    )
    // It listens on TCP only when it is set up, and then asks for the password.
    const asked = () => command('exec', name, 'psql', '-w', '-U', 'nexo_user', '-d', 'nexo', '-h', '127.0.0.1', '-c', 'SELECT 1').then(String, String)
    while (!(await asked()).includes('password'));
  })
  afterAll(() => command('rm', '-f', name))

  it('is reached by psql inside, which is said', async () => {
    const events: Event[] = []
    const routed = await openSessionByRoute(target, { ...named, docker, emit: (event) => events.push(event) })
    await using session = routed.session
    expect([session.via, session.user, Math.floor(session.serverVersionNum / 10_000), routed.tools?.[0]?.major]).toEqual(['container', 'nexo_user', 15, 15])
    expect(events).toEqual([
      { type: 'note', message: `client programs and our own session run in container "${name}", because the server is reached through its socket there` },
    ])
  })

  it('gives values by type as a direct session does', async () => {
    await using session = await open({ settings: { TimeZone: 'Europe/Berlin' } })
    const sql = `SELECT true AS flag, 7::int AS i, 9007199254740993::bigint AS big, 0.1::numeric AS num, 1.5::float8 AS f, ''::text AS "empty, ""name""", NULL::text AS nothing,
        E'a,"b"\\nc\\\\d :x \\\\q' AS odd, '2026-07-01 12:00:00+00'::timestamptz AS at, ARRAY['a','b,"',NULL]::text[] AS texts, '{"a":[1]}'::jsonb AS j,
        $1::text AS p, $2::int AS n, $3::text[] AS ps, $4::text AS absent, $5::bool AS no`
    expect(await session.query(sql, ["it's \\ $1 \n:x", 42, ['x', 'y "z"\\'], null, false])).toEqual([
      {
        flag: true,
        i: 7,
        big: '9007199254740993',
        num: '0.1',
        f: 1.5,
        'empty, "name"': '',
        nothing: null,
        odd: 'a,"b"\nc\\d :x \\q',
        at: '2026-07-01 14:00:00+02',
        texts: ['a', 'b,"', null],
        j: { a: [1] },
        p: "it's \\ $1 \n:x",
        n: 42,
        ps: ['x', 'y "z"\\'],
        absent: null,
        no: false,
      },
    ])
    expect(await session.query('SELECT 1 AS one WHERE false')).toEqual([])
    expect(await session.query('SHOW TimeZone')).toEqual([{ TimeZone: 'Europe/Berlin' }])
    expect((await session.query<{ pid: number }>('SELECT pg_backend_pid() AS pid'))[0]?.pid).toBe(session.backendPid)
  })

  it('reports errors with their code, and goes on after ROLLBACK', async () => {
    await using session = await open()
    await session.query('BEGIN')
    const missing = await failureOf(session.query('SELECT * FROM "no such: table"'))
    expect([missing.code, missing.message, missing.details['sqlState']]).toEqual([
      'query-failed',
      expect.stringContaining('relation "no such: table" does not exist'),
      '42P01',
    ])
    expect((await failureOf(session.query('SELECT 1'))).details['sqlState']).toBe('25P02')
    await session.query('ROLLBACK')
    expect((await failureOf(session.query(`SELECT 'open`))).details['sqlState']).toBe('42601')
    expect((await failureOf(session.query(`DO $$ BEGIN RAISE EXCEPTION 'it''s: \\ broken'; END $$`))).message).toContain(`it's: \\ broken`)
    expect(await session.query('SELECT 1 AS one')).toEqual([{ one: 1 }])
  })

  it('takes over a snapshot, which nothing may precede', async () => {
    await using first = await open()
    await first.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY')
    const [exported] = await first.query<{ snapshot: string }>('SELECT pg_export_snapshot() AS snapshot')
    await using second = await open()
    await second.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY')
    await second.query(`SET TRANSACTION SNAPSHOT '${exported?.snapshot}'`)
    expect(await second.query('SELECT 1 AS one')).toEqual([{ one: 1 }])
  })

  it('streams a COPY byte for byte, tells a failing one, and can be used afterwards', async () => {
    await using session = await open()
    let bytes = 0
    for await (const chunk of session.copyOut(`COPY (SELECT repeat('x', 999) FROM generate_series(1, 20000)) TO STDOUT`)) bytes += chunk.byteLength
    expect(bytes).toBe(20_000_000)
    const chunks: Uint8Array[] = []
    for await (const chunk of session.copyOut(`COPY (SELECT E'a\\\\b\\n' AS t, NULL, 'é') TO STDOUT (FORMAT binary)`)) chunks.push(chunk)
    expect(Buffer.concat(chunks).subarray(0, 11).toString('latin1')).toBe('PGCOPY\n\xff\r\n\0')
    expect(Buffer.concat(chunks).subarray(-2)).toEqual(Buffer.from([0xff, 0xff]))
    const broken = async () => {
      for await (const _ of session.copyOut(`COPY (SELECT 1 / (100000 - i) FROM generate_series(1, 200000) i) TO STDOUT`));
    }
    expect((await failureOf(broken())).message).toContain('division by zero')
    await session.query('BEGIN')
    await session.query('CREATE TEMPORARY TABLE seen (i int)')
    for await (const _ of session.copyOut('COPY seen TO STDOUT'));
    expect((await failureOf(broken())).message).toContain('division by zero')
    expect((await failureOf(session.query('SELECT 1'))).details['sqlState']).toBe('25P02')
    await session.query('ROLLBACK')
    expect(await session.query('SELECT 1 AS one')).toEqual([{ one: 1 }])
  })

  it('refuses to copy rows in, since a source that breaks could not be told from one that ended', async () => {
    await using session = await open()
    await session.query('DROP TABLE IF EXISTS t; CREATE TABLE t (i int)')
    expect(await failureOf(session.copyIn('COPY t FROM STDIN', [Buffer.from('1\n')]))).toMatchObject({ code: 'usage-invalid' })
    expect(await session.query('SELECT count(*)::int AS rows FROM t')).toEqual([{ rows: 0 }])
  })

  it('ends the statement on the server when the signal aborts', async () => {
    const stop = new AbortController()
    await using watcher = await open()
    await using session = await open({ signal: stop.signal })
    const sleeping = failureOf(session.query('SELECT pg_sleep(60)'))
    for (;;) if ((await watcher.query(`SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND state = 'active'`, [session.backendPid])).length > 0) break
    const reason = new Failure('cancelled', 'stopped by the test')
    stop.abort(reason)
    expect(await sleeping).toBe(reason)
    for (;;) if ((await watcher.query('SELECT 1 FROM pg_stat_activity WHERE pid = $1', [session.backendPid])).length === 0) break
  })

  it('is dumped by the pg_dump inside, whatever the database is called', async () => {
    await using session = await open()
    const pgDump = await tool('pg_dump')
    for (const database of ['--file=/tmp/pwned', 'a=b', `it's "odd"\\🔑`, 'two\nlines']) {
      await session.query(`CREATE DATABASE ${quoteIdentifier(database)}`)
      await using dump = await startClient(pgDump, ['--format=plain', ...(database.includes('\n') ? [] : ['--create'])], target, {
        ...named,
        database,
        settings: { TimeZone: 'UTC' },
      })
      const written = await text(dump.stdout)
      await dump.requireSuccess()
      expect(written).toContain('PostgreSQL database dump complete')
      // pg_dump refuses to write a name with a line break.
      if (!database.includes('\n')) expect(written).toContain(`CREATE DATABASE ${quoteIdentifier(database)}`)
      await session.query(`DROP DATABASE ${quoteIdentifier(database)}`)
    }
  })

  it('leaves no pg_dump behind inside when the signal aborts', async () => {
    await using holder = await open()
    await using watcher = await open()
    await holder.query('CREATE TABLE wanted (i int)')
    await holder.query('BEGIN')
    await holder.query('LOCK TABLE wanted')
    const stop = new AbortController()
    await using dump = await startClient(await tool('pg_dump'), ['--format=plain'], target, { ...named, signal: stop.signal })
    dump.stdout.resume()
    for (;;)
      if ((await watcher.query(`SELECT 1 FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock'`, [dump.applicationName])).length > 0)
        break
    expect((await command('top', name, '-o', 'pid,args')).stdout).toContain('pg_dump')
    stop.abort(new Failure('cancelled', 'stopped by the test'))
    expect((await failureOf(dump.requireSuccess())).code).toBe('cancelled')
    await expect.poll(async () => (await command('top', name, '-o', 'pid,args')).stdout).not.toContain('pg_dump')
    await holder.query('ROLLBACK')
    await holder.query('DROP TABLE wanted')
  })

  it('gets the password by name only when its socket wants one', async () => {
    const hba = async (method: string) => {
      await command('exec', name, 'sed', '-i', `s/^local\\(.*\\) [^ ]*$/local\\1 ${method}/`, '/var/lib/postgresql/data/pg_hba.conf')
      await command('exec', '-u', 'postgres', name, 'pg_ctl', 'reload', '-D', '/var/lib/postgresql/data')
    }
    await hba('scram-sha-256')
    await expect.poll(() => failureOf(findRoute(target, { docker })).then((failure) => failure.message, String)).toContain('refuses the password')
    const withPassword = withOverrides(target, { password: new Secret('canary-44f1') })
    const routed = await openSessionByRoute(withPassword, { ...named, docker })
    await using session = routed.session
    expect([routed.route.container?.password, session.user]).toEqual(['environment', 'nexo_user'])
    const psql = routed.tools?.[0]?.programs.psql
    if (psql === undefined) throw new Error('no psql')
    const sleeper = await startClient(psql, ['-X', '-c', 'SELECT pg_sleep(60)'], withPassword, named)
    for (;;) if ((await session.query(`SELECT 1 FROM pg_stat_activity WHERE application_name = $1`, [sleeper.applicationName])).length > 0) break
    expect(await allCommandLines()).not.toContain('canary-44f1')
    await sleeper.cancel()
    const wrong = await failureOf(openSessionByRoute(withOverrides(target, { password: new Secret('canary-wrong') }), { ...named, docker }))
    expect([wrong.code, wrong.message]).toEqual(['connection-failed', expect.stringContaining('refuses the password')])
    await hba('trust')
  })

  it('says what to start when the container does not run or does not exist, and what it said last', async () => {
    const absent = await failureOf(findRoute(withOverrides(target, { container: { kind: 'container', name: 'no-such' } }), { docker }))
    expect([absent.code, absent.hints[0]]).toEqual(['container-not-running', 'docker start no-such'])
    const missing = await failureOf(open({ database: 'no such' }))
    expect(missing.code).toBe('database-missing')
    await command('stop', '-t', '5', name)
    const stopped = await failureOf(open())
    expect([stopped.code, stopped.hints]).toEqual(['container-not-running', expect.arrayContaining([`what it said last: docker logs --tail 20 ${name}`])])
    await command('start', name)
    await expect.poll(() => open().then((session) => session[Symbol.asyncDispose]().then(() => 'open'), String), { timeout: 30_000 }).toBe('open')
  })
})

it('uses the container name as host name where docker cannot be reached', async () => {
  const notes: string[] = []
  const target = withOverrides(defaultTarget('u'), { container: { kind: 'container', name: 'nexo-postgres' } })
  const emit = (event: Event) => event.type === 'note' && notes.push(event.message)
  for (const docker of [{ program: '/nowhere/docker', environment: {} }, { environment: { PATH: process.env['PATH'], DOCKER_HOST: 'unix:///nowhere.sock' } }]) {
    const route = await findRoute(target, { docker, emit })
    expect([route.session, route.container, route.target.host, route.target.port]).toEqual(['direct', null, 'nexo-postgres', 5432])
  }
  expect(notes).toHaveLength(2)
})

async function allCommandLines(): Promise<string> {
  const pids = (await readdir('/proc')).filter((entry) => /^\d+$/.test(entry))
  return (await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')))).join('\n')
}
