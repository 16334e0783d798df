import type { Session } from './session.ts'

/** Settings of a database by ALTER DATABASE and ALTER ROLE … IN DATABASE: `name=value`, with `role<TAB>` before it for a role's. */
export async function readDatabaseSettings(session: Session, databaseOid: number): Promise<string[]> {
  const rows = await session.query<{ setting: string }>(
    `SELECT CASE WHEN s.setrole = 0 THEN '' ELSE pg_catalog.pg_get_userbyid(s.setrole) || E'\\t' END || u.setting AS setting
     FROM pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) AS u(setting) WHERE s.setdatabase = $1::oid ORDER BY 1`,
    [databaseOid],
  )
  return rows.map((row) => row.setting)
}
