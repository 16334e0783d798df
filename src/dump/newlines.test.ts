import fc from 'fast-check'
import { expect, test } from 'vitest'
import { countNewlines } from './newlines.ts'

test('line feeds are counted exactly, whatever stands beside them and wherever the bytes begin', () => {
  const nearly = fc.uint8Array({ maxLength: 3000 }).chain((bytes) =>
    fc.constantFrom(
      bytes,
      bytes.map((byte) => [0x0a, 0x8a, 0x0b, 0x09, 0x00][byte % 5] as number),
    ),
  )
  fc.assert(
    fc.property(nearly, fc.nat(7), (bytes, offset) => {
      const shifted = new Uint8Array(bytes.length + offset).subarray(offset)
      shifted.set(bytes)
      expect(countNewlines(shifted)).toBe(bytes.filter((byte) => byte === 10).length)
    }),
    { numRuns: 500 },
  )
})

test('no byte overflows its lane in a long run of the same, and only the line feed is counted', () => {
  for (let byte = 0; byte < 256; byte++) expect(countNewlines(new Uint8Array(5000).fill(byte))).toBe(byte === 10 ? 5000 : 0)
})
