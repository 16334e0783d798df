import type { DerivedObject } from './fingerprint.ts'
import type { ReadingSession } from './read-back-session.ts'

export interface DerivedCheck {
  /** Objects that were looked for. */
  readonly checked: number
  /** What is missing, not valid or not filled. */
  readonly problems: readonly { readonly object: DerivedObject; readonly problem: string }[]
  /** Objects of kinds that are not looked for one by one. */
  readonly unchecked: readonly DerivedObject[]
}

/**
 * One query per kind of object: its name as pg_dump writes it into the table of contents (`tag`), whether it is usable, and
 * for materialised views whether it is filled. `$system` keeps the server's own objects out.
 */
const catalogue: Readonly<Record<string, string>> = {
  relations: `
    SELECT CASE c.relkind WHEN 'r' THEN 'TABLE' WHEN 'p' THEN 'TABLE' WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'f' THEN 'FOREIGN TABLE'
           WHEN 'S' THEN 'SEQUENCE' WHEN 'c' THEN 'TYPE' ELSE 'INDEX' END, n.nspname, c.relname,
           c.relkind <> 'i' OR (i.indisvalid AND i.indisready AND i.indislive), c.relispopulated
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_index i ON i.indexrelid = c.oid WHERE c.relkind <> 't' AND $system`,
  attached: `
    SELECT CASE c.relkind WHEN 'i' THEN 'INDEX ATTACH' WHEN 'I' THEN 'INDEX ATTACH' ELSE 'TABLE ATTACH' END, n.nspname, c.relname, true, true
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relispartition AND $system`,
  constraints: `
    SELECT kind, n.nspname, coalesce(c.relname, t.typname) || ' ' || k.conname, true, true
    FROM pg_constraint k CROSS JOIN (VALUES ('CONSTRAINT'), ('FK CONSTRAINT'), ('CHECK CONSTRAINT')) AS kinds (kind) LEFT JOIN pg_class c ON c.oid = k.conrelid LEFT JOIN pg_type t ON t.oid = k.contypid
    JOIN pg_namespace n ON n.oid = coalesce(c.relnamespace, t.typnamespace)
    WHERE kind = CASE k.contype WHEN 'f' THEN 'FK CONSTRAINT' WHEN 'c' THEN 'CHECK CONSTRAINT' ELSE 'CONSTRAINT' END AND $system`,
  triggers: `
    SELECT 'TRIGGER', n.nspname, c.relname || ' ' || t.tgname, true, true
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT t.tgisinternal AND $system`,
  rules: `
    SELECT 'RULE', n.nspname, c.relname || ' ' || r.rulename, true, true
    FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace WHERE $system`,
  policies: `
    SELECT 'POLICY', n.nspname, c.relname || ' ' || p.polname, true, true
    FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE $system`,
  rowSecurity: `
    SELECT 'ROW SECURITY', n.nspname, c.relname, true, true FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relrowsecurity AND $system`,
  defaults: `
    SELECT 'DEFAULT', n.nspname, c.relname || ' ' || a.attname, true, true
    FROM pg_attrdef d JOIN pg_class c ON c.oid = d.adrelid JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE $system`,
  routines: `
    SELECT CASE p.prokind WHEN 'a' THEN 'AGGREGATE' WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END, n.nspname,
           p.proname || '(' || CASE WHEN p.prokind = 'a' AND p.pronargs = 0 THEN '*' ELSE
             coalesce((SELECT string_agg(format_type(type, NULL), ', ' ORDER BY at) FROM unnest(p.proargtypes) WITH ORDINALITY AS args (type, at)), '') END || ')', true, true
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE $system`,
  types: `
    SELECT CASE t.typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END, n.nspname, t.typname, t.typisdefined, true
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE $system`,
  statistics: `SELECT 'STATISTICS', n.nspname, s.stxname, true, true FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE $system`,
  collations: `SELECT 'COLLATION', n.nspname, c.collname, true, true FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace WHERE $system`,
  conversions: `SELECT 'CONVERSION', n.nspname, c.conname, true, true FROM pg_conversion c JOIN pg_namespace n ON n.oid = c.connamespace WHERE $system`,
  operators: `SELECT 'OPERATOR', n.nspname, o.oprname, true, true FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace WHERE $system`,
  operatorClasses: `SELECT 'OPERATOR CLASS', n.nspname, o.opcname, true, true FROM pg_opclass o JOIN pg_namespace n ON n.oid = o.opcnamespace WHERE $system`,
  operatorFamilies: `SELECT 'OPERATOR FAMILY', n.nspname, o.opfname, true, true FROM pg_opfamily o JOIN pg_namespace n ON n.oid = o.opfnamespace WHERE $system`,
  searchConfigurations: `SELECT 'TEXT SEARCH CONFIGURATION', n.nspname, c.cfgname, true, true FROM pg_ts_config c JOIN pg_namespace n ON n.oid = c.cfgnamespace WHERE $system`,
  searchDictionaries: `SELECT 'TEXT SEARCH DICTIONARY', n.nspname, d.dictname, true, true FROM pg_ts_dict d JOIN pg_namespace n ON n.oid = d.dictnamespace WHERE $system`,
  schemas: `SELECT 'SCHEMA', '', nspname, true, true FROM pg_namespace`,
  extensions: `SELECT 'EXTENSION', '', extname, true, true FROM pg_extension`,
  eventTriggers: `SELECT 'EVENT TRIGGER', '', evtname, true, true FROM pg_event_trigger`,
  publications: `SELECT 'PUBLICATION', '', pubname, true, true FROM pg_publication`,
  foreignDataWrappers: `SELECT 'FOREIGN DATA WRAPPER', '', fdwname, true, true FROM pg_foreign_data_wrapper`,
  servers: `SELECT 'SERVER', '', srvname, true, true FROM pg_foreign_server`,
  userMappings: `SELECT 'USER MAPPING', '', 'USER MAPPING ' || CASE WHEN umuser = 0 THEN 'public' ELSE pg_get_userbyid(umuser)::text END || ' SERVER ' || srvname, true, true
    FROM pg_user_mapping JOIN pg_foreign_server s ON s.oid = umserver`,
  languages: `SELECT 'PROCEDURAL LANGUAGE', '', lanname, true, true FROM pg_language`,
  publicationTables: `
    SELECT 'PUBLICATION TABLE', n.nspname, p.pubname || ' ' || c.relname, true, true
    FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace`,
}

const kinds = new Set([
  'TABLE',
  'VIEW',
  'MATERIALIZED VIEW',
  'FOREIGN TABLE',
  'SEQUENCE',
  'TYPE',
  'DOMAIN',
  'INDEX',
  'INDEX ATTACH',
  'TABLE ATTACH',
  'CONSTRAINT',
  'FK CONSTRAINT',
  'CHECK CONSTRAINT',
  'TRIGGER',
  'RULE',
  'POLICY',
  'ROW SECURITY',
  'DEFAULT',
  'FUNCTION',
  'PROCEDURE',
  'AGGREGATE',
  'STATISTICS',
  'COLLATION',
  'CONVERSION',
  'OPERATOR',
  'OPERATOR CLASS',
  'OPERATOR FAMILY',
  'TEXT SEARCH CONFIGURATION',
  'TEXT SEARCH DICTIONARY',
  'SCHEMA',
  'EXTENSION',
  'EVENT TRIGGER',
  'PUBLICATION',
  'FOREIGN DATA WRAPPER',
  'SERVER',
  'USER MAPPING',
  'PROCEDURAL LANGUAGE',
  'PUBLICATION TABLE',
])

const system = "n.nspname !~ '^pg_(catalog|toast|temp)' AND n.nspname <> 'information_schema'"

/** Looks for every object in the copy's catalogue. search_path must be empty, as `readBack` sets it, so that types in signatures are written as pg_dump does. */
export async function checkDerived(session: ReadingSession, derived: readonly DerivedObject[]): Promise<DerivedCheck> {
  const wanted = derived.filter(({ desc }) => kinds.has(desc))
  const unchecked = derived.filter(({ desc }) => !kinds.has(desc))
  if (wanted.length === 0) return { checked: 0, problems: [], unchecked }
  const parts = Object.values(catalogue).map((part) => `(${part.replaceAll('$system', system).replace(/^\s*SELECT/, 'SELECT')})`)
  const sql = `SELECT kind::text, schema::text, tag::text, usable, filled FROM (${parts.join(' UNION ALL ')}) AS found (kind, schema, tag, usable, filled)`
  const found = await session.query<{ kind: string; schema: string; tag: string; usable: boolean; filled: boolean }>(sql)
  const known = new Map(found.map((object) => [keyOf(object.kind, object.schema, object.tag), object]))
  const problems = wanted.flatMap((object) => {
    const there = known.get(keyOf(object.desc, object.schema, object.tag))
    if (there === undefined) return [{ object, problem: 'it is missing in the restored copy' }]
    if (!there.usable) return [{ object, problem: 'it is not valid in the restored copy' }]
    if (object.populated !== null && object.populated !== there.filled)
      return [{ object, problem: object.populated ? 'it is not filled in the restored copy' : 'it is filled although the dump leaves it empty' }]
    return []
  })
  return { checked: wanted.length, problems, unchecked }
}

/** Line ends in names are spaces in the comments of plain SQL, from where the name may come. Schemas and extensions have no schema of their own. */
function keyOf(kind: string, schema: string, tag: string): string {
  return JSON.stringify([kind, schema, tag]).replaceAll(/\\[nr]/g, ' ')
}
