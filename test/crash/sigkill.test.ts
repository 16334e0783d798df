import { chmod, mkdtemp, readdir, readFile, rm, symlink } from 'node:fs/promises'
import { platform, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/kernel/clock.ts'
import type { Context } from '../../src/kernel/context.ts'
import type { Event } from '../../src/kernel/event.ts'
import type { Backup } from '../../src/repository/backup.ts'
import { posixStorage } from '../../src/storage/posix.ts'
import type { Storage } from '../../src/storage/storage.ts'
import { embeddedSource, sharedCluster, type TestCluster } from '../support/cluster.ts'
import { clientProgramsOf, sessionsOf, untilNone } from '../support/left-behind.ts'
import { copiesOf, dropDatabases, lookAtProduction, type Production } from '../support/live-databases.ts'
import { orphansIn, repositoryProblems, takePicture, type Picture } from '../support/repository-state.ts'
import { openShop, type Shop } from '../support/shop.ts'
import { isComplete } from '../support/sweep.ts'

const content = `
CREATE TABLE orders (id int PRIMARY KEY, item text NOT NULL);
INSERT INTO orders SELECT g, repeat('item ' || g, 10) FROM generate_series(1, 20000) g;
CREATE INDEX orders_item ON orders (item);
`

let cluster: TestCluster
let shop: Shop
let production: Production
let first: Backup
let storage: Storage
/** The repository with its first backup. */
let before: Picture
const context: Context = { clock: systemClock, emit: () => undefined, signal: new AbortController().signal }

beforeAll(async () => {
  cluster = await sharedCluster(15)
  shop = await openShop(cluster, { sql: content })
  await shop.sql(`COMMENT ON DATABASE ${shop.name} IS 'the shop'`)
  first = await shop.room.json<Backup>(['backup'])
  storage = posixStorage({ root: shop.room.repository })
  before = await takePicture(storage)
  production = await present()
})
afterEach(async () => {
  await using admin = await cluster.session()
  await dropDatabases(admin, await copiesOf(cluster, shop.name))
})
afterAll(() => shop[Symbol.asyncDispose]())

async function present(): Promise<Production> {
  const found = await lookAtProduction(cluster, shop.name)
  if (found === null) throw new Error('there is no production any more')
  return found
}

type Point = { readonly name: string; matches(event: Event): boolean }

const begun = (step: string): Point => ({ name: `the beginning of ${step}`, matches: (event) => event.type === 'step-begun' && event.step === step })
const ended = (step: string): Point => ({ name: `the end of ${step}`, matches: (event) => event.type === 'step-ended' && event.step === step })

/** Starts the command and kills it outright at the event; the test fails when it ended before. */
async function killedAt(point: Point, args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<void> {
  const { child, end } = shop.room.start([...args, '--progress=json'], env)
  let rest = ''
  child.stderr?.on('data', (text: string) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) if (line.startsWith('{"type"') && point.matches(JSON.parse(line) as Event)) child.kill('SIGKILL')
  })
  const { stderr } = await end
  if (child.signalCode !== 'SIGKILL') throw new Error(`${args.join(' ')} ended before ${point.name}: ${stderr}`)
}

/** What must hold after every death, before and after the next run. */
async function expectWhole(): Promise<void> {
  const live = await present()
  expect(live.rows).toBe(production.rows)
  expect(live.comment).toBe('the shop')
  if (platform() === 'linux') expect(await untilNone(() => clientProgramsOf(cluster.target.port)), 'client programs of the dead run').toEqual([])
  expect(await untilNone(() => sessionsOf(cluster, shop.name)), 'sessions of the dead run').toEqual([])
  const { problems } = await repositoryProblems(storage, { cluster: shop.name, before }, context)
  expect(problems).toEqual([])
}

async function expectNothingLeft(): Promise<void> {
  expect((await readdir(shop.room.work)).filter((name) => name !== 'tidemark-drills')).toEqual([])
  expect(await orphansIn(storage, shop.name, context)).toEqual([])
}

const some = <T>(all: readonly T[], few: readonly T[]) => (isComplete ? all : few)

describe('SIGKILL during a backup', () => {
  const points = [begun('dump'), ended('dump'), begun('read-back'), ended('read-back')]
  it.for(some(points, [begun('dump'), begun('read-back'), ended('read-back')]))(
    'at $name: no backup or a whole one; the next run takes over at once and clears what was left',
    async (point) => {
      await killedAt(point, ['backup'])
      await expectWhole()
      const next = await shop.room.json<Backup>(['backup'])
      expect(next.state).toBe('verified')
      await expectWhole()
      await expectNothingLeft()
    },
  )

  it('in the directory format, with its files staged: the stage of the dead run is removed by the next', async () => {
    await using blocker = await cluster.session(shop.name)
    await blocker.query('BEGIN')
    await blocker.query('LOCK TABLE orders IN ACCESS EXCLUSIVE MODE')
    const { child, end } = shop.room.start(['backup', '--format', 'directory'])
    await untilNone(async () => ((await waiting()) ? [] : ['pg_dump does not wait yet']))
    child.kill('SIGKILL')
    await end
    await blocker.query('ROLLBACK')
    expect((await readdir(shop.room.work)).filter((name) => name.startsWith('tidemark-'))).toHaveLength(1)
    await shop.room.json<Backup>(['backup', '--format', 'directory'])
    await expectWhole()
    await expectNothingLeft()
  })

  it('while pg_dump waits for a lock: pg_dump and its session are gone soon after the lock is', async () => {
    await using blocker = await cluster.session(shop.name)
    await blocker.query('BEGIN')
    await blocker.query('LOCK TABLE orders IN ACCESS EXCLUSIVE MODE')
    await killedAt(begun('dump'), ['backup'])
    await blocker.query('ROLLBACK')
    await expectWhole()
    await shop.room.json<Backup>(['backup'])
    await expectNothingLeft()
  })
})

async function waiting(): Promise<boolean> {
  const rows = await shop.sql(`SELECT FROM pg_stat_activity WHERE application_name LIKE 'tidemark pg_dump%' AND wait_event_type = 'Lock'`, 'postgres')
  return rows.length > 0
}

describe('SIGKILL during restore --replace', () => {
  const points = [
    begun('safety-backup'),
    begun('read-back'),
    begun('fetch'),
    begun('restore'),
    ended('restore'),
    begun('compare'),
    begun('swap'),
    ended('swap'),
  ]
  it.for(some(points, [begun('read-back'), begun('restore'), begun('compare'), begun('swap'), ended('swap')]))(
    'at $name: production is the old or the new database, and a rerun and undo succeed',
    async (point) => {
      const old = await present()
      await killedAt(point, ['restore', first.id, '--replace', '--yes'])
      await expectWhole()
      const after = await present()
      const copies = await copiesOf(cluster, shop.name)
      if (after.oid !== old.oid) expect(copies.map(({ oid }) => oid)).toContain(old.oid)
      // A copy that was never swapped in has an end of its life.
      for (const { oid, mark } of copies) if (oid !== old.oid) expect(mark).toMatchObject({ kind: 'restore', expires: expect.stringMatching(/Z$/) })

      if (after.oid !== old.oid) {
        // The catalogue tells that it happened, whatever was recorded.
        await shop.room.json(['undo', '--yes'])
        expect((await present()).oid).toBe(old.oid)
      }
      const result = await shop.room.json<{ result: { keptAs: string } }>(['restore', first.id, '--replace', '--yes'])
      expect((await present()).oid).not.toBe(old.oid)
      expect((await copiesOf(cluster, shop.name)).find(({ oid }) => oid === old.oid)?.name).toBe(result.result.keptAs)
      await shop.room.json(['undo', '--yes'])
      expect((await present()).oid).toBe(old.oid)
      await expectWhole()
      await expectNothingLeft()
    },
  )

  it('twice, and the copy it left is removed once its time is over', async () => {
    await killedAt(begun('compare'), ['restore', first.id, '--replace', '--yes'])
    const [left] = await copiesOf(cluster, shop.name)
    if (left?.mark === undefined) throw new Error('the killed run left no copy')
    const overdue = { ...left.mark, expires: '2026-01-01T00:00:00.000Z' }
    await shop.sql(`COMMENT ON DATABASE "${left.name}" IS 'tidemark:${JSON.stringify(overdue)}'`, 'postgres')
    await untilNone(() => sessionsOf(cluster, shop.name))
    await shop.room.json(['drill', '--server', 'same'])
    expect(await copiesOf(cluster, shop.name)).toEqual([])
  })
})

describe('SIGKILL during a drill', () => {
  it.for(some([begun('fetch'), begun('restore'), begun('compare')], [begun('restore'), begun('compare')]))(
    'on the same server at $name: its copy carries a mark with an end, and the next drill proves',
    async (point) => {
      await killedAt(point, ['drill', '--server', 'same'])
      await expectWhole()
      for (const { mark } of await copiesOf(cluster, shop.name)) expect(mark).toMatchObject({ kind: 'drill', expires: expect.stringMatching(/Z$/) })
      const { proof } = await shop.room.json<{ proof: { outcome: string } }>(['drill', '--server', 'same'])
      expect(proof.outcome).toBe('proven')
      await expectNothingLeft()
    },
  )

  describe('on a private server', () => {
    let place: string
    let env: Record<string, string>
    beforeAll(async () => {
      place = await mkdtemp(join(tmpdir(), 'tidemark-private-'))
      // The server's account must be able to pass.
      await chmod(place, 0o755)
      await symlink(embeddedSource.cacheDir, join(place, 'postgres'))
      env = { TIDEMARK_CACHE_DIR: place, TIDEMARK_WORK_DIR: place }
    })
    afterAll(() => rm(place, { recursive: true, force: true }))

    it.for(some([begun('start-server'), ended('start-server'), begun('restore'), begun('compare')], [begun('start-server'), begun('compare')]))(
      'at $name: no server and no directory outlives the next drill',
      async (point) => {
        await killedAt(point, ['drill', '--server', 'embedded'], env)
        expect(await untilNone(() => serversIn(join(place, 'tidemark-drills'))), 'servers of the dead drill').toEqual([])
        const { proof } = await shop.room.json<{ proof: { outcome: string } }>(['drill', '--server', 'embedded'], { env })
        expect(proof.outcome).toBe('proven')
        expect(await readdir(join(place, 'tidemark-drills'))).toEqual([])
        expect((await readdir(place)).filter((name) => /^tidemark-\d/.test(name))).toEqual([])
        await expectWhole()
      },
    )
  })
})

/** Processes whose command line names the directory: postmasters, their children, watchdogs. */
async function serversIn(directory: string): Promise<readonly string[]> {
  if (platform() !== 'linux') return []
  const lines = await Promise.all(
    (await readdir('/proc')).filter((pid) => /^\d+$/.test(pid)).map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')),
  )
  return lines.filter((line) => line.includes(directory)).map((line) => line.replaceAll('\0', ' '))
}
