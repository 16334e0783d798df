import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { takeBackups } from '../../src/api/take-backups.ts'
import type { Workspace } from '../../src/api/workspace.ts'
import { systemClock } from '../../src/kernel/clock.ts'
import { livingBackups } from '../../src/repository/cluster-log.ts'
import type { Keyring } from '../../src/repository/keys/keyring.ts'
import { memoryStorage } from '../../src/storage/memory.ts'
import type { Storage } from '../../src/storage/storage.ts'
import { faultyStorage, type FaultPlan, type Operation } from '../support/faulty-storage.ts'
import { orphansIn, putPicture, repositoryProblems, samePicture, takePicture, wholeButUncommitted, type Picture } from '../support/repository-state.ts'
import { sealedPlace } from '../support/sealed-place.ts'
import { sweptPlaces } from '../support/sweep-places.ts'
import { backupOf, clusterName, sweepRoom, type SweepRoom } from '../support/sweep-room.ts'
import { eachOf, endingOf, everyPlan, isComplete, nameOf, seeded } from '../support/sweep.ts'

let room: SweepRoom
beforeAll(async () => {
  room = await sweepRoom()
})
afterAll(() => room[Symbol.asyncDispose]())

describe.for(sweptPlaces)('a backup on $name, killed or failed at every operation of its storage, once and persistently', ({ open, share }) => {
  it(
    'leaves earlier backups alone and a new one that is whole or absent, and is repeated without a trace',
    { timeout: isComplete ? 3_600_000 : 240_000 },
    async () => {
      await using calm = await open(room.base)
      const rehearsal = faultyStorage(calm.storage)
      expect(await endingOf(() => takeBackups(room.workspace(rehearsal)))).toMatchObject({ kind: 'done' })
      const plans = seeded(everyPlan(rehearsal.operations), share, 2026)
      expect(plans.length).toBeGreaterThan(rehearsal.operations.length * share)

      const wrong: string[] = []
      await eachOf(plans, 2, async (plan) => {
        await using place = await open(room.base)
        wrong.push(...(await backupUnder(plan, place.storage, rehearsal.operations, inClear())))
      })
      expect(wrong).toEqual([])
      expect(await room.stages()).toEqual([])
    },
  )
})

/** Every operation on memory: what sealing adds does not depend on where it lies. */
describe.for(['everything', 'metadata'] as const)('a sealed backup of a host that reads %s, killed or failed at every operation of its storage', (reads) => {
  it(
    'leaves earlier backups alone and a new one that is whole or absent, nothing of it in clear, and is repeated without a trace',
    { timeout: isComplete ? 3_600_000 : 240_000 },
    async () => {
      const storage = memoryStorage({ clock: systemClock })
      const sealed = await sealedPlace(room, storage, reads)
      await backupOf(sealed.workspace())
      const { keyring: reader } = await sealed.opened({ kit: sealed.kit, host: sealed.host })
      const base = await takePicture(storage)
      const place: Swept = {
        base,
        earlier: 1,
        ...(reader === null ? {} : { keyring: reader }),
        // What was cut in a sealed object cannot be told from what was changed.
        exitCodes: [1, 13],
        workspace: (other) => sealed.workspace({ storage: other }),
      }
      const rehearsal = faultyStorage(await filled(base))
      expect(await endingOf(() => takeBackups(place.workspace(rehearsal)))).toMatchObject({ kind: 'done' })

      const wrong: string[] = []
      await eachOf(seeded(everyPlan(rehearsal.operations), isComplete || reads === 'everything' ? 1 : 0.2, 2026), 2, async (plan) => {
        const swept = await filled(base)
        wrong.push(...(await backupUnder(plan, swept, rehearsal.operations, place)))
        for await (const { key } of swept.list('')) if (!key.startsWith('.tidemark/') && !key.endsWith('.age')) wrong.push(`${key} lies in clear`)
      })
      expect(wrong).toEqual([])
      expect(await room.stages()).toEqual([])
    },
  )
})

async function filled(picture: Picture): Promise<Storage> {
  const storage = memoryStorage({ clock: systemClock })
  await putPicture(storage, picture)
  return storage
}

/** The repository that a fault is met in. */
interface Swept {
  readonly base: Picture
  /** Backups in it. */
  readonly earlier: number
  readonly keyring?: Keyring
  readonly exitCodes: readonly number[]
  workspace(storage: Storage): Workspace
}

const inClear = (): Swept => ({ base: room.base, earlier: room.earlier.length, exitCodes: [1], workspace: (storage) => room.workspace(storage) })

async function backupUnder(
  plan: FaultPlan,
  storage: Storage,
  operations: readonly Operation[],
  { base, earlier, keyring, exitCodes, workspace }: Swept,
): Promise<readonly string[]> {
  const wrong: string[] = []
  const say = (problem: string) => wrong.push(`${nameOf(plan, operations)}: ${problem}`)
  const expectation = { cluster: clusterName, before: base, ...(keyring === undefined ? {} : { keyring }) }

  const ending = await endingOf(() => takeBackups(workspace(faultyStorage(storage, plan))))
  const after = await repositoryProblems(storage, expectation, room.context)
  after.problems.forEach(say)
  const made = livingBackups(after.state).length - earlier
  if (made < 0 || made > 1) say(`there are ${made} new backups`)
  if (ending.kind === 'bug') say(ending.message)
  if (ending.kind === 'done' && made !== 1) say('it said that there is a new backup, and there is none')
  if (ending.kind === 'failed' && !exitCodes.includes(ending.exitCode)) say(`exit code ${ending.exitCode}: ${ending.message}`)
  // A fault that came before anything was written leaves nothing that a rerun could stumble over.
  if (samePicture(after.now, base)) return wrong

  const whole = wholeButUncommitted(after.state, after.now)
  const rerun = await endingOf(() => takeBackups(workspace(storage)))
  if (rerun.kind !== 'done') say(`the rerun did not succeed: ${JSON.stringify(rerun)}`)
  const final = await repositoryProblems(storage, expectation, room.context)
  for (const problem of final.problems) say(`after the rerun: ${problem}`)
  const expected = earlier + made + whole.listed.length + 1
  if (livingBackups(final.state).length !== expected) say(`after the rerun there are ${livingBackups(final.state).length} backups, not ${expected}`)
  for (const id of whole.listed) if (final.state.backups.get(id)?.deleted !== null) say(`the rerun did not list the whole backup ${id}`)
  // A whole dump is never removed, and nothing else is kept.
  const spared = [...final.state.sparedKeys]
  if (spared.toSorted().join() !== whole.spared.toSorted().join()) say(`the rerun spared ${spared.join()}, not ${whole.spared.join()}`)
  for (const key of spared) if (!final.now.objects.has(key)) say(`the rerun said that it spared ${key}, and it is gone`)
  for (const orphan of await orphansIn(storage, clusterName, room.context, keyring)) say(`after the rerun nothing refers to ${orphan}`)
  return wrong
}
