import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { drillBackup } from '../../src/api/drill-backup.ts'
import { restoreBackup } from '../../src/api/restore-backup.ts'
import { digestOf } from '../../src/repository/commit-entry.ts'
import { livingBackups } from '../../src/repository/cluster-log.ts'
import type { Storage } from '../../src/storage/storage.ts'
import { faultyStorage, type FaultPlan, type Operation } from '../support/faulty-storage.ts'
import { copiesOf, dropDatabases, lookAtProduction } from '../support/live-databases.ts'
import { orphansIn, repositoryProblems, takePicture } from '../support/repository-state.ts'
import { sweptPlaces } from '../support/sweep-places.ts'
import { clusterName, sweepRoom, type SweepRoom } from '../support/sweep-room.ts'
import { endingOf, everyPlan, isComplete, nameOf, seeded } from '../support/sweep.ts'

const timeout = isComplete ? 7_200_000 : 240_000
let room: SweepRoom
let content: string
beforeAll(async () => {
  room = await sweepRoom()
  content = (await lookAtProduction(room.server, room.source.name))?.rows ?? ''
})
afterAll(() => room[Symbol.asyncDispose]())

async function clearCopies(): Promise<void> {
  await using admin = await room.server.session()
  await dropDatabases(admin, await copiesOf(room.server, room.source.name))
}

const copyName = () => `${room.source.name}_copy`
const restore = (storage: Storage) => restoreBackup(room.workspace(storage), { as: copyName(), validate: 'content', approve: async () => undefined })
const drill = (storage: Storage) => drillBackup(room.workspace(storage), { server: 'same' })

describe.for(sweptPlaces)('on $name, killed or failed at every operation of its storage,', ({ open, share }) => {
  it('a restore makes a whole copy or none, touches nothing else, and can be repeated', { timeout }, async () => {
    await using calm = await open(room.base)
    const rehearsal = faultyStorage(calm.storage)
    expect(await endingOf(() => restore(rehearsal))).toMatchObject({ kind: 'done', value: { partial: false } })
    expect((await lookAtProduction(room.server, copyName()))?.rows).toBe(content)
    await clearCopies()

    const production = await lookAtProduction(room.server, room.source.name)
    const wrong = await sweep({ open, share }, rehearsal.operations, restore, async (say, _storage, ending) => {
      const copy = await lookAtProduction(room.server, copyName())
      if (copy !== null && copy.rows !== content) say(`there is a copy with ${copy.rows}`)
      if (ending.kind === 'done' && copy === null) say('it said that there is a copy, and there is none')
      if (ending.kind === 'failed' && copy !== null) say(`it failed (${ending.message}) and left a copy`)
      if ((await lookAtProduction(room.server, room.source.name))?.oid !== production?.oid) say('production is another database')
      await clearCopies()
    })
    expect(wrong).toEqual([])
    expect(await room.stages()).toEqual([])
  })

  it('a drill never calls a backup proven without a proof that is there, and leaves no copy', { timeout }, async () => {
    await using calm = await open(room.base)
    const rehearsal = faultyStorage(calm.storage)
    expect(await endingOf(() => drill(rehearsal))).toMatchObject({ kind: 'done', value: { proof: { outcome: 'proven' } } })
    // Beyond what is asked of the fast form, so a part of it is enough there.
    const wrong = await sweep({ open, share: isComplete ? share : share * 0.4 }, rehearsal.operations, drill, async (say, storage, ending, state) => {
      const { objects } = await takePicture(storage)
      const digests = new Set([...objects].filter(([key]) => key.startsWith('.tidemark/proofs/')).map(([, bytes]) => digestOf(bytes)))
      const proven = livingBackups(state).filter((record) => record.state === 'proven')
      const named = [...objects]
        .filter(([key]) => key.startsWith('.tidemark/commits/'))
        .flatMap(([, bytes]) =>
          [
            ...Buffer.from(bytes)
              .toString()
              .matchAll(/"proof":\{"key":"[^"]+","sha256":"([^"]+)"/g),
          ].map((match) => match[1] ?? ''),
        )
      for (const digest of named) if (!digests.has(digest)) say('a backup is called proven, and its proof is not there')
      if (ending.kind === 'done' && proven.length === 0) say('it said proven, and the log does not')
      for (const { name } of await copiesOf(room.server, room.source.name)) say(`"${name}" was left`)
    })
    expect(wrong).toEqual([])
    expect(await room.stages()).toEqual([])
  })
})

type Ending = Awaited<ReturnType<typeof endingOf>>
type Look = (say: (problem: string) => void, storage: Storage, ending: Ending, state: Awaited<ReturnType<typeof repositoryProblems>>['state']) => Promise<void>

async function sweep(
  { open, share }: Pick<(typeof sweptPlaces)[number], 'open' | 'share'>,
  operations: readonly Operation[],
  work: (storage: Storage) => Promise<unknown>,
  look: Look,
): Promise<readonly string[]> {
  const wrong: string[] = []
  let reruns = 0
  const tryPlan = async (plan: FaultPlan) => {
    const say = (problem: string) => wrong.push(`${nameOf(plan, operations)}: ${problem}`)
    await using place = await open(room.base)
    const ending = await endingOf(() => work(faultyStorage(place.storage, plan)))
    const { problems, state, now } = await repositoryProblems(place.storage, { cluster: clusterName, before: room.base }, room.context)
    problems.forEach(say)
    if (ending.kind === 'bug') say(ending.message)
    if (ending.kind === 'failed' && ending.exitCode !== 1) say(`exit code ${ending.exitCode}: ${ending.message}`)
    // A rerun over an unchanged repository is the rehearsal again: in the fast form a few are enough.
    const isUnchanged = now.objects.size === room.base.objects.size
    await look(say, place.storage, ending, state)
    if (ending.kind !== 'done' && (isComplete || !isUnchanged || (reruns += 1) <= 4)) {
      const rerun = await endingOf(() => work(place.storage))
      if (rerun.kind !== 'done') say(`the rerun did not succeed: ${JSON.stringify(rerun)}`)
      await clearCopies()
    }
    for (const orphan of await orphansIn(place.storage, clusterName, room.context)) say(`nothing refers to ${orphan}`)
  }
  for (const plan of seeded(everyPlan(operations), share, 17)) await tryPlan(plan)
  return wrong
}
