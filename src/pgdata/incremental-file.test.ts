import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Failure } from '../kernel/failure.ts'
import { incrementalHeaderBytes, incrementalPrefixBytes, incrementalTarget, parseIncrementalFile, reconstructedPages } from './incremental-file.ts'

const options = { pageBytes: 8192, relationSegmentPages: 131_072 }

function headerOf(blocks: readonly number[], truncation: number, { magic = 0xd3ae1f0d, count = blocks.length } = {}): Buffer {
  const used = 12 + blocks.length * 4
  const header = Buffer.alloc(blocks.length === 0 ? used : Math.ceil(used / 8192) * 8192)
  for (const [index, value] of [magic, count, truncation, ...blocks].entries()) header.writeUInt32LE(value, index * 4)
  return header
}

describe('an incremental file', () => {
  it('tells its pages, and how long its header, the file and the result are', () => {
    const unchanged = headerOf([], 131_072)
    expect(incrementalHeaderBytes(unchanged, options)).toBe(12)
    expect(parseIncrementalFile(unchanged, options)).toEqual({ truncationPages: 131_072, blocks: new Uint32Array(0), headerBytes: 12, fileBytes: 12 })
    const some = headerOf([0, 7, 131_071], 8)
    const parsed = parseIncrementalFile(some, options)
    expect(parsed).toEqual({ truncationPages: 8, blocks: Uint32Array.of(0, 7, 131_071), headerBytes: 8192, fileBytes: 4 * 8192 })
    expect(reconstructedPages(parsed)).toBe(131_072)
    expect(reconstructedPages(parseIncrementalFile(headerOf([3], 8), options))).toBe(8)
    const many = Array.from({ length: 2046 }, (_, index) => index)
    expect(incrementalHeaderBytes(headerOf(many.slice(1), 0).subarray(0, incrementalPrefixBytes), options)).toBe(8192)
    expect(incrementalHeaderBytes(headerOf(many, 0).subarray(0, incrementalPrefixBytes), options)).toBe(16384)
  })

  it('is refused when it says what cannot be', () => {
    const bad = [
      [headerOf([], 0).subarray(0, 11), 'only 11 bytes'],
      [headerOf([], 0, { magic: 0xd3ae1f0e }), 'begins with'],
      [headerOf([], 0, { count: 131_073 }), '131073 pages'],
      [headerOf([], 131_073), '131073 pages'],
      [headerOf([1], 0).subarray(0, 8191), 'cut'],
      [headerOf([131_072], 0), 'block 131072'],
      [headerOf([5, 5], 0), 'block 5'],
      [headerOf([5, 4], 0), 'block 4'],
    ] as const
    for (const [bytes, why] of bad) expect(() => parseIncrementalFile(bytes, options), why).toThrow(why)
  })

  it('of random bytes is refused and never read beyond its end', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (tail) => {
        const bytes = Buffer.concat([Buffer.from('0d1faed3', 'hex'), tail])
        try {
          expect(parseIncrementalFile(bytes, options).headerBytes).toBeLessThanOrEqual(bytes.length)
        } catch (error) {
          expect(error).toBeInstanceOf(Failure)
        }
      }),
    )
  })

  it('stands for the file beside it whose name it carries', () => {
    expect(incrementalTarget('base/5/INCREMENTAL.16384.1')).toBe('base/5/16384.1')
    expect(incrementalTarget('INCREMENTAL.x')).toBe('x')
    for (const path of ['base/5/16384', 'base/INCREMENTAL.5/16384', 'base/5/INCREMENTAL.', 'base/5/xINCREMENTAL.1']) expect(incrementalTarget(path)).toBeNull()
  })
})
