import { chmod, cp, mkdir, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { RestoreDirectoryOutcome } from '../../src/api/restore-directory.ts'
import type { Backup } from '../../src/repository/backup.ts'
import { endServerOf } from '../../src/postgres/embedded-leftovers.ts'
import { openSession } from '../../src/postgres/session.ts'
import { ownCluster, type ScratchDatabase, type TestCluster } from '../support/cluster.ts'
import { embeddedDrills } from '../support/embedded-drills.ts'
import { filesWith, otherMachine, replaceFile, sealedRoom, snapshot, type SealedRoom } from '../support/sealed-room.ts'
import { onTerminal } from '../support/terminal.ts'
import { tidemarkRoom, urlOf, type TidemarkEnd, type TidemarkRoom } from '../support/tidemark-cli.ts'

interface Failed {
  readonly error: { readonly code: string; readonly exitCode: number; readonly message: string; readonly hints: readonly string[] }
}

const row = 'canary row: nobody may read this'
const table = 'canary_table_of_secrets'
const databaseName = 'canary_database'

let cluster: TestCluster
let database: ScratchDatabase
let env: Record<string, string>

beforeAll(async () => {
  cluster = await ownCluster(15)
  env = await embeddedDrills()
  database = await cluster.createScratchDatabase(databaseName)
  await using session = await database.session()
  await session.query(`CREATE TABLE ${table} (id int PRIMARY KEY, note text)`)
  await session.query(`INSERT INTO ${table} SELECT n, '${row}' FROM generate_series(1, 2000) n`)
  await session.query('CHECKPOINT')
})

afterAll(async () => {
  await cluster.server[Symbol.asyncDispose]()
})

/** Ended with this exit code; what was printed, if not. */
function expectExit(end: TidemarkEnd, exitCode: number, what: string): void {
  expect(end.exitCode, `${what}\n${end.stdout}\n${end.stderr}`).toBe(exitCode)
}

describe('every command that opens a repository', () => {
  let sealed: SealedRoom
  let stranger: SealedRoom
  let base: Backup
  let dump: Backup

  beforeAll(async () => {
    sealed = await sealedRoom(database.target, [], env)
    stranger = await sealedRoom(database.target)
    base = await sealed.room.json<Backup>(['backup', '--type', 'full'])
    dump = await sealed.room.json<Backup>(['backup', '--type', 'dump'])
    await mkdir(join(sealed.room.directory, 'old'))
    await writeFile(join(sealed.room.directory, 'old', 'shop_20250101_000000.sql'), 'SELECT 1;\n--\n-- PostgreSQL database dump complete\n--\n')
  })
  afterAll(async () => {
    await stranger[Symbol.asyncDispose]()
    await sealed[Symbol.asyncDispose]()
  })

  const commands: readonly (readonly [name: string, words: () => readonly string[]])[] = [
    ['backup of the whole cluster', () => ['backup', '--type', 'full']],
    ['incremental backup', () => ['backup', '--type', 'incr']],
    ['dump', () => ['backup', '--type', 'dump']],
    ['dry run of a dump', () => ['backup', '--type', 'dump', '--dry-run']],
    ['list', () => ['list']],
    ['show', () => ['show', dump.id]],
    ['latest', () => ['latest']],
    ['verify', () => ['verify']],
    ['verify --all', () => ['verify', '--all']],
    ['restore', () => ['restore', 'latest', '--test']],
    ['restore in place', () => ['restore', dump.id, '--replace', '--yes']],
    ['restore to a directory', () => ['restore', base.id, '--into', join(sealed.room.directory, 'never')]],
    ['export', () => ['export', base.id, '--to', join(sealed.room.directory, 'never')]],
    ['drill', () => ['drill']],
    ['undo', () => ['undo', '--yes']],
    ['pin', () => ['pin', dump.id]],
    ['unpin', () => ['unpin', dump.id]],
    ['delete', () => ['delete', dump.id, '--yes']],
    ['repo adopt', () => ['repo', 'adopt', './old', '--yes']],
    ['repo gc', () => ['repo', 'gc']],
    ['key list', () => ['key', 'list']],
  ]

  it.each(commands)('%s: without a key, or with a wrong one, it ends with 12 and has changed nothing', async (_name, words) => {
    for (const [what, env] of [
      ['no key', { XDG_CONFIG_HOME: '/nowhere' }],
      ['the key of another host', { TIDEMARK_HOST_KEY: stranger.hostKey }],
    ] as const)
      await expectRefused(words(), what, env)
  })

  it.each(commands.filter(([name]) => ['dump', 'list', 'verify', 'restore to a directory'].includes(name)))(
    '%s: with a key file that is not there, or the identity of somebody else, likewise',
    async (_name, words) => {
      await expectRefused(words(), 'a missing key file', { TIDEMARK_HOST_KEY: '/nowhere/host.key' })
      await expectRefused(words(), 'another identity', { XDG_CONFIG_HOME: '/nowhere', TIDEMARK_IDENTITY: stranger.kit })
    },
  )

  async function expectRefused(words: readonly string[], what: string, more: Readonly<Record<string, string>>): Promise<void> {
    const before = await snapshot(sealed.room.repository)
    const end = await sealed.room.run([...words, '--json'], more)
    expectExit(end, 12, what)
    expect(end.json<Failed>().error.code).toBe('key-missing')
    expect(end.stderr).not.toContain('no backup')
    expect(await snapshot(sealed.room.repository), what).toEqual(before)
  }

  it.each(commands)('%s: with the keys gone from the repository it refuses to go on in clear', async (_name, words) => {
    const [keys, keptKeys] = [join(sealed.room.repository, '.tidemark/keys'), join(sealed.room.directory, 'kept')]
    const [seen, keptSeen] = [join(sealed.room.directory, '.config/tidemark/host.key.seen'), join(sealed.room.directory, 'kept.seen')]
    await rename(keys, keptKeys)
    const without = await snapshot(sealed.room.repository)
    try {
      // This host remembers that there was a ring; one that forgot is still told by its configuration.
      expectExit(await sealed.room.run([...words(), '--json']), 13, 'remembered')
      await rename(seen, keptSeen)
      const forgotten = await sealed.room.run([...words(), '--json'])
      await rename(keptSeen, seen)
      // Who only asks for the keys may be told that there are none.
      expectExit(forgotten, words()[0] === 'key' ? 0 : 12, 'forgotten')
      expect(await snapshot(sealed.room.repository)).toEqual(without)
    } finally {
      await rename(keptKeys, keys)
    }
  })

  it('key add, rotate, remove and kit need the recovery kit, and no other kit will do', async () => {
    const before = await snapshot(sealed.room.repository)
    const output = join(sealed.room.directory, 'again.txt')
    for (const words of [
      ['key', 'add', '--recipient', 'age1xmwwc06ly3ee5rytxm9mflaz2u56jjj36s0mypdrwsvlul66mv4q47ryef'],
      ['key', 'rotate'],
      ['key', 'remove', 'db1'],
      ['key', 'kit', '--output', output],
    ]) {
      for (const flags of [[], ['--kit', join(sealed.room.directory, 'nowhere')], ['--kit', sealed.hostKey], ['--kit', stranger.kit]])
        expect((await sealed.room.run([...words, ...flags])).exitCode, [...words, ...flags].join(' ')).toBeOneOf([12, 13])
    }
    expect(await snapshot(sealed.room.repository)).toEqual(before)
    await expect(readFile(output)).rejects.toThrow('ENOENT')
  })

  it('doctor says what is wrong with the keys, and that they are well', async () => {
    const without = await sealed.room.run(['doctor', '--json'], { XDG_CONFIG_HOME: '/nowhere' })
    expect(without.exitCode).toBe(1)
    expect(without.stdout).toContain('no key is at hand')
    const well = await sealed.room.json<{ findings: { check: string; severity: string; what: string }[] }>(['doctor'])
    const of = (check: string) => well.findings.filter((finding) => finding.check === check).map(({ severity }) => severity)
    expect([of('host-key'), of('keyring'), of('key-place'), of('recovery-kit')]).toEqual([['ok'], ['ok'], [], []])
    // A kit that is left where everybody finds it first.
    await cp(sealed.kit, join(sealed.room.directory, 'tidemark-recovery-kit-db1.txt'))
    await cp(sealed.kit, join(sealed.room.repository, 'notes.txt'))
    const careless = await sealed.room.run(['doctor', '--json'])
    await rm(join(sealed.room.directory, 'tidemark-recovery-kit-db1.txt'))
    await rm(join(sealed.room.repository, 'notes.txt'))
    expect(careless.exitCode).toBe(1)
    const found = careless.json<{ findings: { check: string; severity: string }[] }>().findings
    expect(
      found
        .filter(({ check }) => check === 'key-place' || check === 'recovery-kit')
        .map(({ check, severity }) => `${check} ${severity}`)
        .toSorted(),
    ).toEqual(['key-place fail', 'recovery-kit warn'])
  })

  it('names one who is in the configuration and no member', async () => {
    const stranger = 'age1xmwwc06ly3ee5rytxm9mflaz2u56jjj36s0mypdrwsvlul66mv4q47ryef'
    const end = await sealed.room.run(['list'], { TIDEMARK_RECIPIENTS: stranger })
    expect(end.exitCode).toBe(0)
    expect(end.stderr).toContain(`${stranger} is in the configuration and no member`)
  })
})

describe('a sealed repository', () => {
  it('tells a stranger neither rows nor names of tables and databases', async () => {
    await using sealed = await sealedRoom(database.target, [], env)
    const { room } = sealed
    await room.json(['backup', '--type', 'full'])
    await room.json(['backup', '--type', 'incr'])
    const dump = await room.json<Backup>(['backup', '--type', 'dump'])
    await room.json(['verify', '--all'])
    await room.json(['drill', dump.id])
    await room.json(['pin', dump.id, '--reason', `${table} of ${databaseName}`])
    expect(await filesWith(room.repository, [row, table, databaseName])).toEqual([])
    // Not sealed, the same search finds them.
    await using open = await tidemarkRoom({ target: database.target, env })
    await open.json(['backup', '--type', 'dump', '--format', 'plain', '--compress', 'none'])
    expect((await filesWith(open.repository, [row])).length).toBeGreaterThan(0)
    expect((await filesWith(open.repository, [databaseName])).length).toBeGreaterThan(2)
    expect(dump.encryption).not.toBeNull()
  })

  it('takes nothing in clear: a commit entry, a lease, an object in another place', async () => {
    await using sealed = await sealedRoom(database.target, [], env)
    const { room } = sealed
    await room.json(['backup', '--type', 'dump'])
    const commits = join(room.repository, '.tidemark/commits/main')
    const names = (await readdir(commits)).toSorted()
    const [first = '', second = ''] = names
    const original = await readFile(join(commits, second))
    await replaceFile(join(commits, second), JSON.stringify({ format: 'tidemark-commit/1', kind: 'backup' }))
    expectExit(await room.run(['list']), 13, 'in clear')
    await replaceFile(join(commits, second), await readFile(join(commits, first)))
    expectExit(await room.run(['list']), 13, 'moved')
    await replaceFile(join(commits, second), original)
    expectExit(await room.run(['list']), 0, 'as it was')
  })

  it('lets no secret out: not in what is printed, nor on a command line, nor in any file but those for keys', async () => {
    await using sealed = await sealedRoom(database.target, [], env)
    const { room, kit, hostKey } = sealed
    await writeFile(join(room.directory, 'passphrase'), 'correct horse battery\n', { mode: 0o600 })
    const secrets = [...`${await readFile(kit, 'latin1')}${await readFile(hostKey, 'latin1')}`.matchAll(/(?:AGE-SECRET-KEY|TIDEMARK-\w+-KEY)-1\w+/g)].map(
      ([secret]) => secret.slice(0, 40),
    )
    expect(secrets.length).toBe(4)
    const printed: string[] = [JSON.stringify(sealed.keys)]
    const seen: string[] = []
    for (const words of [
      ['key', 'add', '--kit', kit, '--passphrase-file', 'passphrase', '--verbose'],
      ['backup', '--type', 'full', '--verbose'],
      ['backup', '--type', 'dump', '--verbose', '--json'],
      ['config', 'show'],
      ['key', 'list', '--json'],
      ['key', 'rotate', '--kit', kit, '--json'],
      ['key', 'kit', '--kit', kit, '--output', 'usb/again.txt', '--json'],
      ['key', 'kit', '--kit', kit, '--json'],
      ['doctor', '--verbose', '--json'],
      ['restore', 'latest', '--test', '--drop', '--kit', kit, '--verbose'],
      ['list', '--identity', join(room.directory, 'tidemark.yaml')],
    ]) {
      const running = room.start(words)
      let isOver = false
      void running.end.then(() => (isOver = true))
      while (!isOver) seen.push(...(await commandLines()))
      const end = await running.end
      printed.push(end.stdout, end.stderr)
    }
    const leaks = (text: string) => [...secrets, 'correct horse'].filter((secret) => text.includes(secret))
    expect(printed.flatMap(leaks)).toEqual([])
    expect(seen.flatMap(leaks)).toEqual([])
    expect(seen.some((line) => line.includes('pg_dump'))).toBe(true)
    const files = await filesWith(room.directory, [...secrets, 'correct horse'])
    expect(files.toSorted()).toEqual(['.config/tidemark/host.key', 'passphrase', 'usb/again.txt', 'usb/kit.txt'])
  })
})

/** Of every process of this machine. */
async function commandLines(): Promise<readonly string[]> {
  const lines: string[] = []
  for (const pid of await readdir('/proc')) if (/^\d+$/.test(pid)) lines.push(await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => ''))
  return lines
}

describe('a write-only host', () => {
  it('backs up and lists, and reads no row of what it stored', async () => {
    await using sealed = await sealedRoom(database.target, ['--write-only'], env)
    const { room, kit } = sealed
    const full = await room.json<Backup>(['backup', '--type', 'full'])
    const incr = await room.json<Backup>(['backup', '--type', 'incr'])
    const dump = await room.json<Backup>(['backup', '--type', 'dump'])
    // Read back before its keys were forgotten.
    expect([full, incr, dump].map(({ type, state }) => `${type} ${state}`)).toEqual(['full verified', 'incr verified', 'dump verified'])
    expect((await room.json<{ backups: Backup[] }>(['list'])).backups.length).toBe(3)
    const into = join(room.directory, 'copy')
    for (const words of [
      ['restore', full.id, '--into', into],
      ['restore', incr.id, '--into', into],
      ['restore', dump.id, '--test'],
      ['drill', dump.id],
      ['export', full.id, '--to', into],
      ['export', dump.id, '--to', into],
    ]) {
      const end = await room.run([...words, '--json'])
      expectExit(end, 12, words.join(' '))
      expect(end.json<Failed>().error.hints.join()).toContain('--kit')
    }
    await expect(readdir(into)).rejects.toThrow('ENOENT')
    // That the sealed bytes are there, it can say; not what they hold.
    for (const id of [full.id, dump.id]) expect((await room.json<{ backups: unknown[] }>(['verify', id])).backups).toMatchObject([{ opened: false }])
    // The kit reads what the host may not.
    const restored = await room.json<RestoreDirectoryOutcome>(['restore', incr.id, '--into', into, '--kit', kit])
    expect(restored.result?.files).toBeGreaterThan(100)
    expectExit(await room.run(['verify', '--all', '--kit', kit]), 0, 'verify')
  })
})

describe('losing the host', () => {
  it('the printed steps of the kit restore a base backup on an empty machine, literally', async () => {
    await using sealed = await sealedRoom(database.target, [], env)
    await sealed.room.json(['backup', '--type', 'full'])
    const backup = await sealed.room.json<Backup>(['backup', '--type', 'incr'])
    // All that is left: the repository, where it was, and the page.
    await using machine = await otherMachine()
    // The account that the server runs under must get there.
    await chmod(machine.directory, 0o755)
    const kit = join(machine.directory, 'paper.txt')
    await cp(sealed.kit, kit)
    for (const name of ['.config', 'tidemark.yaml', 'usb']) await rm(join(sealed.room.directory, name), { recursive: true })
    const step = (begin: string) => {
      const line = new RegExp(`^#\\s+(?:\\d\\. )?${begin}: +tidemark (.+)$`, 'm').exec(page)?.[1]
      if (line === undefined) throw new Error(`the kit has no step "${begin}"\n${page}`)
      return line.replace('THIS_FILE', kit).replace('BACKUP', backup.id).replace('DIRECTORY', into).split(' ')
    }
    const page = await readFile(kit, 'utf8')
    const into = join(machine.directory, 'restored')
    const listed = await machine.run(step('What there is'))
    expectExit(listed, 0, 'list')
    expect(listed.stdout).toContain(backup.id)
    const end = await machine.run(step('A base backup'), { ...env, TIDEMARK_PG_BIN: cluster.server.binDir })
    try {
      expectExit(end, 0, 'restore')
      const port = /-p (\d+)/.exec(end.stdout)?.[1] ?? ''
      await using session = await openSession(
        { ...cluster.target, host: `${into}-socket`, port: Number(port), password: null, database: databaseName },
        { applicationName: 'tidemark test' },
      )
      expect(await session.query(`SELECT count(*)::int AS n FROM ${table} WHERE note = '${row}'`)).toEqual([{ n: 2000 }])
    } finally {
      await endServerOf(into)
    }
  })

  it('its steps restore a dump to a server, and a drill proves it, from the kit alone', async () => {
    await using sealed = await sealedRoom(database.target)
    const { id } = await sealed.room.json<Backup>(['backup', '--type', 'dump'])
    await using machine = await otherMachine()
    const kit = join(machine.directory, 'paper.txt')
    await rename(sealed.kit, kit)
    await rm(join(sealed.room.directory, '.config'), { recursive: true })
    const [, variable = '', line = ''] = /^# \d\. A dump, to a server: +export (\w+)=.+\n# +tidemark (.+)$/m.exec(await readFile(kit, 'utf8')) ?? []
    const words = line.replace('THIS_FILE', kit).replace('BACKUP', id).split(' ')
    const end = await machine.run(words, { [variable]: urlOf(cluster.target) })
    expectExit(end, 0, words.join(' '))
    const name = /canary_database_restore_\w+/.exec(end.stdout)?.[0] ?? 'nothing'
    await using copy = await cluster.session(name)
    expect(await copy.query(`SELECT count(*)::int AS n FROM ${table} WHERE note = '${row}'`)).toEqual([{ n: 2000 }])
    const drill = await machine.run(['drill', id, '--repo', sealed.room.repository, '--kit', kit], { ...env, DATABASE_URL: urlOf(database.target) })
    expectExit(drill, 0, 'drill')
    const shown = await machine.json<Backup>(['show', id, '--repo', sealed.room.repository, '--kit', kit])
    expect(shown.state).toBe('proven')
  })

  it('the two secrets, typed from paper, open everything, and print the page again', async () => {
    await using sealed = await sealedRoom(database.target)
    await using machine = await otherMachine()
    const typed = (await readFile(sealed.kit, 'latin1')).match(/(?:AGE-SECRET-KEY|TIDEMARK-ROOT-KEY)-1\w+/g)?.join('\n') ?? ''
    await writeFile(join(machine.directory, 'typed.txt'), typed.toLowerCase(), { mode: 0o600 })
    const flags = ['--kit', 'typed.txt', '--repo', sealed.room.repository]
    expectExit(await machine.run(['list', ...flags]), 0, 'list')
    const page = await machine.run(['key', 'kit', ...flags])
    expectExit(page, 0, 'kit')
    expect(page.stdout).toBe(await readFile(sealed.kit, 'utf8'))
    await writeFile(
      join(machine.directory, 'typed.txt'),
      typed.replace(/.$/, (last) => (last === 'Q' ? 'P' : 'Q')),
    )
    expectExit(await machine.run(['list', ...flags]), 12, 'mistyped')
  })

  it('a new host joins with the kit, or asks to; a removed one reads nothing new', async () => {
    await using sealed = await sealedRoom(database.target, [], env)
    await using second = await otherMachine(database.target)
    await using third = await otherMachine(database.target)
    const repository = ['--repo', sealed.room.repository]
    expectExit(await second.run(['key', 'add', '--host', 'db2', '--kit', sealed.kit, ...repository]), 0, 'with the kit')
    expectExit(await second.run(['list', ...repository]), 0, 'second')
    const asked = await third.run(['key', 'add', '--host', 'db3', '--root', sealed.keys.root ?? '', ...repository])
    expectExit(asked, 0, 'asking')
    expectExit(await third.run(['list', ...repository]), 12, 'not yet')
    await writeFile(join(sealed.room.directory, 'request.txt'), asked.stdout)
    expectExit(await sealed.room.run(['key', 'add', '--request', 'request.txt', '--write-only', '--kit', sealed.kit]), 0, 'added')
    expectExit(await third.run(['list', ...repository]), 0, 'third')
    const members = (await sealed.room.json<{ repositories: { members: { name: string; reads: string }[] }[] }>(['key', 'list'])).repositories[0]?.members
    expect(members?.map(({ name, reads }) => `${name} ${reads}`)).toEqual(['recovery kit everything', 'db1 everything', 'db2 everything', 'db3 metadata'])

    const removed = await sealed.room.run(['key', 'remove', 'db2', '--kit', sealed.kit])
    expectExit(removed, 0, 'removed')
    expect(removed.stdout).toContain('can still read')
    expectExit(await second.run(['list', ...repository]), 12, 'removed')
    expectExit(await sealed.room.run(['list']), 0, 'who stays')
  })

  it('a recipient or a passphrase reads on another machine, told which root to trust', async () => {
    await using sealed = await sealedRoom(database.target, [], env)
    await using machine = await otherMachine()
    await using keys = await sealedRoom(database.target)
    const identity = /AGE-SECRET-KEY-1\w+/.exec(await readFile(keys.kit, 'latin1'))?.[0] ?? ''
    const recipient = keys.keys.repositories[0]?.members[0]?.recipient ?? ''
    const backup = await sealed.room.json<Backup>(['backup', '--type', 'full'])
    const repository = ['--repo', sealed.room.repository]
    await writeFile(join(machine.directory, 'ada.txt'), `${identity}\n`, { mode: 0o600 })
    await writeFile(join(machine.directory, 'phrase'), 'correct horse battery\n', { mode: 0o600 })
    const into = (name: string) => ['restore', backup.id, '--into', join(machine.directory, name), ...repository]
    expectExit(await machine.run([...into('a'), '--identity', 'ada.txt']), 12, 'before')
    await cp(join(machine.directory, 'phrase'), join(sealed.room.directory, 'phrase'))
    expectExit(await sealed.room.run(['key', 'add', '--recipient', `ada=${recipient}`, '--passphrase-file', 'phrase', '--kit', sealed.kit]), 0, 'add')
    const unpinned = await machine.run([...into('b'), '--identity', 'ada.txt'])
    expectExit(unpinned, 0, 'identity')
    expect(unpinned.stderr).toContain(sealed.keys.root ?? 'no root')
    const pinned = await machine.run([...into('c'), '--passphrase-file', 'phrase', '--root', sealed.keys.root ?? ''])
    expectExit(pinned, 0, 'passphrase')
    expect(pinned.stderr).not.toContain('which root')
    expectExit(await machine.run(['list', ...repository, '--identity', 'ada.txt', '--root', keys.keys.root ?? '']), 13, 'another root')
  })
})

describe('key init', () => {
  it('refuses a repository that holds backups in clear, and changes nothing', async () => {
    await using room = await tidemarkRoom({ target: database.target })
    await room.json(['backup', '--type', 'dump'])
    const before = await snapshot(room.directory)
    const end = await room.run(['key', 'init', '--yes', '--json'])
    expectExit(end, 15, 'in clear')
    expect(end.json<Failed>().error.hints.join()).toContain('new repository beside')
    expect(await snapshot(room.directory)).toEqual(before)
  })

  it('puts no key where it would be stored with what it opens', async () => {
    await using room = await tidemarkRoom({ target: database.target })
    await mkdir(room.repository)
    for (const flags of [
      ['--kit', './backups/kit.txt'],
      ['--host-key', './backups/host.key'],
      ['--kit', join(cluster.server.dataDirectory, 'kit.txt')],
    ])
      expectExit(await room.run(['key', 'init', '--yes', ...flags]), 15, flags.join(' '))
    expect(await readdir(room.repository)).toEqual([])
  })

  it('needs somebody who stored the kit, and carries on when it is asked again', async () => {
    await using room = await tidemarkRoom({ target: database.target })
    expectExit(await room.run(['key', 'init']), 15, 'nobody')
    expect(await readdir(join(room.repository, '.tidemark'))).toContain('repository.json')
    await using terminal = onTerminal(room, ['key', 'init'])
    await terminal.shows('Type the last 6 characters')
    terminal.type('wrong!\r')
    expect(await terminal.exitCode()).toBe(130)
    const [name = ''] = (await readdir(room.directory)).filter((each) => each.startsWith('tidemark-recovery-kit'))
    const ending = (await readFile(join(room.directory, name), 'latin1')).trimEnd().slice(-6)
    await using second = onTerminal(room, ['key', 'init'])
    await second.shows('Type the last 6 characters')
    second.type(`${ending}\r`)
    expect(await second.exitCode()).toBe(0)
    expectExit(await room.run(['key', 'init', '--yes']), 0, 'once more')
    expectExit(await room.run(['backup', '--type', 'dump']), 0, 'backup')
  })

  it('seals several repositories with one kit, and says in a dry run what it would do', async () => {
    const config = 'clusters: { main: { url: "env:DATABASE_URL" } }\nrepositories: { a: { path: ./a }, b: { path: ./b }, c: { path: ./c, encryption: none } }\n'
    await using room = await tidemarkRoom({ target: database.target, config })
    const planned = await room.run(['key', 'init', '--dry-run'])
    expectExit(planned, 0, 'dry run')
    expect(planned.stdout).toContain('would create and seal a')
    expect((await readdir(room.directory)).toSorted()).toEqual(['tidemark.yaml', 'work'])
    expectExit(await room.run(['key', 'init', '--kit', 'kit.txt', '--kit-stored']), 0, 'init')
    expect(await readFile(join(room.directory, 'kit.txt'), 'latin1')).toMatch(/repository: \w{32} .*\/a\n.*repository: \w{32} .*\/b\n/)
    const backup = await room.json<Backup>(['backup', '--type', 'dump'])
    expect(backup.repositories).toEqual(['a', 'b', 'c'])
    expect((await readdir(join(room.directory, 'c'))).some((file) => file.endsWith('.zst'))).toBe(true)
    expect((await readdir(join(room.directory, 'a'))).some((file) => file.endsWith('.zst'))).toBe(false)
  })
})

describe('in clear', () => {
  it('a host with a key begins no repository, unless that is what was chosen', async () => {
    await using sealed = await sealedRoom(database.target)
    const { room } = sealed
    await writeFile(join(room.directory, 'tidemark.yaml'), 'clusters: { main: { url: "env:DATABASE_URL" } }\nrepositories: { other: { path: ./other } }\n')
    const refused = await room.run(['backup', '--type', 'dump', '--json'])
    expectExit(refused, 12, 'a key lies there')
    expect(refused.json<Failed>().error.hints.join()).toContain('tidemark key init')
    await expect(readdir(join(room.directory, 'other'))).rejects.toThrow('ENOENT')
    expectExit(await room.run(['repo', 'init']), 0, 'repo init')
    expectExit(await room.run(['backup', '--type', 'full']), 12, 'empty')
    expectExit(await room.run(['backup', '--type', 'dump'], { TIDEMARK_ENCRYPTION: 'none' }), 0, 'chosen')
    // From then on there are backups in clear, and they are no surprise.
    expectExit(await room.run(['backup', '--type', 'dump']), 0, 'as before')
    expectExit(await room.run(['backup', '--type', 'dump'], { TIDEMARK_ENCRYPTION: 'true' }), 12, 'asked for')
  })

  it('nothing is stored where the configuration asks for sealing and the key is not there', async () => {
    const config = 'clusters: { main: { url: "env:DATABASE_URL" } }\nrepositories: { local: { path: ./backups } }\nencryption: { hostKey: ./missing.key }\n'
    await using room = await tidemarkRoom({ target: database.target, config })
    for (const type of ['dump', 'full']) expectExit(await room.run(['backup', '--type', type]), 12, type)
    expect((await readdir(room.directory)).toSorted()).toEqual(['tidemark.yaml', 'work'])
  })
})

describe('init', () => {
  it('seals from the first backup on, when asked to', async () => {
    await using room = await tidemarkRoom({ target: database.target })
    const done = await room.json<{ keys: { root: string } | null; backup: Backup | null }>(['init', '--encrypt', '--kit', 'kit.txt', '--yes'])
    expect(done.keys?.root).toMatch(/^tidemark-root1/)
    expect(done.backup?.encryption).not.toBeNull()
    expect(await readFile(join(room.directory, 'tidemark.yaml'), 'utf8')).toContain('encryption: {}')
    expectExit(await room.run(['list'], { XDG_CONFIG_HOME: '/nowhere' }), 12, 'without the key')
    await using open: TidemarkRoom = await tidemarkRoom({ target: database.target })
    await open.json(['init', '--no-encrypt', '--yes'])
    expect(await readFile(join(open.directory, 'tidemark.yaml'), 'utf8')).toContain('encryption: none')
  })
})
