import fc from 'fast-check'
import { expect, test } from 'vitest'
import { quoteIdentifier } from '../postgres/identifiers.ts'
import { parseCopyStatement, parseLoadViaRoot, parseQualifiedName, parseSetval } from './copy-statement.ts'

const name = fc.string({ minLength: 1, maxLength: 20, unit: 'grapheme' }).filter((text) => !text.includes('\0') && text.isWellFormed())

test('any names and columns that pg_dump can write are understood', () => {
  fc.assert(
    fc.property(name, name, fc.array(name, { minLength: 1, maxLength: 5 }), (schema, table, columns) => {
      const sql = `COPY ${quoteIdentifier(schema)}.${quoteIdentifier(table)} (${columns.map(quoteIdentifier).join(', ')}) FROM stdin;\n`
      expect(parseCopyStatement(sql)).toEqual({ target: { schema, name: table }, columns, isPlainText: true })
      const literal = `${quoteIdentifier(schema)}.${quoteIdentifier(table)}`.replaceAll("'", "''")
      expect(parseSetval(`SELECT pg_catalog.setval('${literal}', -12, false);`)).toEqual({ schema, name: table, lastValue: '-12', isCalled: false })
      expect(parseLoadViaRoot(`-- load via partition root ${quoteIdentifier(schema)}.${quoteIdentifier(table)}\n`)).toEqual({ schema, name: table })
    }),
  )
})

test('tables without columns, other options and other kinds of COPY are told apart', () => {
  expect(parseCopyStatement('COPY public.nothing  FROM stdin;')).toEqual({ target: { schema: 'public', name: 'nothing' }, columns: null, isPlainText: true })
  expect(parseCopyStatement('copy Public.T(A) from STDIN with (format csv);')).toEqual({
    target: { schema: 'public', name: 't' },
    columns: ['a'],
    isPlainText: false,
  })
  for (const sql of [
    "COPY t FROM PROGRAM 'ls';",
    "COPY t FROM '/etc/passwd';",
    'COPY t TO stdout;',
    'COPY (SELECT 1) TO stdout;',
    'SELECT 1',
    '',
    'COPY t (a b) FROM stdin;',
    'COPY t (a, FROM stdin;',
  ]) {
    expect(parseCopyStatement(sql)).toBeUndefined()
  }
  expect(parseSetval("SELECT pg_catalog.setval(E'public.\\\\''x', 1, true);")).toBeUndefined()
  expect(parseSetval("SELECT pg_catalog.setval('s', (SELECT 1), true);")).toBeUndefined()
  expect(parseQualifiedName('a.b.c')).toBeUndefined()
})
