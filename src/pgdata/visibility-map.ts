import { pageChecksum } from './page-checksum.ts'

/**
 * The visibility map (fork `vm` of a table): two bits per page of the table, behind a page header of 24 bytes (`access/visibilitymapdefs.h`).
 *
 * Servers from 17 on leave its pages out of an incremental backup when bits were only cleared, since those changes are in the WAL of the table's
 * page alone (pgsql-hackers, March 2026; seen with 17.10 and 18.4). A map put together from such a backup calls pages visible to all that are not:
 * index-only scans then return deleted rows. Clearing bits is always safe, so they are cleared for every page of the table that changed.
 */
const headerBytes = 24
const pagesPerByte = 4

/** Pages of a table that one page of its map describes. */
export function pagesPerMapPage(pageBytes: number): number {
  return (pageBytes - headerBytes) * pagesPerByte
}

export interface MapPage {
  /** Number of the page in the map, over all of its segment files. */
  readonly mapBlock: number
  /** Whether `pd_checksum` is to be set anew. */
  readonly checksums: boolean
}

/** Calls these pages of the table (block numbers over all its segment files; those of other map pages are passed over) not visible to all. Changes `page`. */
export function clearVisible(page: Uint8Array, heapBlocks: Iterable<number>, { mapBlock, checksums }: MapPage): void {
  const described = pagesPerMapPage(page.length)
  let isChanged = false
  for (const block of heapBlocks) {
    if (Math.floor(block / described) !== mapBlock) continue
    const place = block % described
    const at = headerBytes + Math.floor(place / pagesPerByte)
    const cleared = (page[at] ?? 0) & ~(3 << ((place % pagesPerByte) * 2))
    isChanged ||= cleared !== page[at]
    page[at] = cleared
  }
  if (isChanged && checksums) new DataView(page.buffer, page.byteOffset).setUint16(8, pageChecksum(page, mapBlock), true)
}
