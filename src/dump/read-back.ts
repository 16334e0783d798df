import { Blake3Hasher } from '@napi-rs/blake-hash'
import type { Context } from '../kernel/context.ts'
import { isFailure, messageOf } from '../kernel/failure.ts'
import { quoteIdentifier, quoteLiteral } from '../postgres/identifiers.ts'
import { checkDerived, type DerivedCheck } from './check-derived.ts'
import type { ContentFingerprint, LargeObjectsFingerprint, TableFingerprint } from './fingerprint.ts'
import { countNewlines } from './newlines.ts'
import { fingerprintSettings, readBackSettings, settingStatement } from './pinned-settings.ts'
import { readLargeObjects } from './read-large-objects.ts'
import { readSequences } from './read-sequences.ts'
import type { ReadingSession } from './read-back-session.ts'
import { multisetOf, type RowMultiset } from './row-multiset.ts'
import type { QualifiedName, SequenceValue } from './sink.ts'

/** What a restored database holds of what the dump promised. */
export interface CopyContent {
  /** One for each table of the fingerprint, in its order. */
  readonly tables: readonly CopyTable[]
  readonly largeObjects: LargeObjectsFingerprint
  /** The sequences that were found. */
  readonly sequences: readonly SequenceValue[]
  readonly derived: DerivedCheck
}

export type CopyTable = QualifiedName &
  (
    | { readonly state: 'read'; readonly rows: number; readonly bytes: number; readonly digest: string; readonly kind: 'table' | 'partitioned' }
    /** Not there, or not readable: `why`. */
    | { readonly state: 'unreadable'; readonly why: string }
    /** Left alone on purpose: a foreign table, whose rows lie on another server. */
    | { readonly state: 'skipped'; readonly why: string }
  )

const progressEveryMs = 250

/**
 * Reads a restored database with the COPY that pg_dump used: the archive's own column lists, the same encoding, the same pinned
 * settings. Several sessions to the same database share the tables. The role must own the tables or bypass row security.
 * Problems of single tables become part of the answer; a lost connection or an abort rejects.
 */
export async function readBack(sessions: ReadingSession | readonly ReadingSession[], expected: ContentFingerprint, context: Context): Promise<CopyContent> {
  const all: readonly ReadingSession[] = isList(sessions) ? sessions : [sessions]
  const [first] = all
  if (first === undefined) throw new Error('reading back needs a session')
  for (const session of all) await pin(session, expected)
  const relations = await listRelations(first)
  const progress = progressTeller(expected, context)

  const read: CopyTable[] = []
  const largestFirst = expected.tables.map((table, index) => ({ table, index })).sort((a, b) => b.table.bytes - a.table.bytes)
  const queue = largestFirst.values()
  let failed = false
  const work = async (session: ReadingSession) => {
    for (const { table, index } of queue) {
      if (failed) return
      try {
        read[index] = await readTable(session, { table, relation: relations.get(keyOf(table)), encoding: expected.encoding, progress, context })
      } catch (error) {
        failed = true
        throw error
      }
    }
  }
  await Promise.all(all.map(work))

  return {
    tables: read,
    largeObjects: await readLargeObjects(first, { signal: context.signal, onBytes: progress.add }),
    sequences: await readSequences(
      first,
      expected.sequences.filter((sequence) => relations.get(keyOf(sequence)) === 'S'),
    ),
    derived: await checkDerived(first, expected.derived),
  }
}

/** Pins what the text of values depends on, to what the dump had; settings that are none of ours are not taken from a file. */
async function pin(session: ReadingSession, expected: ContentFingerprint): Promise<void> {
  const pinned = Object.entries(fingerprintSettings).map(([name, value]) => [name, expected.settings?.[name] ?? value])
  await session.query(settingStatement({ ...(Object.fromEntries(pinned) as Record<string, string>), ...readBackSettings }))
}

interface TableReading {
  readonly table: TableFingerprint
  readonly relation: string | undefined
  readonly encoding: string
  readonly progress: { add(bytes: number): void }
  readonly context: Context
}

async function readTable(session: ReadingSession, { table, relation, encoding, progress, context }: TableReading): Promise<CopyTable> {
  const { schema, name } = table
  if (relation === undefined) return { schema, name, state: 'unreadable', why: 'it is not in the restored copy' }
  if (relation === 'f') return { schema, name, state: 'skipped', why: 'it is a foreign table: its rows lie on another server' }
  if (relation !== 'r' && relation !== 'p') return { schema, name, state: 'unreadable', why: 'it is no table in the restored copy' }
  const hasher = new Blake3Hasher()
  let rows = 0
  let bytes = 0
  try {
    for await (const piece of session.copyOut(copyOutStatement(table, relation, encoding))) {
      context.signal.throwIfAborted()
      hasher.update(piece)
      rows += countNewlines(piece)
      bytes += piece.length
      progress.add(piece.length)
    }
  } catch (error) {
    context.signal.throwIfAborted()
    if (!isFailure(error, 'query-failed', 'permission-denied')) throw error
    return { schema, name, state: 'unreadable', why: messageOf(error) }
  }
  return { schema, name, state: 'read', rows, bytes, digest: hasher.digest('hex'), kind: relation === 'p' ? 'partitioned' : 'table' }
}

/**
 * COPY with the dump's columns. ENCODING instead of client_encoding keeps the session's own queries and names in UTF-8.
 * A partitioned table has no rows of its own and must be selected from.
 */
function copyOutStatement(table: Pick<TableFingerprint, 'schema' | 'name' | 'columns'>, relation: string, encoding: string): string {
  const name = `${quoteIdentifier(table.schema)}.${quoteIdentifier(table.name)}`
  const columns = table.columns?.map(quoteIdentifier).join(', ') ?? ''
  const source = relation === 'p' ? `(SELECT ${columns} FROM ${name})` : columns === '' ? name : `${name} (${columns})`
  return `COPY ${source} TO STDOUT (ENCODING ${quoteLiteral(encoding)})`
}

export interface CopyRowsRequest extends QualifiedName {
  /** In this order; null for a table without columns. */
  readonly columns: readonly string[] | null
  readonly encoding: string
  /** Whether it is a partitioned table, all of whose partitions are read. */
  readonly isPartitioned: boolean
}

/** The rows of a table of the copy without their order; the session must have been used by `readBack` before. */
export async function multisetOfCopy(session: ReadingSession, request: CopyRowsRequest): Promise<RowMultiset> {
  return multisetOf(session.copyOut(copyOutStatement(request, request.isPartitioned ? 'p' : 'r', request.encoding)))
}

/** relkind of every relation outside the system's schemas, by `keyOf`. */
async function listRelations(session: ReadingSession): Promise<Map<string, string>> {
  const found = await session.query<{ schema: string; name: string; kind: string }>(`
    SELECT n.nspname AS schema, c.relname AS name, c.relkind::text AS kind
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'`)
  return new Map(found.map(({ schema, name, kind }) => [keyOf({ schema, name }), kind]))
}

function progressTeller(expected: ContentFingerprint, { clock, emit }: Context): { add(bytes: number): void } {
  const expectedBytes = expected.tables.reduce((sum, table) => sum + table.bytes, expected.largeObjects.bytes)
  let doneBytes = 0
  let toldAt = clock.monotonicMs()
  return {
    add: (bytes) => {
      doneBytes += bytes
      const now = clock.monotonicMs()
      if (now - toldAt < progressEveryMs) return
      toldAt = now
      emit({ type: 'step-progress', step: 'compare', doneBytes, expectedBytes })
    },
  }
}

function keyOf({ schema, name }: QualifiedName): string {
  return JSON.stringify([schema, name])
}

function isList(sessions: ReadingSession | readonly ReadingSession[]): sessions is readonly ReadingSession[] {
  return Array.isArray(sessions)
}
