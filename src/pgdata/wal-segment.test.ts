import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseWalSegmentName, requireWalSegment, walSegmentName, walSegmentNames, walSegmentNumber, walSegmentStart } from './wal-segment.ts'

const mebibyte = 2 ** 20
const sizes = [1, 16, 64, 1024].map((size) => size * mebibyte)

describe('the name of a WAL segment', () => {
  it('depends on the segment size, as pg_walfile_name gives it', () => {
    expect(walSegmentName({ timeline: 1, number: 1 }, 16 * mebibyte)).toBe('000000010000000000000001')
    expect(walSegmentName({ timeline: 0x1f, number: 256 }, 16 * mebibyte)).toBe('0000001F0000000100000000')
    expect(walSegmentName({ timeline: 1, number: 255 }, 16 * mebibyte)).toBe('0000000100000000000000FF')
    expect(walSegmentName({ timeline: 1, number: 256 }, mebibyte)).toBe('000000010000000000000100')
    expect(walSegmentName({ timeline: 1, number: 4 }, 1024 * mebibyte)).toBe('000000010000000100000000')
  })

  it('and its timeline and number are one and the same, up to the end of the WAL', () => {
    fc.assert(
      fc.property(fc.constantFrom(...sizes), fc.integer({ min: 1, max: 2 ** 32 - 1 }), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (size, timeline, lsn) => {
        const number = walSegmentNumber(lsn, size)
        expect(parseWalSegmentName(walSegmentName({ timeline, number }, size), size)).toEqual({ timeline, number })
        expect(walSegmentStart(number, size) <= lsn && lsn < walSegmentStart(number + 1, size)).toBe(true)
      }),
    )
  })

  it('is nothing that only resembles one', () => {
    const others = ['00000002.history', '000000010000000000000001.partial', '000000010000000000000001.00000028.backup', '00000001000000000000000g', '']
    for (const name of [...others, '000000010000000000000100', '000000000000000000000001', '00000001000000000000000a']) {
      expect([name, parseWalSegmentName(name, 16 * mebibyte)]).toEqual([name, null])
    }
    expect(parseWalSegmentName('000000010000000000000100', mebibyte)).toEqual({ timeline: 1, number: 256 })
  })
})

describe('the segments between two places of the WAL', () => {
  const names = (from: bigint, to: bigint, timeline = 1) => [...walSegmentNames({ timeline, from, to }, 16 * mebibyte)]
  const [two, three, four] = ['000000010000000000000002', '000000010000000000000003', '000000010000000000000004']

  it('are those that hold a byte of it, and not the one that begins where it ends', () => {
    expect(names(0x2000028n, 0x2000100n)).toEqual([two])
    expect(names(0x2000028n, 0x3000000n)).toEqual([two])
    expect(names(0x2000028n, 0x3000001n)).toEqual([two, three])
    expect(names(0x2ffffffn, 0x4000001n)).toEqual([two, three, four])
    expect(names(0x3000000n, 0x4000000n)).toEqual([three])
    expect(names(0xfffffff0n, 0x100000010n, 7)).toEqual(['0000000700000000000000FF', '000000070000000100000000'])
  })

  it('are none where nothing is between them, and backwards is a mistake', () => {
    expect(names(0x3000000n, 0x3000000n)).toEqual([])
    expect(() => names(0x3000001n, 0x3000000n)).toThrow('backwards')
  })
})

describe('the first page of a WAL segment', () => {
  const identity = { name: '000000020000000000000003', major: 15, systemIdentifier: '18446744073709551615', walSegmentBytes: 16 * mebibyte }
  const page = (change: (header: Buffer) => void = () => undefined) => {
    const header = Buffer.alloc(48)
    header.writeUInt16LE(0xd110, 0)
    header.writeUInt16LE(2, 2)
    header.writeUInt32LE(2, 4)
    header.writeBigUInt64LE(0x3000000n, 8)
    header.writeBigUInt64LE(18446744073709551615n, 24)
    header.writeUInt32LE(16 * mebibyte, 32)
    header.writeUInt32LE(8192, 36)
    change(header)
    return header
  }

  it('is accepted when all of it fits, also after a switch of timelines', () => {
    expect(() => requireWalSegment(page(), identity)).not.toThrow()
    expect(() =>
      requireWalSegment(
        page((header) => header.writeUInt32LE(1, 4)),
        identity,
      ),
    ).not.toThrow()
  })

  it('is refused for each thing that does not fit', () => {
    const wrong: readonly (readonly [string, (header: Buffer) => void])[] = [
      ['WAL of PostgreSQL 15', (header) => header.writeUInt16LE(0xd113, 0)],
      ['WAL of PostgreSQL 15', (header) => header.fill(0)],
      ['long header', (header) => header.writeUInt16LE(0, 2)],
      ['of timeline 3', (header) => header.writeUInt32LE(3, 4)],
      ['of timeline 0', (header) => header.writeUInt32LE(0, 4)],
      ['from 0/1000000 on, not from 0/3000000', (header) => header.writeBigUInt64LE(0x1000000n, 8)],
      ['of the cluster 18446744073709551614', (header) => header.writeBigUInt64LE(18446744073709551614n, 24)],
      ['segments have 1048576 bytes', (header) => header.writeUInt32LE(mebibyte, 32)],
    ]
    for (const [why, change] of wrong) expect(() => requireWalSegment(page(change), identity), why).toThrow(why)
    expect(() => requireWalSegment(page().subarray(0, 39), identity)).toThrow('only 39 bytes')
    expect(() => requireWalSegment(page(), { ...identity, name: '000000020000000000000003.partial' })).toThrow('no segment of that name')
    expect(() => requireWalSegment(page(), { ...identity, major: 12 })).toThrow('PostgreSQL 12 is not known')
  })
})
