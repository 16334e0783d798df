import { hashBytes, type Extent, type LeafEntry } from '../../packs/leaf.ts'

/** A frame, and what is needed of it. */
export interface FramePlan {
  readonly pack: number
  readonly frame: number
  readonly uses: readonly FrameUse[]
}

/** Pages of a file that lie one after the other in a frame. */
export interface FrameUse {
  readonly path: string
  /** Permission bits of the file. */
  readonly mode: number
  /** Of the first of them in the file. */
  readonly fileOffset: number
  /** Of the first of them in the frame's content. */
  readonly offset: number
  readonly bytes: number
  /** What each page hashes to. */
  readonly hashes: Buffer
  /** Where they go instead of into the file. */
  readonly into?: MemoryPlace
}

/** Memory that threads share, and where in it something begins. */
export interface MemoryPlace {
  readonly buffer: SharedArrayBuffer
  readonly offset: number
}

/** An entry of a leaf, or some of its pages. */
export interface WantedPages extends LeafEntry {
  /** For each page, 1 where it is wanted; all are, where this is left out. */
  readonly wanted?: Uint8Array
  /** Where the entry's first page goes in memory; the pages are not written to a file then. */
  readonly into?: MemoryPlace
}

/** Which of the frames that are wanted these files need, in the order of packs and frames, so that each is fetched and opened once. Pure. */
export function planFrames(
  entries: readonly WantedPages[],
  pageBytes: number,
  wants: (pack: number, frame: number) => boolean = () => true,
): readonly FramePlan[] {
  const frames = new Map<number, Map<number, FrameUse[]>>()
  for (const entry of entries) {
    const { path, mode, sizeBytes, firstPage, hashes, into } = entry
    for (const { page, pages, pack, frame, offset } of wantedRuns(entry, pageBytes)) {
      if (!wants(pack, frame)) continue
      const fileOffset = (firstPage + page) * pageBytes
      const ofPack = getOrAdd(frames, pack, () => new Map<number, FrameUse[]>())
      getOrAdd(ofPack, frame, () => []).push({
        path,
        mode,
        fileOffset,
        offset,
        bytes: Math.min(pages * pageBytes, sizeBytes - fileOffset),
        hashes: hashes.subarray(page * hashBytes, (page + pages) * hashBytes),
        ...(into === undefined ? {} : { into: { buffer: into.buffer, offset: into.offset + page * pageBytes } }),
      })
    }
  }
  return [...frames.entries()]
    .toSorted(([a], [b]) => a - b)
    .flatMap(([pack, ofPack]) => [...ofPack.entries()].toSorted(([a], [b]) => a - b).map(([frame, uses]) => ({ pack, frame, uses })))
}

/** The extents of an entry, cut to the pages that are wanted; `page` counts from the entry's first. */
function* wantedRuns({ extents, wanted }: WantedPages, pageBytes: number): Generator<Extent & { readonly page: number }, void, undefined> {
  let page = 0
  for (const extent of extents) {
    const end = page + extent.pages
    if (wanted === undefined) yield { ...extent, page }
    else {
      for (let from = page; from < end;) {
        while (from < end && wanted[from] === 0) from += 1
        let until = from
        while (until < end && wanted[until] === 1) until += 1
        if (until > from) yield { ...extent, page: from, pages: until - from, offset: extent.offset + (from - page) * pageBytes }
        from = until
      }
    }
    page = end
  }
}

function getOrAdd<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const known = map.get(key)
  if (known !== undefined) return known
  const made = make()
  map.set(key, made)
  return made
}
