import { zstdCompressSync, constants, createZstdDecompress } from 'node:zlib'
import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { chunked, collect, errorOf, judge, sampleBytes } from '../../test/support/streams.ts'
import { isFailure } from '../kernel/failure.ts'
import { fromReadable } from './chunks.ts'
import { compressZstd, decompressZstd } from './zstd-frames.ts'

const small = { level: 3, workers: 2, frameBytes: 1000 }
const unbounded = { maxBytes: Infinity }
const compressed = (bytes: Uint8Array, options = small): Promise<Buffer> => collect(compressZstd(chunked(bytes, 777), options))

function expectIntegrity(error: unknown, about?: RegExp): void {
  if (!isFailure(error, 'integrity')) throw new Error(`expected an integrity failure, got ${String(error)}`, { cause: error })
  if (about !== undefined) expect(error.message).toMatch(about)
}

function frameStarts(stored: Buffer): number[] {
  return [...stored.keys()].filter((at) => at + 4 <= stored.length && stored.readUInt32LE(at) === 0xfd2fb528)
}

describe('zstd frames', () => {
  it('come back unchanged whatever the sizes of chunks and frames', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat({ max: 20_000 }),
        fc.integer({ min: 100, max: 5000 }),
        fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 5 }),
        fc.integer({ min: 1, max: 4 }),
        async (size, frameBytes, sizes, workers) => {
          const plain = sampleBytes(size, size + 1)
          const stored = await collect(compressZstd(chunked(plain, ...sizes), { level: 1, workers, frameBytes }))
          const back = await collect(decompressZstd(chunked(stored, ...sizes), { maxBytes: size, workers }))
          expect(back.equals(plain)).toBe(true)
        },
      ),
      { numRuns: 60 },
    )
  })

  it.each([1, 3, 10, 19])('of level %i are read by stock zstd, with its checksums', async (level) => {
    const plain = sampleBytes(2_500_000)
    const stored = await collect(compressZstd(chunked(plain, 65_536), { level, workers: 2 }))
    const result = await judge('zstd', ['-dc'], stored)
    expect(result).toMatchObject({ code: 0, stderr: '' })
    expect(result.stdout.equals(plain)).toBe(true)
    const flipped = Buffer.from(stored)
    flipped.writeUInt8(flipped.readUInt8(flipped.length >> 1) ^ 1, flipped.length >> 1)
    expect((await judge('zstd', ['-tq'], flipped)).code).not.toBe(0)
  })

  it('are read by a plain Node decoder, so a program without our code can restore', async () => {
    const plain = sampleBytes(5000)
    const decoder = createZstdDecompress()
    decoder.end(await compressed(plain))
    expect((await collect(fromReadable(decoder))).equals(plain)).toBe(true)
  })

  it('of nothing are a valid file with nothing in it', async () => {
    const stored = await compressed(Buffer.alloc(0))
    expect(await judge('zstd', ['-dc'], stored)).toMatchObject({ code: 0, stdout: Buffer.alloc(0) })
    expect(await collect(decompressZstd(chunked(stored, 1), { maxBytes: 0 }))).toEqual(Buffer.alloc(0))
  })

  it('grow incompressible data only a little', async () => {
    const plain = Buffer.from(crypto.getRandomValues(new Uint8Array(60_000)))
    const stored = await compressed(plain, { ...small, frameBytes: 1 << 20 })
    expect(stored.length).toBeLessThan(plain.length + 200)
    expect((await collect(decompressZstd(chunked(stored, 999), unbounded))).equals(plain)).toBe(true)
  })

  it('cut at any byte are refused, between two frames too', async () => {
    const stored = await compressed(sampleBytes(4500))
    for (let length = 0; length < stored.length; length++) {
      expectIntegrity(await errorOf(decompressZstd(chunked(stored.subarray(0, length), 100), unbounded)), /^zstd: /)
    }
    expect(await errorOf(decompressZstd(chunked(stored, 100), unbounded))).toBeUndefined()
  })

  it('with any single bit flipped never give other content', async () => {
    const plain = sampleBytes(2500)
    const stored = await compressed(plain)
    let unnoticed = 0
    for (let bit = 0; bit < stored.length * 8; bit++) {
      const flipped = Buffer.from(stored)
      flipped.writeUInt8(flipped.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
      const outcome = await collect(decompressZstd(chunked(flipped, 500), unbounded)).catch((error: unknown) => error)
      if (!(outcome instanceof Buffer)) expectIntegrity(outcome)
      else if (outcome.equals(plain)) unnoticed++
      else throw new Error(`bit ${bit & 7} of byte ${bit >> 3} changes the content unnoticed`)
    }
    // RFC 8878 has a bit per frame that decoders ignore, and entropy tables have a few that change nothing.
    expect(unnoticed).toBeLessThanOrEqual(10)
  }, 60_000)

  it('with a frame missing, doubled or exchanged are refused although every frame is whole', async () => {
    const stored = await compressed(sampleBytes(3000))
    const starts = frameStarts(stored)
    expect(starts).toHaveLength(3)
    const [a = 0, b = 0, c = 0] = starts
    const end = stored.indexOf(Buffer.from([0x5e, 0x2a, 0x4d, 0x18]))
    const part = { first: stored.subarray(a, b), second: stored.subarray(b, c), third: stored.subarray(c, end), table: stored.subarray(end) }
    for (const parts of [
      [part.first, part.third, part.table],
      [part.first, part.second, part.second, part.third, part.table],
      [part.second, part.first, part.third, part.table],
    ]) {
      const changed = Buffer.concat(parts)
      expect((await judge('zstd', ['-tq'], changed)).code).toBe(0)
      expectIntegrity(await errorOf(decompressZstd(chunked(changed, 100), unbounded)), /frame table/)
    }
  })

  it('joined with `cat` are read one after the other', async () => {
    const one = sampleBytes(2100, 1)
    const two = sampleBytes(900, 2)
    const joined = Buffer.concat([await compressed(one), zstdCompressSync(two), await compressed(two)])
    expect((await collect(decompressZstd(chunked(joined, 64), unbounded))).equals(Buffer.concat([one, two, two]))).toBe(true)
  })

  it.each(['x', 'garbage after the end', '\0\0\0\0\0\0\0\0\0'])('followed by %j are refused', async (garbage) => {
    const stored = Buffer.concat([await compressed(sampleBytes(1500)), Buffer.from(garbage)])
    expectIntegrity(await errorOf(decompressZstd(chunked(stored, 100), unbounded)))
  })

  it('stop at maxBytes exactly, and not one byte earlier', async () => {
    const plain = sampleBytes(3500)
    const stored = await compressed(plain)
    expect((await collect(decompressZstd(chunked(stored, 100), { maxBytes: 3500 }))).equals(plain)).toBe(true)
    expectIntegrity(await errorOf(decompressZstd(chunked(stored, 100), { maxBytes: 3499 })), /3499/)
  })

  it('keep the error of the source, and give what came before it', async () => {
    const trouble = new Error('connection reset')
    async function* broken(): AsyncGenerator<Uint8Array, void, undefined> {
      yield sampleBytes(5000)
      throw trouble
    }
    expect(await errorOf(compressZstd(broken(), small))).toBe(trouble)
    const stored = await compressed(sampleBytes(5000))
    async function* brokenStored(): AsyncGenerator<Uint8Array, void, undefined> {
      yield stored.subarray(0, 400)
      throw trouble
    }
    expect(await errorOf(decompressZstd(brokenStored(), unbounded))).toBe(trouble)
    const foreign = zstdCompressSync(sampleBytes(100_000))
    async function* brokenForeign(): AsyncGenerator<Uint8Array, void, undefined> {
      yield foreign.subarray(0, 400)
      throw trouble
    }
    expect(await errorOf(decompressZstd(brokenForeign(), unbounded))).toBe(trouble)
  })

  it('stop at once when cancelled, even while the source hangs, and close the source', async () => {
    for (const stage of [
      (source: AsyncIterable<Uint8Array>, signal: AbortSignal) => compressZstd(source, { ...small, signal }),
      (source: AsyncIterable<Uint8Array>, signal: AbortSignal) => decompressZstd(source, { ...unbounded, signal }),
    ]) {
      const controller = new AbortController()
      async function* hanging(): AsyncGenerator<Uint8Array, void, undefined> {
        yield zstdCompressSync(sampleBytes(50_000))
        await new Promise(() => undefined)
      }
      const reason = new Error('enough')
      const outcome = errorOf(stage(hanging(), controller.signal))
      await turn()
      controller.abort(reason)
      expect(await outcome).toBe(reason)
    }
  })

  it('hold little when the consumer is slow', async () => {
    let givenBytes = 0
    let closed = false
    async function* endless(): AsyncGenerator<Uint8Array, void, undefined> {
      try {
        for (;;) {
          givenBytes += 10_000
          yield sampleBytes(10_000)
          await turn()
        }
      } finally {
        closed = true
      }
    }
    const frames = compressZstd(endless(), { level: 3, workers: 2, frameBytes: 10_000 })
    await frames.next()
    for (let count = 0; count < 200; count++) await turn()
    expect(givenBytes).toBeLessThanOrEqual(12 * 10_000)
    await frames.return()
    expect(closed).toBe(true)
  })
})

describe('zstd files of other programs', () => {
  const plain = sampleBytes(3_000_000)

  it.each(['-1', '-3 --no-check', '-12 --long=27', '--fast=5', '-3 --no-content-size'])('made by zstd %s are read', async (args) => {
    const { stdout } = await judge('zstd', ['-qc', ...args.split(' ')], plain)
    expect((await collect(decompressZstd(chunked(stdout, 10_000), { maxBytes: plain.length }))).equals(plain)).toBe(true)
  })

  it('cut at any byte are refused', async () => {
    const { stdout } = await judge('zstd', ['-qc'], sampleBytes(700))
    for (let length = 0; length < stdout.length; length++) expectIntegrity(await errorOf(decompressZstd(chunked(stdout.subarray(0, length), 50), unbounded)))
    expect(await errorOf(decompressZstd(chunked(stdout, 50), unbounded))).toBeUndefined()
  })

  it('with flipped bits are refused where they carry a checksum', async () => {
    const { stdout } = await judge('zstd', ['-qc'], sampleBytes(700))
    for (let bit = 0; bit < stdout.length * 8; bit++) {
      const flipped = Buffer.from(stdout)
      flipped.writeUInt8(flipped.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
      const outcome = await collect(decompressZstd(chunked(flipped, 500), unbounded)).catch((error: unknown) => error)
      // The bit that says "there is a checksum" cannot protect itself; then four bytes are left over. Other harmless bits exist too (unused, window).
      if (outcome instanceof Buffer) expect(outcome.equals(sampleBytes(700))).toBe(true)
      else expectIntegrity(outcome)
    }
  })

  it('with skippable frames around (pzstd) are read', async () => {
    const skippable = Buffer.from('502a4d180400000001020304', 'hex')
    const stored = Buffer.concat([skippable, zstdCompressSync(plain), skippable, skippable, zstdCompressSync(plain), skippable])
    const back = await collect(decompressZstd(chunked(stored, 7000), unbounded))
    expect(back.equals(Buffer.concat([plain, plain]))).toBe(true)
    expectIntegrity(await errorOf(decompressZstd(chunked(stored.subarray(0, -1), 7000), unbounded)))
  })

  it('that are bombs stop at maxBytes, in little memory', async () => {
    const { stdout: streamed } = await judge('zstd', ['-qc', '--no-content-size'], Buffer.alloc(100_000_000))
    expect(streamed.length).toBeLessThan(10_000)
    let outBytes = 0
    const error = await (async () => {
      try {
        for await (const chunk of decompressZstd(chunked(streamed, 100), { maxBytes: 1_000_000 })) outBytes += chunk.length
        return undefined
      } catch (caught) {
        return caught
      }
    })()
    expectIntegrity(error, /1000000/)
    expect(outBytes).toBeLessThanOrEqual(1_000_000)
  })

  it('that lie about their content size are refused', async () => {
    const frame = zstdCompressSync(sampleBytes(5000), { pledgedSrcSize: 5000, params: { [constants.ZSTD_c_checksumFlag]: 1 } })
    for (const claim of [0, 1, 4999, 5001, 8_000_000]) {
      const lie = Buffer.concat([frame.subarray(0, 4), Buffer.from([0xa4]), Buffer.alloc(4), frame.subarray(7)])
      lie.writeUInt32LE(claim, 5)
      expectIntegrity(await errorOf(decompressZstd(chunked(lie, 500), unbounded)))
    }
  })

  it('that want a giant window are refused before memory is taken', async () => {
    const hostile = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 0x01, 0x00, 0x00])
    expectIntegrity(await errorOf(decompressZstd(chunked(hostile, 9), unbounded)), /window/)
  })

  it('made of random bytes never crash the reader', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), fc.boolean(), async (bytes, magic) => {
        const hostile = magic ? Buffer.concat([Buffer.from([0x28, 0xb5, 0x2f, 0xfd]), bytes]) : Buffer.from(bytes)
        const error = await errorOf(decompressZstd(chunked(hostile, 17), { maxBytes: 1_000_000 }))
        if (error !== undefined) expectIntegrity(error)
      }),
      { numRuns: 300 },
    )
  })
})
