import type { ContentFingerprint, DerivedObject } from '../dump/fingerprint.ts'
import type { QualifiedName } from '../dump/sink.ts'
import { utc } from '../kernel/clock.ts'
import type { Context } from '../kernel/context.ts'
import { asFailure, Failure, messageOf } from '../kernel/failure.ts'
import { qualifiedName, quoteIdentifier, quoteLiteral } from '../postgres/identifiers.ts'
import { readOwnRights } from '../postgres/own-rights.ts'
import type { Reached } from '../postgres/reach.ts'
import type { Session } from '../postgres/session.ts'
import { formatMark, type Mark } from '../repository/database-mark.ts'
import type { DumpSource } from '../repository/manifest.ts'
import { fitPlain } from './fit-plain.ts'
import { loadDump } from './load-dump.ts'
import { chooseLoadTools } from './loadable.ts'
import { commentDatabase, createOwnedDatabase, dropOwnedDatabase } from './owned-database.ts'
import type { IgnoredError } from './restore-errors.ts'
import { selectForTarget, type TargetSelection } from './select-for-target.ts'
import type { StagedDump } from './staged-dump.ts'
import { compareWithFingerprint, countRows, notValidated, type Validation } from './validate-copy.ts'

/** Everything that decides how a staged dump is loaded into one database, which this may create. */
export interface CopyRequest {
  readonly run: string
  readonly backup: string | null
  readonly source: DumpSource | null
  readonly fingerprint: ContentFingerprint | null
  /** The dump's tables, as far as they are known without a fingerprint. */
  readonly knownTables: readonly { readonly schema: string; readonly name: string; readonly rows: number | null }[]
  readonly database: string
  /** `create`: new, marked as ours; `existing`: is there (empty, or to be cleaned or added to). */
  readonly place: 'create' | 'existing'
  readonly mark: Mark['kind']
  readonly jobs: number
  readonly noOwner: boolean
  readonly noPrivileges: boolean
  readonly tables: readonly string[]
  readonly dataOnly: boolean
  readonly truncate: boolean
  readonly clean: boolean
  readonly validate: 'content' | 'rows' | 'none'
  /** SQL to run before the copy is handed over. */
  readonly sql: string | null
  /** Directory for lists and spools. */
  readonly stage: string
  /** The maker's time limit for a database nobody fetched; null = none. */
  readonly expires: string | null
}

/** Ways to the target server besides the admin session. */
export interface Connections {
  /** A session of the restoring role in a database of the server. */
  inside(database: string): Promise<Session>
  /** An admin session that does not end when the run is cancelled, for cleaning up. */
  fresh(): Promise<Session>
}

/** The server that a copy is made on: an admin session that is in no database which may be renamed or dropped, and ways into the others. */
export interface CopyPlace {
  readonly reached: Reached
  readonly connections: Connections
}

export interface RestoredCopy {
  readonly database: string
  readonly oid: number
  readonly errors: readonly IgnoredError[]
  readonly warnings: readonly string[]
  readonly validation: Validation
  readonly loadSeconds: number
}

/**
 * Loads a staged dump into a database beside everything else, and validates it. A database made here is dropped again when
 * anything fails; an existing one is left as far as the load came, which is said.
 */
export async function restoreCopy(place: CopyPlace, staged: StagedDump, request: CopyRequest, context: Context): Promise<RestoredCopy> {
  const { reached, connections } = place
  const { tools, reason } = chooseLoadTools(reached, staged)
  context.emit({ type: 'note', message: reason })
  const selection = await selectForTarget(staged, request, () => connections.inside(request.database)).catch((error: unknown) => {
    throw untouched(error)
  })
  const [refusal, ...others] = selection.refusals
  if (refusal !== undefined) throw untouched(new Failure('target-unsafe', refusal, { hints: others }))
  const warnings: string[] = [...(await fitPlain(staged, request)), ...selection.leftOut.map(({ what, why }) => `${what} is left out: ${why}`)]

  let created: number | null = null
  const mark: Mark = {
    kind: request.mark,
    run: request.run,
    backup: request.backup,
    name: request.database,
    at: utc(context.clock.now()),
    expires: request.expires,
    unfinished: true,
  }
  let isChanged = false
  try {
    if (request.place === 'create') {
      const made = await createOwnedDatabase(reached.session, {
        name: request.database,
        mark,
        source: request.source,
        owner: request.noOwner ? null : (request.source?.owner ?? null),
      })
      created = made.oid
      warnings.push(...made.warnings)
    }
    const begunMs = context.clock.monotonicMs()
    if (request.dataOnly && request.truncate) await truncateTables(request, selection.tables, connections.inside)
    // What replaces objects is one transaction: it is done or it is not.
    isChanged = !request.clean
    const { isSuperuser } = await readOwnRights(reached.session)
    const report = await loadDump(staged, { ...request, target: reached.target, tools, entries: selection.lines, maintenanceMiB: 256, isSuperuser }, context)
    isChanged = true
    const loadSeconds = (context.clock.monotonicMs() - begunMs) / 1000
    if (report.unlisted > 0) warnings.push(`pg_restore reported ${report.unlisted} more errors than are listed here`)
    for (const note of report.notes) context.emit({ type: 'note', message: `ignored, changes nothing: ${note}` })

    await using session = await connections.inside(request.database)
    await settle(session, request, warnings)
    const validation = await validate(session, request, { staged, selection, connect: connections.inside }, context)
    const [row] = await session.query<{ oid: string }>('SELECT oid::text AS oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()')
    if (created !== null) await commentDatabase(reached.session, request.database, formatMark({ ...mark, unfinished: false }))
    return { database: request.database, oid: requireOid(row, request.database), errors: report.errors, warnings, validation, loadSeconds }
  } catch (error) {
    if (created !== null) await dropAfterFailure(connections, created, context)
    throw isChanged || request.place === 'create' ? error : untouched(error, request.clean ? cleanHints : [])
  }
}

const cleanHints = ['what replaces objects is one transaction, which was rolled back', 'restore it beside instead: --as NAME without --clean']

/** Marks a failure before which nothing of the target was changed. */
function untouched(error: unknown, further: readonly string[] = []): Failure {
  const { code, message, hints, details } = asFailure(error)
  return new Failure(code, message, { cause: error, hints: [...hints, ...further], details: { ...details, untouched: true } })
}

async function truncateTables(request: CopyRequest, tables: readonly QualifiedName[], connect: Connections['inside']): Promise<void> {
  if (tables.length === 0) throw new Failure('usage-invalid', '--truncate empties selected tables only', { hints: ['name them: --table NAME'] })
  await using session = await connect(request.database)
  await session.query(`TRUNCATE ${tables.map(({ schema, name }) => qualifiedName(schema, name)).join(', ')}`)
}

/** Runs the given SQL, carries the source's per-database settings over, and makes everything durable: the load ran with synchronous_commit off. */
async function settle(session: Session, request: CopyRequest, warnings: string[]): Promise<void> {
  if (request.sql !== null) await session.query(request.sql)
  if (request.place === 'create' && request.source !== null && request.tables.length === 0) {
    for (const setting of request.source.settings) {
      try {
        await session.query(settingStatement(request.database, setting))
      } catch (error) {
        warnings.push(`the database setting "${setting.replace('\t', ': ')}" was not carried over: ${messageOf(error)}`)
      }
    }
  }
  // A commit that writes and waits flushes all WAL before it, that of the unsynchronised ones included.
  await session.query('SET synchronous_commit = on')
  await session.query(`SELECT pg_catalog.pg_current_xact_id()`).catch(async () => session.query('SELECT pg_catalog.txid_current()'))
}

/** `name=value`, with `role<TAB>` before it for a role's setting in this database. List values keep their quotes as PostgreSQL stores them. */
export function settingStatement(database: string, setting: string): string {
  const [first = '', rest] = setting.split('\t', 2)
  const [role, assignment] = rest === undefined ? [null, first] : [first, rest]
  const cut = assignment.indexOf('=')
  const name = assignment.slice(0, cut)
  const value = assignment.slice(cut + 1)
  // Only these are stored as lists of quoted names (GUC_LIST_QUOTE; pg_dump's variable_is_guc_list_quote has the same six): one literal for the whole would make a single name of them.
  const isList = [
    'local_preload_libraries',
    'search_path',
    'session_preload_libraries',
    'shared_preload_libraries',
    'temp_tablespaces',
    'unix_socket_directories',
  ].includes(name.toLowerCase())
  const who = role === null ? `DATABASE ${quoteIdentifier(database)}` : `ROLE ${quoteIdentifier(role)} IN DATABASE ${quoteIdentifier(database)}`
  return `ALTER ${who} SET ${name.split('.').map(quoteIdentifier).join('.')} TO ${(isList ? splitNames(value) : [value]).map(quoteLiteral).join(', ')}`
}

/** The names of a stored list: `"$user", public, "a ""b"""`. An empty list, and one empty name, are both set by ''. */
function splitNames(list: string): readonly string[] {
  const names = [...list.matchAll(/"((?:[^"]|"")*)"|([^\s,"]+)/g)].map(([, quoted, bare]) => quoted?.replaceAll('""', '"') ?? bare ?? '')
  return names.length === 0 ? [''] : names
}

async function validate(
  session: Session,
  request: CopyRequest,
  { staged, selection, connect }: { staged: StagedDump; selection: TargetSelection; connect: Connections['inside'] },
  context: Context,
): Promise<Validation> {
  const fingerprint = request.fingerprint
  if (request.validate === 'none' || request.dataOnly) return notValidated
  if (request.validate === 'content' && fingerprint !== null && request.tables.length === 0) {
    await using second = await connect(request.database)
    const { leftOut } = selection
    const isLeftOut = ({ desc, schema, tag }: DerivedObject) =>
      leftOut.some(({ entry }) => entry.desc === desc && (entry.namespace ?? '') === schema && entry.tag === tag)
    const expected = { ...fingerprint, derived: fingerprint.derived.filter((object) => !isLeftOut(object)) }
    const validation = await compareWithFingerprint([session, second], expected, staged, context)
    return { ...validation, notCompared: [...validation.notCompared, ...leftOut.map(({ what, why }) => ({ what, why: `left out: ${why}` }))] }
  }
  const filled = fingerprint?.tables ?? staged.content?.tables ?? []
  // Definitions without rows: then it is looked whether they are there.
  const tables = filled.length > 0 ? filled : request.knownTables
  const { tables: selected } = selection
  const wanted = selected.length === 0 ? tables : tables.filter((table) => selected.some(({ schema, name }) => schema === table.schema && name === table.name))
  return countRows(session, wanted, context)
}

/** Drops and records go by it: none is better than a wrong one. */
function requireOid(row: { oid: string } | undefined, database: string): number {
  const oid = Number(row?.oid)
  if (!Number.isInteger(oid) || oid <= 0) throw new Failure('database-missing', `the restored database "${database}" is not in the catalogue any more`)
  return oid
}

/** A half copy helps nobody. When even dropping fails, its name and mark are said; the next drill or test restore removes it. */
async function dropAfterFailure(connections: Connections, oid: number, context: Context): Promise<void> {
  try {
    await using admin = await connections.fresh()
    await dropOwnedDatabase(admin, oid, 'the restore failed')
  } catch (error) {
    context.emit({ type: 'warning', code: 'clean-up-failed', message: `the unfinished database (OID ${oid}) could not be dropped: ${messageOf(error)}` })
  }
}
