import fc from 'fast-check'
import { expect, it } from 'vitest'
import { decodeBech32, encodeBech32 } from './bech32.ts'

it('gives back what was written, in either case', () => {
  fc.assert(
    fc.property(fc.stringMatching(/^[a-z-]{1,20}$/), fc.uint8Array({ maxLength: 100 }), (prefix, bytes) => {
      const text = encodeBech32(prefix, bytes)
      expect(decodeBech32(text)).toEqual({ prefix, bytes })
      expect(decodeBech32(text.toUpperCase())).toEqual({ prefix, bytes })
    }),
  )
})

it('notices up to four mistyped characters', () => {
  const alphabet = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l'
  const text = encodeBech32('tidemark-root-key-', Buffer.alloc(32, 7))
  const from = text.lastIndexOf('1') + 1
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(text.length - from - 1), { minLength: 1, maxLength: 4 }), fc.integer({ min: 1, max: 31 }), (places, by) => {
      const characters = Array.from(text)
      for (const place of places) characters[from + place] = alphabet[(alphabet.indexOf(characters[from + place] ?? '') + by) % 32] ?? ''
      expect(decodeBech32(characters.join(''))).toBeNull()
    }),
    { numRuns: 1000 },
  )
})

// BIP 173, "Test vectors"; those whose data is no whole number of bytes are not ours to read.
it.each([
  'abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw',
  '?1ezyfcl',
  'A12UEL5L',
  '11qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqc8247j',
])('reads the checksum of %s', (text) => {
  const decoded = decodeBech32(text)
  if (decoded !== null) expect(encodeBech32(decoded.prefix, decoded.bytes)).toBe(text.toLowerCase())
  expect(decodeBech32(text.slice(0, -1) + (text.endsWith('q') ? 'p' : 'q'))).toBeNull()
})

it.each(['pzry9x0s0muk', '1pzry9x0s0muk', 'x1b4n0q5v', 'li1dgmt3', 'A1G7SGD8', '10a06t8', '1qzzfhee', 'a12UEL5L', 'abc', ''])('refuses %j', (text) => {
  expect(decodeBech32(text)).toBeNull()
})
