import { promisify } from 'node:util'
import { createZstdDecompress, zstdDecompress } from 'node:zlib'
import { Failure } from '../kernel/failure.ts'
import { ByteCursor } from './byte-cursor.ts'
import { atMost, blocks, giveBack, resultRoomBytes } from './chunks.ts'
import { damaged, isDecodingError, throughDecoder } from './decoder.ts'
import { createFrameCompressor } from './frame-compressor.ts'
import { mapInOrder, prefetchBytes } from './prefetch.ts'
import {
  blockHeaderBytes,
  checksumBytes,
  frameMagic,
  isSeekTable,
  longestBlock,
  longestFrameHeader,
  parseBlockHeader,
  parseFrameHeader,
  SeekTable,
  skippableBytes,
  type FrameHeader,
} from './zstd-format.ts'

/**
 * Zstandard as independent frames, so that several cores compress and decompress one stream. The output is an ordinary `.zst`
 * file: frames of 1 MiB (4 MiB from level 10 on, where the longer look back pays), each with content size and checksum, then the
 * frame table of the Zstandard Seekable Format. `zstd -d` reads it; see `markedFrame` for how a cut is noticed.
 *
 * The work is done by `node:zlib` in libuv's pool, whose threads (UV_THREADPOOL_SIZE, default 4) bound `workers`. Not by zstd's own
 * nbWorkers, which crashes in Node (node#59899).
 */
export interface ZstdOptions {
  /** 1 to 19. */
  readonly level: number
  /** Frames compressed at the same time. */
  readonly workers: number
  /** Content bytes of a frame; at most 8 MiB. */
  readonly frameBytes?: number
  readonly signal?: AbortSignal | undefined
}

const decompress = promisify(zstdDecompress)

/** Frames with more content go through the streaming decoder, one after the other, in bounded memory. */
const largestParallelFrame = 8 * 1024 * 1024
/** What stock zstd accepts without --long; more would let a few hostile bytes take gigabytes. */
const largestWindow = 128 * 1024 * 1024

/** One whole `.zst` file with the bytes of `source`; for an empty source, of an empty frame. */
export async function* compressZstd(source: AsyncIterable<Uint8Array>, options: ZstdOptions): AsyncGenerator<Uint8Array, void, undefined> {
  const { level, workers, frameBytes = level < 10 ? 1 << 20 : 4 << 20, signal } = options
  if (frameBytes < 1 || frameBytes > largestParallelFrame) throw new RangeError(`frameBytes is ${frameBytes}`)
  const spare: Uint8Array[] = []
  using compressor = createFrameCompressor({ level, frameBytes })
  const table = new SeekTable()

  const plain = nonEmpty(blocks(source, frameBytes, () => spare.pop() ?? Buffer.allocUnsafeSlow(frameBytes)))
  const work = async (block: Uint8Array): Promise<{ bytes: Buffer; contentBytes: number }> => {
    const bytes = await compressor.frame(block)
    if (block.length === frameBytes) spare.push(block)
    return { bytes, contentBytes: block.length }
  }
  // One frame more than cores: the pool takes the next without waiting for this thread, which is worth a tenth of the time.
  for await (const { bytes, contentBytes } of mapInOrder(plain, work, { workers: workers + 1, signal })) {
    table.add(bytes, contentBytes)
    yield bytes
  }
  yield table.bytes()
}

export interface DecompressOptions {
  /** More output than this is an `integrity` failure (decompression bombs); Infinity only where nobody knows the size. */
  readonly maxBytes: number
  /** Frames decompressed at the same time, default 2. */
  readonly workers?: number
  readonly signal?: AbortSignal | undefined
}

/**
 * The content of a `.zst` file, ours or another's: any number of frames, skippable ones included. Throws `integrity` when the
 * file is empty, damaged, cut anywhere, followed by other bytes or gives more than `maxBytes`. What can only be noticed at the end
 * is thrown at the end: nothing that came out counts before the stream has ended well. Foreign frames without a checksum
 * (`zstd --no-check`, pg_dump's own) can hide flipped bits; ours cannot.
 */
export async function* decompressZstd(source: AsyncIterable<Uint8Array>, options: DecompressOptions): AsyncGenerator<Uint8Array, void, undefined> {
  const { maxBytes, workers = 2, signal } = options
  yield* atMost(frames(new ByteCursor(prefetchBytes(source, 1 << 20, signal)), workers, signal), maxBytes, 'the zstd stream')
}

async function* frames(cursor: ByteCursor, workers: number, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array, void, undefined> {
  const place: Place = { group: undefined, stop: 'end' }
  try {
    if (!(await cursor.need(1))) throw damaged('zstd: the file is empty: not even one frame', 0)
    do {
      yield* mapInOrder(sizedFrames(cursor, place), decompressFrame, { workers, signal })
      if (place.stop === 'stream') yield* foreignFrame(cursor)
      signal?.throwIfAborted()
    } while (place.stop !== 'end')
  } finally {
    await cursor.close()
  }
}

interface Place {
  /** Our frames since the last frame table, which still has to come. */
  group: SeekTable | undefined
  /** Why `sizedFrames` stopped: the file is at its end, or a frame comes that only the streaming decoder takes. */
  stop: 'end' | 'stream'
}

interface SizedFrame {
  readonly bytes: Buffer
  readonly contentBytes: number
  readonly offset: number
}

/** Cuts out the frames whose content is known and small; stops before any other. */
async function* sizedFrames(cursor: ByteCursor, place: Place): AsyncGenerator<SizedFrame, void, undefined> {
  while (await cursor.need(1)) {
    const header = await nextFrameHeader(cursor, place)
    if (header === undefined) continue
    if (place.group !== undefined && !header.marked) throw tableMissing(cursor.offset)
    if (header.contentBytes === null || header.contentBytes > largestParallelFrame) {
      place.stop = 'stream'
      return
    }
    const length = await frameLength(cursor, header, 2 * header.contentBytes + longestBlock)
    if (length === undefined) {
      place.stop = 'stream'
      return
    }
    const offset = cursor.offset
    const bytes = cursor.take(length)
    if (header.marked && header.hasChecksum) (place.group ??= new SeekTable()).add(bytes, header.contentBytes)
    yield { bytes, contentBytes: header.contentBytes, offset }
  }
  if (place.group !== undefined) throw tableMissing(cursor.offset)
  place.stop = 'end'
}

/** The header of the data frame that comes next; undefined after a skippable frame, which is consumed (and checked if it is our table). */
async function nextFrameHeader(cursor: ByteCursor, place: Place): Promise<FrameHeader | undefined> {
  if (!(await cursor.need(4))) throw damaged('zstd: after the last frame comes something that is not a frame', cursor.offset)
  if (cursor.peek(4).readUInt32LE(0) === frameMagic) return frameHeader(cursor)
  const size = (await cursor.need(8)) ? skippableBytes(cursor.peek(8)) : undefined
  if (size === undefined) {
    throw damaged(cursor.offset === 0 ? 'zstd: this is not a zstd file' : 'zstd: after a frame comes something that is not a frame', cursor.offset)
  }
  if (place.group !== undefined && isSeekTable(cursor.peek(4))) {
    const expected = place.group.bytes()
    const whole = await cursor.need(expected.length)
    if (size + 8 !== expected.length || !whole || !cursor.peek(expected.length).equals(expected)) {
      throw damaged('zstd: the frame table at the end does not fit the frames before it', cursor.offset)
    }
    cursor.skip(expected.length)
    place.group = undefined
    return undefined
  }
  cursor.skip(8)
  for (let left = size; left > 0;) {
    if (!(await cursor.need(1))) throw cut(cursor.offset)
    const count = Math.min(left, cursor.available)
    cursor.skip(count)
    left -= count
  }
  return undefined
}

async function frameHeader(cursor: ByteCursor): Promise<FrameHeader> {
  await cursor.need(longestFrameHeader)
  const header = parseFrameHeader(cursor.peek(longestFrameHeader))
  if (header === undefined) throw cut(cursor.offset + cursor.available)
  if (typeof header === 'string') throw damaged(`zstd: ${header}`, cursor.offset)
  if (header.needsDictionary) throw damaged('zstd: a frame needs a dictionary, which Tidemark never uses', cursor.offset)
  if (header.windowBytes > largestWindow && (header.contentBytes === null || header.contentBytes > largestWindow)) {
    throw new Failure(
      'integrity',
      `zstd: a frame needs a window of ${header.windowBytes} bytes, more than the ${largestWindow} that are safe (at byte ${cursor.offset})`,
      {
        hints: ['if you made this file with zstd --long, decompress it yourself first: zstd -d --long=31 FILE'],
      },
    )
  }
  return header
}

/** Length of the frame at the cursor, all of which is then available; undefined when it exceeds `mostBytes`. */
async function frameLength(cursor: ByteCursor, header: FrameHeader, mostBytes: number): Promise<number | undefined> {
  let length = header.headerBytes
  for (let last = false; !last;) {
    if (length > mostBytes) return undefined
    if (!(await cursor.need(length + blockHeaderBytes))) throw cut(cursor.offset + cursor.available)
    const block = parseBlockHeader(cursor.peek(length + blockHeaderBytes), length)
    if (typeof block === 'string') throw damaged(`zstd: ${block}`, cursor.offset + length)
    length += blockHeaderBytes + block.storedBytes
    last = block.last
  }
  if (header.hasChecksum) length += checksumBytes
  if (!(await cursor.need(length))) throw cut(cursor.offset + cursor.available)
  return length
}

async function decompressFrame({ bytes, contentBytes, offset }: SizedFrame): Promise<Uint8Array> {
  try {
    // One chunk for the whole result.
    const content = await decompress(bytes, { chunkSize: contentBytes + resultRoomBytes, maxOutputLength: Math.max(contentBytes, 1) })
    giveBack(bytes)
    if (content.length === contentBytes) return content
  } catch (error) {
    throw explained(error, offset)
  }
  throw damaged(`zstd: a frame does not give the ${contentBytes} bytes that it promises`, offset)
}

/** One frame of unknown or great length, through the streaming decoder. */
async function* foreignFrame(cursor: ByteCursor): AsyncGenerator<Uint8Array, void, undefined> {
  const start = cursor.offset
  const { contentBytes } = await frameHeader(cursor)
  let sizeBytes = 0
  const content = throughDecoder(frameInPieces(cursor), createZstdDecompress({ chunkSize: 1 << 18 }), (error) => explained(error, start))
  for (;;) {
    const step = await content.next()
    if (step.done === true) {
      if (step.value.length > 0 || (contentBytes !== null && sizeBytes !== contentBytes))
        throw damaged('zstd: invalid compressed data: a frame ends too early', start)
      return
    }
    sizeBytes += step.value.length
    yield step.value
  }
}

/** Exactly one frame, in pieces for the streaming decoder; small blocks go together, since each piece is a trip through the pool. */
async function* frameInPieces(cursor: ByteCursor): AsyncGenerator<Uint8Array, void, undefined> {
  const header = await frameHeader(cursor)
  let piece = header.headerBytes
  for (let last = false; !last;) {
    if (!(await cursor.need(piece + blockHeaderBytes))) throw cut(cursor.offset + cursor.available)
    const block = parseBlockHeader(cursor.peek(piece + blockHeaderBytes), piece)
    if (typeof block === 'string') throw damaged(`zstd: ${block}`, cursor.offset + piece)
    last = block.last
    piece += blockHeaderBytes + block.storedBytes + (last && header.hasChecksum ? 4 : 0)
    if (!(await cursor.need(piece))) throw cut(cursor.offset + cursor.available)
    if (piece < longestBlock && !last) continue
    yield cursor.take(piece)
    piece = 0
  }
}

function cut(offset: number): Failure {
  return damaged('zstd: unexpected end of file: the file was cut inside a frame', offset)
}

function tableMissing(offset: number): Failure {
  return damaged(
    'zstd: unexpected end of file: the frame table that ends every zstd file of Tidemark is missing, so the file was cut between two frames',
    offset,
  )
}

function explained(error: unknown, offset: number): Error {
  if (error instanceof Failure) return error
  if (isDecodingError(error)) return damaged('zstd: invalid compressed data', offset, error)
  return error instanceof Error ? error : new Error(String(error))
}

/** The same blocks, or one of no bytes. */
async function* nonEmpty(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  let some = false
  for await (const block of source) {
    some = true
    yield block
  }
  if (!some) yield new Uint8Array(0)
}
