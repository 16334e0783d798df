import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { takeBackups } from '../../src/api/take-backups.ts'
import { livingBackups } from '../../src/repository/cluster-log.ts'
import type { Storage } from '../../src/storage/storage.ts'
import { faultyStorage, type FaultPlan, type Operation } from '../support/faulty-storage.ts'
import { orphansIn, repositoryProblems, samePicture, wholeButUncommitted } from '../support/repository-state.ts'
import { sweptPlaces } from '../support/sweep-places.ts'
import { clusterName, sweepRoom, type SweepRoom } from '../support/sweep-room.ts'
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
        wrong.push(...(await backupUnder(plan, place.storage, rehearsal.operations)))
      })
      expect(wrong).toEqual([])
      expect(await room.stages()).toEqual([])
    },
  )
})

async function backupUnder(plan: FaultPlan, storage: Storage, operations: readonly Operation[]): Promise<readonly string[]> {
  const wrong: string[] = []
  const say = (problem: string) => wrong.push(`${nameOf(plan, operations)}: ${problem}`)
  const expectation = { cluster: clusterName, before: room.base }

  const ending = await endingOf(() => takeBackups(room.workspace(faultyStorage(storage, plan))))
  const after = await repositoryProblems(storage, expectation, room.context)
  after.problems.forEach(say)
  const made = livingBackups(after.state).length - room.earlier.length
  if (made < 0 || made > 1) say(`there are ${made} new backups`)
  if (ending.kind === 'bug') say(ending.message)
  if (ending.kind === 'done' && made !== 1) say('it said that there is a new backup, and there is none')
  if (ending.kind === 'failed' && ending.exitCode !== 1) say(`exit code ${ending.exitCode}: ${ending.message}`)
  // A fault that came before anything was written leaves nothing that a rerun could stumble over.
  if (samePicture(after.now, room.base)) return wrong

  const whole = wholeButUncommitted(after.state, after.now)
  const rerun = await endingOf(() => takeBackups(room.workspace(storage)))
  if (rerun.kind !== 'done') say(`the rerun did not succeed: ${JSON.stringify(rerun)}`)
  const final = await repositoryProblems(storage, expectation, room.context)
  for (const problem of final.problems) say(`after the rerun: ${problem}`)
  const expected = room.earlier.length + made + whole.listed.length + 1
  if (livingBackups(final.state).length !== expected) say(`after the rerun there are ${livingBackups(final.state).length} backups, not ${expected}`)
  for (const id of whole.listed) if (final.state.backups.get(id)?.deleted !== null) say(`the rerun did not list the whole backup ${id}`)
  // A whole dump is never removed, and nothing else is kept.
  const spared = [...final.state.sparedKeys]
  if (spared.toSorted().join() !== whole.spared.toSorted().join()) say(`the rerun spared ${spared.join()}, not ${whole.spared.join()}`)
  for (const key of spared) if (!final.now.objects.has(key)) say(`the rerun said that it spared ${key}, and it is gone`)
  for (const orphan of await orphansIn(storage, clusterName, room.context)) say(`after the rerun nothing refers to ${orphan}`)
  return wrong
}
