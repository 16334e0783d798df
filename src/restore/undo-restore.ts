import { utc } from '../kernel/clock.ts'
import type { Context } from '../kernel/context.ts'
import { Failure } from '../kernel/failure.ts'
import { derivedName, quoteIdentifier } from '../postgres/identifiers.ts'
import type { Session } from '../postgres/session.ts'
import { formatMark } from '../repository/database-mark.ts'
import { swapObstacles } from './obstacles.ts'
import { dropOwnedDatabase, findDatabase, findDatabaseByOid, type FoundDatabase } from './owned-database.ts'
import { saveAfterwards, swapStateOf } from './replace-database.ts'
import type { RestoreRecord } from './run-record.ts'
import { swapDatabases } from './swap.ts'

/** What `undo` would do: swap back, or drop what a restore created. Names what it sets aside. */
export interface UndoPlan {
  readonly run: string
  /** `finish-record`: it was undone already, and only the record does not say so. */
  readonly kind: 'swap-back' | 'drop-created' | 'finish-record' | 'nothing'
  readonly database: string
  /** Where the database that is live now is kept after swapping back. */
  readonly setAside: string | null
  readonly lines: readonly string[]
  readonly refusals: readonly string[]
}

/** Looks at the databases by OID and plans. Pure reading. `isProtected` tells of a name whether a configured cluster has its database there. */
export async function planUndo(
  session: Session,
  record: RestoreRecord,
  { stamp, isProtected }: { readonly stamp: string; readonly isProtected: (database: string) => Promise<boolean> },
): Promise<UndoPlan> {
  const base = { run: record.run, database: record.database, setAside: null, refusals: [] as readonly string[] }
  if (record.oldOid !== null && record.newOid !== null) {
    const state = await swapStateOf(session, record)
    if (state === 'before' && record.phase === 'undoing')
      return { ...base, kind: 'finish-record', lines: [`"${record.database}" was put back already; the record of run ${record.run} is brought up to date`] }
    if (state === 'before') return { ...base, kind: 'nothing', lines: [`the swap of run ${record.run} never happened: "${record.database}" is the original`] }
    const old = await findDatabaseByOid(session, record.oldOid)
    if (state === 'neither' || old === undefined) {
      return {
        ...base,
        kind: 'nothing',
        lines: [],
        refusals: [`what run ${record.run} replaced (kept as "${record.oldName ?? '?'}") is gone, or "${record.database}" was replaced again since`],
      }
    }
    if (old.mark?.kind !== 'old' || old.mark.run !== record.run) {
      return {
        ...base,
        kind: 'nothing',
        lines: [],
        refusals: [`"${old.name}" does not carry the mark of what run ${record.run} replaced, so it is not put in the place of "${record.database}"`],
      }
    }
    const setAside = await freeName(session, record.database, `_undone_${stamp}`)
    const live = await findDatabaseByOid(session, record.newOid)
    return {
      ...base,
      kind: 'swap-back',
      setAside,
      lines: [
        `"${old.name}" becomes "${record.database}" again`,
        `what is "${live?.name ?? record.database}" now, with everything written to it since ${record.endedAt ?? record.startedAt}, is kept as "${setAside}"`,
      ],
      refusals: await swapObstacles(session, record.database),
    }
  }
  if (record.phase === 'dropping' || record.phase === 'dropped') {
    if (record.oldOid !== null && (await findDatabaseByOid(session, record.oldOid)) !== undefined)
      return { ...base, kind: 'nothing', lines: [`run ${record.run} was stopped before it dropped anything: "${record.database}" is the original`] }
    const safety = record.safetyBackup === null ? 'it had no safety backup' : `bring its safety backup back: tidemark restore ${record.safetyBackup} --replace`
    return {
      ...base,
      kind: 'nothing',
      lines: [],
      refusals: [`run ${record.run} dropped the database "${record.database}" that it was to replace, so there is nothing to swap back`, safety],
    }
  }
  const created = record.newOid === null ? undefined : await findDatabaseByOid(session, record.newOid)
  if (created === undefined) return { ...base, kind: 'nothing', lines: [`what run ${record.run} created is gone already`] }
  if (created.mark !== undefined && created.mark.run !== record.run)
    return {
      ...base,
      kind: 'nothing',
      lines: [],
      refusals: [`"${created.name}" was made by another run (${created.mark.run}), so this one's undo does not drop it`],
    }
  if (created.mark === undefined)
    return { ...base, kind: 'nothing', lines: [], refusals: [`"${created.name}" does not carry the mark of a restored copy any more, so it is not dropped`] }
  const refusals = await refusalsOfDrop({ ...created, madeAs: created.mark.name }, record, isProtected)
  if (refusals.length > 0) return { ...base, kind: 'nothing', database: created.name, lines: [], refusals }
  return { ...base, kind: 'drop-created', database: created.name, lines: [`drop "${created.name}", which run ${record.run} created`] }
}

/** A copy that was given another name was given to somebody, and one under a configured name is somebody's production, whatever its comment still says. */
async function refusalsOfDrop(
  { name, madeAs }: Pick<FoundDatabase, 'name'> & { readonly madeAs: string | null },
  { run }: RestoreRecord,
  isProtected: (database: string) => Promise<boolean>,
): Promise<readonly string[]> {
  const reason =
    madeAs !== name
      ? `it was made as "${madeAs ?? '?'}" and is "${name}" now, so somebody has taken it into use`
      : (await isProtected(name))
        ? `"${name}" is a configured database`
        : null
  if (reason === null) return []
  return [`what run ${run} created is not dropped: ${reason}`, `if it really is to go, drop it yourself: DROP DATABASE ${quoteIdentifier(name)}`]
}

/** Two undos of one database may fall into one second, and what is set aside is never renamed for another. */
async function freeName(session: Session, database: string, suffix: string): Promise<string> {
  for (let count = 1; ; count += 1) {
    const name = derivedName(database, count === 1 ? suffix : `${suffix}_${count}`)
    if ((await findDatabase(session, name)) === undefined) return name
  }
}

/** Carries the plan out and records it. Returns warnings: what is done stays done although its record could not be written. */
export async function executeUndo(
  session: Session,
  terminator: Session,
  work: { plan: UndoPlan; record: RestoreRecord; save: (record: RestoreRecord) => Promise<void> },
  context: Context,
): Promise<readonly string[]> {
  const { plan, record, save } = work
  if (plan.refusals.length > 0) throw new Failure('target-unsafe', `run ${plan.run} cannot be undone: ${plan.refusals.join('; ')}`)
  if (plan.kind === 'nothing') throw new Failure('already-done', plan.lines.join('; '))
  if (plan.kind === 'drop-created') {
    if (record.newOid === null) throw new Error('a created database without its OID')
    const now = await findDatabaseByOid(session, record.newOid)
    if (now !== undefined && now.name !== plan.database)
      throw new Failure('target-unsafe', `"${plan.database}" was renamed to "${now.name}" meanwhile; it is not dropped`)
    await dropOwnedDatabase(session, record.newOid, 'undo')
    return saveAfterwards(save, { ...record, phase: 'undone', endedAt: utc(context.clock.now()) }, context)
  }
  if (plan.kind === 'finish-record') {
    await save({ ...record, phase: 'undone', endedAt: utc(context.clock.now()) })
    return []
  }
  if (record.oldOid === null || record.newOid === null || record.oldName === null || plan.setAside === null) throw new Error('a swap without its OIDs')
  const old = await findDatabaseByOid(session, record.oldOid)
  const live = await findDatabaseByOid(session, record.newOid)
  if (old === undefined || live === undefined) throw new Failure('target-unsafe', 'a database of this swap disappeared meanwhile; nothing was renamed')
  await save({ ...record, phase: 'undoing' })
  const mark = {
    kind: 'undone' as const,
    run: record.run,
    backup: record.backup,
    name: plan.setAside,
    at: utc(context.clock.now()),
    expires: null,
    unfinished: false,
  }
  await swapDatabases(
    session,
    terminator,
    {
      away: { oid: live.oid, from: live.name, to: plan.setAside },
      into: { oid: old.oid, from: old.name, to: record.database },
      comments: [
        { database: record.database, comment: live.comment },
        { database: plan.setAside, comment: formatMark(mark) },
      ],
    },
    context,
  )
  return saveAfterwards(save, { ...record, phase: 'undone', endedAt: utc(context.clock.now()) }, context)
}
