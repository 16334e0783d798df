import { setTimeout } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { takeBackups } from '../../src/api/take-backups.ts'
import { systemClock, type Clock } from '../../src/kernel/clock.ts'
import { livingBackups } from '../../src/repository/cluster-log.ts'
import { memoryStorage } from '../../src/storage/memory.ts'
import type { Storage } from '../../src/storage/storage.ts'
import { faultyStorage, type Operation } from '../support/faulty-storage.ts'
import { pausedStorage } from '../support/paused-storage.ts'
import { orphansIn, putPicture, repositoryProblems, takePicture, wholeButUncommitted } from '../support/repository-state.ts'
import { sweptPlaces } from '../support/sweep-places.ts'
import { clusterName, sweepRoom, type SweepRoom } from '../support/sweep-room.ts'
import { eachOf, endingOf, isComplete, seeded } from '../support/sweep.ts'

let room: SweepRoom
beforeAll(async () => {
  room = await sweepRoom()
})
afterAll(() => room[Symbol.asyncDispose]())

describe.for(sweptPlaces)('a backup on $name that is suspended at any operation, while another takes its lease over', ({ open, share }) => {
  it('commits nothing afterwards, exits 11, and neither changes nor removes what the other made', { timeout: isComplete ? 3_600_000 : 240_000 }, async () => {
    await using calm = await open(room.base)
    const rehearsal = faultyStorage(calm.storage)
    await takeBackups(room.workspace(rehearsal))
    const begun = rehearsal.operations.findIndex(({ name, key }) => name === 'put' && key.startsWith('.tidemark/commits/'))
    const manifest = rehearsal.operations.findLastIndex(({ name, key }) => name === 'put' && key.startsWith('.tidemark/manifests/'))
    const committed = rehearsal.operations.findIndex(({ name, key, number }) => number > manifest && name === 'put' && key.startsWith('.tidemark/commits/')) + 1
    const pauses = rehearsal.operations.slice(begun).flatMap((operation) => (['before', 'after'] as const).map((when) => ({ operation, when })))

    const wrong: string[] = []
    await eachOf(seeded(pauses, share, 11), 2, async ({ operation, when }) => {
      await using place = await open(room.base)
      const expected =
        operation.number < begun + 2 && when === 'before'
          ? 'none'
          : operation.number < committed || (operation.number === committed && when === 'before')
            ? 'fenced'
            : 'committed'
      for (const problem of await suspendedAt(place.storage, operation, when, expected))
        wrong.push(`suspended ${when} operation ${operation.number} (${operation.name} ${operation.key}): ${problem}`)
    })
    expect(wrong).toEqual([])
  })
})

/** `none`: it had not begun, so it goes on after the other as if it had come later. */
async function suspendedAt(
  storage: Storage,
  { number }: Operation,
  when: 'before' | 'after',
  expected: 'none' | 'fenced' | 'committed',
): Promise<readonly string[]> {
  const wrong: string[] = []
  const paused = pausedStorage(storage, { at: number, when })
  const first = endingOf(() => takeBackups(room.workspace(paused)))
  await Promise.race([paused.reached, first])
  // The other lists what it finds whole, though its writer is only suspended: that one is fenced all the same.
  const seen = await repositoryProblems(storage, { cluster: clusterName, before: room.base }, room.context)
  const whole = expected === 'fenced' ? wholeButUncommitted(seen.state, seen.now).listed : []
  const second = await endingOf(() => takeBackups(room.workspace(storage)))
  if (second.kind !== 'done') wrong.push(`the second run did not succeed: ${JSON.stringify(second)}`)
  const between = await takePicture(storage)
  paused.resume()
  const ending = await first

  const after = await repositoryProblems(storage, { cluster: clusterName, before: between }, room.context)
  wrong.push(...after.problems)
  const made = livingBackups(after.state).length - room.earlier.length
  if (expected === 'fenced') {
    if (ending.kind !== 'failed' || ending.exitCode !== 11) wrong.push(`the suspended run did not exit 11: ${JSON.stringify(ending)}`)
    if (made !== 1 + whole.length) wrong.push(`there are ${made} new backups`)
    for (const id of whole) if (after.state.backups.get(id)?.state !== 'stored') wrong.push(`the whole backup ${id} is not listed as stored`)
  } else {
    if (ending.kind !== 'done') wrong.push(`the suspended run did not succeed: ${JSON.stringify(ending)}`)
    if (made !== 2) wrong.push(`there are ${made} new backups`)
  }
  // What a stale writer wrote after it was swept is listed by nobody, and its names are never given to another run.
  const orphans = await orphansIn(storage, clusterName, room.context)
  const names = [...after.state.burntKeys]
  for (const orphan of orphans) if (!names.includes(orphan) && !/^\.tidemark\/(leases|manifests)\//.test(orphan)) wrong.push(`nothing refers to ${orphan}`)
  return wrong
}

/** Waits before the first manifest is written; when nobody ends for long, both go on, and the test says that both won. */
function heldAtManifest(inner: Storage, gate: Promise<void>): Storage {
  return {
    ...inner,
    put: async (key, body, options) => {
      if (key.startsWith('.tidemark/manifests/')) await Promise.race([gate, setTimeout(20_000)])
      return inner.put(key, body, options)
    },
  }
}

describe('two backups of one cluster', () => {
  it('at once: exactly one wins, the other exits 11 and leaves nothing', async () => {
    for (let round = 0; round < 5; round += 1) {
      const storage = memoryStorage({ clock: systemClock })
      await putPicture(storage, room.base)
      const gate = Promise.withResolvers<void>()
      const runs = [1, 2].map(() => endingOf(() => takeBackups(room.workspace(heldAtManifest(storage, gate.promise), { holderIsGone: false, realDump: true }))))
      // The winner stays in the middle until the other has ended: a quick one would be over before the other begins.
      await Promise.race(runs).finally(gate.resolve)
      const endings = await Promise.all(runs)
      expect(endings.map(({ kind }) => kind).toSorted()).toEqual(['done', 'failed'])
      expect(endings.find(({ kind }) => kind === 'failed')).toMatchObject({ exitCode: 11 })
      const { problems, state } = await repositoryProblems(storage, { cluster: clusterName, before: room.base }, room.context)
      expect(problems).toEqual([])
      expect(livingBackups(state)).toHaveLength(room.earlier.length + 1)
      expect(await orphansIn(storage, clusterName, room.context)).toEqual([])
    }
  })

  it('of which one died where nobody can see it: its lease is respected until it is stale, by the clock of the storage, and then taken over', async () => {
    let aheadSeconds = 0
    const storageClock: Clock = { ...systemClock, now: () => systemClock.now().add({ seconds: aheadSeconds }) }
    const storage = memoryStorage({ clock: storageClock })
    await putPicture(storage, room.base)
    const rehearsal = faultyStorage(memoryStorage({ clock: systemClock }))
    await putPicture(rehearsal, room.base)
    const atDump = { fault: { kind: 'stop-after' }, at: 3, operation: 'put' } as const
    expect(await endingOf(() => takeBackups(room.workspace(faultyStorage(storage, atDump))))).toMatchObject({ kind: 'stopped' })

    // Our own clock may be hours ahead: the run is judged by the storage's.
    const ourClock: Clock = { ...systemClock, now: () => systemClock.now().add({ hours: 5 }) }
    const early = await endingOf(() => takeBackups(room.workspace(storage, { holderIsGone: false, clock: ourClock })))
    expect(early).toMatchObject({ kind: 'failed', exitCode: 11 })
    aheadSeconds = 100
    expect(await endingOf(() => takeBackups(room.workspace(storage, { holderIsGone: false })))).toMatchObject({ kind: 'failed', exitCode: 11 })
    aheadSeconds = 121
    expect(await endingOf(() => takeBackups(room.workspace(storage, { holderIsGone: false })))).toMatchObject({ kind: 'done' })
    const { problems } = await repositoryProblems(storage, { cluster: clusterName, before: room.base }, room.context)
    expect(problems).toEqual([])
    expect(await orphansIn(storage, clusterName, room.context)).toEqual([])
  })

  it('that begin in the same second get different ids and file names', async () => {
    const storage = memoryStorage({ clock: systemClock })
    await putPicture(storage, room.base)
    const moment = systemClock.now()
    const clock: Clock = { ...systemClock, now: () => moment }
    const cluster = {
      dump: {
        databases: [],
        format: 'custom',
        compression: { method: 'zstd', level: 3 },
        jobs: 1,
        nameTemplate: 'shop_<YYYYMMDD_HHMMSS>',
        globals: true,
        fingerprint: true,
      },
    } as const
    for (let round = 0; round < 3; round += 1) await takeBackups(room.workspace(storage, { clock, cluster }))
    const { problems, state } = await repositoryProblems(storage, { cluster: clusterName, before: room.base }, room.context)
    expect(problems).toEqual([])
    const made = livingBackups(state).filter(({ facts }) => !room.earlier.some(({ id }) => id === facts.id))
    expect(new Set(made.map(({ facts }) => facts.id)).size).toBe(3)
    expect(new Set(made.map(({ facts }) => facts.fileName)).size).toBe(3)
  })
})
