import type { Extent, LeafEntry } from '../../packs/leaf.ts'
import type { KeptRun } from './page-workers.ts'

/**
 * Where the pages of a file (or of a part of one) lie: those that were kept where they were put now, the others where the prior backup has them.
 * `kept` counts from the first of these pages, in ascending order. Throws where a page was neither kept nor known: then the backup must fail.
 */
export function mergeExtents(
  { firstPage, pages, pageBytes }: { readonly firstPage: number; readonly pages: number; readonly pageBytes: number },
  kept: readonly KeptRun[],
  prior: LeafEntry | undefined,
): Extent[] {
  const extents: Extent[] = []
  const add = (extent: Extent): void => {
    const last = extents.at(-1)
    const goesOn = last !== undefined && last.pack === extent.pack && last.frame === extent.frame && last.offset + last.pages * pageBytes === extent.offset
    if (goesOn) extents[extents.length - 1] = { ...last, pages: last.pages + extent.pages }
    else extents.push(extent)
  }
  const known = prior === undefined ? null : createExtentCursor(prior, pageBytes)
  let page = 0
  const addKnown = (until: number): void => {
    if (page >= until) return
    const found = known?.take(firstPage + page, until - page) ?? []
    for (const extent of found) add(extent)
    if (found.reduce((count, extent) => count + extent.pages, 0) !== until - page)
      throw new Error(`pages ${page} to ${until - 1} were dropped, and are in no backup`)
    page = until
  }
  for (const run of kept) {
    addKnown(run.firstPage)
    add({ pages: run.pages, pack: run.pack, frame: run.frame, offset: run.offset })
    page = run.firstPage + run.pages
  }
  addKnown(pages)
  return extents
}

/** Walks over the extents of an entry from front to back. */
interface ExtentCursor {
  /** The extents of `count` pages from `page` on (counted in the file), cut to them; fewer where the entry has fewer. */
  take(page: number, count: number): Extent[]
}

function createExtentCursor({ extents, firstPage }: LeafEntry, pageBytes: number): ExtentCursor {
  let index = 0
  let start = firstPage
  return {
    take: (page, count) => {
      const taken: Extent[] = []
      const end = page + count
      for (;;) {
        const extent = extents[index]
        if (extent === undefined || start >= end) return taken
        const from = Math.max(start, page)
        const until = Math.min(start + extent.pages, end)
        if (from < until) taken.push({ ...extent, pages: until - from, offset: extent.offset + (from - start) * pageBytes })
        if (start + extent.pages > end) return taken
        start += extent.pages
        index += 1
      }
    },
  }
}
