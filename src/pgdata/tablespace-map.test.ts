import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatTablespaceMap, parseTablespaceMap, type TablespaceLink } from './tablespace-map.ts'

const parse = (text: string | Buffer, major = 15) => parseTablespaceMap(Buffer.from(text as string), { major })
const format = (links: readonly TablespaceLink[], major = 15) => formatTablespaceMap(links, { major }).toString()

describe('tablespace_map', () => {
  it('holds any path: spaces, equals signs, line breaks, backslashes', () => {
    const links = [
      { oid: 16392, path: '/srv/space x = 1' },
      { oid: 16393, path: '/srv/a\nb\r\\c\\' },
      { oid: 4294967295, path: '/Übung' },
    ]
    const text = '16392 /srv/space x = 1\n16393 /srv/a\\\nb\\\r\\\\c\\\\\n4294967295 /Übung\n'
    expect(format(links)).toBe(text)
    expect(parse(text)).toEqual(links)
    expect(parse('')).toEqual([])
    expect(format([])).toBe('')
    fc.assert(
      fc.property(
        fc.array(fc.string({ unit: fc.constantFrom('a', ' ', '\\', '\n', '\r', '=', 'é') }), { maxLength: 4 }),
        fc.constantFrom(14, 18),
        (tails, major) => {
          const made = tails.map((tail, index) => ({ oid: 1 + index, path: `/${tail}` }))
          expect(parse(format(made, major), major)).toEqual(made)
        },
      ),
    )
  })

  it('of 13 has no backslash before a backslash', () => {
    const links = [{ oid: 1, path: '/a\\b\nc' }]
    expect(format(links, 13)).toBe('1 /a\\b\\\nc\n')
    expect(parse('1 /a\\b\\\nc\n', 13)).toEqual(links)
    for (const path of ['/a\\', '/a\\\nb']) expect(() => format([{ oid: 1, path }], 13)).toThrow('PostgreSQL 13 cannot read')
  })

  it('with Windows line ends or empty lines is read as the server reads it', () => {
    expect(parse('1 /a\r\n\n2 /b\n')).toEqual([
      { oid: 1, path: '/a' },
      { oid: 2, path: '/b' },
    ])
  })

  it('is refused when a link would lead somewhere else than the server meant', () => {
    const bad = [
      ['1 /a', 'cut'],
      ['1 /a\\', 'cut'],
      ['1 /a\\\n', 'cut'],
      ['1 relative\n', 'not absolute'],
      ['1 \n', 'not absolute'],
      ['1 /a\0b\n', 'not absolute'],
      ['x /a\n', 'no OID'],
      ['/a\n', 'no OID'],
      ['0 /a\n', 'no OID'],
      ['4294967296 /a\n', 'no OID'],
      ['../x /a\n', 'no OID'],
      ['1 /a\n1 /b\n', 'twice'],
    ] as const
    for (const [text, why] of bad) expect(() => parse(text), JSON.stringify(text)).toThrow(why)
    expect(() => parse(Buffer.from('1 /é\n', 'latin1'))).toThrow('not UTF-8')
    expect(() => format([{ oid: 1, path: 'relative' }])).toThrow('no absolute path')
  })
})
