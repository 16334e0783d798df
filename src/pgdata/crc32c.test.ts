import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { crc32c } from './crc32c.ts'

function bitByBit(bytes: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0)
  }
  return ~crc >>> 0
}

describe('CRC-32C', () => {
  it('has the values that RFC 3720 gives', () => {
    const ascending = Uint8Array.from({ length: 32 }, (_, index) => index)
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa)
    expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43)
    expect(crc32c(ascending)).toBe(0x46dd794e)
    expect(crc32c(ascending.toReversed())).toBe(0x113fdb5c)
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283)
    expect(crc32c(new Uint8Array(0))).toBe(0)
  })

  it('is the same at any address, and in parts', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(300), fc.nat(7), (content, cut, shift) => {
        const bytes = new Uint8Array(new SharedArrayBuffer(content.length + shift)).subarray(shift)
        bytes.set(content)
        const [first, second] = [bytes.subarray(0, cut), bytes.subarray(cut)]
        expect(crc32c(bytes)).toBe(bitByBit(content))
        expect(crc32c(second, crc32c(first))).toBe(crc32c(bytes))
      }),
      { numRuns: 500 },
    )
  })
})
