import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { partSize, partsMax, partsOf } from './s3-parts.ts'

async function* from(chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks
}

describe('parts of an upload', () => {
  it('are the same bytes, all but the last of exactly the size, however the source is cut', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 40 })), fc.integer({ min: 1, max: 17 }), async (chunks, size) => {
        const parts: Uint8Array[] = []
        for await (const part of partsOf(from(chunks), () => size)) parts.push(part)
        expect(Buffer.concat(parts).equals(Buffer.concat(chunks))).toBe(true)
        expect(parts.slice(0, -1).every((part) => part.length === size)).toBe(true)
        expect(parts.every((part) => part.length > 0 && part.length <= size)).toBe(true)
      }),
    )
  })

  it('carry an object of 5 TiB within 10,000 when its size is known', () => {
    const size = partSize(1, { partBytes: 8 * 1024 ** 2, sizeBytes: 5 * 1024 ** 4 })
    expect(Math.ceil((5 * 1024 ** 4) / size)).toBeLessThanOrEqual(partsMax)
  })

  it('carry 290 GiB of unknown size with at most 64 MiB each', () => {
    let total = 0
    for (let number = 1; number <= partsMax; number += 1) total += partSize(number, { partBytes: 8 * 1024 ** 2, sizeBytes: undefined })
    expect(total).toBeGreaterThan(290 * 1024 ** 3)
    expect(partSize(partsMax, { partBytes: 8 * 1024 ** 2, sizeBytes: undefined })).toBe(64 * 1024 ** 2)
  })

  it('end with an error, not with a lost tail, when there would be too many', async () => {
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (;;) yield new Uint8Array(1000)
    }
    await expect(
      (async () => {
        for await (const _ of partsOf(endless(), () => 1)) continue
      })(),
    ).rejects.toMatchObject({ code: 'storage-full', hints: [expect.stringContaining('multipartBytes')] })
  })
})
