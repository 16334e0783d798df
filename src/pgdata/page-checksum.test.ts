import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { findBadPages, pageChecksum } from './page-checksum.ts'

/** The definition, word by word, in numbers that cannot overflow. */
function byDefinition(page: Uint8Array, block: number): number {
  const offsets = [
    '5B1F36E9 B8525960 02AB50AA 1DE66D2A 79FF467A 9BB9F8A3 217E7CD2 83E13D2C F8D4474F E39EB970 42C6AE16 993216FA 7B093B5D 98DAFF3C F718902A 0B1C9CDB',
    'E58F764B 187636BC 5D7B3BB1 E73DE7DE 92BEC979 CCA6C0B2 304A0979 85AA43D4 783125BB 6CA8EAA2 E407EAC6 4B5CFC3E 9FBF8C76 15CA20BE F2CA9FD3 959BD756',
  ]
  const sums = offsets.flatMap((line) => line.split(' ')).map((word) => BigInt(`0x${word}`))
  const mix = (lane: number, value: bigint) => {
    const mixed = (sums[lane] ?? 0n) ^ value
    sums[lane] = BigInt.asUintN(32, mixed * 16777619n) ^ (mixed >> 17n)
  }
  const copy = Buffer.from(page)
  copy.writeUInt16LE(0, 8)
  for (let index = 0; index < copy.length / 4; index += 1) mix(index % 32, BigInt(copy.readUInt32LE(index * 4)))
  for (let index = 0; index < 64; index += 1) mix(index % 32, 0n)
  const folded = sums.reduce((all, sum) => all ^ sum, 0n) ^ BigInt(block)
  return Number(folded % 65535n) + 1
}

/** Bytes of a generator, so that a failure can be repeated. */
function someBytes(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length)
  let state = (seed ^ 0x9e3779b9) >>> 0 || 1
  for (let index = 0; index < length; index += 1) {
    state = Math.imul(state, 1664525) + 1013904223
    bytes[index] = state >>> 24
  }
  return bytes
}

/** A page that a server could have written: LSN, checksum, and a header that says that it is in use. */
function sealedPage(pageBytes: number, { block, lsn = 0x1_00000200n, seed = 1 }: { block: number; lsn?: bigint; seed?: number }): Buffer {
  const page = someBytes(pageBytes, seed)
  page.writeUInt32LE(Number(lsn >> 32n), 0)
  page.writeUInt32LE(Number(lsn & 0xffffffffn), 4)
  page.writeUInt16LE(pageBytes - 128, 14)
  page.writeUInt16LE(pageChecksum(page, block), 8)
  return page
}

const sizes = [1024, 2048, 4096, 8192, 16384, 32768]
const never = (1n << 64n) - 1n
const blockNumber = fc.integer({ min: 0, max: 2 ** 32 - 1 })

describe('the checksum of a page', () => {
  it('is what the definition says, for every page size, content and block number', () => {
    fc.assert(
      fc.property(fc.constantFrom(...sizes), fc.integer(), blockNumber, (size, seed, block) => {
        const page = someBytes(size, seed)
        expect(pageChecksum(page, block)).toBe(byDefinition(page, block))
      }),
      { numRuns: 60 },
    )
    for (const fill of [0, 0xff]) expect(pageChecksum(Buffer.alloc(8192, fill), 7)).toBe(byDefinition(Buffer.alloc(8192, fill), 7))
  })

  it('does not depend on what stands in its own field, but on every flag beside it', () => {
    const page = someBytes(8192, 5)
    const before = pageChecksum(page, 9)
    page.writeUInt16LE(0x1234, 8)
    expect(pageChecksum(page, 9)).toBe(before)
    page.writeUInt16LE(page.readUInt16LE(10) ^ 1, 10)
    expect(pageChecksum(page, 9)).not.toBe(before)
  })

  it('changes nothing in the page, and is the same in shared memory and at odd addresses', () => {
    const page = someBytes(8192, 3)
    const before = Buffer.from(page)
    const shared = new Uint8Array(new SharedArrayBuffer(8192))
    shared.set(page)
    const odd = new Uint8Array(8200).subarray(3, 3 + 8192)
    odd.set(page)
    const sums = [pageChecksum(page, 1), pageChecksum(shared, 1), pageChecksum(odd, 1)]
    expect(new Set(sums).size).toBe(1)
    expect(page.equals(before)).toBe(true)
  })

  it('is refused for what is no page', () => {
    for (const size of [0, 512, 1000, 8191, 65536]) expect(() => pageChecksum(new Uint8Array(size), 0)).toThrow(RangeError)
  })
})

describe('bad pages', () => {
  const judge = (bytes: Uint8Array, options: Partial<Parameters<typeof findBadPages>[1]> = {}) =>
    findBadPages(bytes, { pageBytes: 8192, firstBlock: 0, newerThan: never, ...options })

  it('are none among pages as written, of any size, at any place of a relation', () => {
    fc.assert(
      fc.property(fc.constantFrom(...sizes), fc.integer({ min: 0, max: 2 ** 32 - 4 }), fc.integer(), (pageBytes, firstBlock, seed) => {
        const pages = [0, 1, 2].map((index) => sealedPage(pageBytes, { block: firstBlock + index, seed: seed + index }))
        expect(judge(Buffer.concat(pages), { pageBytes, firstBlock })).toEqual([])
      }),
      { numRuns: 50 },
    )
  })

  it('are found when one bit is flipped, wherever it is', () => {
    const page = sealedPage(8192, { block: 5 })
    let missed = 0
    for (let bit = 0; bit < 8192 * 8; bit += 1) {
      const mask = 1 << (bit & 7)
      page[bit >> 3] = (page[bit >> 3] ?? 0) ^ mask
      if (judge(page, { firstBlock: 5 }).length !== 1) missed += 1
      page[bit >> 3] = (page[bit >> 3] ?? 0) ^ mask
    }
    expect(judge(page, { firstBlock: 5 })).toEqual([])
    // 16 bits of checksum: one page in 65,535 is wrong and has the right sum, here as in the server.
    expect(missed).toBeLessThanOrEqual(3)
  })

  it('are found at the wrong place of their relation, also in its second gigabyte', () => {
    const page = sealedPage(8192, { block: 131_072 + 4 })
    expect(judge(page, { firstBlock: 131_072 + 4 })).toEqual([])
    expect(judge(page, { firstBlock: 4 })).toEqual([{ block: 4, expected: pageChecksum(page, 4), found: page.readUInt16LE(8) }])
  })

  it('are named by their block, each of them', () => {
    const pages = [0, 1, 2, 3].map((block) => sealedPage(8192, { block: 10 + block, seed: block }))
    pages[1]?.writeUInt8((pages[1]?.[4000] ?? 0) ^ 8, 4000)
    pages[3]?.writeUInt8((pages[3]?.[8191] ?? 0) ^ 1, 8191)
    expect(judge(Buffer.concat(pages), { firstBlock: 10 }).map(({ block }) => block)).toEqual([11, 13])
  })

  it('are not among pages never written to, unless something stands behind the empty header', () => {
    const empty = Buffer.alloc(2 * 8192)
    expect(judge(empty)).toEqual([])
    empty[8192 + 8191] = 1
    expect(judge(empty).map(({ block }) => block)).toEqual([1])
    // Not even where its checksum is right: the server would refuse to read it.
    empty.writeUInt16LE(pageChecksum(empty.subarray(8192), 1), 8192 + 8)
    expect(judge(empty)).toMatchObject([{ block: 1, expected: empty.readUInt16LE(8192 + 8), found: empty.readUInt16LE(8192 + 8) }])
    // Nor because it would be new.
    empty.writeUInt32LE(0xffff, 8192)
    expect(judge(empty, { newerThan: 1n })).toHaveLength(1)
  })

  it('are not looked for where the page is newer than the start of the backup, since WAL repairs it', () => {
    for (const start of [0x1_00000200n, 0x1_00000000n, 0x0_ffffffffn, 0x2_00000000n]) {
      for (const lsn of [start - 1n, start, start + 1n, start + (1n << 32n)]) {
        const page = sealedPage(8192, { block: 0, lsn })
        page[5000] = (page[5000] ?? 0) ^ 1
        expect([lsn - start, judge(page, { newerThan: start }).length]).toEqual([lsn - start, lsn <= start ? 1 : 0])
      }
    }
  })

  it('cannot be looked for in a part of a page', () => {
    expect(() => judge(new Uint8Array(8192 + 512))).toThrow('not whole pages')
    expect(() => judge(new Uint8Array(8192), { pageBytes: 8000 })).toThrow('no page size')
  })
})
