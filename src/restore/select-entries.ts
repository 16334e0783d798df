import type { ArchiveToc, TocEntry } from '../dump/archive-toc.ts'
import { Failure } from '../kernel/failure.ts'
import { qualifiedName } from '../postgres/identifiers.ts'

export interface EntrySelection {
  /** Lines of a `pg_restore --use-list` file, in the archive's order. */
  readonly lines: readonly string[]
  readonly tables: readonly string[]
  /** What belongs to the tables and is left out, and why. */
  readonly leftOut: readonly { readonly what: string; readonly why: string }[]
}

/**
 * The entries of an archive that selected tables need: the tables with their rows, what they depend on (schemas, types, functions,
 * sequences) and what depends on them (indexes, constraints, triggers, comments, grants, sequence values). A foreign key
 * to a table that is not selected is left out and named. `pg_restore --table` alone would bring neither indexes nor constraints.
 */
export function selectEntries(toc: ArchiveToc, wanted: readonly string[]): EntrySelection {
  const byId = new Map(toc.entries.map((entry) => [entry.dumpId, entry]))
  const tables = wanted.flatMap((name) => findTables(toc, name))
  const chosen = new Set<number>()
  for (const table of tables) addWithNeeds(table, byId, chosen)
  const dropped = new Set<number>()
  const leftOut: { what: string; why: string }[] = []

  // Followers may have followers (a constraint's comment, an identity sequence's value): repeat until nothing is new.
  for (let grown = true; grown;) {
    grown = false
    for (const entry of toc.entries) {
      if (chosen.has(entry.dumpId) || dropped.has(entry.dumpId) || !follows(entry, byId, chosen)) continue
      const foreign =
        entry.desc === 'FK CONSTRAINT'
          ? entry.dependencies.map((id) => byId.get(id)).find((other) => other !== undefined && !chosen.has(other.dumpId))
          : undefined
      if (foreign !== undefined) {
        dropped.add(entry.dumpId)
        leftOut.push({ what: `foreign key ${entry.tag}`, why: 'it refers to a table that is not selected' })
      } else {
        addWithNeeds(entry, byId, chosen)
        grown = true
      }
    }
  }
  const lines = toc.entries.filter((entry) => chosen.has(entry.dumpId)).map((entry) => `${entry.dumpId};`)
  return { lines, tables: tables.map(nameOf), leftOut }
}

const tableKinds = new Set(['TABLE', 'FOREIGN TABLE', 'MATERIALIZED VIEW', 'VIEW'])

function findTables(toc: ArchiveToc, wanted: string): readonly TocEntry[] {
  const found = toc.entries.filter(
    (entry) => tableKinds.has(entry.desc) && (entry.tag === wanted || `${entry.namespace ?? ''}.${entry.tag}` === wanted || nameOf(entry) === wanted),
  )
  if (found.length === 0) {
    const names = toc.entries.filter((entry) => entry.desc === 'TABLE').map(nameOf)
    throw new Failure('usage-invalid', `the backup has no table "${wanted}"`, {
      hints: names.length > 30 ? [`it has ${names.length} tables: tidemark show --json lists them`] : [`it has: ${names.join(', ')}`],
    })
  }
  const schemas = new Set(found.map((entry) => entry.namespace))
  if (schemas.size > 1) throw new Failure('usage-invalid', `"${wanted}" exists in several schemas`, { hints: found.map(nameOf) })
  return found
}

function nameOf(entry: TocEntry): string {
  return qualifiedName(entry.namespace ?? '', entry.tag)
}

/** An entry and, before the data, all that it cannot exist without. */
function addWithNeeds(entry: TocEntry, byId: ReadonlyMap<number, TocEntry>, chosen: Set<number>): void {
  if (chosen.has(entry.dumpId)) return
  chosen.add(entry.dumpId)
  for (const id of entry.dependencies) {
    const needed = byId.get(id)
    if (needed !== undefined && needed.section === 'pre-data') addWithNeeds(needed, byId, chosen)
  }
}

const followers = new Set([
  'TABLE DATA',
  'DEFAULT',
  'SEQUENCE OWNED BY',
  'SEQUENCE',
  'SEQUENCE SET',
  'INDEX',
  'INDEX ATTACH',
  'CONSTRAINT',
  'CHECK CONSTRAINT',
  'FK CONSTRAINT',
  'TRIGGER',
  'RULE',
  'POLICY',
  'ROW SECURITY',
  'STATISTICS',
  'COMMENT',
  'ACL',
  'SECURITY LABEL',
  'TABLE ATTACH',
  'MATERIALIZED VIEW DATA',
  'STATISTICS DATA',
])

/** Whether the entry belongs to something chosen: it depends on it directly, and is of a kind that only serves it. */
function follows(entry: TocEntry, byId: ReadonlyMap<number, TocEntry>, chosen: ReadonlySet<number>): boolean {
  if (!followers.has(entry.desc)) return false
  return entry.dependencies.some((id) => {
    const owner = byId.get(id)
    // Comments and grants of a schema or type are wanted with it; an index on another table is not, though its type may be chosen.
    return (
      owner !== undefined && chosen.has(id) && (tableKinds.has(owner.desc) || followers.has(owner.desc) || entry.desc === 'COMMENT' || entry.desc === 'ACL')
    )
  })
}
