import fc from 'fast-check'
import { expect, it } from 'vitest'
import { formatLsn, parseLsn } from './lsn.ts'

it('an LSN is read as PostgreSQL writes it and written the same', () => {
  expect(parseLsn('16/B374D848')).toBe(0x16b374d848n)
  expect([0n, 0x2000028n, 0xffffffffffffffffn].map(formatLsn)).toEqual(['0/0', '0/2000028', 'FFFFFFFF/FFFFFFFF'])
  // PostgreSQL 19 fills the second half with zeros.
  expect(parseLsn('0/02000028')).toBe(0x2000028n)
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (lsn) => {
      expect(parseLsn(formatLsn(lsn))).toBe(lsn)
    }),
  )
})

it('what is no LSN is refused, never taken for a small one', () => {
  for (const text of ['', '0', '/', '0/', '/0', '0/0/0', ' 0/0', '0/0 ', '0/0\n', '0x1/0', '123456789/0', '0/123456789', '-1/0', 'G/0']) {
    expect(() => parseLsn(text), text).toThrow('cannot read the LSN')
  }
})
