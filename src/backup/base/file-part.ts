import { hashBytes, pagesOf, type LeafEntry } from '../../packs/leaf.ts'
import { mergeExtents } from './merge-extents.ts'
import type { KeptRun, LookedAt } from './page-workers.ts'
import type { PriorBackup } from './prior-backup.ts'

/** What is known of a file before its bytes come. Paths as in leaves. */
export interface FileHead {
  readonly path: string
  readonly mode: number
  readonly sizeBytes: number
}

/** A file, or where it is large, a part of it, while its pages are looked at in any order. */
export interface FilePart {
  readonly pages: number
  /** Whether every page is known; without any that comes, from the beginning. */
  readonly isComplete: boolean
  /** For some of its pages: the hashes they had in the prior backup, and which of them need not be kept if they have them still. */
  expectation(from: number, count: number, into: { readonly prior: Buffer; readonly compare: Buffer; readonly at: number }): void
  /** Pages that were looked at: `count` from `from` on, which were those from `at` on of the job. True when they were the last. */
  add(looked: LookedAt, pages: { readonly from: number; readonly count: number; readonly at: number }): boolean
  entry(): LeafEntry
}

export interface FilePartOptions {
  readonly head: FileHead
  readonly firstPage: number
  readonly pages: number
  readonly pageBytes: number
  readonly known: LeafEntry | undefined
  readonly prior: Pick<PriorBackup, 'isSparse'>
  /** How many of its pages come; the others are those of `known`. All, where this is left out. */
  readonly coming?: number
}

export function createFilePart({ head, firstPage, pages, pageBytes, known, prior, coming = pages }: FilePartOptions): FilePart {
  const hashes = Buffer.alloc(pages * hashBytes)
  // Of pages that do not come; the others are overwritten.
  if (coming < pages && known !== undefined) known.hashes.copy(hashes, 0, (firstPage - known.firstPage) * hashBytes)
  const kept: KeptRun[] = []
  let waiting = coming
  const comparable = known === undefined ? null : comparablePages(known, prior)
  return {
    pages,
    get isComplete() {
      return waiting === 0
    },
    expectation: (from, count, { prior: hashesBefore, compare, at }) => {
      if (known === undefined || comparable === null) return
      const start = firstPage + from - known.firstPage
      const end = Math.min(start + count, comparable.length)
      if (start < 0 || start >= end) return
      known.hashes.copy(hashesBefore, at * hashBytes, start * hashBytes, end * hashBytes)
      comparable.copy(compare, at, start, end)
    },
    add: (looked, { from, count, at }) => {
      looked.hashes.copy(hashes, from * hashBytes, at * hashBytes, (at + count) * hashBytes)
      for (const run of looked.kept) if (run.firstPage >= at && run.firstPage < at + count) kept.push({ ...run, firstPage: run.firstPage - at + from })
      waiting -= count
      return waiting === 0
    },
    entry: () => ({
      ...head,
      kind: 'file',
      firstPage,
      hashes,
      extents: mergeExtents(
        { firstPage, pages, pageBytes },
        kept.sort((a, b) => a.firstPage - b.firstPage),
        known,
      ),
    }),
  }
}

/** For each page of an entry, whether it may stay where it is: not in a frame of which little else is needed any more. */
function comparablePages(known: LeafEntry, prior: Pick<PriorBackup, 'isSparse'>): Buffer {
  const comparable = Buffer.alloc(pagesOf(known), 1)
  let page = 0
  for (const { pages, pack, frame } of known.extents) {
    if (prior.isSparse(pack, frame)) comparable.fill(0, page, page + pages)
    page += pages
  }
  return comparable
}
