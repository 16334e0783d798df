import type { Context } from '../../kernel/context.ts'
import { hashBytes, pagesOf, type Extent, type LeafEntry } from '../../packs/leaf.ts'
import { mapInOrder } from '../../stream/prefetch.ts'
import { damagedPages } from './damaged-pages.ts'
import type { FrameWorkers } from './frame-workers.ts'
import type { OpenBaseBackup } from './open-base-backup.ts'
import type { WantedPages } from './plan-frames.ts'

/** Bytes of a file that lie one after the other; of a directory or an empty file, none. They are valid until the next piece is asked for. */
export interface FilePiece {
  readonly entry: LeafEntry
  /** Of the first of them in the file. */
  readonly offset: number
  readonly bytes: Uint8Array
}

/** Pages that are fetched together. Some six times as much is held: two batches on their way, and what waits for the reader. */
const batchBytes = 16 << 20
const batchesAtOnce = 2
/** Entries of a batch: an empty file takes memory, too. */
const batchEntries = 20_000
/** Entries among which files are put in order. */
const windowEntries = 100_000
const windowPages = 1 << 19

/**
 * The content of files, piece by piece: each file from its beginning to its end, and none begins before another's end. Threads open the frames and check every page. Files that have
 * one entry come in the order in which they lie in the packs, not in that of their paths, so that a frame which many share is fetched once; directories come before what they hold.
 * Rejects with `integrity` or `object-missing` where a page is not what was backed up.
 */
export async function* readFiles(
  backup: OpenBaseBackup,
  workers: FrameWorkers,
  { entries, context }: { readonly entries: AsyncIterable<LeafEntry> | Iterable<LeafEntry>; readonly context: Context },
): AsyncGenerator<FilePiece, void, undefined> {
  const { pageBytes } = backup.root.server
  const spare: SharedArrayBuffer[] = []
  const fetch = async (batch: readonly LeafEntry[]): Promise<{ readonly buffer: SharedArrayBuffer; readonly pieces: readonly FilePiece[] }> => {
    const buffer = spare.pop() ?? new SharedArrayBuffer(batchBytes)
    const wanted: WantedPages[] = []
    const pieces: FilePiece[] = []
    let at = 0
    for (const entry of batch) {
      const offset = entry.firstPage * pageBytes
      const length = Math.min(pagesOf(entry) * pageBytes, entry.sizeBytes - offset)
      pieces.push({ entry, offset, bytes: new Uint8Array(buffer, at, entry.kind === 'file' ? length : 0) })
      wanted.push({ ...entry, into: { buffer, offset: at } })
      at += pagesOf(entry) * pageBytes
    }
    const [problem] = await workers.read(wanted, { progress: () => undefined })
    if (problem !== undefined) throw damagedPages(backup, problem)
    return { buffer, pieces }
  }
  const batches = inBatches(inFrameOrder(entries, pageBytes), pageBytes)
  for await (const { buffer, pieces } of mapInOrder(batches, fetch, { workers: batchesAtOnce, signal: context.signal })) {
    yield* pieces
    spare.push(buffer)
  }
}

async function* inBatches(entries: AsyncIterable<LeafEntry>, pageBytes: number): AsyncGenerator<readonly LeafEntry[], void, undefined> {
  const mostPages = Math.floor(batchBytes / pageBytes)
  let batch: LeafEntry[] = []
  let pages = 0
  for await (const entry of entries) {
    for (const part of cutEntry(entry, mostPages, pageBytes)) {
      if (batch.length > 0 && (pages + pagesOf(part) > mostPages || batch.length >= batchEntries)) {
        yield batch
        batch = []
        pages = 0
      }
      batch.push(part)
      pages += pagesOf(part)
    }
  }
  if (batch.length > 0) yield batch
}

/** The same pages as entries of at most so many each. */
export function* cutEntry(entry: LeafEntry, mostPages: number, pageBytes: number): Generator<LeafEntry, void, undefined> {
  const count = pagesOf(entry)
  if (count <= mostPages) return yield entry
  for (let from = 0; from < count; from += mostPages) {
    const end = Math.min(from + mostPages, count)
    const extents: Extent[] = []
    let page = 0
    for (const extent of entry.extents) {
      const [first, last] = [Math.max(from, page), Math.min(end, page + extent.pages)]
      if (first < last) extents.push({ ...extent, pages: last - first, offset: extent.offset + (first - page) * pageBytes })
      page += extent.pages
    }
    yield { ...entry, firstPage: entry.firstPage + from, hashes: entry.hashes.subarray(from * hashBytes, end * hashBytes), extents }
  }
}

async function* inFrameOrder(entries: AsyncIterable<LeafEntry> | Iterable<LeafEntry>, pageBytes: number): AsyncGenerator<LeafEntry, void, undefined> {
  let whole: LeafEntry[] = []
  let pages = 0
  for await (const entry of entries) {
    // The parts of a large file stay as they come.
    if (entry.extents.length === 0 || pagesOf(entry) * pageBytes < entry.sizeBytes) {
      yield entry
      continue
    }
    whole.push(entry)
    pages += pagesOf(entry)
    if (whole.length < windowEntries && pages < windowPages) continue
    yield* whole.sort(byPlace)
    whole = []
    pages = 0
  }
  yield* whole.sort(byPlace)
}

function byPlace({ extents: [a] }: LeafEntry, { extents: [b] }: LeafEntry): number {
  return a === undefined || b === undefined ? 0 : a.pack - b.pack || a.frame - b.frame || a.offset - b.offset
}
