import type { Context } from '../kernel/context.ts'
import { Failure, messageOf } from '../kernel/failure.ts'
import { quoteIdentifier, quoteLiteral } from '../postgres/identifiers.ts'
import type { Session } from '../postgres/session.ts'

/** One rename of the swap: the database with this OID gets another name. */
export interface Rename {
  readonly oid: number
  readonly from: string
  readonly to: string
}

export interface SwapRequest {
  /** The live database, renamed out of the way first. */
  readonly away: Rename
  /** The restored copy, renamed to the live name. */
  readonly into: Rename
  /** Comments to set in the same transaction, by OID's final name; null removes. */
  readonly comments: readonly { readonly database: string; readonly comment: string | null }[]
}

/**
 * Swaps two databases in one transaction: there is no moment without one under the live name. Renaming the live one locks its
 * name, so that nobody can enter, while `terminator` ends the sessions that are inside; clients that wait see one failed attempt.
 * Sessions must be connected to another database. On any error the transaction is rolled back and everything is as it was.
 */
export async function swapDatabases(renamer: Session, terminator: Session, request: SwapRequest, context: Context): Promise<void> {
  await requireOid(renamer, request.away)
  await requireOid(renamer, request.into)
  await requireSwappable(renamer, request.away.from)
  await renamer.query('BEGIN')
  try {
    await renameWhileTerminating(renamer, terminator, request.away, context)
    await renameWhileTerminating(renamer, terminator, request.into, context)
    for (const { database, comment } of request.comments) {
      await renamer.query(`COMMENT ON DATABASE ${quoteIdentifier(database)} IS ${comment === null ? 'NULL' : quoteLiteral(comment)}`)
    }
    await renamer.query('COMMIT')
  } catch (error) {
    await renamer
      .query('ROLLBACK')
      .catch((rollback: unknown) => context.emit({ type: 'note', message: `the swap's transaction ended with its session: ${messageOf(rollback)}` }))
    throw error
  }
}

/** PostgreSQL waits up to 5 s for the sessions of a database to end before it refuses to rename it; we end them meanwhile. */
async function renameWhileTerminating(renamer: Session, terminator: Session, rename: Rename, context: Context): Promise<void> {
  const done = new AbortController()
  const renaming = renamer.query(`ALTER DATABASE ${quoteIdentifier(rename.from)} RENAME TO ${quoteIdentifier(rename.to)}`).finally(() => done.abort())
  // Two awaits below could reject first; the rename's own outcome is awaited at the end in any case.
  renaming.catch(() => undefined)
  while (!done.signal.aborted) {
    await terminateSessions(terminator, rename.oid)
    await Promise.race([renaming.catch(() => undefined), context.clock.sleep(50, context.signal)])
  }
  await renaming
}

/** Ends every other session in the database. Sessions that we may not end are named by `requireSwappable` beforehand. */
export async function terminateSessions(terminator: Session, databaseOid: number): Promise<number> {
  const rows = await terminator.query<{ ended: boolean }>(
    `SELECT pg_catalog.pg_terminate_backend(pid) AS ended FROM pg_catalog.pg_stat_activity WHERE datid = $1 AND pid <> pg_catalog.pg_backend_pid() AND backend_type IN ('client backend', 'parallel worker')`,
    [databaseOid],
  )
  return rows.length
}

async function requireOid(session: Session, rename: Rename): Promise<void> {
  const [row] = await session.query<{ oid: string }>('SELECT oid::text AS oid FROM pg_catalog.pg_database WHERE datname = $1', [rename.from])
  if (row === undefined || Number(row.oid) !== rename.oid) {
    throw new Failure(
      'target-unsafe',
      `the database "${rename.from}" is not the one that was planned for (expected OID ${rename.oid}, found ${row?.oid ?? 'none'}): somebody changed it meanwhile`,
      {
        hints: ['nothing was renamed; look at the databases and start again'],
      },
    )
  }
}

/** What a rename cannot carry along. Each reason names the statement that would clear it. */
export async function swapObstacles(session: Session, database: string): Promise<readonly string[]> {
  const obstacles: string[] = []
  const subscriptions = await session
    .query<{ subname: string }>('SELECT s.subname FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid WHERE d.datname = $1', [
      database,
    ])
    .catch(deniedAsNone)
  for (const { subname } of subscriptions)
    obstacles.push(`subscription ${subname} feeds this database and would go on feeding the old copy: ALTER SUBSCRIPTION ${quoteIdentifier(subname)} DISABLE`)
  const slots = await session.query<{ slot_name: string; active: boolean }>(
    'SELECT slot_name, active FROM pg_catalog.pg_replication_slots WHERE database = $1',
    [database],
  )
  for (const { slot_name } of slots)
    obstacles.push(
      `logical slot ${slot_name} is tied to the old database and would not see the new one: SELECT pg_drop_replication_slot(${quoteLiteral(slot_name)})`,
    )
  const prepared = await session.query<{ gid: string }>('SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = $1', [database])
  for (const { gid } of prepared)
    obstacles.push(`the prepared transaction ${gid} would block the rename: ROLLBACK PREPARED ${quoteLiteral(gid)} or COMMIT PREPARED`)
  const untouchable = await session.query<{ pid: number; usename: string }>(
    `SELECT a.pid, a.usename FROM pg_catalog.pg_stat_activity a JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
     WHERE a.datname = $1 AND a.pid <> pg_catalog.pg_backend_pid() AND a.backend_type = 'client backend'
       AND NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)
       AND (r.rolsuper OR NOT (pg_catalog.pg_has_role(current_user, a.usesysid, 'MEMBER') OR pg_catalog.pg_has_role(current_user, 'pg_signal_backend', 'MEMBER')))`,
    [database],
  )
  for (const { pid, usename } of untouchable)
    obstacles.push(`session ${pid} of role ${usename} cannot be ended by this role; end it, or use an adminUrl with more rights`)
  return obstacles
}

/** pg_subscription may be read by superusers only before PostgreSQL 16: then there is nothing we can say. */
function deniedAsNone(error: unknown): readonly never[] {
  if (error instanceof Failure && error.code === 'permission-denied') return []
  throw error
}

async function requireSwappable(session: Session, database: string): Promise<void> {
  const obstacles = await swapObstacles(session, database)
  if (obstacles.length > 0) throw new Failure('target-unsafe', `database "${database}" cannot be replaced by a swap`, { hints: obstacles })
}
