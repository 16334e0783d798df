import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import { readToc, type ArchiveToc } from '../dump/archive-toc.ts'
import { checkDerived } from '../dump/check-derived.ts'
import { Failure } from '../kernel/failure.ts'
import type { Session } from '../postgres/session.ts'
import type { Manifest } from '../repository/manifest.ts'
import { selectAll, selectEntries, type EntrySelection, type HasObject } from './select-entries.ts'
import type { StagedDump } from './staged-dump.ts'
import { refusalOfDrop } from './table-dependents.ts'

export interface SelectionRequest {
  readonly tables: readonly string[]
  readonly clean: boolean
  readonly dataOnly: boolean
  /** `create`: a new database; `existing`: one that is there. */
  readonly place: 'create' | 'existing'
}

/** What of a dump goes into a database, and why some of it must not. */
export interface TargetSelection extends EntrySelection {
  readonly refusals: readonly string[]
}

const everything: TargetSelection = { lines: null, tables: [], leftOut: [], refusals: [] }

/** Chooses the entries of a staged dump for a target. `inside` opens a session in the database where it exists; it only reads. */
export async function selectForTarget(staged: StagedDump, request: SelectionRequest, inside: () => Promise<Session>): Promise<TargetSelection> {
  if (staged.format === 'plain') {
    if (request.tables.length > 0)
      throw new Failure('usage-invalid', 'single tables cannot be picked out of a plain SQL dump', {
        hints: ['restore all of it into a scratch database: --as scratch'],
      })
    return request.clean ? { ...everything, refusals: [noPlainClean] } : everything
  }
  const toc = await readToc(createReadStream(staged.format === 'directory' ? join(staged.path, 'toc.dat') : staged.path))
  const refusals: string[] = !request.dataOnly && holdsOnlyRows(toc) ? [needsTables] : []
  // Rows change no constraint.
  if (request.dataOnly) return { ...choose(toc, request.tables, () => false), leftOut: [], refusals }
  if (request.place === 'create') return { ...choose(toc, request.tables, () => false), refusals }
  await using session = await inside()
  const selection = choose(toc, request.tables, await objectsOf(session, toc))
  const refusal = request.clean ? await refusalOfDrop(session, selection.tables) : undefined
  if (refusal !== undefined) refusals.push(refusal)
  return { ...selection, refusals }
}

export const noPlainClean =
  'a plain SQL dump cannot replace objects (--clean): restore it beside (--as NAME), or in the place of the whole database (--replace)'

export const needsTables =
  'the backup holds rows without definitions, so it needs tables that are there already: restore it into a database that has them (--as NAME --data-only --append)'

/** Whether a backup brings the tables that its rows need; unknown is yes. */
export function holdsDefinitions({ selection, fingerprint, backup }: Pick<Manifest, 'selection' | 'fingerprint' | 'backup'>): boolean {
  if (selection?.dataOnly === true) return false
  return fingerprint === null || backup.tables.length === 0 || fingerprint.derived.some(({ desc }) => desc === 'TABLE' || desc === 'FOREIGN TABLE')
}

function choose(toc: ArchiveToc, tables: readonly string[], has: HasObject): EntrySelection {
  return tables.length === 0 ? selectAll(toc, has) : selectEntries(toc, tables, has)
}

function holdsOnlyRows(toc: ArchiveToc): boolean {
  return toc.entries.some(({ desc }) => desc === 'TABLE DATA') && !toc.entries.some(({ desc }) => desc === 'TABLE' || desc === 'FOREIGN TABLE')
}

/** What of the archive's definitions the database has, by kind, schema and name. */
async function objectsOf(session: Session, toc: ArchiveToc): Promise<HasObject> {
  await session.query("SET search_path = ''")
  const asObject = ({ desc, namespace, tag }: Parameters<HasObject>[0]) => ({ desc, schema: namespace ?? '', tag, populated: null })
  const definitions = toc.entries.filter(({ section }) => section === 'pre-data').map(asObject)
  // What a foreign key or a trigger refers to need not be in the archive.
  const referenced = await referableIn(session)
  const { problems, unchecked } = await checkDerived(session, definitions)
  const key = ({ desc, schema, tag }: { desc: string; schema: string; tag: string }) => JSON.stringify([desc, schema, tag])
  const known = new Set(definitions.map(key))
  const missing = new Set([...problems.map(({ object }) => object), ...unchecked].map(key))
  return (entry) => {
    const name = key(asObject(entry))
    return known.has(name) ? !missing.has(name) : referenced.has(name)
  }
}

/** Tables, and functions without arguments, as the database has them. */
async function referableIn(session: Session): Promise<ReadonlySet<string>> {
  const rows = await session.query<{ kind: string; schema: string; name: string }>(
    `SELECT 'TABLE' AS kind, n.nspname AS schema, c.relname::text AS name FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p')
     UNION ALL SELECT 'FUNCTION', n.nspname, p.proname || '()' FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE p.pronargs = 0`,
  )
  return new Set(rows.map(({ kind, schema, name }) => JSON.stringify([kind, schema, name])))
}
