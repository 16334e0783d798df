import { identifierAsNeeded } from './identifiers.ts'

export interface BackupRoleWish {
  readonly role: string
  readonly database: string
  /** The server's major; before 14 there is no pg_read_all_data and every schema is granted by itself. Default 14. */
  readonly serverMajor?: number
  /** User schemas, needed before 14. Default: `public`. */
  readonly schemas?: readonly string[]
  /** Roles that create tables: their future tables are granted too (before 14). Default: the role that runs the script. */
  readonly owners?: readonly string[]
  /** Every other role that uses the database. With them PUBLIC's right to connect is taken away; without them that is only shown, since it would lock them out. */
  readonly otherRoles?: readonly string[]
  /** Whether tables with row-level security exist. Default true: without the right, the first such table breaks the backup. */
  readonly bypassRls?: boolean
}

/**
 * SQL that makes a role which can dump one database and nothing else: no superuser, no right to write, no other database.
 * The password is left for the person who runs it (`\password`), so that it appears in no script and no log.
 */
export function backupRoleSql(wish: BackupRoleWish): string {
  const role = identifierAsNeeded(wish.role)
  const database = identifierAsNeeded(wish.database)
  const bypass = wish.bypassRls === false ? '' : ' BYPASSRLS'
  return [
    `-- Run in psql as superuser (or as a role with CREATEROLE and rights on ${comment(wish.database)}), connected to the database ${comment(wish.database)}.`,
    `CREATE ROLE ${role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION${bypass} CONNECTION LIMIT 20;`,
    `-- Then give it a password that is written nowhere:  \\password ${comment(role)}`,
    ...(bypass === '' ? [] : ['-- BYPASSRLS: pg_dump stops at the first table with row-level security without it.']),
    ``,
    `GRANT CONNECT ON DATABASE ${database} TO ${role};`,
    ...closeToPublic(database, wish.otherRoles),
    ``,
    ...((wish.serverMajor ?? 14) >= 14 ? readAll(role) : readSchemas(role, wish)),
    ``,
    `-- Large objects are not covered by the above; those that exist now:`,
    `DO $$ DECLARE o oid; BEGIN FOR o IN SELECT oid FROM pg_catalog.pg_largeobject_metadata LOOP EXECUTE pg_catalog.format('GRANT SELECT ON LARGE OBJECT %s TO %I', o, '${wish.role.replaceAll("'", "''")}'); END LOOP; END $$;`,
    ``,
    `-- A dump is one long transaction; limits meant for the application must not cut it off.`,
    `ALTER ROLE ${role} IN DATABASE ${database} SET statement_timeout = 0;`,
    `ALTER ROLE ${role} IN DATABASE ${database} SET idle_in_transaction_session_timeout = 0;`,
    `ALTER ROLE ${role} SET default_transaction_read_only = on;`,
    ``,
    `-- In pg_hba.conf, before more general lines (TLS and a verified password; ADDRESS is the host that runs Tidemark):`,
    `--   hostssl  ${comment(database)}  ${comment(role)}  ADDRESS/32  scram-sha-256`,
    ``,
  ].join('\n')
}

function closeToPublic(database: string, otherRoles: readonly string[] | undefined): readonly string[] {
  if (otherRoles !== undefined) {
    return [
      ...otherRoles.map((other) => `GRANT CONNECT, TEMPORARY ON DATABASE ${database} TO ${identifierAsNeeded(other)};`),
      `REVOKE ALL ON DATABASE ${database} FROM PUBLIC;`,
    ]
  }
  return [
    `-- Advised, once every role of the application has its own GRANT CONNECT (without one it is locked out):`,
    `--   REVOKE ALL ON DATABASE ${comment(database)} FROM PUBLIC;`,
  ]
}

function readAll(role: string): readonly string[] {
  return [
    `-- SELECT on every table, view and sequence and USAGE on every schema, future ones included (PostgreSQL 14+).`,
    `-- It also reads pg_authid, that is the password hashes of all roles: keep this role's password like a superuser's.`,
    `GRANT pg_read_all_data TO ${role};`,
  ]
}

function readSchemas(role: string, wish: BackupRoleWish): readonly string[] {
  const schemas = (wish.schemas ?? ['public']).map(identifierAsNeeded)
  const owners = wish.owners === undefined ? [''] : wish.owners.map((owner) => ` FOR ROLE ${identifierAsNeeded(owner)}`)
  return [
    `-- Before PostgreSQL 14: schema by schema, with the tables that will be made later.`,
    ...schemas.flatMap((schema) => [
      `GRANT USAGE ON SCHEMA ${schema} TO ${role};`,
      `GRANT SELECT ON ALL TABLES IN SCHEMA ${schema} TO ${role};`,
      `GRANT SELECT ON ALL SEQUENCES IN SCHEMA ${schema} TO ${role};`,
      ...owners.flatMap((owner) => [
        `ALTER DEFAULT PRIVILEGES${owner} IN SCHEMA ${schema} GRANT SELECT ON TABLES TO ${role};`,
        `ALTER DEFAULT PRIVILEGES${owner} IN SCHEMA ${schema} GRANT SELECT ON SEQUENCES TO ${role};`,
      ]),
    ]),
  ]
}

/** A name in a comment must not be able to end it. */
function comment(text: string): string {
  return text.replace(/[\r\n]/g, '⏎')
}
