import { constants, createZstdCompress, type ZstdCompress } from 'node:zlib'
import { blockHeaderBytes, checksumBytes, markedFrame, parseBlockHeader, parseFrameHeader } from './zstd-format.ts'

export interface FrameCompressor extends Disposable {
  /** One marked frame (see `markedFrame`) with the bytes of `block`, which may be written to again afterwards. May be called while others are under way. */
  frame(block: Uint8Array): Promise<Buffer>
}

/**
 * Makes frames in libuv's pool, with as many compressors as calls are under way. Each compressor is kept and takes the next block, its
 * output buffer running on from frame to frame: `zlib.zstdCompress` makes a context and an output buffer for every block, and that memory
 * made V8 collect garbage for a good part of a backup's CPU time.
 */
export function createFrameCompressor({ level, frameBytes }: { level: number; frameBytes: number }): FrameCompressor {
  const idle: ZstdCompress[] = []
  const all: ZstdCompress[] = []

  const create = (): ZstdCompress => {
    const compressor = createZstdCompress({
      params: { [constants.ZSTD_c_compressionLevel]: level, [constants.ZSTD_c_checksumFlag]: 1 },
      // Each write is a frame of its own; being whole when zstd sees it, it gets its content size.
      flush: constants.ZSTD_e_end,
      // With room for the worst case zstd works from block to output; without, through buffers of its own, which costs more.
      chunkSize: 2 * frameBytes + 65_536,
    })
    // The failed write tells it.
    compressor.on('error', () => undefined)
    all.push(compressor)
    return compressor
  }

  return {
    frame: async (block) => {
      const compressor = idle.pop() ?? create()
      const bytes = await written(compressor, block)
      idle.push(compressor)
      return markedFrame(soleFrame(bytes), block.length)
    },
    [Symbol.dispose]: () => {
      for (const compressor of all) compressor.destroy()
    },
  }
}

function written(compressor: ZstdCompress, block: Uint8Array): Promise<Buffer> {
  const pieces: Buffer[] = []
  const take = (piece: Buffer) => pieces.push(piece)
  compressor.on('data', take)
  return new Promise((resolve, reject) => {
    compressor.write(block, (error) => {
      compressor.off('data', take)
      if (error) reject(error)
      else resolve(pieces.length === 1 && pieces[0] !== undefined ? pieces[0] : Buffer.concat(pieces))
    })
  })
}

/**
 * The first frame of `bytes`, which must hold all of it. Where a frame ends just at the end of an output buffer, Node asks zstd for
 * more, and what it gets is an empty frame behind it, which no reader of ours would accept in that place.
 */
function soleFrame(bytes: Buffer): Buffer {
  const header = parseFrameHeader(bytes)
  if (typeof header !== 'object') throw new Error('zlib made something that is not a zstd frame')
  let length = header.headerBytes
  for (let last = false; !last;) {
    if (length + blockHeaderBytes > bytes.length) throw new Error('zlib left a zstd frame incomplete')
    const block = parseBlockHeader(bytes, length)
    if (typeof block === 'string') throw new Error(`zlib made a zstd frame that is not valid: ${block}`)
    length += blockHeaderBytes + block.storedBytes
    last = block.last
  }
  if (header.hasChecksum) length += checksumBytes
  if (length > bytes.length) throw new Error('zlib left a zstd frame incomplete')
  const extra = bytes.length === length ? null : parseFrameHeader(bytes.subarray(length))
  if (extra !== null && (typeof extra !== 'object' || extra.contentBytes !== 0)) throw new Error('zlib made more of a block than one zstd frame')
  return bytes.subarray(0, length)
}
