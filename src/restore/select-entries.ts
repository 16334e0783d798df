import type { ArchiveToc, TocEntry } from '../dump/archive-toc.ts'
import type { QualifiedName } from '../dump/sink.ts'
import { sqlWords } from '../dump/sql-words.ts'
import { Failure } from '../kernel/failure.ts'
import { qualifiedName } from '../postgres/identifiers.ts'

export interface EntrySelection {
  /** Lines of a `pg_restore --use-list` file, in the archive's order; null for everything. */
  readonly lines: readonly string[] | null
  /** The selected tables; empty for everything. */
  readonly tables: readonly QualifiedName[]
  /** What belongs to the tables and is left out, and why. */
  readonly leftOut: readonly LeftOut[]
}

export interface LeftOut {
  readonly entry: Pick<TocEntry, 'desc' | 'namespace' | 'tag'>
  readonly what: string
  readonly why: string
}

/** Whether the target has an object of the archive already. */
export type HasObject = (entry: Pick<TocEntry, 'desc' | 'namespace' | 'tag'>) => boolean

/**
 * Everything in the archive but foreign keys to tables, and triggers with functions, that neither it nor the target has: a dump of single tables
 * (`pg_dump --table`) holds such.
 */
export function selectAll(toc: ArchiveToc, has: HasObject): EntrySelection {
  const isDangling = danglingIn(toc, has)
  const skipped = new Set(toc.entries.filter(isDangling))
  // What is said of them (comments) goes with them.
  for (const entry of toc.entries) if (entry.desc === 'COMMENT' && [...skipped].some(({ dumpId }) => entry.dependencies.includes(dumpId))) skipped.add(entry)
  const lines = skipped.size === 0 ? null : toc.entries.filter((entry) => !skipped.has(entry)).map(lineOf)
  return { lines, tables: [], leftOut: [...skipped].filter(({ desc }) => desc !== 'COMMENT').map((entry) => left(entry, 'that the backup does not hold')) }
}

/** Whether an entry refers to what neither the archive nor the target has, as far as that can be known. */
function danglingIn(toc: ArchiveToc, has: HasObject): (entry: TocEntry) => boolean {
  const held = new Set(toc.entries.map(({ desc, namespace, tag }) => JSON.stringify([desc, namespace, tag])))
  // What an extension brings has no entry of its own.
  const hasExtensions = toc.entries.some(({ desc }) => desc === 'EXTENSION')
  return (entry) => {
    const table = referencedTable(entry)
    if (table !== undefined) return !held.has(JSON.stringify(['TABLE', table.schema, table.name])) && !has(tableEntry(table))
    const called = calledFunction(entry)
    if (called === undefined || hasExtensions || called.schema === 'pg_catalog') return false
    return !held.has(JSON.stringify(['FUNCTION', called.schema, called.name])) && !has({ desc: 'FUNCTION', namespace: called.schema, tag: called.name })
  }
}

/** The table that a foreign key refers to: `… FOREIGN KEY (a) REFERENCES schema.name(b) …`. */
function referencedTable({ desc, definition }: TocEntry): QualifiedName | undefined {
  return desc !== 'FK CONSTRAINT' || definition === null ? undefined : nameAfter(definition, ['references'])
}

/** The function of a trigger, with the parentheses of its name in the table of contents: `… EXECUTE FUNCTION schema.name(…)`. */
function calledFunction({ desc, definition }: TocEntry): QualifiedName | undefined {
  const called =
    desc !== 'TRIGGER' || definition === null ? undefined : (nameAfter(definition, ['execute', 'function']) ?? nameAfter(definition, ['execute', 'procedure']))
  return called === undefined ? undefined : { schema: called.schema, name: `${called.name}()` }
}

/** The qualified name behind words of a definition. */
function nameAfter(definition: string, keywords: readonly string[]): QualifiedName | undefined {
  const words = sqlWords(definition)
  const at = words.findIndex((_, index) => keywords.every((keyword, next) => words[index + next]?.kind === 'word' && words[index + next]?.text === keyword))
  const [schema, dot, name] = at < 0 ? [] : words.slice(at + keywords.length)
  return schema === undefined || name === undefined || dot?.text !== '.' ? undefined : { schema: schema.text, name: name.text }
}

function tableEntry({ schema, name }: QualifiedName) {
  return { desc: 'TABLE', namespace: schema, tag: name }
}

function left(entry: TocEntry, why: string): LeftOut {
  const isKey = entry.desc === 'FK CONSTRAINT'
  return { entry, what: `${isKey ? 'foreign key' : 'trigger'} ${entry.tag}`, why: `it ${isKey ? 'refers to a table' : 'calls a function'} ${why}` }
}

function lineOf(entry: TocEntry): string {
  return `${entry.dumpId};`
}

/**
 * The entries of an archive that selected tables need: the tables with their rows, what they depend on (schemas, types, functions,
 * sequences) and what depends on them (indexes, constraints, triggers, comments, grants, sequence values). What they depend on and the target `has` is
 * left as it is there: it serves other tables, too. A foreign key to a table that is neither selected nor there is left out and named. `pg_restore --table`
 * alone would bring neither indexes nor constraints.
 */
export function selectEntries(toc: ArchiveToc, wanted: readonly string[], has: HasObject = () => false): EntrySelection {
  const byId = new Map(toc.entries.map((entry) => [entry.dumpId, entry]))
  const tables = wanted.flatMap((name) => findTables(toc, name))
  const chosen = new Set<number>()
  const wantedIds = new Set(tables.map(({ dumpId }) => dumpId))
  // What a selected table owns goes and comes with it.
  const owned = new Set(
    toc.entries
      .filter((entry) => entry.desc === 'SEQUENCE OWNED BY' && entry.dependencies.some((id) => wantedIds.has(id)))
      .flatMap((entry) => entry.dependencies),
  )
  const skips = (entry: TocEntry) => !wantedIds.has(entry.dumpId) && !owned.has(entry.dumpId) && has(entry)
  for (const table of tables) addWithNeeds(table, { byId, chosen, skips })
  const dropped = new Set<number>()
  const leftOut: LeftOut[] = []
  const isDangling = danglingIn(toc, has)

  // Followers may have followers (a constraint's comment, an identity sequence's value): repeat until nothing is new.
  for (let grown = true; grown;) {
    grown = false
    for (const entry of toc.entries) {
      if (chosen.has(entry.dumpId) || dropped.has(entry.dumpId) || !follows(entry, byId, chosen)) continue
      const refersOut = entry.desc === 'FK CONSTRAINT' && entry.dependencies.some((id) => byId.has(id) && !chosen.has(id))
      const table = referencedTable(entry)
      const isSelected = table !== undefined && tables.some((each) => each.namespace === table.schema && each.tag === table.name)
      if (entry.desc === 'FK CONSTRAINT' && (refersOut || !isSelected)) {
        if (table !== undefined && !isSelected && has(tableEntry(table))) {
          chosen.add(entry.dumpId)
          grown = true
        } else if (refersOut || isDangling(entry)) {
          dropped.add(entry.dumpId)
          leftOut.push(left(entry, 'that is not selected'))
          continue
        }
      }
      if (entry.desc === 'TRIGGER' && isDangling(entry)) {
        dropped.add(entry.dumpId)
        leftOut.push(left(entry, 'that the backup does not hold'))
        continue
      }
      if (chosen.has(entry.dumpId)) continue
      addWithNeeds(entry, { byId, chosen, skips })
      grown = true
    }
  }
  const lines = toc.entries.filter((entry) => chosen.has(entry.dumpId)).map(lineOf)
  return { lines, tables: tables.map(({ namespace, tag }) => ({ schema: namespace ?? '', name: tag })), leftOut }
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

interface Choosing {
  readonly byId: ReadonlyMap<number, TocEntry>
  readonly chosen: Set<number>
  /** What is there already and is not to be touched. */
  readonly skips: (entry: TocEntry) => boolean
}

/** An entry and, before the data, all that it cannot exist without. */
function addWithNeeds(entry: TocEntry, choosing: Choosing): void {
  const { byId, chosen, skips } = choosing
  if (chosen.has(entry.dumpId)) return
  chosen.add(entry.dumpId)
  for (const id of entry.dependencies) {
    const needed = byId.get(id)
    if (needed !== undefined && needed.section === 'pre-data' && !skips(needed)) addWithNeeds(needed, choosing)
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
