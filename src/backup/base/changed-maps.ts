import { relationFileOf, type RelationFile } from '../../pgdata/relation-path.ts'
import { pagesPerMapPage } from '../../pgdata/visibility-map.ts'

/**
 * Which pages of visibility maps an incremental BASE_BACKUP does not send although they changed. Clearing a bit is in the WAL of the table's page alone, so the server's summaries miss the page of the
 * map (pgsql-hackers, March 2026; seen with 17.10 and 18.4), and a map with old bits makes index-only scans return deleted rows. A page of the map of which a described page of the table
 * changed is therefore taken as all zeros, which says that nothing is visible to all: always right, and the next VACUUM sets the bits again.
 */
export interface ChangedMaps {
  /** Pages of a segment file of a table that changed. */
  tableChanged(path: string, blocks: Uint32Array): void
  /** A segment file came whole: nobody knows what changed in it. */
  tableCameWhole(path: string): void
  /** The pages of this map, by their number in its file, that are not to be believed where the server did not send them. */
  staleIn(path: string): readonly number[]
  forget(): void
}

export function createChangedMaps({ pageBytes, segmentPages }: { readonly pageBytes: number; readonly segmentPages: number }): ChangedMaps {
  const perMapPage = pagesPerMapPage(pageBytes)
  /** By relation: numbers of pages of its map. */
  const stale = new Map<string, Set<number>>()
  const pagesOf = (relation: RelationFile): Set<number> => {
    const name = nameOf(relation)
    const known = stale.get(name)
    if (known !== undefined) return known
    const made = new Set<number>()
    stale.set(name, made)
    return made
  }
  return {
    tableChanged: (path, blocks) => {
      const relation = relationFileOf(path)
      if (relation?.fork !== 'main') return
      const pages = pagesOf(relation)
      for (const block of blocks) pages.add(Math.floor((relation.segment * segmentPages + block) / perMapPage))
    },
    tableCameWhole: (path) => {
      const relation = relationFileOf(path)
      if (relation?.fork !== 'main') return
      const pages = pagesOf(relation)
      const first = relation.segment * segmentPages
      for (let page = Math.floor(first / perMapPage); page <= Math.floor((first + segmentPages - 1) / perMapPage); page += 1) pages.add(page)
    },
    staleIn: (path) => {
      const relation = relationFileOf(path)
      if (relation === null) return []
      const first = relation.segment * segmentPages
      return [...(stale.get(nameOf(relation)) ?? [])].map((page) => page - first).filter((page) => page >= 0 && page < segmentPages)
    },
    forget: () => stale.clear(),
  }
}

const nameOf = ({ tablespaceOid, databaseOid, relfilenode }: RelationFile) => `${tablespaceOid}/${databaseOid}/${relfilenode}`
