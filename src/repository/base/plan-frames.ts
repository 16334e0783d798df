import { hashBytes, type LeafEntry } from '../../packs/leaf.ts'

/** A frame, and what is needed of it. */
export interface FramePlan {
  readonly pack: number
  readonly frame: number
  readonly uses: readonly FrameUse[]
}

/** Pages of a file that lie one after the other in a frame. */
export interface FrameUse {
  readonly path: string
  /** Of the first of them in the file. */
  readonly fileOffset: number
  /** Of the first of them in the frame's content. */
  readonly offset: number
  readonly bytes: number
  /** What each page hashes to. */
  readonly hashes: Buffer
}

/** Which frames of the packs that are wanted these files need, in the order of packs and frames, so that each is fetched and opened once. Pure. */
export function planFrames(entries: readonly LeafEntry[], pageBytes: number, wants: (pack: number) => boolean = () => true): readonly FramePlan[] {
  const frames = new Map<number, Map<number, FrameUse[]>>()
  for (const { path, sizeBytes, firstPage, hashes, extents } of entries) {
    let page = 0
    for (const { pages, pack, frame, offset } of extents) {
      const fileOffset = (firstPage + page) * pageBytes
      const bytes = Math.min(pages * pageBytes, sizeBytes - fileOffset)
      const ofPages = hashes.subarray(page * hashBytes, (page + pages) * hashBytes)
      page += pages
      if (!wants(pack)) continue
      const ofPack = getOrAdd(frames, pack, () => new Map<number, FrameUse[]>())
      getOrAdd(ofPack, frame, () => []).push({ path, fileOffset, offset, bytes, hashes: ofPages })
    }
  }
  return [...frames.entries()]
    .toSorted(([a], [b]) => a - b)
    .flatMap(([pack, ofPack]) => [...ofPack.entries()].toSorted(([a], [b]) => a - b).map(([frame, uses]) => ({ pack, frame, uses })))
}

function getOrAdd<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const known = map.get(key)
  if (known !== undefined) return known
  const made = make()
  map.set(key, made)
  return made
}
