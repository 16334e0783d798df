import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { deleteBackup, pinBackup } from '../../src/api/change-backups.ts'
import { takeBackups } from '../../src/api/take-backups.ts'
import { verifyBackups } from '../../src/api/verify-backups.ts'
import { systemClock } from '../../src/kernel/clock.ts'
import { livingBackups } from '../../src/repository/cluster-log.ts'
import { memoryStorage } from '../../src/storage/memory.ts'
import type { Storage } from '../../src/storage/storage.ts'
import { faultyStorage, type FaultPlan } from '../support/faulty-storage.ts'
import { orphansIn, putPicture, repositoryProblems, takePicture } from '../support/repository-state.ts'
import { sweptPlaces } from '../support/sweep-places.ts'
import { backupOf, clusterName, sweepRoom, type SweepRoom } from '../support/sweep-room.ts'
import { eachOf, endingOf, everyPlan, isComplete, nameOf, seeded } from '../support/sweep.ts'

const timeout = isComplete ? 3_600_000 : 240_000
let room: SweepRoom
beforeAll(async () => {
  room = await sweepRoom()
})
afterAll(() => room[Symbol.asyncDispose]())

const older = () => room.earlier[0]?.id ?? ''
const remove = (storage: Storage) =>
  deleteBackup(room.workspace(storage), { backup: older(), reason: 'a sweep', dryRun: false, approve: async () => undefined })
const verify = (storage: Storage) => verifyBackups(room.workspace(storage), { all: true })
const pin = (storage: Storage) => pinBackup(room.workspace(storage), 'pin', { backup: older(), reason: 'a sweep' })

async function prepared(): Promise<Storage> {
  const storage = memoryStorage({ clock: systemClock })
  await putPicture(storage, room.base)
  return storage
}

describe.for(sweptPlaces)('on $name, killed or failed at every operation of its storage,', ({ open, share }) => {
  it('a deletion removes what was asked for or nothing, and the next run carries it to its end', { timeout }, async () => {
    await using calm = await open(room.base)
    const rehearsal = faultyStorage(calm.storage)
    await remove(rehearsal)
    const wrong: string[] = []
    await eachOf(seeded(everyPlan(rehearsal.operations), share, 3), 2, async (plan) => {
      const say = (problem: string) => wrong.push(`${nameOf(plan, rehearsal.operations)}: ${problem}`)
      await using place = await open(room.base)
      const ending = await endingOf(() => remove(faultyStorage(place.storage, plan)))
      const expectation = { cluster: clusterName, before: room.base, mayGo: new Set([older()]) }
      const after = await repositoryProblems(place.storage, expectation, room.context)
      after.problems.forEach(say)
      if (ending.kind === 'bug') say(ending.message)
      const isListed = livingBackups(after.state).some(({ facts }) => facts.id === older())
      if (ending.kind === 'done' && isListed) say('it said that the backup was deleted, and it is listed')

      const next = await endingOf(() => takeBackups(room.workspace(place.storage)))
      if (next.kind !== 'done') say(`the next backup did not succeed: ${JSON.stringify(next)}`)
      const rerun = await endingOf(() => remove(place.storage))
      if (rerun.kind !== 'done' && !(rerun.kind === 'failed' && !isListed && rerun.message.includes('no such backup')))
        say(`the rerun did not succeed: ${JSON.stringify(rerun)}`)
      const final = await repositoryProblems(place.storage, expectation, room.context)
      final.problems.forEach(say)
      if (livingBackups(final.state).length !== 2) say(`there are ${livingBackups(final.state).length} backups in the end`)
      for (const orphan of await orphansIn(place.storage, clusterName, room.context)) say(`in the end nothing refers to ${orphan}`)
    })
    expect(wrong).toEqual([])
  })

  it('a verification calls nothing damaged and nothing verified that it has not read, and loses nothing', { timeout }, async () => {
    const wrong = await sweepChange({ open, share }, verify, 4)
    expect(wrong).toEqual([])
  })

  it('a pin is there or not, and loses nothing', { timeout }, async () => {
    expect(await sweepChange({ open, share }, pin, 5)).toEqual([])
  })
})

async function sweepChange(
  { open, share }: Pick<(typeof sweptPlaces)[number], 'open' | 'share'>,
  change: (storage: Storage) => Promise<unknown>,
  seed: number,
): Promise<readonly string[]> {
  await using calm = await open(room.base)
  const rehearsal = faultyStorage(calm.storage)
  await change(rehearsal)
  const wrong: string[] = []
  const tryPlan = async (plan: FaultPlan) => {
    const say = (problem: string) => wrong.push(`${nameOf(plan, rehearsal.operations)}: ${problem}`)
    await using place = await open(room.base)
    const ending = await endingOf(() => change(faultyStorage(place.storage, plan)))
    const after = await repositoryProblems(place.storage, { cluster: clusterName, before: room.base }, room.context)
    after.problems.forEach(say)
    if (ending.kind === 'bug') say(ending.message)
    // A storage that does not answer proves nothing either way.
    for (const { facts, state, problems } of livingBackups(after.state))
      if (state === 'damaged') say(`${facts.id} is called damaged: ${JSON.stringify(problems)}`)
    const rerun = await endingOf(() => change(place.storage))
    if (rerun.kind !== 'done') say(`the rerun did not succeed: ${JSON.stringify(rerun)}`)
    for (const orphan of await orphansIn(place.storage, clusterName, room.context)) say(`nothing refers to ${orphan}`)
  }
  await eachOf(seeded(everyPlan(rehearsal.operations), share, seed), 2, tryPlan)
  return wrong
}

describe('a name that was given again before an interrupted deletion was finished', () => {
  it('belongs to the new backup: the deletion removes nothing of it', async () => {
    const storage = await prepared()
    const cluster = {
      dump: {
        databases: [],
        format: 'custom',
        compression: { method: 'zstd', level: 3 },
        jobs: 1,
        nameTemplate: 'same-name',
        globals: true,
        fingerprint: true,
      },
    } as const
    const first = await backupOf(room.workspace(storage, { cluster }))
    const rehearsal = faultyStorage(memoryStorage({ clock: systemClock }))
    await putPicture(rehearsal, await takePicture(storage))
    await deleteBackup(room.workspace(rehearsal), { backup: first.id, reason: 'a test', dryRun: false, approve: async () => undefined })
    // All objects are gone, and the entry that says so is not written.
    const at = rehearsal.operations.filter(({ name }) => name === 'delete').findLastIndex(({ key }) => key.startsWith('same-name')) + 1
    const faulty = faultyStorage(storage, { fault: { kind: 'stop-after' }, at, operation: 'delete' })
    expect(
      await endingOf(() => deleteBackup(room.workspace(faulty), { backup: first.id, reason: 'a test', dryRun: false, approve: async () => undefined })),
    ).toMatchObject({ kind: 'stopped' })

    const second = await backupOf(room.workspace(storage, { cluster }))
    expect(second.fileName).toBe(first.fileName)
    await takeBackups(room.workspace(storage))
    const { problems, state } = await repositoryProblems(storage, { cluster: clusterName, before: room.base, mayGo: new Set([first.id]) }, room.context)
    expect(problems).toEqual([])
    expect(livingBackups(state).map(({ facts }) => facts.id)).toContain(second.id)
    expect(await orphansIn(storage, clusterName, room.context)).toEqual([])
  })
})

describe('the checks of these sweeps', () => {
  it('notice an object that is lost, changed or left over, a log with a hole, and an alias into nowhere', async () => {
    const look = async (spoil: (storage: Storage) => Promise<unknown>): Promise<string> => {
      const storage = await prepared()
      await spoil(storage)
      const found = await repositoryProblems(storage, { cluster: clusterName, before: room.base }, room.context).catch((error: unknown) => ({
        problems: [String(error)],
      }))
      return [...found.problems, ...(await orphansIn(storage, clusterName, room.context).catch(() => []))].join('\n')
    }
    const newest = room.earlier[1]
    const key = newest?.key ?? ''
    expect(await look(async () => undefined)).toBe('')
    expect(await look((storage) => storage.delete(key))).toMatch(/is gone[\s\S]*does not verify/)
    expect(await look((storage) => storage.put(key, new Uint8Array([1])))).toMatch(/was changed[\s\S]*does not verify/)
    expect(await look((storage) => storage.put('stray', new Uint8Array([1])))).toBe('stray')
    expect(await look((storage) => storage.delete('.tidemark/commits/shop/0000000002.json'))).toMatch(/has no entry 2/)
    expect(await look(async (storage) => storage.setAlias?.('latest_backup.sql', 'gone.sql'))).toMatch(/points at gone\.sql/)
    expect(
      await look((storage) => deleteBackup(room.workspace(storage), { backup: older(), reason: 'x', dryRun: false, approve: async () => undefined })),
    ).toMatch(/nobody asked/)
  })
})
