import { once } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import { constants, createGunzip, createGzip, gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { chunked, collect, errorOf, judge, sampleBytes } from '../../test/support/streams.ts'
import { isFailure } from '../kernel/failure.ts'
import { fromReadable, givingBack } from './chunks.ts'
import { contentBytesOf } from './gzip-format.ts'
import { compressGzip, decompressGzip } from './gzip-members.ts'

const fast = { level: 1, workers: 2 }
const unbounded = { maxBytes: Infinity }
const compressed = (bytes: Uint8Array): Promise<Buffer> => collect(compressGzip(chunked(bytes, 65_536), fast))

function expectInvalid(error: unknown, about = /^gzip: invalid compressed data/): void {
  if (!isFailure(error, 'integrity')) throw new Error(`expected an integrity failure, got ${String(error)}`, { cause: error })
  expect(error.message).toMatch(about)
}

/** Flips every single bit in turn; what still reads must read the same. Returns how many flips were not noticed. */
async function flips(stored: Buffer, plain: Buffer): Promise<number> {
  let unnoticed = 0
  for (let bit = 0; bit < stored.length * 8; bit++) {
    const flipped = Buffer.from(stored)
    flipped.writeUInt8(flipped.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
    const outcome = await collect(decompressGzip(chunked(flipped, 500), unbounded)).catch((error: unknown) => error)
    if (!(outcome instanceof Buffer)) expectInvalid(outcome)
    else if (outcome.equals(plain)) unnoticed++
    else throw new Error(`bit ${bit & 7} of byte ${bit >> 3} changes the content unnoticed`)
  }
  return unnoticed
}

describe('gzip members', () => {
  it('come back unchanged whatever the sizes of the chunks', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat({ max: 3_000_000 }), fc.array(fc.integer({ min: 500, max: 200_000 }), { minLength: 1, maxLength: 4 }), async (size, sizes) => {
        const plain = sampleBytes(size, size + 1)
        const stored = await collect(compressGzip(chunked(plain, ...sizes), fast))
        expect((await collect(decompressGzip(chunked(stored, ...sizes), { maxBytes: size }))).equals(plain)).toBe(true)
      }),
      { numRuns: 12 },
    )
  }, 30_000)

  it.each([1, 6, 9])('of level %i pass gzip -t and are read by gzip -d, zcat and a plain Node decoder', async (level) => {
    const plain = sampleBytes(2_500_000)
    const stored = await collect(compressGzip(chunked(plain, 65_536), { level, workers: 2 }))
    expect(await judge('gzip', ['-t'], stored)).toMatchObject({ code: 0, stderr: '' })
    expect((await judge('gzip', ['-dc'], stored)).stdout.equals(plain)).toBe(true)
    expect((await judge('zcat', [], stored)).stdout.equals(plain)).toBe(true)
    const decoder = createGunzip()
    decoder.end(stored)
    expect((await collect(fromReadable(decoder))).equals(plain)).toBe(true)
  })

  it('of nothing are a valid file with nothing in it', async () => {
    const stored = await compressed(Buffer.alloc(0))
    expect(await judge('gzip', ['-dc'], stored)).toMatchObject({ code: 0, stdout: Buffer.alloc(0), stderr: '' })
    expect(await collect(decompressGzip(chunked(stored, 1), { maxBytes: 0 }))).toEqual(Buffer.alloc(0))
  })

  it('cut at any byte are refused, between two members too', async () => {
    const stored = await compressed(sampleBytes(300))
    for (let length = 0; length < stored.length; length++) expectInvalid(await errorOf(decompressGzip(chunked(stored.subarray(0, length), 50), unbounded)))
    expect(await errorOf(decompressGzip(chunked(stored, 50), unbounded))).toBeUndefined()
  })

  it('of a long file without the last, or with two exchanged, are refused although gzip -t finds nothing', async () => {
    const stored = await compressed(sampleBytes(3_000_000))
    const starts = [...stored.keys()].filter((at) => stored.subarray(at, at + 4).equals(Buffer.from([0x1f, 0x8b, 8, 4])))
    expect(starts).toHaveLength(4)
    const [a = 0, b = 0, c = 0, d = 0] = starts
    const part = { first: stored.subarray(a, b), second: stored.subarray(b, c), third: stored.subarray(c, d), last: stored.subarray(d) }
    expect(contentBytesOf(part.last)).toBe(0)
    for (const parts of [
      [part.first, part.second, part.third],
      [part.first, part.third, part.last],
      [part.second, part.first, part.third, part.last],
      [part.second, part.third, part.last],
    ]) {
      const changed = Buffer.concat(parts)
      expect((await judge('gzip', ['-t'], changed)).code).toBe(0)
      expectInvalid(await errorOf(decompressGzip(chunked(changed, 60_000), unbounded)))
    }
  })

  it('with any single bit flipped never give other content', async () => {
    const plain = sampleBytes(200)
    // Time, flags for people and the system of origin (48 bits of a member's header, and the mark itself) are protected by nothing but the file's SHA-256.
    expect(await flips(await compressed(plain), plain)).toBeLessThan(2 * 260)
  }, 60_000)

  it('stop at maxBytes exactly, and not one byte earlier', async () => {
    const plain = sampleBytes(1_100_000)
    const stored = await compressed(plain)
    expect((await collect(decompressGzip(chunked(stored, 10_000), { maxBytes: 1_100_000 }))).equals(plain)).toBe(true)
    expectInvalid(await errorOf(decompressGzip(chunked(stored, 10_000), { maxBytes: 1_099_999 })), /1099999/)
  })

  it('keep the error of the source', async () => {
    const trouble = new Error('connection reset')
    async function* broken(): AsyncGenerator<Uint8Array, void, undefined> {
      yield sampleBytes(5000)
      throw trouble
    }
    expect(await errorOf(compressGzip(broken(), fast))).toBe(trouble)
    for (const stored of [await compressed(sampleBytes(5000)), gzipSync(sampleBytes(5000))]) {
      async function* brokenStored(): AsyncGenerator<Uint8Array, void, undefined> {
        yield stored.subarray(0, 400)
        throw trouble
      }
      expect(await errorOf(decompressGzip(brokenStored(), unbounded))).toBe(trouble)
    }
  })

  it('stop at once when cancelled, even while the source hangs', async () => {
    for (const decompress of [true, false]) {
      const controller = new AbortController()
      async function* hanging(): AsyncGenerator<Uint8Array, void, undefined> {
        yield gzipSync(sampleBytes(50_000)).subarray(0, 10_000)
        await new Promise(() => undefined)
      }
      const { signal } = controller
      const outcome = errorOf(decompress ? decompressGzip(hanging(), { ...unbounded, signal }) : compressGzip(hanging(), { ...fast, signal }))
      for (let count = 0; count < 5; count++) await turn()
      const reason = new Error('enough')
      controller.abort(reason)
      expect(await outcome).toBe(reason)
    }
  })
})

describe('gzip files of other programs', () => {
  it('come out unharmed when each chunk is given back, also where zlib still has a little room in its buffer', async () => {
    const decoderBuffer = 1 << 18
    for (const room of [0, 1, 32, 64, 65]) {
      // Small enough to reach the decoder in one write, so that its first output is nearly a whole buffer.
      const first = Buffer.alloc(decoderBuffer - room, sampleBytes(100, 1))
      const second = sampleBytes(50_000, 2)
      const encoder = createGzip({ level: 9 })
      const pieces: Buffer[] = []
      encoder.on('data', (piece: Buffer) => pieces.push(piece))
      await new Promise<void>((resolve) => encoder.write(first, () => encoder.flush(constants.Z_SYNC_FLUSH, resolve)))
      const boundary = Buffer.concat(pieces).length
      encoder.end(second)
      await once(encoder, 'end')
      const stored = Buffer.concat(pieces)

      const copies: Buffer[] = []
      for await (const chunk of givingBack(decompressGzip(chunked(stored, boundary, stored.length), unbounded))) copies.push(Buffer.from(chunk))
      expect(Buffer.concat(copies).equals(Buffer.concat([first, second])), `room ${room}`).toBe(true)
    }
  })

  const plain = sampleBytes(1_500_000)

  it.each(['-1', '-6', '-9', '--rsyncable'])('made by gzip %s are read', async (level) => {
    const { stdout } = await judge('gzip', ['-c', level], plain)
    expect((await collect(decompressGzip(chunked(stdout, 10_000), { maxBytes: plain.length }))).equals(plain)).toBe(true)
  })

  it('of several members are read, wherever the chunks end', async () => {
    const one = gzipSync(sampleBytes(300, 1))
    const stored = Buffer.concat([one, gzipSync(sampleBytes(400, 2)), gzipSync(Buffer.alloc(0))])
    const content = Buffer.concat([sampleBytes(300, 1), sampleBytes(400, 2)])
    for (let size = 1; size < stored.length; size++) expect((await collect(decompressGzip(chunked(stored, size, 7), unbounded))).equals(content)).toBe(true)
    expect((await collect(decompressGzip(chunked(Buffer.concat([await compressed(sampleBytes(300, 1)), one]), 30), unbounded))).length).toBe(600)
  })

  it('cut at any byte are refused', async () => {
    const one = gzipSync(sampleBytes(300, 1))
    const stored = Buffer.concat([one, gzipSync(sampleBytes(100, 2))])
    for (let length = 0; length < stored.length; length++) {
      const error = await errorOf(decompressGzip(chunked(stored.subarray(0, length), 50), unbounded))
      // Between two members nobody can tell, gzip neither.
      if (length === one.length) expect(error).toBeUndefined()
      else expectInvalid(error)
    }
  })

  it('with any single bit flipped never give other content', async () => {
    await flips(gzipSync(sampleBytes(200)), sampleBytes(200))
  }, 30_000)

  it('padded with zeros are accepted, as gzip accepts them', async () => {
    for (const stored of [gzipSync(plain), await compressed(plain)]) {
      const padded = Buffer.concat([stored, Buffer.alloc(100_000)])
      expect((await judge('gzip', ['-t'], padded)).code).toBe(0)
      expect((await collect(decompressGzip(chunked(padded, 10_000), unbounded))).equals(plain)).toBe(true)
    }
  })

  it('followed by anything but zeros are refused, also after zeros', async () => {
    for (const stored of [gzipSync(plain), await compressed(plain)]) {
      for (const garbage of [
        Buffer.from('x'),
        Buffer.from('garbage at the end'),
        Buffer.from('\0\0\0\0x'),
        Buffer.concat([Buffer.alloc(200_000), Buffer.from('x')]),
      ]) {
        for (const size of [10_000, stored.length]) expectInvalid(await errorOf(decompressGzip(chunked(Buffer.concat([stored, garbage]), size), unbounded)))
      }
    }
  })

  it('that are bombs stop at maxBytes', async () => {
    const bomb = gzipSync(Buffer.alloc(50_000_000))
    let outBytes = 0
    const error = await (async () => {
      try {
        for await (const chunk of decompressGzip(chunked(bomb, 1000), { maxBytes: 1_000_000 })) outBytes += chunk.length
        return undefined
      } catch (caught) {
        return caught
      }
    })()
    expectInvalid(error, /1000000/)
    expect(outBytes).toBeLessThanOrEqual(1_000_000)
  })

  it('made of random bytes never crash the reader', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), fc.boolean(), async (bytes, magic) => {
        const hostile = magic ? Buffer.concat([gzipSync('').subarray(0, 10), bytes]) : Buffer.from(bytes)
        const error = await errorOf(decompressGzip(chunked(hostile, 17), { maxBytes: 1_000_000 }))
        if (error !== undefined) expectInvalid(error, /gzip/)
      }),
      { numRuns: 200 },
    )
  })
})
