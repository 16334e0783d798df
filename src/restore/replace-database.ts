import { utc } from '../kernel/clock.ts'
import type { Context } from '../kernel/context.ts'
import { isFailure } from '../kernel/failure.ts'
import type { Session } from '../postgres/session.ts'
import { formatMark } from '../repository/database-mark.ts'
import { applyProperties, readProperties } from './database-properties.ts'
import { dropOwnedDatabase, findDatabase, findDatabaseByOid, type FoundDatabase } from './owned-database.ts'
import type { Connections, CopyPlace, RestoredCopy } from './restore-copy.ts'
import type { RestoreRecord } from './run-record.ts'
import { swapDatabases } from './swap.ts'

/** Puts a validated copy in the place of the live database, and keeps the old one under another name. */
export interface ReplaceRequest {
  readonly live: FoundDatabase
  readonly copy: RestoredCopy
  readonly keptAs: string
  readonly record: RestoreRecord
  /** Writes the run record; called before the swap and after it. */
  readonly save: (record: RestoreRecord) => Promise<void>
}

export interface Replaced {
  readonly warnings: readonly string[]
  /** False when the swap is done and its record still says that it was about to happen. `undo` looks at the OIDs, so it works all the same. */
  readonly recorded: boolean
}

/**
 * Live properties → copy, record, swap, record. Until the swap's transaction commits the live database is untouched; after it
 * the new one is live. A crash between the two is told from the OIDs in the record. When the swap fails the copy is dropped.
 */
export async function replaceBySwap({ reached, connections }: CopyPlace, request: ReplaceRequest, context: Context): Promise<Replaced> {
  const { live, copy, keptAs } = request
  const swapping: RestoreRecord = { ...request.record, phase: 'swapping', newOid: copy.oid, newName: copy.database, oldOid: live.oid, oldName: keptAs }
  let warnings: readonly string[]
  try {
    warnings = await applyProperties(reached.session, copy.database, await readProperties(reached.session, live))
    context.emit({ type: 'step-begun', step: 'swap', subject: live.name, expectedBytes: null })
    const begunMs = context.clock.monotonicMs()
    await request.save(swapping)
    await using terminator = await connections.fresh()
    const mark = { kind: 'old' as const, run: request.record.run, backup: null, name: keptAs, at: utc(context.clock.now()), expires: null, unfinished: false }
    await swapDatabases(
      reached.session,
      terminator,
      {
        away: { oid: live.oid, from: live.name, to: keptAs },
        into: { oid: copy.oid, from: copy.database, to: live.name },
        comments: [
          { database: live.name, comment: live.comment },
          { database: keptAs, comment: formatMark(mark) },
        ],
      },
      context,
    )
    context.emit({
      type: 'step-ended',
      step: 'swap',
      subject: live.name,
      durationSeconds: (context.clock.monotonicMs() - begunMs) / 1000,
      doneBytes: null,
      note: `the old one is kept as "${keptAs}"`,
    })
  } catch (error) {
    await afterFailedSwap(request, swapping, connections, context)
    throw error
  }
  const unrecorded = await saveAfterwards(request.save, { ...swapping, phase: 'swapped', endedAt: utc(context.clock.now()), newName: live.name }, context)
  return { warnings: [...warnings, ...unrecorded], recorded: unrecorded.length === 0 }
}

/** Writes the record of something that is done and stays done: when that fails it is said, and nothing is undone for it. Returns the warning. */
export async function saveAfterwards(save: ReplaceRequest['save'], record: RestoreRecord, context: Context): Promise<readonly string[]> {
  try {
    await save(record)
    return []
  } catch (error) {
    if (!isFailure(error)) throw error
    const message = `the restore is done, but the record of it could not be written: ${error.message}`
    context.emit({ type: 'warning', code: 'record-failed', message })
    return [message]
  }
}

/** Drops the copy and notes the failure, unless the catalogue says that the swap happened after all (the answer to its COMMIT was lost). */
async function afterFailedSwap(request: ReplaceRequest, swapping: RestoreRecord, connections: Connections, context: Context): Promise<void> {
  try {
    await using session = await connections.fresh()
    const state = await swapStateOf(session, swapping)
    if (state === 'after') {
      context.emit({
        type: 'warning',
        code: 'swapped-after-all',
        message: `"${request.live.name}" was replaced although this run failed; to go back: tidemark undo ${request.record.run}`,
      })
      return
    }
    if (state === 'before') await dropOwnedDatabase(session, request.copy.oid, 'the swap failed')
    await request.save({ ...swapping, phase: 'failed', endedAt: utc(context.clock.now()) })
  } catch (error) {
    if (!isFailure(error)) throw error
    context.emit({ type: 'warning', code: 'clean-up-failed', message: `after the failed swap, tidying up failed too: ${error.message}` })
  }
}

export type SwapState = 'before' | 'after' | 'neither'

/** What a swap that may have been interrupted did, read from the OIDs. */
export async function swapStateOf(session: Session, record: RestoreRecord): Promise<SwapState> {
  if (record.newOid === null || record.oldOid === null) return 'neither'
  const live = await findDatabase(session, record.database)
  if (live?.oid === record.newOid && (await findDatabaseByOid(session, record.oldOid)) !== undefined) return 'after'
  return live?.oid === record.oldOid ? 'before' : 'neither'
}
