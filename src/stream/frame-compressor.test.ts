import { randomBytes } from 'node:crypto'
import { zstdDecompressSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { sampleBytes } from '../../test/support/streams.ts'
import { createFrameCompressor } from './frame-compressor.ts'

const frameBytes = 1000
/** As the compressor makes it. */
const outputBytes = 2 * frameBytes + 65_536
/** Of a frame with 256 bytes or more that cannot be compressed, before it is marked: magic, descriptor, size, block header, checksum. */
const overheadBytes = 4 + 1 + 2 + 3 + 4
/** A marked frame has eight bytes for the size instead of two. */
const markBytes = 6

describe('a frame compressor', () => {
  it('makes no second, empty frame where a frame fills its output buffer to the last byte', async () => {
    using compressor = createFrameCompressor({ level: 1, frameBytes })
    let left = outputBytes
    for (; left >= 2 * (frameBytes + overheadBytes); left -= frameBytes + overheadBytes) {
      const frame = await compressor.frame(randomBytes(frameBytes))
      expect(frame.length).toBe(frameBytes + overheadBytes + markBytes)
    }
    for (const frameLength of [left >> 1, left - (left >> 1)]) {
      const last = randomBytes(frameLength - overheadBytes)
      const frame = await compressor.frame(last)
      expect(frame.length).toBe(frameLength + markBytes)
      expect(zstdDecompressSync(frame).equals(last)).toBe(true)
    }
    const next = randomBytes(frameBytes)
    expect(zstdDecompressSync(await compressor.frame(next)).equals(next)).toBe(true)
  })

  it('keeps frames apart that are made at the same time, across the borders of output buffers', async () => {
    using compressor = createFrameCompressor({ level: 1, frameBytes })
    const contents = Array.from({ length: 500 }, (_, index) => sampleBytes(index % 2 === 0 ? frameBytes : 1 + index, index))
    const frames = await Promise.all(contents.map((content) => compressor.frame(content)))
    expect(frames.every((frame, index) => zstdDecompressSync(frame).equals(contents[index] ?? Buffer.alloc(0)))).toBe(true)
  })

  it('does not read a block again once its frame is made, so the memory can be used for the next', async () => {
    using compressor = createFrameCompressor({ level: 3, frameBytes })
    const block = sampleBytes(frameBytes, 1)
    const content = Buffer.from(block)
    const frame = await compressor.frame(block)
    block.fill(0)
    await compressor.frame(block)
    expect(zstdDecompressSync(frame).equals(content)).toBe(true)
  })

  it('fails a frame that is asked for after the end instead of waiting for ever', async () => {
    const compressor = createFrameCompressor({ level: 1, frameBytes })
    await compressor.frame(randomBytes(frameBytes))
    compressor[Symbol.dispose]()
    await expect(compressor.frame(randomBytes(frameBytes))).rejects.toThrow()
  })
})
