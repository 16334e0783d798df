import { Failure } from '../kernel/failure.ts'
import { quoteIdentifier, quoteLiteral } from '../postgres/identifiers.ts'
import { openSession, type Session } from '../postgres/session.ts'
import { formatMark, parseMark, type Mark } from '../repository/database-mark.ts'
import type { DumpSource } from '../repository/manifest.ts'
import { terminateSessions } from './end-sessions.ts'

export interface FoundDatabase {
  readonly oid: number
  readonly name: string
  readonly comment: string | null
  readonly mark: Mark | undefined
  readonly owner: string
  readonly isTemplate: boolean
}

const selectDatabases = `SELECT d.oid::text AS oid, d.datname AS name, pg_catalog.shobj_description(d.oid, 'pg_database') AS comment, pg_catalog.pg_get_userbyid(d.datdba) AS owner, d.datistemplate AS template FROM pg_catalog.pg_database d`

interface DatabaseRow {
  oid: string
  name: string
  comment: string | null
  owner: string
  template: boolean
}

function found(row: DatabaseRow): FoundDatabase {
  return { oid: Number(row.oid), name: row.name, comment: row.comment, mark: parseMark(row.comment), owner: row.owner, isTemplate: row.template }
}

export async function findDatabase(session: Session, name: string): Promise<FoundDatabase | undefined> {
  const [row] = await session.query<DatabaseRow>(`${selectDatabases} WHERE d.datname = $1`, [name])
  return row === undefined ? undefined : found(row)
}

export async function findDatabaseByOid(session: Session, oid: number): Promise<FoundDatabase | undefined> {
  const [row] = await session.query<DatabaseRow>(`${selectDatabases} WHERE d.oid = $1::oid`, [oid])
  return row === undefined ? undefined : found(row)
}

export async function listOwnedDatabases(session: Session): Promise<readonly FoundDatabase[]> {
  const rows = await session.query<DatabaseRow>(
    `${selectDatabases} WHERE pg_catalog.shobj_description(d.oid, 'pg_database') LIKE 'tidemark:%' ORDER BY d.datname`,
  )
  return rows.map(found).filter((database) => database.mark !== undefined)
}

/** Whether nothing was ever put into the database the session is connected to. */
export async function isEmptyDatabase(session: Session): Promise<boolean> {
  const [row] = await session.query<{ used: boolean }>(
    `SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
              AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e'))
         OR EXISTS (SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
              AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid AND d.deptype = 'e'))
         OR EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata) AS used`,
  )
  return row?.used !== true
}

export interface CreateDatabaseRequest {
  readonly name: string
  readonly mark: Mark
  /** Properties of the source, where known; encoding and locale decide whether the data fits and how it sorts. */
  readonly source: DumpSource | null
  readonly owner: string | null
}

/** Creates an empty database like the source's, marks it as ours and gives it the source's ACL before any data is in it. Returns its OID and what could not be carried over. */
export async function createOwnedDatabase(session: Session, request: CreateDatabaseRequest): Promise<{ oid: number; warnings: readonly string[] }> {
  const { source } = request
  const warnings: string[] = []
  const roles = new Set((await session.query<{ rolname: string }>('SELECT rolname FROM pg_catalog.pg_roles')).map((row) => row.rolname))
  const options: string[] = ['TEMPLATE template0']
  if (source !== null) options.push(`ENCODING ${quoteLiteral(source.encoding)}`)
  const locale: string[] = []
  if (source !== null) {
    if (source.collate !== null) locale.push(`LC_COLLATE ${quoteLiteral(source.collate)}`)
    if (source.ctype !== null) locale.push(`LC_CTYPE ${quoteLiteral(source.ctype)}`)
    locale.push(...localeProviderOptions(session, source, warnings))
  }
  if (request.owner !== null && roles.has(request.owner)) options.push(`OWNER ${quoteIdentifier(request.owner)}`)
  else if (request.owner !== null)
    warnings.push(`role "${request.owner}", the owner on the source, does not exist here; the database belongs to the restoring role`)

  const create = (more: readonly string[]) => session.query(`CREATE DATABASE ${quoteIdentifier(request.name)} ${[...options, ...more].join(' ')}`)
  try {
    await create(locale)
  } catch (error) {
    // A locale that this server's system does not have: the data is the same, only sorting may differ.
    if (locale.length === 0 || !(error instanceof Failure) || !/locale|collation/i.test(error.message)) throw error
    await create([`LC_COLLATE 'C'`, `LC_CTYPE 'C'`])
    warnings.push(`this server does not have the source's locale "${source?.collate ?? ''}" (${error.message}); the copy uses C, so text may sort differently`)
  }
  const database = await findDatabase(session, request.name)
  if (database === undefined) throw new Failure('query-failed', `the database "${request.name}" was created but is not in the catalogue`)
  await commentDatabase(session, request.name, formatMark(request.mark))
  if (source?.acl !== null && source?.acl !== undefined) warnings.push(...(await applyDatabaseAcl(session, request.name, source.acl, roles)))
  return { oid: database.oid, warnings }
}

function localeProviderOptions(session: Session, source: DumpSource, warnings: string[]): readonly string[] {
  if (source.localeProvider === null || source.localeProvider === 'libc') return []
  const major = Math.floor(session.serverVersionNum / 10_000)
  if (major < 15 || (source.localeProvider === 'builtin' && major < 17)) {
    warnings.push(`the source sorts with the ${source.localeProvider} provider, which this server does not have: text may sort differently`)
    return []
  }
  const options = [`LOCALE_PROVIDER ${quoteIdentifier(source.localeProvider)}`]
  if (source.icuLocale !== null)
    options.push(source.localeProvider === 'builtin' ? `BUILTIN_LOCALE ${quoteLiteral(source.icuLocale)}` : `ICU_LOCALE ${quoteLiteral(source.icuLocale)}`)
  if (source.icuRules !== null && major >= 16) options.push(`ICU_RULES ${quoteLiteral(source.icuRules)}`)
  return options
}

const privilegeNames: Readonly<Record<string, string>> = { C: 'CREATE', T: 'TEMPORARY', c: 'CONNECT' }

/** Grants what the source's database ACL granted, to the roles that exist here, and revokes the default from PUBLIC. */
export async function applyDatabaseAcl(session: Session, database: string, acl: readonly string[], roles: ReadonlySet<string>): Promise<readonly string[]> {
  const warnings: string[] = []
  await session.query(`REVOKE ALL ON DATABASE ${quoteIdentifier(database)} FROM PUBLIC`)
  for (const item of acl) {
    const parsed = parseAclItem(item)
    if (parsed === undefined) {
      warnings.push(`the database privilege "${item}" was not understood and not granted`)
      continue
    }
    if (parsed.grantee !== '' && !roles.has(parsed.grantee)) {
      warnings.push(`role "${parsed.grantee}" does not exist here, so its database privileges were not granted`)
      continue
    }
    const to = parsed.grantee === '' ? 'PUBLIC' : quoteIdentifier(parsed.grantee)
    for (const { privilege, grantable } of parsed.privileges) {
      await session.query(
        `GRANT ${privilege} ON DATABASE ${quoteIdentifier(database)} TO ${to}${grantable && parsed.grantee !== '' ? ' WITH GRANT OPTION' : ''}`,
      )
    }
  }
  return warnings
}

/** `grantee=privileges/grantor`, the text form of aclitem; a grantee with odd characters is in double quotes. Empty grantee = PUBLIC. */
export function parseAclItem(item: string): { grantee: string; privileges: readonly { privilege: string; grantable: boolean }[] } | undefined {
  const match = /^(?:"((?:[^"]|"")*)"|([^"=]*))=([A-Za-z*]*)\/.+$/s.exec(item)
  if (match === null) return undefined
  const grantee = match[1]?.replaceAll('""', '"') ?? match[2] ?? ''
  const privileges = [...(match[3] ?? '').matchAll(/([A-Za-z])(\*?)/g)].flatMap(([, letter = '', star]) => {
    const privilege = privilegeNames[letter]
    return privilege === undefined ? [] : [{ privilege, grantable: star === '*' }]
  })
  return { grantee, privileges }
}

/** Sets or, with null, takes away a database's comment; and with it our mark, where the database is nobody's copy any more. */
export async function commentDatabase(session: Session, name: string, comment: string | null): Promise<void> {
  await session.query(`COMMENT ON DATABASE ${quoteIdentifier(name)} IS ${comment === null ? 'NULL' : quoteLiteral(comment)}`)
}

/** Drops a database that carries our mark and has this OID, ending its sessions. Anything else is refused (exit 15). */
export async function dropOwnedDatabase(session: Session, oid: number, reason: string): Promise<void> {
  const database = await findDatabaseByOid(session, oid)
  if (database === undefined) return
  if (database.mark === undefined) {
    throw new Failure('target-unsafe', `database "${database.name}" is not dropped: it does not carry the mark of a database that Tidemark made (${reason})`, {
      hints: ['if it really is to go, drop it yourself'],
    })
  }
  await dropSubscriptions(session, database)
  await dropByOid(session, database)
}

/**
 * A database with a subscription cannot be dropped. In a copy it is one that pg_restore made without connecting, so it owns no slot; the slot of that
 * name belongs to the original, which is why the name is taken from it first (DROP SUBSCRIPTION would remove the slot on the publisher).
 */
async function dropSubscriptions(session: Session, database: FoundDatabase): Promise<void> {
  const found = await session.query<{ name: string }>('SELECT subname AS name FROM pg_catalog.pg_subscription WHERE subdbid = $1::oid', [database.oid])
  if (found.length === 0) return
  if (session.via !== 'direct') {
    throw new Failure('query-failed', `cannot drop database "${database.name}": it has the subscription ${found.map(({ name }) => `"${name}"`).join(', ')}`, {
      hints: found.map(
        ({ name }) =>
          `in that database: ALTER SUBSCRIPTION ${quoteIdentifier(name)} DISABLE; ALTER SUBSCRIPTION ${quoteIdentifier(name)} SET (slot_name = NONE); DROP SUBSCRIPTION ${quoteIdentifier(name)}`,
      ),
    })
  }
  await using inside = await openSession(session.target, { applicationName: 'tidemark clean-up', database: database.name })
  for (const { name } of found) {
    await inside.query(`ALTER SUBSCRIPTION ${quoteIdentifier(name)} DISABLE`)
    await inside.query(`ALTER SUBSCRIPTION ${quoteIdentifier(name)} SET (slot_name = NONE)`)
    await inside.query(`DROP SUBSCRIPTION ${quoteIdentifier(name)}`)
  }
}

/** Drops by name after ending sessions, and holds the OID against it first: the name could be somebody else's by now. */
export async function dropByOid(session: Session, database: FoundDatabase): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    const now = await findDatabase(session, database.name)
    if (now === undefined) return
    if (now.oid !== database.oid)
      throw new Failure('target-unsafe', `database "${database.name}" is not dropped: another one has this name now (OID ${now.oid}, expected ${database.oid})`)
    await terminateSessions(session, database.oid)
    try {
      await session.query(`DROP DATABASE ${quoteIdentifier(database.name)}`)
      return
    } catch (error) {
      // A session may have slipped in between; PostgreSQL itself waited 5 s for it.
      if (attempt === 3) throw error
    }
  }
}
