import { qualifiedName } from '../postgres/identifiers.ts'
import type { SourceTable } from './source-facts.ts'

export interface Selection {
  readonly schemaOnly: boolean
  readonly dataOnly: boolean
  readonly tables: readonly string[]
  readonly schemas: readonly string[]
  readonly excludeTables: readonly string[]
}

/** Whether the dump holds less than the database by wish: then it is never `latest` and never counts as a good backup. */
export function isPartial(selection: Selection): boolean {
  return selection.schemaOnly || selection.dataOnly || selection.tables.length > 0 || selection.schemas.length > 0 || selection.excludeTables.length > 0
}

export interface LeftOut {
  readonly what: string
  readonly why: string
}

/**
 * Holds the snapshot's tables against those in the dump. `named` is left out for a known reason; `missing` should be there and is not.
 * Pure.
 */
export function findLeftOut(
  source: readonly SourceTable[],
  dumped: ReadonlySet<string>,
  selection: Selection,
): { named: readonly LeftOut[]; missing: readonly string[] } {
  const named: LeftOut[] = []
  const missing: string[] = []
  let unselected = 0
  for (const table of source) {
    const what = qualifiedName(table.schema, table.name)
    if (table.kind === 'p' || dumped.has(what)) continue
    if (table.kind === 'f') named.push({ what, why: 'foreign table: its rows live on another server; the definition is in the dump' })
    else if (table.kind === 'm') continue
    else if (table.extension !== null && !table.extensionConfig) named.push({ what, why: `belongs to extension ${table.extension}, which creates it anew` })
    else if (isPartial(selection)) unselected += 1
    else missing.push(what)
  }
  if (selection.schemaOnly) named.push({ what: 'the rows of all tables', why: 'schema only' })
  else if (unselected > 0) named.push({ what: `${unselected} tables`, why: 'not selected' })
  return { named, missing }
}
