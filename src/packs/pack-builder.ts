import { createFrameCodec, type FrameCodec } from './frame.ts'
import { encodeFooter, encodeHeader, encodeTrailer, headerBytes, largestFrameCount, packBytes, type FrameLengths, type PackHeader } from './pack-format.ts'

/** Makes the bytes of one pack, front to back. Whoever calls it stores what it returns, in that order. */
export interface PackBuilder {
  readonly header: PackHeader
  /** The number that the next frame gets. */
  readonly next: number
  /** Whether the pack has as much as a pack should have. */
  readonly isFull: boolean
  readonly frames: readonly FrameLengths[]
  /** The first bytes, before any frame. */
  begin(): Buffer
  frame(content: Uint8Array): Buffer
  /** Trailer and footer. */
  end(): Buffer
}

/** `key` is that of the header's kind: the run's, the metadata key, or null. */
export function createPackBuilder(header: PackHeader, key: Uint8Array | null, level: number): PackBuilder {
  const codec: FrameCodec = createFrameCodec(header, key)
  const frames: FrameLengths[] = []
  let bytes = headerBytes
  return {
    header,
    frames,
    get next() {
      return frames.length
    },
    get isFull() {
      return bytes >= packBytes || frames.length >= largestFrameCount
    },
    begin: () => encodeHeader(header),
    frame: (content) => {
      const stored = codec.seal(frames.length, content, { level })
      frames.push({ stored: stored.length, content: content.length })
      bytes += stored.length
      return stored
    },
    end: () => {
      const trailer = codec.seal(frames.length, encodeTrailer(frames), { level, isLast: true })
      return Buffer.concat([trailer, encodeFooter(trailer.length, frames.length)])
    },
  }
}
