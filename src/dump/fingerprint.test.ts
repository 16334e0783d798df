import { describe, expect, test } from 'vitest'
import { parseFingerprint, type ContentFingerprint } from './fingerprint.ts'
import { pgOptions } from '../postgres/client-environment.ts'
import { fingerprintSettings, settingStatement } from './pinned-settings.ts'

const good: ContentFingerprint = {
  format: 'tidemark-fingerprint/1',
  encoding: 'UTF8',
  settings: fingerprintSettings,
  tables: [{ schema: 'public', name: 't', columns: ['a'], rows: 1, bytes: 2, digest: 'a'.repeat(64), viaRoot: { schema: 'public', name: 'r' } }],
  largeObjects: { count: 0, bytes: 0, digest: '0'.repeat(64) },
  sequences: [{ schema: 'public', name: 's', lastValue: '-9223372036854775808', isCalled: true }],
  derived: [{ desc: 'VIEW', schema: 'public', tag: 'v', populated: null }],
  notCompared: [{ what: 'x', why: 'y' }],
}

describe('a stored fingerprint', () => {
  test('is read back as it was written', () => {
    expect(parseFingerprint(JSON.parse(JSON.stringify(good)))).toEqual(good)
  })

  test.each<[string, (json: Record<string, unknown>) => unknown]>([
    ['no object', () => null],
    ['a list', () => []],
    ['a fractional count', (json) => ({ ...json, tables: [{ ...good.tables[0], rows: 1.5 }] })],
    ['a count beyond what is exact', (json) => ({ ...json, tables: [{ ...good.tables[0], rows: 2 ** 53 }] })],
    ['a digest of another length', (json) => ({ ...json, tables: [{ ...good.tables[0], digest: 'ab' }] })],
    ['columns that are no texts', (json) => ({ ...json, tables: [{ ...good.tables[0], columns: [1] }] })],
    ['a sequence value that is no number', (json) => ({ ...json, sequences: [{ ...good.sequences[0], lastValue: '1; DROP' }] })],
    ['a missing list', (json) => ({ ...json, derived: undefined })],
    ['settings that are no texts', (json) => ({ ...json, settings: { TimeZone: 1 } })],
  ])('is refused when it is %s', (_name, change) => {
    expect(() => parseFingerprint(change(JSON.parse(JSON.stringify(good)) as Record<string, unknown>))).toThrow(/not what Tidemark writes|is not/)
  })

  test('of a newer format is refused by name', () => {
    expect(() => parseFingerprint({ ...good, format: 'tidemark-fingerprint/2' })).toThrow('tidemark-fingerprint/2')
  })
})

test('settings reach the server through PGOPTIONS and SQL whatever their values hold', () => {
  expect(pgOptions({ DateStyle: 'ISO, MDY', search_path: '', odd: 'a\\b' })).toBe(String.raw`-c DateStyle=ISO,\ MDY -c search_path= -c odd=a\\b`)
  expect(settingStatement({ a: "it's" })).toBe("SELECT pg_catalog.set_config('a', 'it''s', false)")
})
