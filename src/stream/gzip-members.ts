import { promisify } from 'node:util'
import { createGunzip, gunzip, gzip } from 'node:zlib'
import { Failure, messageOf } from '../kernel/failure.ts'
import { ByteCursor } from './byte-cursor.ts'
import { atMost, blocks, resultRoomBytes } from './chunks.ts'
import { damaged, isDecodingError, throughDecoder } from './decoder.ts'
import { contentBytesOf, isGzip, numberedMember, ourHeaderBytes, parseNumberedMember } from './gzip-format.ts'
import { mapInOrder, prefetchBytes } from './prefetch.ts'
import type { DecompressOptions } from './zstd-frames.ts'

/**
 * gzip as concatenated members of 1 MiB of content, so that several cores work on one stream. `gzip -d`, `zcat` and every library
 * that knows concatenated members read it. Each member carries its length and number in an extra field; an empty member is the
 * last, so a file cut between two members is noticed.
 */
export interface GzipOptions {
  /** 1 to 9. */
  readonly level: number
  /** Members compressed at the same time. */
  readonly workers: number
  readonly signal?: AbortSignal | undefined
}

const memberBytes = 1 << 20
/** No member of ours is longer; a claim beyond is damage, not a reason to take memory. */
const longestMember = 2 * memberBytes

const compress = promisify(gzip)
const decompress = promisify(gunzip)

/** One whole `.gz` file with the bytes of `source`; for an empty source, of one empty member. */
export async function* compressGzip(source: AsyncIterable<Uint8Array>, options: GzipOptions): AsyncGenerator<Uint8Array, void, undefined> {
  const { level, workers, signal } = options
  const spare: Uint8Array[] = []
  const plain = blocks(source, memberBytes, () => spare.pop() ?? Buffer.allocUnsafeSlow(memberBytes))
  const work = async (block: Uint8Array): Promise<Buffer> => {
    const member = await compress(block, { level, chunkSize: memberBytes / 2 })
    if (block.length === memberBytes) spare.push(block)
    return member
  }
  let number = 0
  for await (const member of mapInOrder(plain, work, { workers, signal })) yield numberedMember(member, number++)
  yield numberedMember(await compress(Buffer.alloc(0), { level }), number)
}

/**
 * The content of a `.gz` file, ours or another's, with any number of members. Throws `integrity` ("gzip: invalid compressed data",
 * as gzip says) when the file is empty, damaged, cut, followed by other bytes or gives more than `maxBytes`. Zero bytes after the
 * last member are accepted, as gzip accepts them: tapes and block devices pad with them. A foreign file cut exactly between two
 * members looks whole, to gzip too. What can only be noticed at the end is thrown at the end.
 */
export async function* decompressGzip(source: AsyncIterable<Uint8Array>, options: DecompressOptions): AsyncGenerator<Uint8Array, void, undefined> {
  const { maxBytes, workers = 2, signal } = options
  yield* atMost(members(new ByteCursor(prefetchBytes(source, 1 << 20, signal)), workers, signal), maxBytes, 'the gzip stream')
}

async function* members(cursor: ByteCursor, workers: number, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    await cursor.need(2)
    if (!isGzip(cursor.peek(2))) throw invalid(cursor.available === 0 ? 'the file is empty' : 'not in gzip format', 0)
    yield* mapInOrder(numberedMembers(cursor), decompressMember, { workers, signal })
    if (!(await cursor.need(1))) return
    if (cursor.peek(1)[0] !== 0) yield* foreignMembers(cursor)
    else if (!(await onlyZerosRemain(cursor))) throw invalid('something other than zeros follows the last member', cursor.offset)
  } finally {
    await cursor.close()
  }
}

interface NumberedMember {
  readonly bytes: Buffer
  readonly offset: number
}

/** Cuts out members of ours, whole files of them; stops before anything else. */
async function* numberedMembers(cursor: ByteCursor): AsyncGenerator<NumberedMember, void, undefined> {
  let expected = 0
  while (await cursor.need(1)) {
    await cursor.need(ourHeaderBytes)
    const { offset } = cursor
    const found = parseNumberedMember(cursor.peek(ourHeaderBytes))
    if (found === undefined) {
      if (expected === 0) return
      throw invalid(cursor.available < ourHeaderBytes ? 'unexpected end of file' : `member ${expected} is missing`, offset)
    }
    if (found.number !== expected) throw invalid(`member ${found.number} comes where member ${expected} belongs`, offset)
    if (found.memberBytes > longestMember) throw invalid(`a member claims ${found.memberBytes} bytes`, offset)
    if (!(await cursor.need(found.memberBytes))) throw invalid('unexpected end of file', offset + cursor.available)
    const bytes = cursor.take(found.memberBytes)
    expected = contentBytesOf(bytes) === 0 ? 0 : expected + 1
    yield { bytes, offset }
  }
  if (expected !== 0) throw invalid('unexpected end of file: the last member is missing', cursor.offset)
}

async function decompressMember({ bytes, offset }: NumberedMember): Promise<Uint8Array> {
  const contentBytes = contentBytesOf(bytes)
  if (contentBytes > memberBytes) throw invalid(`a member claims ${contentBytes} bytes of content`, offset)
  try {
    const content = await decompress(bytes, { chunkSize: contentBytes + resultRoomBytes, maxOutputLength: Math.max(contentBytes, 1) })
    if (content.length === contentBytes) return content
  } catch (error) {
    throw explained(error, offset)
  }
  throw invalid('length error', offset)
}

/** Everything from the cursor on through the streaming decoder, which checks each member's CRC and length. */
async function* foreignMembers(cursor: ByteCursor): AsyncGenerator<Uint8Array, void, undefined> {
  const start = cursor.offset
  const tail = yield* throughDecoder(remaining(cursor), createGunzip({ chunkSize: 1 << 18 }), (error) => explained(error, start))
  // The decoder stops before a zero byte and asks no questions about what follows.
  if (!isZero(tail) || !(await onlyZerosRemain(cursor))) throw invalid('something other than zeros follows the last member', cursor.offset)
}

async function* remaining(cursor: ByteCursor): AsyncGenerator<Uint8Array, void, undefined> {
  while (await cursor.need(1)) yield cursor.take(Math.min(cursor.available, 1 << 16))
}

async function onlyZerosRemain(cursor: ByteCursor): Promise<boolean> {
  for await (const chunk of remaining(cursor)) if (!isZero(chunk)) return false
  return true
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0)
}

function invalid(what: string, offset: number, cause?: unknown): Failure {
  return damaged(`gzip: invalid compressed data: ${what}`, offset, cause)
}

function explained(error: unknown, offset: number): Error {
  if (error instanceof Failure) return error
  if (isDecodingError(error)) return invalid(messageOf(error), offset, error)
  return error instanceof Error ? error : new Error(String(error))
}
