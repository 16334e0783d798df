/**
 * The outside of Zstandard files: frame and block headers (RFC 8878 §3.1) and the frame table of the "Zstandard Seekable Format"
 * 0.1.0 (facebook/zstd, contrib/seekable_format). The inside of blocks is left to libzstd.
 */

export const frameMagic = 0xfd2fb528
const skippableMagic = 0x184d2a50
const seekTableMagic = 0x184d2a5e
const seekTableFooterMagic = 0x8f92eab1

/** Longest frame header: magic, descriptor, window, dictionary id (4), content size (8). */
export const longestFrameHeader = 4 + 1 + 1 + 4 + 8
/** No block is longer than this, whatever the window. */
export const longestBlock = 128 * 1024
export const blockHeaderBytes = 3
/** Behind the last block of a frame that has one. */
export const checksumBytes = 4

export interface FrameHeader {
  readonly headerBytes: number
  /** Bytes that come out, or null when the frame does not say. */
  readonly contentBytes: number | null
  readonly hasChecksum: boolean
  /** Memory that decoding takes. */
  readonly windowBytes: number
  readonly needsDictionary: boolean
  /** See `markedFrame`. */
  readonly marked: boolean
}

/** Reads a frame header from its magic number on. A string says what is wrong; undefined means that more bytes are needed. */
export function parseFrameHeader(bytes: Buffer): FrameHeader | string | undefined {
  if (bytes.length < 5) return undefined
  const descriptor = bytes.readUInt8(4)
  if ((descriptor & 0b1000) !== 0) return 'a frame header has its reserved bit set'
  const singleSegment = (descriptor & 0b10_0000) !== 0
  const sizeFlag = descriptor >> 6
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 0b11] ?? 0
  const sizeBytes = sizeFlag === 0 ? (singleSegment ? 1 : 0) : 1 << sizeFlag
  const dictionaryAt = singleSegment ? 5 : 6
  const sizeAt = dictionaryAt + dictionaryBytes
  const headerBytes = sizeAt + sizeBytes
  if (bytes.length < headerBytes) return undefined
  const contentBytes = sizeBytes === 0 ? null : Number(unsigned(bytes, sizeAt, sizeBytes) + (sizeBytes === 2 ? 256n : 0n))
  return {
    headerBytes,
    contentBytes,
    hasChecksum: (descriptor & 0b100) !== 0,
    windowBytes: singleSegment ? (contentBytes ?? 0) : windowOf(bytes.readUInt8(5)),
    needsDictionary: dictionaryBytes > 0 && unsigned(bytes, dictionaryAt, dictionaryBytes) !== 0n,
    marked: sizeBytes === 8 && contentBytes !== null && contentBytes <= 0xffff_ffff,
  }
}

/**
 * A frame of `node:zlib` (with content size and checksum) with its content size written in eight bytes, although fewer would
 * do. Every decoder must read that and no compressor does it, so it marks a file of ours, which therefore must end with a frame
 * table: without the mark a file cut exactly between two frames would look complete.
 */
export function markedFrame(frame: Buffer, contentBytes: number): Buffer {
  const header = parseFrameHeader(frame)
  if (typeof header !== 'object' || header.contentBytes !== contentBytes || !header.hasChecksum || header.needsDictionary) {
    throw new Error('zlib made a zstd frame without the content size or checksum that it was told to write')
  }
  const descriptor = frame.readUInt8(4)
  const singleSegment = (descriptor & 0b10_0000) !== 0
  const sizeAt = singleSegment ? 5 : 6
  const marked = Buffer.allocUnsafeSlow(sizeAt + 8 + frame.length - header.headerBytes)
  frame.copy(marked, 0, 0, sizeAt)
  // The two low bits (dictionary id) go: a field with id 0 says nothing.
  marked.writeUInt8((descriptor & 0b0011_1100) | 0b1100_0000, 4)
  marked.writeBigUInt64LE(BigInt(contentBytes), sizeAt)
  frame.copy(marked, sizeAt + 8, header.headerBytes)
  return marked
}

export interface BlockHeader {
  readonly last: boolean
  /** Bytes that follow the header in the file. */
  readonly storedBytes: number
}

/** Reads a block header (three bytes). A string says what is wrong. */
export function parseBlockHeader(bytes: Buffer, offset: number): BlockHeader | string {
  const word = bytes.readUIntLE(offset, 3)
  const kind = (word >> 1) & 0b11
  const size = word >> 3
  if (kind === 3) return 'a block has the reserved type'
  if (size > longestBlock) return `a block claims ${size} bytes`
  return { last: (word & 1) === 1, storedBytes: kind === 1 ? 1 : size }
}

/** Content bytes of a skippable frame, or undefined when these eight bytes do not begin one. */
export function skippableBytes(head: Buffer): number | undefined {
  return head.length >= 8 && (head.readUInt32LE(0) & 0xffff_fff0) >>> 0 === skippableMagic ? head.readUInt32LE(4) : undefined
}

export function isSeekTable(head: Buffer): boolean {
  return head.length >= 4 && head.readUInt32LE(0) === seekTableMagic
}

const entryBytes = 12

/** Grows into the frame table: a skippable frame at the end of the file, which also makes random access possible. */
export class SeekTable {
  #entries = Buffer.alloc(entryBytes * 64)
  #count = 0

  get frames(): number {
    return this.#count
  }

  /** Adds a whole frame that ends with its checksum. */
  add(frame: Buffer, contentBytes: number): void {
    const at = this.#count * entryBytes
    if (at === this.#entries.length) this.#entries = Buffer.concat([this.#entries, Buffer.alloc(this.#entries.length)])
    this.#entries.writeUInt32LE(frame.length, at)
    this.#entries.writeUInt32LE(contentBytes, at + 4)
    // Both are the low 32 bits of the content's XXH64.
    frame.copy(this.#entries, at + 8, frame.length - 4)
    this.#count++
  }

  /** The skippable frame with all entries. */
  bytes(): Buffer {
    const entries = this.#count * entryBytes
    const frame = Buffer.alloc(8 + entries + 9)
    frame.writeUInt32LE(seekTableMagic, 0)
    frame.writeUInt32LE(entries + 9, 4)
    this.#entries.copy(frame, 8, 0, entries)
    frame.writeUInt32LE(this.#count, 8 + entries)
    frame.writeUInt8(0b1000_0000, 8 + entries + 4) // entries have checksums
    frame.writeUInt32LE(seekTableFooterMagic, 8 + entries + 5)
    return frame
  }
}

function unsigned(bytes: Buffer, offset: number, count: number): bigint {
  return count === 8 ? bytes.readBigUInt64LE(offset) : BigInt(bytes.readUIntLE(offset, count))
}

function windowOf(byte: number): number {
  const base = 2 ** (10 + (byte >> 3))
  return base + (base / 8) * (byte & 0b111)
}
