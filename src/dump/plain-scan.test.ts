import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isFailure } from '../kernel/failure.ts'
import { createFingerprintCollector } from './fingerprint-collector.ts'
import { createPlainScanner, type PlainScan } from './plain-scan.ts'

const head = `--
-- PostgreSQL database dump
--

\\restrict Abc123

-- Dumped from database version 15.20
-- Dumped by pg_dump version 15.20

SET statement_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
`
const end = `
--
-- PostgreSQL database dump complete
--

\\unrestrict Abc123

`
const body = `
CREATE FUNCTION public.fooler() RETURNS void
    LANGUAGE plpgsql
    AS $_$ BEGIN
COPY public.trap (a) FROM stdin;
1
\\.
\\! rm -rf /
-- PostgreSQL database dump complete
END $1 $x$ $_ $_$;

CREATE FUNCTION public.atomic() RETURNS integer
    LANGUAGE sql
    BEGIN ATOMIC
 SELECT CASE WHEN true THEN 1 ELSE 2 END;
 SELECT 'a;b' AS "c;""d";
END;

COMMENT ON FUNCTION public.fooler() IS 'it''s ; \\';
COMMENT ON FUNCTION public.atomic() IS E'it\\'s ; '' \\\\';
/* a comment ; /* nested ; */ ' " $$ */
--
-- Data for Name: accounts; Type: TABLE DATA; Schema: public; Owner: me
--

COPY public.accounts (id, name) FROM stdin;
1	one
2	\\N
3	\\\\.
\\.


--
-- Data for Name: leaf; Type: TABLE DATA; Schema: public; Owner: me
--

-- load via partition root public.root
COPY public.root (id) FROM stdin;
7
\\.


--
-- Name: accounts_id_seq; Type: SEQUENCE SET; Schema: public; Owner: me
--

SELECT pg_catalog.setval('public.accounts_id_seq', 3, true);

SELECT pg_catalog.lo_open('16400', 131072);
SELECT pg_catalog.lowrite(0, '\\x6162');
SELECT pg_catalog.lowrite(0, '\\x63');
SELECT pg_catalog.lo_close(0);

CREATE VIEW public.v AS SELECT (1 - 1) AS a, 4 / 2 AS b;
`
const dump = head + body + end

async function scan(text: string | readonly Uint8Array[]) {
  const collector = createFingerprintCollector()
  const scanner = createPlainScanner(collector.sink)
  for (const chunk of typeof text === 'string' ? [Buffer.from(text)] : text) scanner.write(chunk)
  const found = await scanner.end()
  return { found, fingerprint: collector.finish({ encoding: found.encoding, settings: null, derived: found.derived }) }
}

async function outcomeOf(text: string): Promise<string> {
  try {
    await scan(text)
    return 'whole'
  } catch (error) {
    if (isFailure(error, 'dump-empty', 'integrity')) return error.code
    throw error
  }
}

async function findingsOf(text: string): Promise<PlainScan['findings']> {
  return (await scan(head + text + end)).found.findings
}

describe('plain SQL', () => {
  test('gives the rows of its COPY sections, large objects and sequences, and nothing inside strings or bodies', async () => {
    const { found, fingerprint } = await scan(dump)
    expect(found).toMatchObject({
      kind: 'database',
      encoding: 'UTF8',
      serverVersion: '15.20',
      findings: [],
      reach: { database: null, outside: [], leavable: [] },
    })
    expect(fingerprint.tables.map(({ schema, name, rows, bytes, viaRoot }) => [schema, name, rows, bytes, viaRoot?.name])).toEqual([
      ['public', 'accounts', 3, 17, undefined],
      ['public', 'leaf', 1, 2, 'root'],
    ])
    expect(fingerprint.largeObjects).toMatchObject({ count: 1, bytes: 3 })
    expect(fingerprint.sequences).toEqual([{ schema: 'public', name: 'accounts_id_seq', lastValue: '3', isCalled: true }])
  })

  test('is understood the same however the stream is cut into chunks', async () => {
    const bytes = Buffer.from(dump)
    const expected = await scan(dump)
    const bytewise = Array.from(bytes, (byte) => Uint8Array.of(byte))
    expect(await scan(bytewise)).toEqual(expected)
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 40 }), async (sizes) => {
        const chunks: Uint8Array[] = []
        for (let from = 0, index = 0; from < bytes.length; index++) {
          const size = sizes[index % sizes.length] ?? 1
          chunks.push(bytes.subarray(from, from + size))
          from += size
        }
        expect(await scan(chunks)).toEqual(expected)
      }),
      { numRuns: 200 },
    )
  })

  test('is refused when it was cut off anywhere before the last word of its end', async () => {
    for (const text of [dump, (head + body + end).replaceAll(/\\(un)?restrict Abc123\n/g, '')]) {
      const lastWord = text.includes('\\unrestrict') ? 'unrestrict Abc123' : 'database dump complete'
      const needed = text.lastIndexOf(lastWord) + lastWord.length
      for (let length = 0; length < needed; length++) expect(`${length}: ${await outcomeOf(text.slice(0, length))}`).toMatch(/dump-empty|integrity/)
      expect(await outcomeOf(text.slice(0, needed))).toBe('whole')
    }
  })

  test('may end in nothing but its own \\unrestrict', async () => {
    expect(await outcomeOf(`${dump}SELECT 1;`)).toBe('integrity')
    expect(await outcomeOf(`${dump}\\! ls\n`)).toBe('integrity')
    expect(await outcomeOf(dump.replace('\\unrestrict Abc123', '\\unrestrict Other'))).not.toBe('whole')
    expect(await outcomeOf(`${dump}\\unrestrict Abc123\n`)).toBe('integrity')
  })

  test('that was joined from several dumps, or made by pg_dumpall, is named as such', async () => {
    const several = await scan(dump + dump)
    expect(several.found.kind).toBe('several')
    const cluster = `--\n-- PostgreSQL database cluster dump\n--\n\nCREATE ROLE me;\n\\connect template1\n${dump}\\connect other\n${dump}--\n-- PostgreSQL database cluster dump complete\n--\n`
    const { found, fingerprint } = await scan(cluster)
    expect(found).toMatchObject({ kind: 'cluster', reach: { database: 'template1', outside: ['CREATE ROLE me;', '\\connect other'] } })
    expect(fingerprint.notCompared).toHaveLength(1)
    expect(await outcomeOf(cluster.slice(0, cluster.lastIndexOf('-- PostgreSQL')))).toBe('dump-empty')
  })

  test('that would run commands on the restoring machine is found out', async () => {
    expect(await findingsOf('\\! touch /tmp/x\n')).toMatchObject([{ kind: 'psql-command', text: '\\! touch /tmp/x' }])
    expect(await findingsOf('SELECT 1 \\g | sh\n;\n')).toMatchObject([{ kind: 'psql-command' }])
    expect(await findingsOf('\\connect `touch /tmp/x`\n')).toMatchObject([{ kind: 'psql-command' }])
    expect(await findingsOf('\\connect db \\! ls\n')).toMatchObject([{ kind: 'psql-command' }])
    expect(await findingsOf("COPY public.t FROM PROGRAM 'touch /tmp/x';\n")).toMatchObject([{ kind: 'program' }])
    expect(await findingsOf('\\unrestrict Wrong\n')).toMatchObject([{ kind: 'psql-command' }])
    // A string that only looks closed to who does not know E''.
    expect(await findingsOf("SELECT E'\\'\\! x';\n")).toEqual([])
    expect(await findingsOf("SELECT 'a\\'; \\! x\n;\n")).toMatchObject([{ kind: 'psql-command' }])
  })

  test('that acts on its own database by name tells exactly where, whatever stands around it and however the stream is cut', async () => {
    const about = [
      'DROP DATABASE IF EXISTS "Sh;op";',
      `CREATE DATABASE "Sh;op" WITH TEMPLATE = template0 /* ; */ ENCODING = 'UTF8' -- ;\n LOCALE = 'C';`,
      '\\encoding SQL_ASCII',
      `\\connect -reuse-previous=on "dbname='Sh;op'"`,
      `COMMENT ON DATABASE "Sh;op" IS 'a; DROP DATABASE x;';`,
    ]
    const rest = [
      `COMMENT ON SCHEMA public IS 'DROP DATABASE x;\n\\connect y';`,
      'CREATE FUNCTION public.f() RETURNS void LANGUAGE sql AS $x$\nDROP DATABASE x;\n\\connect y\n$x$;',
      '-- DROP DATABASE x;\n/* \n\\connect y\n DROP DATABASE x; */',
      'CREATE TABLE public."DROP DATABASE x;" (a integer);',
      'COPY public.t (a) FROM stdin;\nDROP DATABASE x;\n\\connect y\n\\.\n',
    ]
    const text = head + about.map((each, index) => `  ${each}\n${rest[index] ?? ''}\n`).join('') + end
    for (const size of [text.length, 1, 7]) {
      const bytes = Buffer.from(text)
      const { reach, suspicious } = (
        await scan(Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) => bytes.subarray(index * size, (index + 1) * size)))
      ).found
      expect(suspicious).toEqual([])
      expect(reach).toMatchObject({ database: 'Sh;op', outside: [] })
      expect(reach.leavable.map(({ from, to }) => bytes.toString('utf8', from, to))).toEqual(about)
    }
  })

  test('hides no psql command behind those that it may have', async () => {
    expect(await findingsOf('\\encoding SQL_ASCII\nSELECT 1;\n')).toMatchObject([{ kind: 'psql-command' }])
    expect(await findingsOf('\\encoding SQL_ASCII\n')).toMatchObject([{ kind: 'psql-command' }])
    expect(await findingsOf('\\encoding SQL_ASCII\n\\encoding SQL_ASCII\n\\connect x\n')).toMatchObject([{ kind: 'psql-command' }])
    expect(await findingsOf('SELECT 1\n\\connect x\n;\n')).toMatchObject([{ kind: 'psql-command' }])
    expect(await findingsOf('\\connect x ada elsewhere\n')).toMatchObject([{ kind: 'psql-command' }])
    expect((await scan(`${head}\\connect x\n\\connect y\n${end}`)).found.reach.outside).toEqual(['\\connect y'])
  })

  test('with INSERT statements says that their rows are not fingerprinted', async () => {
    const { fingerprint } = await scan(
      `${head}INSERT INTO public.a VALUES (1, 'x;y');\nINSERT INTO public.a VALUES (2, $$;$$);\nINSERT INTO public."b c" (d) VALUES (1);\n${end}`,
    )
    expect(fingerprint.notCompared).toEqual([
      { what: 'public.a', why: 'its rows are 2 INSERT statements' },
      { what: 'public."b c"', why: 'its rows are 1 INSERT statements' },
    ])
  })

  test('never crashes or hangs, whatever is changed in it', async () => {
    const bytes = Buffer.from(dump)
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.constantFrom(...Buffer.from('\'"$\\\n;-/*E(){}'))), { minLength: 1, maxLength: 5 }),
        async (changes) => {
          const changed = Buffer.from(bytes)
          for (const [at, value] of changes) changed[at] = value
          await outcomeOf(changed.toString('latin1'))
        },
      ),
      { numRuns: 500 },
    )
  })
})
