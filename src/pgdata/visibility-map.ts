/** The visibility map (fork `vm` of a table): two bits per page of the table, behind a page header of 24 bytes (`access/visibilitymapdefs.h`). */
const headerBytes = 24
const pagesPerByte = 4

/** Pages of a table that one page of its map describes. */
export function pagesPerMapPage(pageBytes: number): number {
  return (pageBytes - headerBytes) * pagesPerByte
}
