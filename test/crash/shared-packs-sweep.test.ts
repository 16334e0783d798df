import { randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { readClusterLog } from '../../src/repository/commit-log.ts'
import type { Storage } from '../../src/storage/storage.ts'
import { cluster, collect, contextFor, deleteBase, digestsOf, filesOf, garbageIn, listed, newStorage, takeBase, verifyBase } from '../support/base-history.ts'
import { faultyStorage, type FaultPlan } from '../support/faulty-storage.ts'
import type { TestFiles } from '../support/page-files.ts'
import { takePicture, type Picture } from '../support/repository-state.ts'
import { sweptPlaces } from '../support/sweep-places.ts'
import { eachOf, endingOf, everyPlan, isComplete, nameOf, seeded, type Ending } from '../support/sweep.ts'

const context = contextFor([])
const timeout = isComplete ? 3_600_000 : 900_000

/** A repository, and which files its backups have. */
interface Scene {
  readonly picture: Picture
  readonly backups: ReadonlyMap<string, TestFiles>
}

interface Story {
  /** Does what is hit. */
  act(storage: Storage): Promise<unknown>
  /** Looks, as a new process would, before anything else is done. Returns what is wrong. */
  look(storage: Storage, ending: Ending<unknown>): Promise<readonly string[]>
  /** What a person does next, and what must be true then. */
  again(storage: Storage): Promise<readonly string[]>
}

describe.for(sweptPlaces)('on $name, whatever operation of the storage fails or is the last', ({ open, share }) => {
  const sweep = async ({ picture }: Scene, story: Story, seed: number): Promise<readonly string[]> => {
    await using calm = await open(picture)
    const rehearsal = faultyStorage(calm.storage)
    await story.act(rehearsal)
    const plans = everyPlan(rehearsal.operations)
    const wrong: string[] = []
    await eachOf(seeded(plans, isComplete ? share : share * 0.25, seed), 2, async (plan: FaultPlan) => {
      await using place = await open(picture)
      const faulty = faultyStorage(place.storage, plan)
      const ending = await endingOf(() => story.act(faulty))
      const name = nameOf(plan, rehearsal.operations)
      if (ending.kind === 'bug') wrong.push(`${name}: ${ending.message}`)
      for (const work of [() => story.look(place.storage, ending), () => story.again(place.storage)]) {
        const found = await endingOf(work)
        wrong.push(...(found.kind === 'done' ? found.value : [JSON.stringify(found)]).map((problem) => `${name}: ${problem}`))
      }
    })
    return wrong
  }

  it('of an incremental backup, the earlier ones stay as they are, and the next run leaves nothing of it but what it lists', { timeout }, async () => {
    const scene = await history()
    const [old] = [...scene.backups.values()]
    const files = new Map([...(old ?? []), ['new', randomBytes(50_000)] as const])
    const wrong = await sweep(
      scene,
      {
        act: (storage) => takeBase(storage, { run: 'hit', files }, context),
        look: async (storage, ending) => [
          ...(await lost(storage, scene.backups)),
          ...(ending.kind === 'done' ? await lost(storage, new Map([['hit', files]])) : []),
        ],
        again: async (storage) => {
          await takeBase(storage, { run: 'next', files }, context)
          const states = await listed(storage, context)
          const expected = new Map([...scene.backups, ['next', files] as const, ...('hit' in states ? [['hit', files] as const] : [])])
          return [
            ...(await lost(storage, expected)),
            ...Object.entries(states).flatMap(([id, state]) => (state === 'damaged' ? [`${id} is called damaged`] : [])),
            ...(await garbageIn(storage, context)),
          ]
        },
      },
      1,
    )
    expect(wrong).toEqual([])
  })

  it('of a deletion, the others stay whole, and whoever comes next ends it or finds it not begun', { timeout }, async () => {
    const scene = await history()
    const others = new Map([...scene.backups].filter(([id]) => id !== 'one'))
    const wrong = await sweep(
      scene,
      {
        act: (storage) => deleteBase(storage, 'one', context),
        look: (storage) => lost(storage, others),
        again: async (storage) => {
          await takeBase(storage, { run: 'next', files: new Map([['next', randomBytes(1_000)]]), full: true }, context)
          const states = await listed(storage, context)
          const wrongThen = [...(await lost(storage, 'one' in states ? scene.backups : others)), ...(await garbageIn(storage, context))]
          if ('one' in states) await deleteBase(storage, 'one', context, 'once-more')
          return [...wrongThen, ...(await lost(storage, others)), ...(await garbageIn(storage, context))]
        },
      },
      2,
    )
    expect(wrong).toEqual([])
  })

  it('of a collection that moves frames, every backup stays readable at every moment, and a second one ends it', { timeout }, async () => {
    const scene = await sparse()
    const wrong = await sweep(
      scene,
      {
        act: (storage) => collect(storage, context, { run: 'hit' }),
        look: (storage) => lost(storage, scene.backups),
        again: async (storage) => {
          // An incremental goes on from whatever the other left.
          const files = new Map([...(scene.backups.get('incr') ?? []), ['more', randomBytes(10_000)] as const])
          await takeBase(storage, { run: 'next', files }, context)
          const expected = new Map([...scene.backups, ['next', files] as const])
          const before = await lost(storage, expected)
          await collect(storage, context, { run: 'second' })
          await collect(storage, context, { run: 'third' })
          const found = await verifyBase(storage, 'next', context)
          const { moved } = await readClusterLog(storage, cluster, context)
          return [
            ...before,
            ...(await lost(storage, expected)),
            ...found.problems.map(({ message }) => message),
            ...(moved === null ? ['nothing was moved'] : []),
            ...(await garbageIn(storage, context)),
          ]
        },
      },
      3,
    )
    expect(wrong).toEqual([])
  })
})

/** Which of these backups are not what they were. */
async function lost(storage: Storage, backups: ReadonlyMap<string, TestFiles>): Promise<readonly string[]> {
  const wrong: string[] = []
  for (const [id, files] of backups) {
    const found = await endingOf(() => filesOf(storage, id, context))
    if (found.kind !== 'done') wrong.push(`${id}: ${JSON.stringify(found)}`)
    else if (JSON.stringify([...digestsOf(found.value)]) !== JSON.stringify([...digestsOf(files)])) wrong.push(`${id} has other files`)
  }
  return wrong
}

/** A full backup, and an incremental that shares some of it. */
async function history(): Promise<Scene> {
  const storage = newStorage()
  const a = randomBytes(60_000)
  const backups = new Map<string, TestFiles>([
    [
      'one',
      new Map([
        ['a', a],
        ['b', randomBytes(40_000)],
      ]),
    ],
    [
      'two',
      new Map([
        ['a', a],
        ['c', randomBytes(40_000)],
      ]),
    ],
  ])
  for (const [run, files] of backups) await takeBase(storage, { run, files }, context)
  return { picture: await takePicture(storage), backups }
}

/** An incremental that needs a little of packs that are mostly dead; and something that a dead writer left. */
async function sparse(): Promise<Scene> {
  const storage = newStorage()
  const kept = randomBytes(20_000)
  const much = ['a', 'b', 'c', 'd', 'e', 'f'].map((name): [string, Buffer] => [name, randomBytes(1 << 20)])
  await takeBase(storage, { run: 'full', files: new Map([...much, ['kept', kept]]) }, context)
  await takeBase(storage, { run: 'incr', files: new Map([['kept', kept]]) }, context)
  await deleteBase(storage, 'full', context)
  await storage.put(`.tidemark/packs/main/stale/${'0'.repeat(32)}.pack`, randomBytes(10))
  return { picture: await takePicture(storage), backups: new Map([['incr', new Map([['kept', kept]])]]) }
}
