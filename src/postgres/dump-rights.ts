import { identifierAsNeeded, qualifiedName } from './identifiers.ts'
import type { Session } from './session.ts'

/** Something about the role or the database that a dump will run into. */
export interface Finding {
  /** `error`: the dump fails. `warning`: it works, and something should be known or may bite later. */
  readonly severity: 'error' | 'warning'
  /** What is the matter, with the objects named. */
  readonly what: string
  /** Statements that mend it, for the owner or a superuser; null where none does. */
  readonly fixSql: string | null
}

/** Names in a sentence; the rest is counted. */
const namesShown = 5

/**
 * What stands in the way of a complete dump of this session's database by this session's role. An empty list was really looked
 * for: each check is a query over the catalog.
 */
export async function checkDumpRights(session: Session): Promise<readonly Finding[]> {
  const [role] = await session.query<{ name: string; superuser: boolean; bypass: boolean; readsAll: boolean }>(
    `SELECT rolname::text AS name, rolsuper AS superuser, rolbypassrls AS bypass,
        EXISTS (SELECT FROM pg_catalog.pg_roles g WHERE g.rolname = 'pg_read_all_data' AND pg_catalog.pg_has_role(r.oid, g.oid, 'USAGE')) AS "readsAll"
      FROM pg_catalog.pg_roles r WHERE rolname = current_user`,
  )
  if (role === undefined) throw new Error('the current user is not in pg_roles')
  const name = identifierAsNeeded(role.name)
  const found: Finding[] = []
  if (!role.superuser) {
    found.push(...(await unreadableSchemas(session, name)))
    found.push(...(await unreadableTables(session, name)))
    found.push(...(await unreadableSequences(session, name)))
    found.push(...(await unreadableLargeObjects(session, name)))
    if (!role.bypass) found.push(...(await rowSecurity(session, name)))
    if (role.readsAll) found.push(await secrecy(session, name))
  }
  found.push(...(await timeouts(session, name)))
  found.push(...(await specialTables(session)))
  found.push(...(await invalidDatabases(session)))
  return found
}

/** User objects only: what pg_dump looks at. Extensions' own members are dumped as CREATE EXTENSION, unless they registered configuration data. */
const userSchema = `n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'`
const dumpedRelation = `${userSchema} AND c.relpersistence <> 't'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e'
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_extension e WHERE e.oid = d.refobjid AND c.oid = ANY (e.extconfig)))`

async function unreadableSchemas(session: Session, role: string): Promise<readonly Finding[]> {
  const schemas = await session.query<{ name: string }>(
    `SELECT n.nspname::text AS name FROM pg_catalog.pg_namespace n WHERE ${userSchema} AND NOT pg_catalog.has_schema_privilege(n.oid, 'USAGE') ORDER BY 1`,
  )
  if (schemas.length === 0) return []
  const names = schemas.map((schema) => identifierAsNeeded(schema.name))
  return [
    {
      severity: 'error',
      what: `the role ${role} may not look into ${names.length} schema${plural(names)}: ${listed(names)}`,
      fixSql: names.map((schema) => `GRANT USAGE ON SCHEMA ${schema} TO ${role};`).join('\n'),
    },
  ]
}

async function unreadableTables(session: Session, role: string): Promise<readonly Finding[]> {
  // LOCK TABLE … IN ACCESS SHARE MODE, which pg_dump does first, needs SELECT on the whole table; materialised views and foreign tables are not read.
  const tables = await relations(session, `c.relkind IN ('r', 'p') AND NOT pg_catalog.has_table_privilege(c.oid, 'SELECT')`)
  if (tables.length === 0) return []
  return [
    {
      severity: 'error',
      what: `the role ${role} may not read ${tables.length} table${plural(tables)}: ${listed(tables)}`,
      fixSql: [...tables.map((table) => `GRANT SELECT ON TABLE ${table} TO ${role};`), ...readAllHint(session, role)].join('\n'),
    },
  ]
}

async function unreadableSequences(session: Session, role: string): Promise<readonly Finding[]> {
  // has_sequence_privilege fails for whatever is none, and the planner may ask it first.
  const sequences = await relations(session, `c.relkind = 'S' AND NOT pg_catalog.has_table_privilege(c.oid, 'SELECT')`)
  if (sequences.length === 0) return []
  return [
    {
      severity: 'error',
      what: `the role ${role} may not read ${sequences.length} sequence${plural(sequences)}: ${listed(sequences)}`,
      fixSql: [...sequences.map((sequence) => `GRANT SELECT ON SEQUENCE ${sequence} TO ${role};`), ...readAllHint(session, role)].join('\n'),
    },
  ]
}

function readAllHint(session: Session, role: string): readonly string[] {
  return session.serverVersionNum >= 140_000 ? [`-- or, for these and all future ones: GRANT pg_read_all_data TO ${role};`] : []
}

async function unreadableLargeObjects(session: Session, role: string): Promise<readonly Finding[]> {
  // has_largeobject_privilege exists since 18. Before, the owner and the ACL are asked: pg_read_all_data covers no large objects.
  const unreadable =
    session.serverVersionNum >= 180_000
      ? `NOT pg_catalog.has_largeobject_privilege(m.oid, 'SELECT')`
      : `NOT pg_catalog.pg_has_role(m.lomowner, 'USAGE') AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(m.lomacl) a
          WHERE a.privilege_type = 'SELECT' AND (a.grantee = 0 OR pg_catalog.pg_has_role(a.grantee, 'USAGE')))`
  const [row] = await session.query<{ count: string; some: readonly string[] | null }>(
    `SELECT count(*) AS count, (pg_catalog.array_agg(oid::text ORDER BY oid))[1:${namesShown}] AS some FROM pg_catalog.pg_largeobject_metadata m WHERE ${unreadable}`,
  )
  const count = Number(row?.count ?? 0)
  if (count === 0) return []
  return [
    {
      severity: 'error',
      what: `the role ${role} may not read ${count} large object${count === 1 ? '' : 's'}: ${(row?.some ?? []).join(', ')}${count > namesShown ? ', …' : ''}`,
      fixSql: `DO $$ DECLARE o oid; BEGIN FOR o IN SELECT oid FROM pg_catalog.pg_largeobject_metadata LOOP EXECUTE pg_catalog.format('GRANT SELECT ON LARGE OBJECT %s TO %s', o, ${literal(role)}); END LOOP; END $$;\n-- large objects made later need it again`,
    },
  ]
}

async function rowSecurity(session: Session, role: string): Promise<readonly Finding[]> {
  // Owners are exempt unless the table says FORCE.
  const tables = await relations(session, `c.relrowsecurity AND (c.relforcerowsecurity OR NOT pg_catalog.pg_has_role(c.relowner, 'USAGE'))`)
  if (tables.length === 0) return []
  return [
    {
      severity: 'error',
      what: `row-level security would hide rows of ${tables.length} table${plural(tables)} from the role ${role}, and pg_dump then stops: ${listed(tables)}`,
      fixSql: `ALTER ROLE ${role} BYPASSRLS;`,
    },
  ]
}

async function secrecy(session: Session, role: string): Promise<Finding> {
  const [row] = await session.query<{ hashes: boolean }>(`SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT') AS hashes`)
  return row?.hashes === true
    ? {
        severity: 'warning',
        what: `the role ${role} can read the password hashes of all roles (pg_authid), so keep its password like a superuser's`,
        fixSql: null,
      }
    : { severity: 'warning', what: `the role ${role} can read all data, so keep its password like a superuser's`, fixSql: null }
}

async function timeouts(session: Session, role: string): Promise<readonly Finding[]> {
  // What a new session of this role in this database gets, not what ours was given.
  const rows = await session.query<{ name: string; value: string }>(
    `SELECT s.name, s.reset_val AS value FROM pg_catalog.pg_settings s
      WHERE s.name IN ('statement_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout') AND s.reset_val <> '0' ORDER BY 1`,
  )
  return rows.map(({ name, value }) => ({
    severity: 'warning',
    what: `${name} is ${value} ms for the role ${role}; Tidemark turns it off in its own sessions, other programs of this role would be cut off`,
    fixSql: `ALTER ROLE ${role} SET ${name} = 0;`,
  }))
}

async function specialTables(session: Session): Promise<readonly Finding[]> {
  const unlogged = await relations(session, `c.relkind IN ('r', 'p') AND c.relpersistence = 'u'`)
  const foreign = await relations(session, `c.relkind = 'f'`)
  const found: Finding[] = []
  if (unlogged.length > 0) {
    found.push({
      severity: 'warning',
      what: `${unlogged.length} unlogged table${plural(unlogged)} will be in dumps, but not in base backups, and are emptied by a crash: ${listed(unlogged)}`,
      fixSql: null,
    })
  }
  if (foreign.length > 0) {
    found.push({
      severity: 'warning',
      what: `the rows of ${foreign.length} foreign table${plural(foreign)} live on another server and are not in any backup of this one: ${listed(foreign)}`,
      fixSql: null,
    })
  }
  return found
}

async function invalidDatabases(session: Session): Promise<readonly Finding[]> {
  const rows = await session.query<{ name: string }>(`SELECT datname::text AS name FROM pg_catalog.pg_database WHERE datconnlimit = -2 ORDER BY 1`)
  return rows.map(({ name }) => ({
    severity: 'warning',
    what: `the database ${identifierAsNeeded(name)} is invalid (a DROP DATABASE was interrupted): it cannot be dumped`,
    fixSql: `DROP DATABASE ${identifierAsNeeded(name)};`,
  }))
}

async function relations(session: Session, condition: string): Promise<readonly string[]> {
  const rows = await session.query<{ schema: string; name: string }>(
    `SELECT n.nspname::text AS schema, c.relname::text AS name FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE ${dumpedRelation} AND ${condition} ORDER BY 1, 2`,
  )
  return rows.map(({ schema, name }) => qualifiedName(schema, name))
}

function listed(names: readonly string[]): string {
  const shown = names.slice(0, namesShown).join(', ')
  return names.length > namesShown ? `${shown} and ${names.length - namesShown} more` : shown
}

function plural(names: readonly string[]): string {
  return names.length === 1 ? '' : 's'
}

function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}
