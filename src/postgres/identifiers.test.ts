import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  derivedName,
  identifierAsNeeded,
  printableName,
  qualifiedName,
  quoteConninfo,
  quoteIdentifier,
  quoteLiteral,
  requireUsableName,
} from './identifiers.ts'

it('quotes names, constants and connection values', () => {
  expect(quoteIdentifier('a"b')).toBe('"a""b"')
  expect([identifierAsNeeded('orders'), identifierAsNeeded('Orders'), identifierAsNeeded('order'), identifierAsNeeded('a b'), identifierAsNeeded('')]).toEqual([
    'orders',
    '"Orders"',
    '"order"',
    '"a b"',
    '""',
  ])
  expect(qualifiedName('my schema', 'select')).toBe('"my schema"."select"')
  expect(quoteLiteral("it's")).toBe("'it''s'")
  expect(quoteLiteral('a\\b')).toBe(" E'a\\\\b'")
  expect(quoteConninfo("it's \\ x")).toBe("'it\\'s \\\\ x'")
  for (const quote of [quoteIdentifier, quoteLiteral, quoteConninfo]) expect(() => quote('a\0b')).toThrow('NUL')
})

describe('a derived name', () => {
  it('is the name and the suffix where they fit', () => expect(derivedName('nexo', '_restore_test')).toBe('nexo_restore_test'))
  it('never equals the name it is derived from, never exceeds 63 bytes, and tells long names apart', () => {
    const names = fc.string({ unit: fc.constantFrom('a', 'é', '🔑', '_', '"'), minLength: 40, maxLength: 80 })
    fc.assert(
      fc.property(names, names, (one, other) => {
        const derived = derivedName(one, '_restore_test')
        expect(Buffer.byteLength(derived)).toBeLessThanOrEqual(63)
        expect(derived.endsWith('_restore_test')).toBe(true)
        // PostgreSQL's own cutting must have nothing left to do, nor a broken character to find.
        expect(derived.isWellFormed()).toBe(true)
        if (one !== other) expect(derivedName(other, '_restore_test')).not.toBe(derived)
      }),
    )
  })
  it('of 63 bytes is not production', () => {
    const production = 'x'.repeat(63)
    expect(derivedName(production, '_restore_test')).toMatch(/^x{43}_[0-9a-f]{6}_restore_test$/)
  })
})

it('refuses a name that PostgreSQL would cut, counting bytes', () => {
  expect(() => requireUsableName('é'.repeat(32), 'database name')).toThrow('64 bytes')
  expect(() => requireUsableName('', 'database name')).toThrow('empty')
  requireUsableName('é'.repeat(31), 'database name')
})

it('shows control and direction characters of a name as what they are', () => {
  expect(printableName('a\n\u202eb\u001b[2J🔑é')).toBe('a\\u{a}\\u{202e}b\\u{1b}[2J🔑é')
})
