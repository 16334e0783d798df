import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { restoreBackup } from '../../src/api/restore-backup.ts'
import { undoRestore } from '../../src/api/undo-restore.ts'
import type { Event } from '../../src/kernel/event.ts'
import { Failure } from '../../src/kernel/failure.ts'
import { formatMark } from '../../src/repository/database-mark.ts'
import { commentDatabase } from '../../src/restore/owned-database.ts'
import { swapStateOf } from '../../src/restore/replace-database.ts'
import { undoableRuns, writeRunRecord, type RestoreRecord } from '../../src/restore/run-record.ts'
import type { Storage } from '../../src/storage/storage.ts'
import { faultyStorage, type FaultPlan, type Operation } from '../support/faulty-storage.ts'
import { copiesOf, dropDatabases, lookAtProduction } from '../support/live-databases.ts'
import { repositoryProblems, samePicture } from '../support/repository-state.ts'
import { sweptPlaces } from '../support/sweep-places.ts'
import { clusterName, sweepRoom, type SweepRoom } from '../support/sweep-room.ts'
import { endingOf, everyPlan, isComplete, nameOf, seeded } from '../support/sweep.ts'

const timeout = isComplete ? 7_200_000 : 240_000
let room: SweepRoom
/** What the newest backup holds, and the database it was taken from. */
let content: string
beforeAll(async () => {
  room = await sweepRoom()
  content = (await lookAtProduction(room.server, room.source.name))?.rows ?? ''
})
afterAll(async () => {
  await clearCopies()
  await room[Symbol.asyncDispose]()
})

async function clearCopies(): Promise<void> {
  await using admin = await room.server.session()
  await dropDatabases(admin, await copiesOf(room.server, room.source.name))
}

const replace = (storage: Storage) => restoreBackup(room.workspace(storage), { replace: 'swap', approve: async () => undefined })
const byDrop = { replace: 'drop', approve: async () => undefined } as const
const replaceByDrop = (storage: Storage) => restoreBackup(room.workspace(storage), byDrop)
const undo = (storage: Storage) => undoRestore(room.workspace(storage), { approve: async () => undefined })

describe.for(sweptPlaces)('restore --replace on $name, killed or failed at every operation of its storage', ({ open, share }) => {
  it('leaves the old or the new database under its name, never neither, tells which, and can be repeated', { timeout }, async () => {
    await using calm = await open(room.base)
    const rehearsal = faultyStorage(calm.storage)
    expect(await endingOf(() => replace(rehearsal))).toMatchObject({ kind: 'done', value: { partial: false } })
    await clearCopies()
    // The safety backup is swept by itself (backup-sweep): of its operations a part is enough here.
    const { operations } = rehearsal
    const safetyEnds = operations.findLastIndex(({ name, key }) => name === 'delete' && key.startsWith('.tidemark/leases/'))
    const plans = everyPlan(operations)
    const chosen = isComplete
      ? plans
      : [
          ...seeded(
            plans.filter(({ at }) => at <= safetyEnds),
            share * 0.06,
            5,
          ),
          ...seeded(
            plans.filter(({ at }) => at > safetyEnds),
            Math.min(1, share * 2),
            6,
          ),
        ]

    const wrong: string[] = []
    for (const plan of chosen) {
      await using place = await open(room.base)
      wrong.push(...(await replaceUnder(plan, place.storage, operations)))
      await clearCopies()
    }
    expect(wrong).toEqual([])
    expect(await room.stages()).toEqual([])
  })
})

async function replaceUnder(plan: FaultPlan, storage: Storage, operations: readonly Operation[]): Promise<readonly string[]> {
  const wrong: string[] = []
  const say = (problem: string) => wrong.push(`${nameOf(plan, operations)}: ${problem}`)
  const { server, source } = room
  const old = await lookAtProduction(server, source.name)

  const ending = await endingOf(() => replace(faultyStorage(storage, plan)))
  const live = await lookAtProduction(server, source.name)
  if (live === null || old === null) return [`${nameOf(plan, operations)}: there is no production any more`]
  if (live.rows !== content) say(`production holds ${live.rows}`)
  if (live.comment !== old.comment) say(`production's comment is ${String(live.comment)}`)
  if (ending.kind === 'bug') say(ending.message)
  if (ending.kind === 'done' && live.oid === old.oid) say('it said that production was replaced, and it was not')
  if (ending.kind === 'failed' && live.oid !== old.oid) say(`it failed (${ending.message}) after production was replaced`)
  if (ending.kind === 'failed' && ending.exitCode !== 1 && ending.exitCode !== 15) say(`exit code ${ending.exitCode}: ${ending.message}`)

  const after = await repositoryProblems(storage, { cluster: clusterName, before: room.base }, room.context)
  after.problems.forEach(say)
  const copies = await copiesOf(server, source.name)
  if (live.oid !== old.oid && !copies.some(({ oid }) => oid === old.oid)) say('production was replaced, and the old one is gone')
  // Whatever else stands there has a name of ours and an end of its life.
  for (const { oid, name, mark } of copies) if (oid !== old.oid && (mark?.expires ?? null) === null) say(`"${name}" was left, and nothing will ever remove it`)
  for (const problem of await toldWrongly(storage, live.oid, old.oid)) say(problem)
  if (samePicture(after.now, room.base) && live.oid === old.oid) return wrong
  if (!isComplete && isKnown(after, { isReplaced: live.oid !== old.oid, copies: copies.length })) return wrong

  const rerun = await endingOf(() => replace(storage))
  if (rerun.kind !== 'done') say(`the rerun did not succeed: ${JSON.stringify(rerun)}`)
  const final = await lookAtProduction(server, source.name)
  if (final?.rows !== content || final.oid === live.oid) say(`after the rerun production holds ${final?.rows ?? 'nothing'}`)
  const back = await endingOf(() => undo(storage))
  if (back.kind !== 'done') say(`undo after the rerun did not succeed: ${JSON.stringify(back)}`)
  if ((await lookAtProduction(server, source.name))?.oid !== live.oid) say('undo did not put back what the rerun had replaced')
  return wrong
}

describe.for(sweptPlaces)('restore --replace=drop on $name, killed or failed at every operation of its storage', ({ open, share }) => {
  it(
    'leaves the old or the whole new database under its name, or none and the word which safety backup brings it back, and can be repeated',
    { timeout },
    async () => {
      const { server, source } = room
      await using calm = await open(room.base)
      const rehearsal = faultyStorage(calm.storage)
      expect(await endingOf(() => replaceByDrop(rehearsal))).toMatchObject({ kind: 'done', value: { partial: false } })
      const { operations } = rehearsal
      const safetyEnds = operations.findLastIndex(({ name, key }) => name === 'delete' && key.startsWith('.tidemark/leases/'))
      const plans = everyPlan(operations)
      const late = plans.filter(({ at }) => at > safetyEnds)
      const early = plans.filter(({ at }) => at <= safetyEnds)
      const wrong: string[] = []
      for (const plan of isComplete ? plans : [...seeded(early, share * 0.03, 8), ...seeded(late, share, 9)]) {
        const say = (problem: string) => wrong.push(`${nameOf(plan, operations)}: ${problem}`)
        await using place = await open(room.base)
        const old = await lookAtProduction(server, source.name)
        const ending = await endingOf(() => replaceByDrop(faultyStorage(place.storage, plan)))
        if (ending.kind === 'bug') say(ending.message)
        const live = await lookAtProduction(server, source.name)
        if (live !== null && live.rows !== content) say(`there is a production with ${live.rows}`)
        if (live !== null && live.comment !== old?.comment) say(`production's comment is ${String(live.comment)}`)
        if (ending.kind === 'done' && (live === null || live.oid === old?.oid)) say('it said that production was replaced, and it was not')
        if (live === null) for (const problem of await wayBackMissing(place.storage)) say(problem)
        for (const { name, mark } of await copiesOf(server, source.name))
          if ((mark?.expires ?? null) === null) say(`"${name}" was left, and nothing will ever remove it`)
        if (live !== null && !isComplete) continue
        const rerun = await endingOf(() => replaceByDrop(place.storage))
        if (rerun.kind !== 'done') say(`the rerun did not succeed: ${JSON.stringify(rerun)}`)
        if ((await lookAtProduction(server, source.name))?.rows !== content) say('after the rerun there is no whole production')
      }
      expect(wrong).toEqual([])
      expect(await copiesOf(server, source.name)).toEqual([])
      expect(await room.stages()).toEqual([])
    },
  )

  it('leaves no half database under its name when the run is stopped while the copy is loaded or compared', { timeout }, async () => {
    const { server, source } = room
    for (const step of ['restore', 'compare'] as const) {
      await using place = await open(room.base)
      const stop = new AbortController()
      const emit = (event: Event) => {
        if (event.type === 'step-begun' && event.step === step && event.subject.includes('_restoring_')) stop.abort(new Failure('cancelled', 'stopped'))
      }
      const ending = await endingOf(() => restoreBackup(room.workspace(place.storage, { emit, signal: stop.signal }), byDrop))
      expect(ending).toMatchObject({ kind: 'failed' })
      expect(await lookAtProduction(server, source.name)).toBe(null)
      expect(await wayBackMissing(place.storage)).toEqual([])
      expect(await endingOf(() => replaceByDrop(place.storage))).toMatchObject({ kind: 'done' })
      expect((await lookAtProduction(server, source.name))?.rows).toBe(content)
    }
  })
})

/** What somebody who finds no production any more has to be told. */
async function wayBackMissing(storage: Storage): Promise<readonly string[]> {
  const [record] = await undoableRuns(storage, clusterName)
  if (record?.phase !== 'dropping' || record.safetyBackup === null) return [`there is no production, and the record says ${JSON.stringify(record)}`]
  const { state } = await repositoryProblems(storage, { cluster: clusterName, before: room.base }, room.context)
  if (state.backups.get(record.safetyBackup)?.facts.safety !== true) return ['there is no production, and no safety backup of it']
  const told = await endingOf(() => undo(storage))
  return told.kind === 'failed' && told.exitCode === 15 ? [] : [`undo says ${JSON.stringify(told)}`]
}

const seen = new Map<string, number>()

/** In the fast form two reruns are enough for each kind of situation: what the log, the run records and the server show. */
function isKnown({ state, now }: Awaited<ReturnType<typeof repositoryProblems>>, { isReplaced, copies }: { isReplaced: boolean; copies: number }): boolean {
  const phases = [...now.objects]
    .filter(([key]) => key.startsWith('.tidemark/runs/'))
    .map(([, bytes]) => /"phase":"(\w+)"/.exec(Buffer.from(bytes).toString())?.[1])
  const situation = JSON.stringify([isReplaced, copies, phases, state.open?.committed === null, state.backups.size])
  const times = (seen.get(situation) ?? 0) + 1
  seen.set(situation, times)
  return times > 2
}

/** What the run records say of the swap must be what the catalogue shows. */
async function toldWrongly(storage: Storage, liveOid: number, oldOid: number): Promise<readonly string[]> {
  await using admin = await room.server.session()
  const wrong: string[] = []
  for (const record of await undoableRuns(storage, clusterName)) {
    if (record.oldOid !== oldOid) continue
    const state = await swapStateOf(admin, record)
    const expected = liveOid === oldOid ? 'before' : 'after'
    if (state !== expected) wrong.push(`the interrupted swap is told as "${state}" and is "${expected}"`)
  }
  return wrong
}

describe.for(sweptPlaces)('undo on $name, killed or failed at every operation of its storage', ({ open, share }) => {
  it('leaves either database under the name, never neither, and can be repeated', { timeout }, async () => {
    const { server, source } = room
    await using calm = await open(room.base)
    await replace(calm.storage)
    const rehearsal = faultyStorage(calm.storage)
    expect(await endingOf(() => undo(rehearsal))).toMatchObject({ kind: 'done' })
    const { operations } = rehearsal
    const wrong: string[] = []
    for (const plan of seeded(everyPlan(operations), share, 7)) {
      const say = (problem: string) => wrong.push(`${nameOf(plan, operations)}: ${problem}`)
      await using place = await open(room.base)
      const { replaced, kept } = await recordSwap(place.storage)

      const ending = await endingOf(() => undo(faultyStorage(place.storage, plan)))
      const live = await lookAtProduction(server, source.name)
      if (live?.oid !== replaced && live?.oid !== kept) say(`production is ${live === null ? 'gone' : `database ${live.oid}, which is neither`}`)
      if (ending.kind === 'bug') say(ending.message)
      if (ending.kind === 'done' && live?.oid !== kept) say('it said that it was undone, and it was not')
      if (ending.kind === 'failed' && live?.oid === kept) say(`it failed (${ending.message}) after it was undone`)
      const rerun = await endingOf(() => undo(place.storage))
      // A stopped run that had done everything leaves nothing to do: that is said, and is no harm.
      const isOver = rerun.kind === 'failed' && live?.oid === kept && /no replaced database|undone already/.test(rerun.message)
      if (rerun.kind !== 'done' && !isOver) say(`the rerun did not succeed: ${JSON.stringify(rerun)}`)
      const final = await lookAtProduction(server, source.name)
      if (final?.oid !== kept) say('after the rerun the old database is not back')
      if (!(await copiesOf(server, source.name)).some(({ oid }) => oid === replaced)) say('what was set aside is gone')
    }
    expect(wrong).toEqual([])
  })
})

/** Writes the record of a swap that, as far as the catalogue can tell, was done: the database that was set aside last is the one to put back. */
async function recordSwap(storage: Storage): Promise<{ replaced: number; kept: number }> {
  const { server, source, context } = room
  const live = await lookAtProduction(server, source.name)
  const [old] = await copiesOf(server, source.name)
  if (live === null || old === undefined) throw new Error('there are no two databases to swap')
  const run = `20260101-000000-${String(live.oid).slice(-4).padStart(4, '0')}`
  const record: RestoreRecord = {
    format: 'tidemark-run/1',
    run,
    cluster: clusterName,
    verb: 'restore',
    startedAt: context.clock.now().toString(),
    endedAt: null,
    backup: null,
    file: null,
    phase: 'swapped',
    server: { host: source.target.host, port: source.target.port, systemIdentifier: null },
    database: source.name,
    newOid: live.oid,
    newName: source.name,
    oldOid: old.oid,
    oldName: old.name,
    safetyBackup: null,
  }
  await writeRunRecord(storage, record)
  await using admin = await server.session()
  await commentDatabase(admin, old.name, formatMark({ kind: 'old', run, backup: null, name: old.name, at: record.startedAt, expires: null, unfinished: false }))
  return { replaced: live.oid, kept: old.oid }
}
