import { isDeepStrictEqual } from 'node:util'
import type { ContentFingerprint } from './fingerprint.ts'
import { displayName } from './toc-content.ts'

/**
 * Whether two readings of one dump saw the same bytes: everything must be equal, order included. Null, or the first difference in words.
 * (A restored copy is compared by `compare.ts`, where order may differ.)
 */
export function sameFingerprint(expected: ContentFingerprint, found: ContentFingerprint): string | null {
  const tables = new Map(found.tables.map((table) => [JSON.stringify([table.schema, table.name]), table]))
  for (const table of expected.tables) {
    const other = tables.get(JSON.stringify([table.schema, table.name]))
    if (other === undefined) return `table ${displayName(table)} is missing`
    if (other.rows !== table.rows) return `table ${displayName(table)} has ${other.rows} rows, ${table.rows} were dumped`
    if (other.digest !== table.digest || other.bytes !== table.bytes) return `the rows of table ${displayName(table)} are not those that were dumped`
  }
  if (found.tables.length !== expected.tables.length) return `it has ${found.tables.length} tables with rows, ${expected.tables.length} were dumped`
  if (!isDeepStrictEqual(found.largeObjects, expected.largeObjects)) return 'its large objects are not those that were dumped'
  if (!isDeepStrictEqual(found.sequences, expected.sequences)) return 'its sequence values are not those that were dumped'
  return isDeepStrictEqual(found.derived, expected.derived) ? null : 'its list of objects is not the one that was dumped'
}
