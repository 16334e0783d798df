import { isFailure } from '../kernel/failure.ts'
import { quoteIdentifier, quoteLiteral } from '../postgres/identifiers.ts'
import type { Session } from '../postgres/session.ts'

/** What a rename cannot carry along. Each reason names the statement that would clear it. */
export async function swapObstacles(session: Session, database: string): Promise<readonly string[]> {
  const enabled = (await subscriptions(session, database)).filter((each) => each.enabled)
  return [
    ...enabled.map(
      ({ name }) =>
        `subscription ${name} feeds this database and would go on feeding the old copy; in "${database}": ALTER SUBSCRIPTION ${quoteIdentifier(name)} DISABLE`,
    ),
    ...(await logicalSlots(session, database)).map(
      ({ name }) => `logical slot ${name} is tied to the old database and would not see the new one: SELECT pg_drop_replication_slot(${quoteLiteral(name)})`,
    ),
    ...(await preparedTransactions(session, database, 'rename')),
    ...(await untouchableSessions(session, database)),
  ]
}

/** What PostgreSQL refuses to drop a database for. Each reason names the statement that would clear it. */
export async function dropObstacles(session: Session, database: string): Promise<readonly string[]> {
  return [
    ...(await subscriptions(session, database)).map(({ name }) => {
      const quoted = quoteIdentifier(name)
      return `a database with a subscription (${name}) cannot be dropped; in "${database}": ALTER SUBSCRIPTION ${quoted} DISABLE; ALTER SUBSCRIPTION ${quoted} SET (slot_name = NONE); DROP SUBSCRIPTION ${quoted} (its slot on the publisher stays, and keeps WAL there, until somebody drops it)`
    }),
    ...(await logicalSlots(session, database))
      .filter(({ active }) => active)
      .map(({ name }) => `logical slot ${name} is being read: end its reader, and SELECT pg_drop_replication_slot(${quoteLiteral(name)})`),
    ...(await preparedTransactions(session, database, 'drop')),
    ...(await untouchableSessions(session, database)),
  ]
}

/** Before PostgreSQL 16 a role may be denied to see them: then there is nothing we can say. */
async function subscriptions(session: Session, database: string): Promise<readonly { name: string; enabled: boolean }[]> {
  try {
    return await session.query<{ name: string; enabled: boolean }>(
      'SELECT s.subname AS name, s.subenabled AS enabled FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid WHERE d.datname = $1',
      [database],
    )
  } catch (error) {
    if (isFailure(error, 'permission-denied')) return []
    throw error
  }
}

export function logicalSlots(session: Session, database: string): Promise<readonly { name: string; active: boolean }[]> {
  return session.query<{ name: string; active: boolean }>('SELECT slot_name AS name, active FROM pg_catalog.pg_replication_slots WHERE database = $1', [
    database,
  ])
}

async function preparedTransactions(session: Session, database: string, what: 'rename' | 'drop'): Promise<readonly string[]> {
  const prepared = await session.query<{ gid: string }>('SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = $1', [database])
  return prepared.map(
    ({ gid }) => `the prepared transaction ${gid} would block the ${what}; in "${database}": ROLLBACK PREPARED ${quoteLiteral(gid)} or COMMIT PREPARED`,
  )
}

async function untouchableSessions(session: Session, database: string): Promise<readonly string[]> {
  const untouchable = await session.query<{ pid: number; usename: string }>(
    `SELECT a.pid, a.usename FROM pg_catalog.pg_stat_activity a JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
     WHERE a.datname = $1 AND a.pid <> pg_catalog.pg_backend_pid() AND a.backend_type = 'client backend'
       AND NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)
       AND (r.rolsuper OR NOT (pg_catalog.pg_has_role(current_user, a.usesysid, 'MEMBER') OR pg_catalog.pg_has_role(current_user, 'pg_signal_backend', 'MEMBER')))`,
    [database],
  )
  return untouchable.map(({ pid, usename }) => `session ${pid} of role ${usename} cannot be ended by this role; end it, or use an adminUrl with more rights`)
}
