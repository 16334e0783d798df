import type { ArchiveToc, TocEntry } from './archive-toc.ts'
import { parseCopyStatement, parseLoadViaRoot, parseSetval } from './copy-statement.ts'
import { identifierAsNeeded, printableName, qualifiedName } from '../postgres/identifiers.ts'
import type { DumpSink, QualifiedName, TableSection } from './sink.ts'

/** What an entry with data holds: rows as COPY text, large objects, or something that is not fingerprinted and why. */
export type EntryContent =
  | { readonly kind: 'rows'; readonly section: TableSection }
  | { readonly kind: 'large-objects' }
  | { readonly kind: 'other'; readonly why: string }

export function contentOf(entry: TocEntry): EntryContent {
  if (entry.desc === 'BLOBS') return { kind: 'large-objects' }
  if (entry.desc !== 'TABLE DATA') return { kind: 'other', why: `Tidemark does not know data of kind ${entry.desc}` }
  if (entry.copyStatement === null || entry.copyStatement === '') return { kind: 'other', why: 'its rows are INSERT statements' }
  const copy = parseCopyStatement(entry.copyStatement)
  if (copy === undefined) return { kind: 'other', why: 'its COPY statement is not one that pg_dump writes' }
  if (!copy.isPlainText) return { kind: 'other', why: 'its rows are not in the text format of COPY' }
  const leaf = { schema: entry.namespace ?? '', name: entry.tag }
  const isElsewhere = copy.target.schema !== leaf.schema || copy.target.name !== leaf.name
  // pg_dump before 2023 did not write the comment; then only the statement's target shows it.
  const viaRoot = parseLoadViaRoot(entry.definition ?? '') ?? (isElsewhere ? copy.target : null)
  return { kind: 'rows', section: { dumpId: entry.dumpId, ...leaf, columns: copy.columns, viaRoot } }
}

/** Tells the values that the archive's SEQUENCE SET entries will set. */
export function tellSequences(toc: ArchiveToc, sink: DumpSink): void {
  for (const entry of toc.entries) {
    if (entry.desc !== 'SEQUENCE SET') continue
    const name = { schema: entry.namespace ?? '', name: entry.tag }
    const value = parseSetval(entry.definition ?? '')
    if (value === undefined) sink.notCompared(displayName(name), 'its sequence value is not set the way pg_dump does it')
    else sink.sequence({ ...value, ...name })
  }
}

/** For messages: control and direction-changing characters are made visible. */
export function nameOf(entry: TocEntry): string {
  return printableName(displayName({ schema: entry.namespace ?? '', name: entry.tag }))
}

/** `schema.name` as JSON and people write it: quoted only where needed. */
export function displayName(table: QualifiedName): string {
  return table.schema === '' ? identifierAsNeeded(table.name) : qualifiedName(table.schema, table.name)
}
