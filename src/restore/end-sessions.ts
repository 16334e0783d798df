import type { Session } from '../postgres/session.ts'

/** Ends every other session in the database. Sessions that we may not end are named by `swapObstacles` and `dropObstacles` beforehand. */
export async function terminateSessions(terminator: Session, databaseOid: number): Promise<number> {
  const rows = await terminator.query<{ ended: boolean }>(
    `SELECT pg_catalog.pg_terminate_backend(pid) AS ended FROM pg_catalog.pg_stat_activity WHERE datid = $1 AND pid <> pg_catalog.pg_backend_pid() AND backend_type IN ('client backend', 'parallel worker')`,
    [databaseOid],
  )
  return rows.length
}
