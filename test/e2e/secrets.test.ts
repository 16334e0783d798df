import { readdir, readFile, readlink, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Secret } from '../../src/kernel/secret.ts'
import { quoteLiteral } from '../../src/postgres/identifiers.ts'
import { sharedCluster } from '../support/cluster.ts'
import { urlOf } from '../support/tidemark-cli.ts'
import { openShop, type Shop } from '../support/shop.ts'
import type { RunningTidemark } from '../support/tidemark-cli.ts'

const canary = "Kan/arie: n'vogel?7+@"
/** As it stands, in a URL, in JSON, in SQL, in a pgpass file, and in base64. */
const forms = [
  canary,
  encodeURIComponent(canary),
  encodeURI(canary),
  JSON.stringify(canary).slice(1, -1),
  canary.replaceAll("'", "''"),
  canary.replaceAll(/[\\:]/g, '\\$&'),
  Buffer.from(canary).toString('base64').slice(0, 24),
  'arie: n',
  'vogel?7',
]

const hits = (bytes: Uint8Array | string) => forms.filter((form) => Buffer.from(bytes).includes(form))

let shop: Shop

beforeAll(async () => {
  // An index whose making takes a while keeps pg_restore and psql at work long enough to be looked at.
  shop = await openShop(await sharedCluster(15), {
    sql: `CREATE TABLE orders (id int); INSERT INTO orders VALUES (1), (2), (3); CREATE TABLE locked (a int);
      CREATE FUNCTION slow(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM pg_sleep(0.2); RETURN $1; END $$; CREATE INDEX slowly ON orders (slow(id))`,
  })
  await shop.sql(
    `DO $$ BEGIN CREATE ROLE e2e_canary SUPERUSER LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$; ALTER ROLE e2e_canary PASSWORD ${quoteLiteral(canary)}`,
  )
  const url = urlOf({ ...shop.target, user: 'e2e_canary', password: new Secret(canary) })
  await writeFile(join(shop.room.directory, '.env'), `DATABASE_URL="${url}"\n`)
})

afterAll(() => shop[Symbol.asyncDispose]())

interface Seen {
  readonly program: string
  readonly commandLine: string
  readonly environment: string
  readonly passFile: { mode: number; links: number; content: string } | null
}

/** Looks at every process below the run, again and again until it ends. */
async function watched(run: RunningTidemark, whenSeen: (seen: Seen) => Promise<void> = async () => undefined): Promise<readonly Seen[]> {
  const all = new Map<string, Seen>()
  let ended = false
  void run.end.then(() => (ended = true))
  while (!ended) {
    for (const pid of await descendants(run.child.pid ?? 0)) {
      const seen = await look(pid)
      // Between fork and exec a child still is its parent.
      if (seen === null || seen.program === 'node' || all.has(`${pid} ${seen.program}`)) continue
      all.set(`${pid} ${seen.program}`, seen)
      await whenSeen(seen)
    }
    await delay(3)
  }
  return [...all.values()]
}

async function descendants(root: number): Promise<readonly number[]> {
  const parents = new Map<number, number>()
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    const text = await readFile(`/proc/${entry}/stat`, 'utf8').catch(() => null)
    if (text !== null) parents.set(Number(entry), Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[1]))
  }
  const below = (pid: number): boolean => {
    for (let at = parents.get(pid); at !== undefined && at > 1; at = parents.get(at)) if (at === root) return true
    return false
  }
  return [...parents.keys()].filter(below)
}

async function look(pid: number): Promise<Seen | null> {
  try {
    const [executable, commandLine, environment] = await Promise.all([
      readlink(`/proc/${pid}/exe`),
      readFile(`/proc/${pid}/cmdline`, 'utf8'),
      readFile(`/proc/${pid}/environ`, 'utf8'),
    ])
    const named = /(?:^|\0)PGPASSFILE=\/proc\/self\/(fd\/\d+)(?:\0|$)/.exec(environment)?.[1]
    return {
      program: executable.split('/').at(-1) ?? '',
      commandLine,
      environment,
      passFile: named === undefined ? null : await lookAtPassFile(`/proc/${pid}/${named}`),
    }
  } catch {
    // It ended while it was looked at.
    return null
  }
}

async function lookAtPassFile(path: string): Promise<Seen['passFile']> {
  const { mode, nlink } = await stat(path)
  return { mode: mode & 0o777, links: nlink, content: await readFile(path, 'utf8') }
}

function expectClean(seen: readonly Seen[], programs: readonly string[]): void {
  expect(seen.map((each) => each.program)).toEqual(expect.arrayContaining([...programs]))
  for (const { program, commandLine, environment, passFile } of seen) {
    expect({ program, commandLine: hits(commandLine), environment: hits(environment) }).toEqual({ program, commandLine: [], environment: [] })
    expect(environment).not.toMatch(/(^|\0)(PGPASSWORD|DATABASE_URL|DB_PASS)=/)
    if (!programs.includes(program) || commandLine.includes('\0--version')) continue
    // Nameless, for our account alone, and really the way by which the password comes: the search above can find it.
    expect(passFile).toMatchObject({ mode: 0o600, links: 0 })
    expect(hits(passFile?.content ?? '')).not.toEqual([])
  }
}

const printed: string[] = []

/** Runs to the end and keeps what it said. */
async function said(run: RunningTidemark, exitCode: number): Promise<void> {
  const end = await run.end
  printed.push(end.stdout, end.stderr)
  expect({ exitCode: end.exitCode, stderr: end.exitCode === exitCode ? '' : end.stderr }).toEqual({ exitCode, stderr: '' })
}

/** With the connection from `.env`, so that the run's own environment has no secret either. */
const start = (...args: string[]) => shop.room.start(args, { DATABASE_URL: '' })

test('no password in argv or environment of pg_dump, pg_dumpall, pg_restore and psql; it comes by a nameless file of mode 0600', async () => {
  await using blocker = await shop.cluster.session(shop.name)
  await blocker.query('BEGIN; LOCK TABLE locked IN ACCESS EXCLUSIVE MODE')
  const backup = start('backup', '--format', 'plain', '--compress', 'none', '--verbose')
  const seen = await watched(backup, async ({ program }) => {
    if (program === 'pg_dump') await blocker.query('ROLLBACK')
  })
  await said(backup, 0)
  expectClean(seen, ['pg_dump'])

  const psql = start('restore', '--test', '--verbose', '--json')
  expectClean(await watched(psql), ['psql'])
  await said(psql, 0)

  const custom = start('backup', '--json', '--progress', 'json', '--verbose')
  expectClean(await watched(custom), [])
  await said(custom, 0)
  const restore = start('restore', '--replace', '--yes', '--verbose')
  expectClean(await watched(restore), ['pg_restore'])
  await said(restore, 0)
  const drill = start('drill', '--server', 'same', '--verbose', '--json', '--progress', 'json')
  expectClean(await watched(drill), ['pg_restore'])
  await said(drill, 0)
})

test('no password in what is printed: verbose, JSON, events, plans, settings, errors', async () => {
  for (const args of [
    ['list', '--json'],
    ['show', '--verbose'],
    ['verify', '--verbose'],
    ['undo', '--dry-run', '--json'],
    ['config', 'show'],
    ['config', 'show', '--json'],
    ['doctor', '--json'],
    ['backup', '--dry-run', '--verbose'],
    ['restore', '--dry-run'],
  ]) {
    const end = await start(...args).end
    printed.push(end.stdout, end.stderr)
    expect(end.stdout.length).toBeGreaterThan(0)
  }
  // The wrong password, a database that is not there, a server that is not there, a URL that cannot be read.
  const wrong = (change: Partial<Shop['target']>) => urlOf({ ...shop.target, user: 'e2e_canary', password: new Secret(canary), ...change })
  const urls = [
    wrong({ user: 'nobody' }),
    wrong({ database: 'nowhere' }),
    wrong({ port: 1 }),
    wrong({ host: 'no-such-host.invalid' }),
    `postgresql://e2e_canary:${canary}@127.0.0.1/x`,
    `postgresql://e2e_canary:${encodeURIComponent(canary)}@127.0.0.1:port/x`,
  ]
  for (const url of urls) {
    const end = await shop.room.run(['backup', '--verbose', '--json', '--progress', 'json'], { DATABASE_URL: url })
    expect([1, 2]).toContain(end.exitCode)
    printed.push(end.stdout, end.stderr)
  }
  const server = await shop.room.run(['restore', '--as', 'x', '--server', wrong({ database: 'nowhere' }), '--verbose', '--json'])
  printed.push(server.stdout, server.stderr)
  // A statement of the dump's own that holds a password fails and is repeated by the server's message.
  await writeFile(join(shop.room.directory, 'role.sql'), `ALTER ROLE nobody_here PASSWORD ${quoteLiteral(canary)}`)
  const sql = await shop.room.run(['restore', '--as', `${shop.name}_sql`, '--run-sql', 'role.sql', '--verbose', '--json'])
  expect(sql.exitCode).toBe(1)
  printed.push(sql.stdout, sql.stderr)
  expect(printed.length).toBeGreaterThan(30)
  for (const text of printed) expect({ hits: hits(text), text: hits(text).length > 0 ? text : '' }).toEqual({ hits: [], text: '' })
})

test('no password in any file of the repository, nor left anywhere else', async () => {
  const searched = await filesBelow(shop.room.directory)
  expect(searched.length).toBeGreaterThan(20)
  const found: string[] = []
  for (const path of searched) if (hits(await readFile(path)).length > 0) found.push(path.slice(shop.room.directory.length + 1))
  // Those are ours, and the proof that the search finds.
  expect(found.toSorted()).toEqual(['.env', 'role.sql'])
})

async function filesBelow(directory: string): Promise<readonly string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
}
