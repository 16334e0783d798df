import { isFailure } from '../kernel/failure.ts'
import { type Provider, recogniseProvider } from './pooler.ts'
import type { Session } from './session.ts'

export interface ServerFacts {
  /** `PostgreSQL 16.4 (Debian …) on x86_64…`. */
  readonly versionText: string
  /** `160004`. */
  readonly versionNum: number
  readonly major: number
  /** `16.4`. */
  readonly version: string
  /** A standby. */
  readonly inRecovery: boolean
  readonly role: RoleFacts
  readonly settings: Readonly<Record<SettingName, string | null>>
  /** Null where the role may not see it. */
  readonly dataDirectory: string | null
  readonly provider: Provider | null
  readonly databases: readonly DatabaseFacts[]
}

export interface RoleFacts {
  readonly name: string
  readonly superuser: boolean
  readonly createDatabase: boolean
  readonly createRole: boolean
  readonly replication: boolean
  readonly bypassRls: boolean
  /** -1 = no limit. */
  readonly connectionLimit: number
  /** Member of pg_read_all_data (14+), directly or not. */
  readonly readsAllData: boolean
  readonly canSignalBackends: boolean
}

export interface DatabaseFacts {
  readonly name: string
  readonly oid: number
  readonly owner: string
  readonly encoding: string
  readonly collate: string
  readonly ctype: string
  /** Null where the role may not connect to it. */
  readonly sizeBytes: number | null
  readonly allowsConnections: boolean
  readonly isTemplate: boolean
  /** Left half dropped (datconnlimit = -2); can only be dropped. */
  readonly isInvalid: boolean
  readonly canConnect: boolean
  readonly connectionLimit: number
  readonly comment: string | null
}

const settingNames = [
  'server_encoding',
  'TimeZone',
  'lc_messages',
  'data_checksums',
  'wal_level',
  'archive_mode',
  'max_wal_senders',
  'max_connections',
  'statement_timeout',
  'lock_timeout',
  'idle_in_transaction_session_timeout',
  'transaction_timeout',
  'default_transaction_read_only',
  'max_locks_per_transaction',
  'row_security',
  'ssl',
  'password_encryption',
] as const
export type SettingName = (typeof settingNames)[number]

/** What a server says about itself and about us. Needs no rights; what the role may not see is null. */
export async function readServerFacts(session: Session): Promise<ServerFacts> {
  const [row] = await session.query<{ text: string; version: string; recovery: boolean }>(
    `SELECT pg_catalog.version() AS text, pg_catalog.current_setting('server_version') AS version, pg_catalog.pg_is_in_recovery() AS recovery`,
  )
  if (row === undefined) throw new Error('a SELECT without FROM returned no row')
  return {
    versionText: row.text,
    versionNum: session.serverVersionNum,
    major: Math.floor(session.serverVersionNum / 10_000),
    version: row.version.split(' ')[0] ?? row.version,
    inRecovery: row.recovery,
    role: await readRole(session),
    settings: await readSettings(session),
    dataDirectory: await readDataDirectory(session),
    provider: recogniseProvider(session.target.host),
    databases: await listDatabases(session),
  }
}

async function readRole(session: Session): Promise<RoleFacts> {
  const [role] = await session.query<Omit<RoleFacts, 'canSignalBackends'>>(
    `SELECT r.rolname::text AS name, r.rolsuper AS superuser, r.rolcreatedb AS "createDatabase", r.rolcreaterole AS "createRole", r.rolreplication AS replication,
        r.rolbypassrls AS "bypassRls", r.rolconnlimit AS "connectionLimit",
        EXISTS (SELECT FROM pg_catalog.pg_roles g WHERE g.rolname = 'pg_read_all_data' AND pg_catalog.pg_has_role(r.oid, g.oid, 'USAGE')) AS "readsAllData",
        EXISTS (SELECT FROM pg_catalog.pg_roles g WHERE g.rolname = 'pg_signal_backend' AND pg_catalog.pg_has_role(r.oid, g.oid, 'USAGE')) AS "canSignalBackends"
      FROM pg_catalog.pg_roles r WHERE r.rolname = current_user`,
  )
  if (role === undefined) throw new Error('the current user is not in pg_roles')
  return role as RoleFacts
}

async function readSettings(session: Session): Promise<Record<SettingName, string | null>> {
  const rows = await session.query<{ name: string; value: string | null }>(
    `SELECT n AS name, pg_catalog.current_setting(n, true) AS value FROM pg_catalog.unnest($1::text[]) n`,
    [settingNames],
  )
  const found = new Map(rows.map((row) => [row.name, row.value]))
  return Object.fromEntries(settingNames.map((name) => [name, found.get(name) ?? null])) as Record<SettingName, string | null>
}

async function readDataDirectory(session: Session): Promise<string | null> {
  try {
    const [row] = await session.query<{ path: string | null }>(`SELECT pg_catalog.current_setting('data_directory', true) AS path`)
    return row?.path ?? null
  } catch (error) {
    if (isFailure(error, 'permission-denied')) return null
    throw error
  }
}

/** All databases of the cluster by name, templates and broken ones included. */
export async function listDatabases(session: Session): Promise<readonly DatabaseFacts[]> {
  const rows = await session.query<Omit<DatabaseFacts, 'sizeBytes'> & { sizeBytes: string | null }>(
    `SELECT d.datname::text AS name, d.oid, pg_catalog.pg_get_userbyid(d.datdba)::text AS owner, pg_catalog.pg_encoding_to_char(d.encoding)::text AS encoding,
        d.datcollate::text AS collate, d.datctype::text AS ctype, d.datallowconn AS "allowsConnections", d.datistemplate AS "isTemplate",
        d.datconnlimit = -2 AS "isInvalid", d.datconnlimit AS "connectionLimit",
        (d.datallowconn AND d.datconnlimit <> -2 AND pg_catalog.has_database_privilege(d.oid, 'CONNECT')) AS "canConnect",
        CASE WHEN d.datconnlimit <> -2 AND (pg_catalog.has_database_privilege(d.oid, 'CONNECT') OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE'))
          THEN pg_catalog.pg_database_size(d.oid) END AS "sizeBytes",
        pg_catalog.shobj_description(d.oid, 'pg_database') AS comment
      FROM pg_catalog.pg_database d ORDER BY d.datname`,
  )
  return rows.map((row) => ({ ...row, sizeBytes: row.sizeBytes === null ? null : Number(row.sizeBytes) }))
}
