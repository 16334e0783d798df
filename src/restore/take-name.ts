import { utc } from '../kernel/clock.ts'
import { asFailure, Failure, isFailure, messageOf } from '../kernel/failure.ts'
import { quoteIdentifier } from '../postgres/identifiers.ts'
import { formatMark } from '../repository/database-mark.ts'
import { applyPropertiesOrWarn, type DatabaseProperties } from './database-properties.ts'
import { commentDatabase, findDatabase, findDatabaseByOid } from './owned-database.ts'
import type { RestoredCopy } from './restore-copy.ts'
import type { RestoreWork } from './restore-request.ts'
import { renameDatabase } from './swap.ts'

/**
 * Gives a copy that is whole the name that it was made for, and which has been free since then. `dropped` is what had the name before. Our mark goes where
 * the copy is production from now on. When it cannot be done the copy is kept under the name that it has, for what it replaces is gone.
 */
export async function takeName(work: RestoreWork, copy: RestoredCopy, dropped: DatabaseProperties | null): Promise<RestoredCopy> {
  const { server, plan, context } = work
  const admin = server.reached.session
  const warnings = dropped === null ? [] : await applyPropertiesOrWarn(admin, copy.database, dropped)
  try {
    const other = await findDatabase(admin, plan.database)
    if (other !== undefined) throw new Failure('target-unsafe', `somebody else made a database "${plan.database}" meanwhile`)
    await using terminator = await server.connections.fresh()
    const rename = { oid: copy.oid, from: copy.database, to: plan.database }
    await renameDatabase(admin, terminator, { rename, comment: commentOf(work, dropped, plan.database) }, context)
  } catch (error) {
    if (!(await isNamed(work, copy))) throw await keepAside(work, copy, error)
    context.emit({ type: 'note', message: `the answer to the rename was lost (${messageOf(error)}), and it was done` })
  }
  return { ...copy, database: plan.database, warnings: [...copy.warnings, ...warnings] }
}

/** The database that was dropped had no mark of ours, so the one in its place has none. */
function commentOf({ request, plan, context }: RestoreWork, dropped: DatabaseProperties | null, name: string): string | null {
  if (request.goal.kind === 'replace') return dropped === null ? (request.manifest?.source?.comment ?? null) : dropped.comment
  return formatMark({ kind: 'restore', run: request.run, backup: plan.backup, name, at: utc(context.clock.now()), expires: null, unfinished: false })
}

/** Whether the rename was committed although we were not told. Unknown counts as no: then the copy is looked for under its old name, and what is found there is said. */
async function isNamed({ server, plan, context }: RestoreWork, copy: RestoredCopy): Promise<boolean> {
  try {
    await using session = await server.connections.fresh()
    return (await findDatabaseByOid(session, copy.oid))?.name === plan.database
  } catch (error) {
    if (!isFailure(error)) throw error
    context.emit({ type: 'note', message: `whether the rename was done cannot be looked up: ${error.message}` })
    return false
  }
}

async function keepAside(work: RestoreWork, copy: RestoredCopy, error: unknown): Promise<Failure> {
  const { server, plan, context } = work
  const failure = asFailure(error)
  try {
    await using session = await server.connections.fresh()
    // From now on nobody but a person removes it.
    await commentDatabase(
      session,
      copy.database,
      commentOf({ ...work, request: { ...work.request, goal: { kind: 'new', name: copy.database, explicit: true } } }, null, copy.database),
    )
  } catch (unmarked) {
    if (!isFailure(unmarked)) throw unmarked
    context.emit({
      type: 'warning',
      code: 'clean-up-failed',
      message: `"${copy.database}" still has an end of its life in its comment (${unmarked.message}): COMMENT ON DATABASE ${quoteIdentifier(copy.database)} IS NULL`,
    })
  }
  return new Failure(failure.code, `the backup was restored, but could not be given the name "${plan.database}": ${failure.message}`, {
    cause: error,
    hints: [
      `it is whole and is kept as "${copy.database}"; when the name is free: ALTER DATABASE ${quoteIdentifier(copy.database)} RENAME TO ${quoteIdentifier(plan.database)}`,
      ...failure.hints,
    ],
    details: failure.details,
  })
}
