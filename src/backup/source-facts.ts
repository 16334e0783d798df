import { readDatabaseSettings } from '../postgres/database-settings.ts'
import type { Session } from '../postgres/session.ts'
import { readSystemIdentifier } from '../postgres/system-identifier.ts'
import type { ConnectionTarget } from '../postgres/target.ts'
import { parseMark } from '../repository/database-mark.ts'
import type { DumpSource } from '../repository/manifest.ts'

interface DatabaseRow {
  version: string
  oid: string
  encoding: string
  collate: string | null
  ctype: string | null
  provider: string | null
  icu_locale: string | null
  icu_rules: string | null
  owner: string | null
  comment: string | null
  connection_limit: number | null
  acl: string[] | null
  bytes: string | null
}

/** Everything about the database itself that a dump does not hold and that a copy should have too. */
export async function readSourceFacts(session: Session, target: ConnectionTarget): Promise<DumpSource> {
  const major = Math.floor(session.serverVersionNum / 10_000)
  const provider = major >= 15 ? `CASE d.datlocprovider WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'libc' END` : 'NULL'
  const icuLocale = major >= 17 ? 'd.datlocale' : major >= 15 ? 'd.daticulocale' : 'NULL'
  const icuRules = major >= 16 ? 'd.daticurules' : 'NULL'
  const [row] = await session.query<DatabaseRow>(
    `SELECT pg_catalog.split_part(pg_catalog.current_setting('server_version'), ' ', 1) AS version, d.oid::text AS oid, pg_catalog.pg_encoding_to_char(d.encoding) AS encoding,
            d.datcollate AS "collate", d.datctype AS ctype, ${provider} AS provider, ${icuLocale} AS icu_locale, ${icuRules} AS icu_rules,
            pg_catalog.pg_get_userbyid(d.datdba) AS owner, pg_catalog.shobj_description(d.oid, 'pg_database') AS comment, d.datconnlimit AS connection_limit,
            d.datacl::text[] AS acl, pg_catalog.pg_database_size(d.oid)::text AS bytes
     FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()`,
  )
  if (row === undefined) throw new Error('the current database is not in pg_database')
  return {
    serverVersion: row.version,
    serverMajor: major,
    systemIdentifier: await readSystemIdentifier(session),
    host: target.host,
    port: target.port,
    database: session.database,
    encoding: row.encoding,
    collate: row.collate,
    ctype: row.ctype,
    localeProvider: row.provider,
    icuLocale: row.icu_locale,
    icuRules: row.icu_rules,
    owner: row.owner,
    comment: row.comment?.startsWith('tidemark:') === true ? null : row.comment,
    connectionLimit: row.connection_limit,
    acl: row.acl,
    settings: await readDatabaseSettings(session, Number(row.oid)),
    extensions: await session
      .query<{ name: string; version: string; schema: string }>(
        `SELECT e.extname AS name, e.extversion AS version, n.nspname AS schema FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace ORDER BY 1`,
      )
      .then((rows) => rows.map(({ name, version, schema }) => ({ name, version, schema }))),
    roles: await rolesInUse(session),
    tablespaces: await tablespacesInUse(session),
    databaseBytes: row.bytes === null ? null : Number(row.bytes),
    databaseOid: Number(row.oid),
  }
}

/** Whether a restore of ours is loading this database, or was killed while it was: then nobody knows what it lacks. */
export async function isUnfinishedCopy(session: Session): Promise<boolean> {
  const [row] = await session.query<{ comment: string | null }>(
    `SELECT pg_catalog.shobj_description(oid, 'pg_database') AS comment FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()`,
  )
  return parseMark(row?.comment ?? null)?.unfinished === true
}

/** OIDs below belong to the system (FirstNormalObjectId in transam.h). */
const firstUserOid = 16_384

async function rolesInUse(session: Session): Promise<string[]> {
  const owned = (table: string, prefix: string) => `SELECT ${prefix}owner AS role FROM pg_catalog.${table} WHERE oid >= ${firstUserOid}`
  const granted = (table: string, prefix: string) =>
    `SELECT (pg_catalog.aclexplode(${prefix}acl)).grantee AS role FROM pg_catalog.${table} WHERE oid >= ${firstUserOid} AND ${prefix}acl IS NOT NULL`
  const sources = [
    owned('pg_class', 'rel'),
    owned('pg_namespace', 'nsp'),
    owned('pg_proc', 'pro'),
    owned('pg_type', 'typ'),
    granted('pg_class', 'rel'),
    granted('pg_namespace', 'nsp'),
    granted('pg_proc', 'pro'),
  ]
  const rows = await session.query<{ name: string }>(
    `SELECT DISTINCT pg_catalog.pg_get_userbyid(role) AS name FROM (${sources.join(' UNION ')}) AS used WHERE role <> 0 ORDER BY 1`,
  )
  return rows.map((row) => row.name)
}

async function tablespacesInUse(session: Session): Promise<string[]> {
  const rows = await session.query<{ name: string }>(
    `SELECT DISTINCT t.spcname AS name FROM pg_catalog.pg_tablespace t JOIN pg_catalog.pg_class c ON c.reltablespace = t.oid WHERE c.oid >= ${firstUserOid} ORDER BY 1`,
  )
  return rows.map((row) => row.name)
}

/** A table of the source as the dump's snapshot sees it. */
export interface SourceTable {
  readonly schema: string
  readonly name: string
  /** r: plain, p: partitioned (no rows of its own), f: foreign, m: materialised view. */
  readonly kind: string
  readonly extension: string | null
  /** An extension's own table whose rows belong to the dump (pg_extension_config_dump). */
  readonly extensionConfig: boolean
}

/** Every user table of the snapshot, so that what the dump lacks can be named. */
export async function listSourceTables(session: Session): Promise<readonly SourceTable[]> {
  const rows = await session.query<{ schema: string; name: string; kind: string; extension: string | null; config: boolean }>(
    `SELECT n.nspname AS schema, c.relname AS name, c.relkind::text AS kind, e.extname AS extension, COALESCE(c.oid = ANY (e.extconfig), false) AS config
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.objsubid = 0 AND d.deptype = 'e'
     LEFT JOIN pg_catalog.pg_extension e ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND e.oid = d.refobjid
     WHERE c.relkind IN ('r', 'f', 'm', 'p') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
     ORDER BY 1, 2`,
  )
  return rows.map((row) => ({ schema: row.schema, name: row.name, kind: row.kind, extension: row.extension, extensionConfig: row.config }))
}
