import fc from 'fast-check'
import { expect, it } from 'vitest'
import { formatLsn, parseLsn } from './lsn.ts'

it('reads back what it writes, as PostgreSQL writes it', () => {
  expect(formatLsn(0n)).toBe('0/0')
  expect(formatLsn(0x16_b374_d848n)).toBe('16/B374D848')
  expect(parseLsn('FFFFFFFF/FFFFFFFF')).toBe(2n ** 64n - 1n)
  // PostgreSQL 19 fills the second half with zeros.
  expect(parseLsn('1/0000000A')).toBe(0x1_0000_000an)
  fc.assert(fc.property(fc.bigInt(0n, 2n ** 64n - 1n), (lsn) => parseLsn(formatLsn(lsn)) === lsn))
})

it.each(['', '0', '/', '0/', '/0', '0/G', '0x1/0', '123456789/0', '0/0 ', '-1/0'])('does not take "%s" for a place in the WAL', (text) => {
  expect(() => parseLsn(text)).toThrow('which is none')
})
