import { promisify } from 'node:util'
import { constants, crc32, deflateRaw } from 'node:zlib'
import { blocks } from './chunks.ts'
import type { GzipOptions } from './gzip-members.ts'
import { mapInOrder } from './prefetch.ts'

/** Content bytes that one core compresses at a time. */
const blockBytes = 1 << 20
/** RFC 1952: magic, deflate, no flags, no time, no hint, made on Unix. */
const header = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3])
/** A last block of deflate without content. */
const lastBlock = Buffer.from([3, 0])

const compress = promisify(deflateRaw)

/**
 * gzip as one member, made by several cores: each block is compressed by itself up to a byte's border (as pigz does with --independent). For readers that stop at the end of the first
 * member, or never end there, as `pg_verifybackup` 18 does. What is kept in a repository is written as many members (`gzip-members.ts`), which can be read by several cores, too.
 */
export async function* compressGzipFile(
  source: AsyncIterable<Uint8Array>,
  { level, workers, signal }: GzipOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const work = async (block: Uint8Array): Promise<{ readonly block: Uint8Array; readonly packed: Buffer }> => ({
    block,
    packed: await compress(block, { level, finishFlush: constants.Z_SYNC_FLUSH, chunkSize: blockBytes / 2 }),
  })
  let check = 0
  let sizeBytes = 0
  yield header
  for await (const { block, packed } of mapInOrder(blocks(source, blockBytes), work, { workers, signal })) {
    check = crc32(block, check)
    sizeBytes += block.length
    yield packed
  }
  const trailer = Buffer.alloc(8)
  trailer.writeUInt32LE(check, 0)
  trailer.writeUInt32LE(sizeBytes % 2 ** 32, 4)
  yield Buffer.concat([lastBlock, trailer])
}
