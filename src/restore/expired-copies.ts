import type { Context } from '../kernel/context.ts'
import { isFailure, messageOf } from '../kernel/failure.ts'
import type { Session } from '../postgres/session.ts'
import type { Mark } from '../repository/database-mark.ts'
import { isRunAlive } from './living-runs.ts'
import { dropOwnedDatabase, listOwnedDatabases } from './owned-database.ts'

/**
 * Drops copies that killed drills and killed replacements left on the server, whose room is needed. Only what carries our mark with an expiry and has
 * the name it was made under. Where its restore is known to be gone (living-runs.ts) it goes at once; programs of that restore which outlived it are ended.
 * Else its time must be over. A session of anybody else inside, a person who looks at it, keeps it in any case.
 * Never fails a run: what cannot be dropped is said.
 */
export async function sweepExpiredCopies(session: Session, context: Context): Promise<void> {
  const now = context.clock.now()
  for (const database of await listOwnedDatabases(session)) {
    const { mark } = database
    // A copy that was renamed was given to somebody, whatever its comment still says.
    if (mark === undefined || mark.expires === null || mark.name !== database.name) continue
    try {
      const isOver = Temporal.Instant.compare(Temporal.Instant.from(mark.expires), now) <= 0
      const isOrphan = await isOrphaned(session, mark)
      if ((!isOver && !isOrphan) || (await isUsed(session, database.oid, { byOurs: !isOrphan }))) continue
      await dropOwnedDatabase(session, database.oid, 'a killed run left it')
      context.emit({
        type: 'warning',
        code: 'leftover-dropped',
        message: `dropped "${database.name}", which a killed ${mark.kind === 'drill' ? 'drill' : 'restore'} had left`,
      })
    } catch (error) {
      if (!isFailure(error)) throw error
      context.emit({ type: 'warning', code: 'clean-up-failed', message: `"${database.name}", left by a killed run, could not be dropped: ${messageOf(error)}` })
    }
  }
}

/** Only restores say that they are alive. */
async function isOrphaned(session: Session, { kind, run }: Mark): Promise<boolean> {
  return kind === 'restore' && !(await isRunAlive(session, run))
}

async function isUsed(session: Session, oid: number, { byOurs }: { readonly byOurs: boolean }): Promise<boolean> {
  const [row] = await session.query<{ used: boolean }>(
    `SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity WHERE datid = $1::oid AND backend_type IN ('client backend', 'parallel worker')
                    AND ($2::boolean OR NOT starts_with(application_name, 'tidemark '))) AS used`,
    [oid, byOurs],
  )
  return row?.used === true
}
