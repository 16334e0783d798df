import { mkdtemp, readdir, readFile, readlink, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer, text } from 'node:stream/consumers'
import { describe, expect, it } from 'vitest'
import { Failure } from '../../src/kernel/failure.ts'
import { Secret } from '../../src/kernel/secret.ts'
import { startClient } from '../../src/postgres/client-process.ts'
import { chooseClientTools, type ClientTool, type ClientToolName, discoverClientTools } from '../../src/postgres/client-tools.ts'
import { quoteIdentifier, quoteLiteral } from '../../src/postgres/identifiers.ts'
import { openSession, type Session } from '../../src/postgres/session.ts'
import { sharedCluster } from '../support/cluster.ts'

const named = { applicationName: 'tidemark test' }

async function tool(name: ClientToolName): Promise<ClientTool> {
  const found = await discoverClientTools({ path: process.env['PATH'] ?? '' })
  const { tools } = chooseClientTools(found, { serverMajor: 15, purpose: 'dump', programs: [name] })
  const program = tools.programs[name]
  if (program === undefined) throw new Error(`no ${name}`)
  return program
}

async function failureOf(work: Promise<unknown>): Promise<Failure> {
  const error = await work.then(
    () => new Error('it succeeded'),
    (thrown: unknown) => thrown,
  )
  if (error instanceof Failure) return error
  throw error
}

const hostileNames = [
  '--file=/tmp/pwned',
  'a=b',
  'host=evil dbname=x',
  "it's",
  'say "hi"',
  'back\\slash',
  '$(id); `id`',
  'two\nlines',
  '-x',
  '🔑 ключ',
  'n'.repeat(63),
  'postgresql://evil/x',
  ' x ',
]

describe('a database called', () => {
  it.each(hostileNames)('%j is dumped and asked as that database, and nothing else happens', async (name) => {
    const cluster = await sharedCluster(15)
    await using scratch = await cluster.createScratchDatabase(name)
    {
      await using session = await scratch.session()
      expect(session.database).toBe(name)
      await session.query(`CREATE TABLE here (name text); INSERT INTO here VALUES (current_database())`)
    }
    await using dump = await startClient(await tool('pg_dump'), ['--format=plain'], scratch.target, named)
    const written = await text(dump.stdout)
    await dump.requireSuccess()
    expect(written).toContain('COPY public.here (name) FROM stdin;')
    await using psql = await startClient(
      await tool('psql'),
      ['-X', '-q', '-At', '-c', 'SELECT name, current_database() = name FROM here'],
      scratch.target,
      named,
    )
    expect(await text(psql.stdout)).toBe(`${name}|t\n`)
    await psql.requireSuccess()
  })
})

it.each(['a:b\\c', " it's ", '"#?/@%&', 'пароль🔑', '\\', 'x'.repeat(300)])('a password %j reaches the server through the password file', async (password) => {
  const cluster = await sharedCluster(15)
  await using admin = await cluster.session()
  await admin.query(`DROP ROLE IF EXISTS odd; CREATE ROLE odd LOGIN PASSWORD ${quoteLiteral(password)}`)
  const target = { ...cluster.target, user: 'odd', password: new Secret(password) }
  await using session = await openSession(target, named)
  expect(session.user).toBe('odd')
  await using psql = await startClient(await tool('psql'), ['-X', '-At', '-c', 'SELECT current_user'], target, named)
  expect(await text(psql.stdout)).toBe('odd\n')
  await psql.requireSuccess()
})

it('never shows the password in arguments, environment or a file that has a name', async () => {
  const cluster = await sharedCluster(15)
  const password = cluster.target.password?.reveal() ?? ''
  const before = await readdir(tmpdir())
  const psql = await startClient(await tool('psql'), ['-X', '-c', 'SELECT pg_sleep(60)'], cluster.target, named)
  await using watcher = await cluster.session()
  await appears(watcher, psql.applicationName)
  const [row] = await watcher.query<{ port: number }>('SELECT client_port AS port FROM pg_stat_activity WHERE application_name = $1', [psql.applicationName])
  expect(row?.port).toBeGreaterThan(0)
  const pid = await pidOf(psql.applicationName)
  const seen = (await readFile(`/proc/${pid}/cmdline`, 'utf8')) + (await readFile(`/proc/${pid}/environ`, 'utf8'))
  expect(seen).toContain('PGPASSFILE=/proc/self/fd/3')
  expect(seen).not.toContain(password)
  expect(await readlink(`/proc/${pid}/fd/3`)).toContain('(deleted)')
  await psql.cancel()
  expect((await readdir(tmpdir())).filter((name) => name.startsWith('tidemark-') && !before.includes(name) && !name.includes('servers'))).toEqual([])
})

it('lets parallel workers and pg_dumpall read the password too', async () => {
  const cluster = await sharedCluster(15)
  await using scratch = await cluster.createScratchDatabase()
  await using session = await scratch.session()
  for (const name of ['a', 'b', 'c']) await session.query(`CREATE TABLE ${name} AS SELECT generate_series(1, 1000) AS i`)
  const directory = await mkdtemp(join(tmpdir(), 'tidemark-parallel-'))
  await using dump = await startClient(await tool('pg_dump'), ['--format=directory', '--jobs=3', `--file=${join(directory, 'dump')}`], scratch.target, named)
  dump.stdout.resume()
  await dump.requireSuccess()
  expect((await readdir(join(directory, 'dump'))).filter((name) => name.endsWith('.dat.gz'))).toHaveLength(3)
  await rm(directory, { recursive: true })
  await using globals = await startClient(await tool('pg_dumpall'), ['--globals-only'], scratch.target, named)
  expect(await text(globals.stdout)).toContain('CREATE ROLE postgres')
  await globals.requireSuccess()
})

it('tells a server that is too new before anything else, with the package to install', async () => {
  const cluster = await sharedCluster(18)
  await using dump = await startClient(await tool('pg_dump'), ['--format=custom'], cluster.target, named)
  expect((await buffer(dump.stdout)).byteLength).toBe(0)
  const failure = await failureOf(dump.requireSuccess())
  expect([failure.code, failure.hints[0]]).toEqual(['tool-missing', 'sudo apt-get install postgresql-client-18'])
})

it('names who holds the lock when the dump gives up waiting for it', async () => {
  const cluster = await sharedCluster(15)
  await using scratch = await cluster.createScratchDatabase()
  await using holder = await scratch.session()
  await holder.query('CREATE TABLE wanted (i int)')
  await holder.query('BEGIN; LOCK TABLE wanted IN ACCESS EXCLUSIVE MODE')
  await using dump = await startClient(await tool('pg_dump'), ['--format=plain', '--lock-wait-timeout=200'], scratch.target, named)
  dump.stdout.resume()
  const failure = await failureOf(dump.requireSuccess())
  expect(failure.code).toBe('lock-timeout')
  expect(failure.hints[0]).toMatch(new RegExp(`^PID ${holder.backendPid} .*AccessExclusiveLock on public.wanted: BEGIN; LOCK TABLE wanted`))
})

it('ends program and server session when the signal aborts while it waits for a lock', async () => {
  const cluster = await sharedCluster(15)
  await using scratch = await cluster.createScratchDatabase()
  await using holder = await scratch.session()
  await holder.query('CREATE TABLE wanted (i int)')
  await holder.query('BEGIN; LOCK TABLE wanted IN ACCESS EXCLUSIVE MODE')
  const stop = new AbortController()
  await using dump = await startClient(await tool('pg_dump'), ['--format=plain'], scratch.target, { ...named, signal: stop.signal })
  dump.stdout.resume()
  // Not the holder: pg_stat_activity stands still within a transaction.
  await using watcher = await scratch.session()
  await appears(watcher, dump.applicationName, `wait_event_type = 'Lock'`)
  const reason = new Failure('cancelled', 'stopped by the test')
  stop.abort(reason)
  expect(await failureOf(dump.requireSuccess())).toBe(reason)
  expect(await watcher.query('SELECT 1 FROM pg_stat_activity WHERE application_name = $1', [dump.applicationName])).toEqual([])
})

it('fails, rather than ending early, when the server ends the session in the middle of the data', async () => {
  const cluster = await sharedCluster(15)
  await using scratch = await cluster.createScratchDatabase()
  await using session = await scratch.session()
  await session.query(`CREATE TABLE big AS SELECT repeat('x', 1000) AS t FROM generate_series(1, 50000)`)
  await using dump = await startClient(await tool('pg_dump'), ['--format=plain'], scratch.target, named)
  // Nobody reads yet, so pg_dump stands in the middle of the table.
  await appears(session, dump.applicationName, `query LIKE 'COPY%'`)
  await session.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1', [dump.applicationName])
  expect((await buffer(dump.stdout)).byteLength).toBeLessThan(50_000_000)
  expect((await failureOf(dump.requireSuccess())).code).toBe('connection-lost')
})

it('names the signal when the program is killed', async () => {
  const cluster = await sharedCluster(15)
  await using psql = await startClient(await tool('psql'), ['-X', '-c', 'SELECT pg_sleep(60)'], cluster.target, named)
  await using watcher = await cluster.session()
  await appears(watcher, psql.applicationName)
  process.kill(await pidOf(psql.applicationName), 'SIGKILL')
  psql.stdout.resume()
  const failure = await failureOf(psql.requireSuccess())
  expect([failure.message, failure.hints.join()]).toEqual([expect.stringContaining('killed by SIGKILL'), expect.stringContaining('out of memory')])
})

it('says which right is missing, for a table and for row-level security', async () => {
  const cluster = await sharedCluster(15)
  await using scratch = await cluster.createScratchDatabase()
  await using admin = await scratch.session()
  await admin.query(`DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN PASSWORD 'canary-91b2'; CREATE TABLE shut (i int)`)
  const target = { ...scratch.target, user: 'reader', password: new Secret('canary-91b2') }
  const dumped = async () => {
    await using dump = await startClient(await tool('pg_dump'), ['--format=plain'], target, named)
    dump.stdout.resume()
    return await failureOf(dump.requireSuccess())
  }
  const table = await dumped()
  expect([table.code, table.hints[0]]).toEqual(['permission-denied', expect.stringContaining('GRANT SELECT ON shut TO reader')])
  await admin.query(`GRANT SELECT ON shut TO reader; ALTER TABLE shut ENABLE ROW LEVEL SECURITY`)
  const rows = await dumped()
  expect([rows.code, rows.hints[0]]).toEqual(['permission-denied', 'as superuser: ALTER ROLE reader BYPASSRLS;'])
  await admin.query(`DROP OWNED BY reader; DROP ROLE reader`)
})

it('feeds a script to psql and fails on its first error, without repeating a password', async () => {
  const cluster = await sharedCluster(15)
  await using scratch = await cluster.createScratchDatabase()
  const lines: string[] = []
  const run = async (script: string) => {
    await using psql = await startClient(await tool('psql'), ['-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', '-'], scratch.target, {
      ...named,
      stdin: 'pipe',
      emit: (event) => event.type === 'tool-line' && lines.push(event.line),
    })
    psql.stdin?.end(script)
    psql.stdout.resume()
    await psql.requireSuccess()
  }
  await run('CREATE TABLE made (i int);')
  const failure = await failureOf(run(`CREATE TABLE made (i int);\nDROP TABLE made;`))
  expect([failure.code, failure.message]).toEqual(['tool-failed', expect.stringContaining('already exists')])
  await failureOf(run(`ALTER ROLE nobody_here PASSWORD 'canary-55aa' NONSENSE;`))
  expect(lines.join('\n')).toContain('NONSENSE')
  expect(lines.join('\n')).not.toContain('canary')
  await using session = await scratch.session()
  expect(await session.query(`SELECT to_regclass('made')::text AS made`)).toEqual([{ made: 'made' }])
})

it('passes settings through PGOPTIONS, whatever characters they hold', async () => {
  const cluster = await sharedCluster(13)
  const settings = { TimeZone: 'America/New_York', search_path: '', 'tidemark.odd': "a b\\c 'd'" }
  await using psql = await startClient(
    await tool('psql'),
    ['-X', '-At', '-c', `SELECT current_setting('TimeZone'), current_setting('search_path'), current_setting('tidemark.odd')`],
    cluster.target,
    { ...named, settings },
  )
  expect(await text(psql.stdout)).toBe(`America/New_York||a b\\c 'd'\n`)
  await psql.requireSuccess()
})

it('leaves neither program nor session when the scope is left', async () => {
  const cluster = await sharedCluster(15)
  await using watcher = await cluster.session()
  let applicationName = ''
  {
    await using psql = await startClient(await tool('psql'), ['-X', '-c', 'SELECT pg_sleep(60)'], cluster.target, named)
    applicationName = psql.applicationName
    await appears(watcher, applicationName)
  }
  expect(await watcher.query('SELECT 1 FROM pg_stat_activity WHERE application_name = $1', [applicationName])).toEqual([])
})

async function appears(watcher: Session, applicationName: string, condition = 'true'): Promise<void> {
  for (;;) if ((await watcher.query(`SELECT 1 FROM pg_stat_activity WHERE application_name = $1 AND ${condition}`, [applicationName])).length > 0) return
}

async function pidOf(applicationName: string): Promise<number> {
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    const environment = await readFile(`/proc/${entry}/environ`, 'utf8').catch(() => '')
    if (environment.includes(`PGAPPNAME=${applicationName}\0`)) return Number(entry)
  }
  throw new Error(`no process of ${quoteIdentifier(applicationName)}`)
}
