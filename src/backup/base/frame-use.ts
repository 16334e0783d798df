import type { LeafEntry } from '../../packs/leaf.ts'
import type { FrameLengths } from '../../packs/pack-format.ts'

/** Counts how much of each frame a backup uses: what the next backup, and the garbage collection, want to know of it. */
export interface FrameUse {
  extents(entry: LeafEntry): void
  leaf(pack: number, frame: number): void
  /** The packs that are in use, and a byte for each frame: its live bytes in 1/255 of its content, rounded up. */
  live(framesOf: (pack: number) => readonly FrameLengths[]): readonly { readonly pack: number; readonly live: Buffer }[]
}

export function createFrameUse(pageBytes: number): FrameUse {
  const used: Map<number, number>[] = []
  const add = (pack: number, frame: number, bytes: number): void => {
    const frames = (used[pack] ??= new Map())
    frames.set(frame, (frames.get(frame) ?? 0) + bytes)
  }
  return {
    extents: ({ sizeBytes, firstPage, extents }) => {
      let page = firstPage
      for (const { pages, pack, frame } of extents) {
        add(pack, frame, Math.min(pages * pageBytes, sizeBytes - page * pageBytes))
        page += pages
      }
    },
    // A leaf is used as a whole.
    leaf: (pack, frame) => add(pack, frame, Number.MAX_SAFE_INTEGER),
    live: (framesOf) =>
      [...used.entries()].flatMap(([pack, frames]) => {
        if (frames === undefined) return []
        const lengths = framesOf(pack)
        const live = Buffer.alloc(lengths.length)
        for (const [frame, bytes] of frames) live[frame] = Math.min(255, Math.max(1, Math.ceil((bytes * 255) / (lengths[frame]?.content ?? bytes))))
        return [{ pack, live }]
      }),
  }
}
