import type { Context } from '../kernel/context.ts'
import { isFailure, messageOf } from '../kernel/failure.ts'
import type { Session } from '../postgres/session.ts'
import { dropOwnedDatabase, listOwnedDatabases } from './owned-database.ts'

/**
 * Drops copies whose time is over: those that killed drills and killed replacements left on the server. Only what carries our mark with an
 * expiry in the past, and has no session inside: a long restore that still runs and a person who looks at a kept copy are left alone.
 * Never fails a run: what cannot be dropped is said.
 */
export async function sweepExpiredCopies(session: Session, context: Context): Promise<void> {
  const now = context.clock.now()
  for (const database of await listOwnedDatabases(session)) {
    const expires = database.mark?.expires ?? null
    // A copy that was renamed was given to somebody, whatever its comment still says.
    if (expires === null || database.mark?.name !== database.name || Temporal.Instant.compare(Temporal.Instant.from(expires), now) > 0) continue
    try {
      if (await isUsed(session, database.oid)) continue
      await dropOwnedDatabase(session, database.oid, 'its time is over')
      context.emit({
        type: 'warning',
        code: 'leftover-dropped',
        message: `dropped "${database.name}", which a killed ${database.mark?.kind === 'drill' ? 'drill' : 'restore'} had left`,
      })
    } catch (error) {
      if (!isFailure(error)) throw error
      context.emit({ type: 'warning', code: 'clean-up-failed', message: `"${database.name}", left by a killed run, could not be dropped: ${messageOf(error)}` })
    }
  }
}

async function isUsed(session: Session, oid: number): Promise<boolean> {
  const [row] = await session.query<{ used: boolean }>('SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity WHERE datid = $1::oid) AS used', [oid])
  return row?.used === true
}
