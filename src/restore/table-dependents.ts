import type { QualifiedName } from '../dump/sink.ts'
import { qualifiedName } from '../postgres/identifiers.ts'
import type { Session } from '../postgres/session.ts'

/**
 * What keeps tables from being dropped and made anew, or would be lost with them: views, foreign keys of other tables, functions, partitions, publications (pg_depend).
 * What belongs to a table alone (indexes, triggers, policies, its sequences) is no obstacle. Reads only, and takes no lock. Each as PostgreSQL describes it.
 */
export async function dependentsOf(session: Session, tables: readonly QualifiedName[]): Promise<readonly string[]> {
  if (tables.length === 0) return []
  // So that every name is written with its schema.
  await session.query("SET search_path = ''")
  const rows = await session.query<{ what: string }>(
    `WITH RECURSIVE wanted AS (
       SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
       WHERE (n.nspname, c.relname) IN (SELECT * FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]))) AND c.relkind IN ('r', 'p', 'f', 'm', 'v')
     ), gone (classid, objid) AS (
       SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::oid, oid FROM wanted
       UNION SELECT d.classid, d.objid FROM pg_catalog.pg_depend d JOIN gone ON d.refclassid = gone.classid AND d.refobjid = gone.objid
       WHERE d.deptype IN ('a', 'i', 'P', 'S')
     ), blocking (classid, objid) AS (
       SELECT d.classid, d.objid FROM pg_catalog.pg_depend d JOIN gone ON d.refclassid = gone.classid AND d.refobjid = gone.objid
       WHERE d.deptype NOT IN ('a', 'i', 'P', 'S') AND (d.classid, d.objid) NOT IN (SELECT classid, objid FROM gone)
       -- Dropped with the table without a word: rows of others, and what a publication sends.
       UNION SELECT gone.classid, gone.objid FROM gone JOIN pg_catalog.pg_class c ON gone.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = gone.objid
       WHERE c.relkind IN ('r', 'p', 'f', 'm', 'v') AND c.oid NOT IN (SELECT oid FROM wanted)
       UNION SELECT classid, objid FROM gone WHERE classid = 'pg_catalog.pg_publication_rel'::pg_catalog.regclass
     )
     SELECT DISTINCT CASE WHEN r.oid IS NULL THEN pg_catalog.pg_describe_object(b.classid, b.objid, 0)
                     ELSE pg_catalog.pg_describe_object('pg_catalog.pg_class'::pg_catalog.regclass, r.ev_class, 0) END AS what
     FROM blocking b LEFT JOIN pg_catalog.pg_rewrite r ON b.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND r.oid = b.objid
     WHERE r.oid IS NULL OR r.ev_class NOT IN (SELECT oid FROM wanted) ORDER BY 1`,
    [tables.map(({ schema }) => schema), tables.map(({ name }) => name)],
  )
  return rows.map(({ what }) => what)
}

const shown = 10

/** The dependents as one reason not to drop the tables, with the ways round it; undefined when there are none. */
export async function refusalOfDrop(session: Session, tables: readonly QualifiedName[]): Promise<string | undefined> {
  const dependents = await dependentsOf(session, tables)
  if (dependents.length === 0) return undefined
  const names = tables.map(({ schema, name }) => qualifiedName(schema, name)).join(', ')
  const more = dependents.length > shown ? ` and ${dependents.length - shown} more` : ''
  return `${names} cannot be dropped and made anew: ${dependents.slice(0, shown).join(', ')}${more} depend${dependents.length === 1 ? 's' : ''} on it; select all of them that the backup has (--table), put only the rows back (--data-only --truncate), or restore it beside (--as NAME)`
}
