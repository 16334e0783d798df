import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { takeBackups } from '../../src/api/take-backups.ts'
import { packKeysOf } from '../../src/repository/base/pack-keys.ts'
import { checkPages } from '../../src/repository/base/check-pages.ts'
import { openBaseBackup } from '../../src/repository/base/open-base-backup.ts'
import { requireWholeCluster } from '../../src/repository/base/whole-cluster.ts'
import { familyOf } from '../../src/repository/backup.ts'
import { livingBackups } from '../../src/repository/cluster-log.ts'
import { readClusterLog } from '../../src/repository/commit-log.ts'
import { openRepository } from '../../src/repository/repository.ts'
import { systemClock } from '../../src/kernel/clock.ts'
import { memoryStorage } from '../../src/storage/memory.ts'
import type { Storage } from '../../src/storage/storage.ts'
import { faultyStorage, type FaultPlan, type Operation } from '../support/faulty-storage.ts'
import { putPicture, takePicture, type Picture } from '../support/repository-state.ts'
import { sweptPlaces } from '../support/sweep-places.ts'
import { clusterName, sweepRoom, type SweepRoom } from '../support/sweep-room.ts'
import { eachOf, endingOf, everyPlan, isComplete, nameOf, seeded } from '../support/sweep.ts'

const timeout = isComplete ? 7_200_000 : 300_000
let room: SweepRoom
/** A repository with two dumps and a full base backup. */
let base: Picture
beforeAll(async () => {
  room = await sweepRoom()
  const storage = memoryStorage({ clock: systemClock })
  await putPicture(storage, room.base)
  await takeBackups(room.workspace(storage), { type: 'full' })
  base = await takePicture(storage)
})
afterAll(() => room[Symbol.asyncDispose]())

describe.for(sweptPlaces)('a base backup on $name, killed or failed at every operation of its storage, once and persistently', ({ open, share }) => {
  it.for(['full', 'incr'] as const)(
    '(%s) leaves earlier backups alone and a new one that is whole or absent, and is repeated without a trace',
    { timeout },
    async (type) => {
      await using calm = await open(base)
      const rehearsal = faultyStorage(calm.storage)
      expect(await endingOf(() => takeBackups(room.workspace(rehearsal), { type }))).toMatchObject({ kind: 'done' })
      const wrong: string[] = []
      await eachOf(seeded(everyPlan(rehearsal.operations), isComplete ? share : share * 0.06, 2026), 2, async (plan) => {
        await using place = await open(base)
        wrong.push(...(await baseBackupUnder(plan, place.storage, { type, operations: rehearsal.operations })))
      })
      expect(wrong).toEqual([])
    },
  )
})

async function baseBackupUnder(
  plan: FaultPlan,
  storage: Storage,
  { type, operations }: { readonly type: 'full' | 'incr'; readonly operations: readonly Operation[] },
): Promise<readonly string[]> {
  const wrong: string[] = []
  const say = (problem: string) => wrong.push(`${nameOf(plan, operations)}: ${problem}`)
  const ending = await endingOf(() => takeBackups(room.workspace(faultyStorage(storage, plan)), { type }))
  const after = await baseBackupsIn(storage)
  after.problems.forEach(say)
  const made = after.ids.length - 1
  if (made < 0 || made > 1) say(`there are ${made} new backups`)
  if (ending.kind === 'bug') say(ending.message)
  if (ending.kind === 'done' && made !== 1) say('it said that there is a new backup, and there is none')
  if (ending.kind === 'failed' && ![1, 13].includes(ending.exitCode)) say(`exit code ${ending.exitCode}: ${ending.message}`)

  const rerun = await endingOf(() => takeBackups(room.workspace(storage), { type: 'incr' }))
  if (rerun.kind !== 'done') say(`the rerun did not succeed: ${JSON.stringify(rerun)}`)
  const final = await baseBackupsIn(storage)
  for (const problem of final.problems) say(`after the rerun: ${problem}`)
  // A run that died between its root and its commit entry left a whole backup, which is listed again.
  if (final.ids.length < made + 2 || final.ids.length > 3) say(`after the rerun there are ${final.ids.length} base backups`)
  for (const id of after.ids) if (!final.ids.includes(id)) say(`the rerun lost backup ${id}`)
  for (const orphan of final.orphans) say(`after the rerun nothing refers to ${orphan}`)
  return wrong
}

/** What is wrong with the base backups of a repository, and which objects belong to no run that the log knows as a backup. */
async function baseBackupsIn(
  storage: Storage,
): Promise<{ readonly ids: readonly string[]; readonly problems: readonly string[]; readonly orphans: readonly string[] }> {
  const { context } = room
  const repository = await openRepository('main', storage)
  const state = await readClusterLog(storage, clusterName, context)
  const records = livingBackups(state).filter(({ facts }) => familyOf(facts) === 'base')
  const problems: string[] = []
  for (const record of records) {
    try {
      const backup = await openBaseBackup(repository, record, packKeysOf(null, context), context)
      await requireWholeCluster(backup, context)
      const found = await checkPages(repository, backup, { threads: 1, wants: () => true }, context)
      problems.push(...found.problems.map(({ object, message }) => `backup ${record.facts.id}: ${object}: ${message}`))
    } catch (error) {
      problems.push(`backup ${record.facts.id} is listed and cannot be read: ${String(error)}`)
    }
  }
  const ids = records.map(({ facts }) => facts.id)
  const orphans: string[] = []
  for await (const { key } of storage.list('.tidemark/')) {
    if (/^\.tidemark\/(packs|leaves|indexes|roots)\//.test(key) && !ids.some((id) => key.includes(`/${id}`))) orphans.push(key)
  }
  return { ids, problems, orphans }
}
