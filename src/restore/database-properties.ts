import { Failure, isFailure } from '../kernel/failure.ts'
import { readDatabaseSettings } from '../postgres/database-settings.ts'
import { quoteIdentifier } from '../postgres/identifiers.ts'
import type { Session } from '../postgres/session.ts'
import { applyDatabaseAcl } from './owned-database.ts'
import { settingStatement } from './restore-copy.ts'

/** What belongs to a database and is in no dump of it; the one that takes its place is to have it, too. */
export interface DatabaseProperties {
  readonly owner: string
  readonly acl: readonly string[] | null
  readonly connectionLimit: number
  /** As `readDatabaseSettings` gives them. */
  readonly settings: readonly string[]
  readonly comment: string | null
}

export async function readProperties(session: Session, { oid, name }: { readonly oid: number; readonly name: string }): Promise<DatabaseProperties> {
  const [row] = await session.query<{ acl: string[] | null; limit: number; owner: string; comment: string | null }>(
    `SELECT datacl::text[] AS acl, datconnlimit AS limit, pg_catalog.pg_get_userbyid(datdba) AS owner, pg_catalog.shobj_description(oid, 'pg_database') AS comment
     FROM pg_catalog.pg_database WHERE oid = $1::oid`,
    [oid],
  )
  if (row === undefined) throw new Failure('database-missing', `database "${name}" disappeared while its replacement was restored`)
  return { owner: row.owner, acl: row.acl, connectionLimit: row.limit, settings: await readDatabaseSettings(session, oid), comment: row.comment }
}

/** Gives them to another database, its comment aside. Returns warnings. */
export async function applyProperties(session: Session, database: string, properties: DatabaseProperties): Promise<readonly string[]> {
  const name = quoteIdentifier(database)
  const warnings: string[] = []
  if (properties.acl !== null) {
    const roles = new Set((await session.query<{ rolname: string }>('SELECT rolname FROM pg_catalog.pg_roles')).map((role) => role.rolname))
    warnings.push(...(await applyDatabaseAcl(session, database, properties.acl, roles)))
  }
  if (properties.connectionLimit !== -1) await session.query(`ALTER DATABASE ${name} CONNECTION LIMIT ${properties.connectionLimit}`)
  for (const setting of properties.settings) await session.query(settingStatement(database, setting))
  const [row] = await session.query<{ owner: string }>('SELECT pg_catalog.pg_get_userbyid(datdba) AS owner FROM pg_catalog.pg_database WHERE datname = $1', [
    database,
  ])
  // The owner comes last: a role that is no superuser gives away its right to change the rest with it.
  if (properties.owner !== row?.owner) await session.query(`ALTER DATABASE ${name} OWNER TO ${quoteIdentifier(properties.owner)}`)
  return warnings
}

/** As `applyProperties`, where the database they were of is gone already: what cannot be given is a warning, for a database without it is better than none. */
export async function applyPropertiesOrWarn(session: Session, database: string, properties: DatabaseProperties): Promise<readonly string[]> {
  try {
    return await applyProperties(session, database, properties)
  } catch (error) {
    if (!isFailure(error)) throw error
    return [`not everything that the dropped database had (owner, privileges, settings, connection limit) could be given to the new one: ${error.message}`]
  }
}
