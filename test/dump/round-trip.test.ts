import { readFileSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { scanArchive } from '../../src/dump/archive-scan.ts'
import { compareContent, multisetsOfDump, type ContentVerdict } from '../../src/dump/compare.ts'
import { derivedOfToc } from '../../src/dump/derived-objects.ts'
import { localDumpFiles, scanDirectory } from '../../src/dump/directory-scan.ts'
import { createFingerprintCollector } from '../../src/dump/fingerprint-collector.ts'
import { parseFingerprint, type ContentFingerprint } from '../../src/dump/fingerprint.ts'
import { fingerprintSettings } from '../../src/dump/pinned-settings.ts'
import { scanPlain } from '../../src/dump/plain-scan.ts'
import { multisetOfCopy, readBack } from '../../src/dump/read-back.ts'
import type { DumpSink } from '../../src/dump/sink.ts'
import { systemClock } from '../../src/kernel/clock.ts'
import type { Context } from '../../src/kernel/context.ts'
import { pgOptions } from '../../src/postgres/client-environment.ts'
import { openSession } from '../../src/postgres/session.ts'
import { readServerSide } from '../support/server-side.ts'
import { startServer, type TestServer } from './postgres.ts'

const workload = readFileSync(new URL('workload.sql', import.meta.url), 'utf8')
const context: Context = { clock: systemClock, emit: () => undefined, signal: new AbortController().signal }

let server: TestServer
let directory: string
let archive: Buffer
let expected: ContentFingerprint

beforeAll(async () => {
  server = await startServer()
  directory = await mkdtemp(join(tmpdir(), 'tm-dump-files-'))
  await server.sql('postgres', 'CREATE DATABASE source')
  await server.sql('source', workload)
  archive = await dump(['-Fc', '-Z0'])
  await writeFile(join(directory, 'source.dump'), archive)
  expected = await fingerprintOf(archive)
}, 60_000)

afterAll(async () => {
  await server[Symbol.asyncDispose]()
  await rm(directory, { recursive: true, force: true })
})

async function dump(args: readonly string[], database = 'source', settings: Readonly<Record<string, string>> = fingerprintSettings): Promise<Buffer> {
  const parts: Uint8Array[] = []
  for await (const part of server.bytes('pg_dump', [...args, '-d', database], { environment: { PGOPTIONS: pgOptions(settings) } })) parts.push(part)
  return Buffer.concat(parts)
}

async function* inPieces(bytes: Uint8Array, size = 65_536): AsyncGenerator<Uint8Array> {
  for (let from = 0; from < bytes.length; from += size) yield bytes.subarray(from, from + size)
}

async function fingerprintOf(bytes: Buffer): Promise<ContentFingerprint> {
  const collector = createFingerprintCollector()
  const { toc } = await scanArchive(inPieces(bytes), collector.sink)
  return collector.finish({ encoding: toc.encoding, settings: fingerprintSettings, derived: derivedOfToc(toc) })
}

/** Restores the archive into a new database, lets `damage` run there, and compares it with the dump. */
async function restoredAndCompared(
  database: string,
  damage = '',
  options: { args?: string[]; create?: string; dump?: Buffer; fingerprint?: ContentFingerprint } = {},
): Promise<ContentVerdict> {
  const bytes = options.dump ?? archive
  const file = join(directory, `${database}.dump`)
  await writeFile(file, bytes)
  await server.sql('postgres', options.create ?? `CREATE DATABASE ${database} TEMPLATE template0`)
  await server.run('pg_restore', ['--exit-on-error', ...(options.args ?? []), '-d', database, file])
  if (damage !== '') await server.sql(database, damage)
  return compared(database, options.fingerprint ?? expected, bytes)
}

async function compared(database: string, fingerprint: ContentFingerprint, bytes: Buffer): Promise<ContentVerdict> {
  await using session = await sessionTo(database)
  const copy = await readBack(session, fingerprint, context)
  return await compareContent(fingerprint, copy, {
    dump: (requests) => multisetsOfDump(requests, (sink: DumpSink) => scanArchive(inPieces(bytes), sink)),
    copy: (request) => multisetOfCopy(session, { ...request, encoding: fingerprint.encoding }),
  })
}

function sessionTo(database: string, user = 'postgres') {
  const tls = { mode: 'disable', rootCertFile: null, certFile: null, keyFile: null } as const
  const target = {
    host: server.socketDirectory,
    port: server.port,
    user,
    database,
    password: null,
    passFile: null,
    tls,
    connectTimeoutSeconds: 10,
    parameters: {},
    container: null,
  }
  return openSession(target, { applicationName: 'tidemark test' })
}

describe('a restored copy', () => {
  test('equals its dump in every table, large object, sequence and derived object', async () => {
    const verdict = await restoredAndCompared('copy_equal')
    expect(verdict.problems).toEqual([])
    expect(verdict.outcome).toBe('equal')
    expect(verdict.tables).toHaveLength(21)
    expect(verdict.largeObjects).toEqual({ count: 4, restoredCount: 4, match: true })
    expect(verdict.derived.unchecked).toBe(0)
    expect(verdict.tables.find(({ name }) => name === 'hashed_0')?.how).toBe('root')
    expect(verdict.tables.filter(({ how }) => how !== 'root').every(({ how }) => how === 'ordered')).toBe(true)
  })

  test('equals its dump although server and database have other time zones, date styles and float digits', async () => {
    const hostile = `TimeZone = 'Asia/Kolkata'; ALTER DATABASE copy_settings SET DateStyle = 'German, DMY'; ALTER DATABASE copy_settings SET extra_float_digits = -15;
      ALTER DATABASE copy_settings SET bytea_output = 'escape'; ALTER DATABASE copy_settings SET IntervalStyle = 'iso_8601'; ALTER DATABASE copy_settings SET quote_all_identifiers = on`
    const verdict = await restoredAndCompared('copy_settings', `ALTER DATABASE copy_settings SET ${hostile}`)
    expect(verdict.problems).toEqual([])
  })

  test('the settings matter: without pinning them a dump taken under another time zone differs', async () => {
    const other = await dump(['-Fc', '-Z0'], 'source', { ...fingerprintSettings, TimeZone: 'Asia/Kolkata' })
    const types = (fingerprint: ContentFingerprint) => fingerprint.tables.find(({ name }) => name === 'types')?.digest
    expect(types(await fingerprintOf(other))).not.toBe(types(expected))
  })

  test.each([
    ['one changed value', 'UPDATE "tricky" SET txt = txt || \'x\' WHERE id = 10', 'public.tricky', /at least one value differs|right number/],
    ['a changed value in place of another of the same length', "UPDATE part_1 SET v = 'v7' WHERE k = 8", 'public.part_1', /at least one value differs/],
    ['a dropped row', 'DELETE FROM part_2 WHERE k = 150', 'public.part_2', /1 of them is missing/],
    ['a doubled row', 'INSERT INTO zero_columns DEFAULT VALUES', 'public.zero_columns', /1 too many/],
    ['NULL instead of an empty text', "UPDATE tricky SET txt = NULL WHERE txt = ''", 'public.tricky', /at least one value differs/],
    [
      'a value that moved to another partition of the root',
      "UPDATE hashed SET e = 'ok' WHERE v = 2",
      'public.hashed_0',
      /all partitions of public.hashed together/,
    ],
    ['a truncated table', 'TRUNCATE identity', 'public.identity', /restored copy 0: 2 of them are missing/],
    ['a dropped table', 'DROP TABLE types', 'public.types', /not in the restored copy/],
    ['a dropped column', 'ALTER TABLE fk_b DROP COLUMN a', 'public.fk_b', /column/],
    ['a dropped root of partitions', 'DROP TABLE hashed CASCADE', 'public.hashed_0', /hashed/],
    ['a changed large object', "SELECT lo_put(16999, 5, '\\x00')", 'large objects', /at least one byte/],
    ['a missing large object', 'SELECT lo_unlink(17001)', 'large objects', /4 large objects, the restored copy 3/],
    ['a sequence that stands elsewhere', "SELECT nextval('mid')", 'sequence public.mid', /stands at 16, the dump sets it to 13/],
    ['a materialised view that is not filled', 'REFRESH MATERIALIZED VIEW filled WITH NO DATA', 'MATERIALIZED VIEW public.filled', /not filled/],
    ['a missing index', 'DROP INDEX tricky_idx', 'INDEX public.tricky_idx', /missing/],
    ['an invalid index', "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'tricky_idx'::regclass", 'INDEX public.tricky_idx', /not valid/],
    ['a missing trigger', 'DROP TRIGGER a_trigger ON tricky', 'TRIGGER public."tricky a_trigger"', /missing/],
    ['a missing foreign key', 'ALTER TABLE fk_b DROP CONSTRAINT fk_b_a_fkey', 'FK CONSTRAINT public."fk_b fk_b_a_fkey"', /missing/],
  ])('is found to differ by %s', async (_name, damage, object, message) => {
    const verdict = await restoredAndCompared('copy_damaged', damage)
    await server.sql('postgres', 'DROP DATABASE copy_damaged')
    expect(verdict.outcome).toBe('different')
    const found = verdict.problems.find((problem) => problem.object === object)
    expect(found, JSON.stringify(verdict.problems)).toBeDefined()
    expect(found?.message).toMatch(message)
  })

  test('is found to differ when two rows swap a value, but not when two rows swap their places', async () => {
    const swappedValues = await restoredAndCompared('copy_swapped', "UPDATE part_1 SET v = CASE k WHEN 3 THEN 'v4' ELSE 'v3' END WHERE k IN (3, 4)")
    expect(swappedValues.problems).toEqual([{ object: 'public.part_1', message: expect.stringContaining('at least one value differs') }])
    const swappedRows = await restoredAndCompared(
      'copy_moved',
      'BEGIN; CREATE TABLE t AS SELECT * FROM part_1 ORDER BY k DESC; TRUNCATE part_1; INSERT INTO part_1 SELECT * FROM t; DROP TABLE t; COMMIT',
    )
    expect(swappedRows.outcome).toBe('equal')
    expect(swappedRows.tables.find(({ name }) => name === 'part_1')).toMatchObject({ match: true, how: 'multiset' })
  })

  test('a judge on the server agrees, and sees a change too', async () => {
    await restoredAndCompared('copy_judge')
    await using source = await sessionTo('source')
    await using copy = await sessionTo('copy_judge')
    for (const table of expected.tables) {
      if (table.viaRoot !== null) continue
      expect(await readServerSide(copy, table)).toEqual(await readServerSide(source, table))
    }
    await copy.query("UPDATE part_1 SET v = 'other' WHERE k = 1")
    const part = expected.tables.find(({ name }) => name === 'part_1')
    if (part === undefined) throw new Error('part_1 is missing')
    expect(await readServerSide(copy, part)).not.toEqual(await readServerSide(source, part))
  })
})

describe('reading back', () => {
  test('shares the tables between several sessions with the same result', async () => {
    await restoredAndCompared('copy_jobs')
    await using first = await sessionTo('copy_jobs')
    await using second = await sessionTo('copy_jobs')
    expect(await readBack([first, second], expected, context)).toEqual(await readBack(first, expected, context))
  })

  test('stops when asked to, and is not taken for an answer when the connection breaks', async () => {
    const stop = new AbortController()
    await using session = await sessionTo('copy_jobs')
    stop.abort(new Error('enough'))
    await expect(readBack(session, expected, { ...context, signal: stop.signal })).rejects.toThrow('enough')
    await using broken = await sessionTo('copy_jobs')
    await server.sql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'copy_jobs'")
    await expect(readBack(broken, expected, context)).rejects.toMatchObject({ code: 'connection-lost' })
  })

  test('by a role without rights says so for each table, and never finds it equal', async () => {
    await server.sql('postgres', 'CREATE ROLE nobody_here LOGIN')
    await using session = await sessionTo('copy_equal', 'nobody_here')
    const copy = await readBack(session, { ...expected, sequences: [], largeObjects: { ...expected.largeObjects, count: 0 } }, context).catch(
      (error: unknown) => error,
    )
    if (copy instanceof Error) expect(copy).toMatchObject({ code: 'permission-denied' })
    else expect((copy as { tables: { state: string }[] }).tables.every(({ state }) => state === 'unreadable')).toBe(true)
  })

  test('copes with tables of 1,600 columns and with thousands of tables', async () => {
    await server.sql('postgres', 'CREATE DATABASE large')
    const columns = Array.from({ length: 1600 }, (_, column) => `c${column} int2`).join(', ')
    const tables = Array.from({ length: 2000 }, (_, table) => `CREATE TABLE t${table} (a int); INSERT INTO t${table} VALUES (${table});`).join('\n')
    await server.sql('large', `CREATE TABLE widest (${columns}); INSERT INTO widest SELECT; INSERT INTO widest (c1599) VALUES (1);\n${tables}`)
    const bytes = await dump(['-Fc', '-Z0'], 'large')
    const fingerprint = await fingerprintOf(bytes)
    expect(fingerprint.tables).toHaveLength(2001)
    const verdict = await restoredAndCompared('copy_large', 'UPDATE t1234 SET a = 0', { dump: bytes, fingerprint })
    expect(verdict.problems).toEqual([{ object: 'public.t1234', message: expect.stringContaining('value differs') }])
  }, 60_000)
})

describe('the fingerprint', () => {
  test('is the same from every format and compression', async () => {
    const content = ({ tables, largeObjects, sequences }: ContentFingerprint) => ({
      tables: [...tables].sort((a, b) => a.name.localeCompare(b.name)),
      largeObjects,
      sequences,
    })
    for (const level of ['-Z1', '-Z9']) expect(await fingerprintOf(await dump(['-Fc', level]))).toEqual(expected)

    const collector = createFingerprintCollector()
    const scan = await scanPlain(inPieces(await dump(['-Fp']), 777), collector.sink)
    expect(scan).toMatchObject({ kind: 'database', findings: [], encoding: 'UTF8' })
    expect(content(collector.finish({ encoding: scan.encoding, settings: fingerprintSettings, derived: scan.derived }))).toEqual(content(expected))

    for (const level of ['-Z0', '-Z5']) {
      const path = join(directory, `source${level}.d`)
      await server.run('pg_dump', ['-Fd', '-j2', level, '-f', path, '-d', 'source'], { environment: { PGOPTIONS: pgOptions(fingerprintSettings) } })
      const collected = createFingerprintCollector()
      const found = await scanDirectory(localDumpFiles(path), collected.sink)
      expect(found.strangers).toEqual([])
      expect(content(collected.finish({ encoding: found.toc.encoding, settings: fingerprintSettings, derived: derivedOfToc(found.toc) }))).toEqual(
        content(expected),
      )
    }
  })

  test('survives being stored as JSON', () => {
    expect(parseFingerprint(JSON.parse(JSON.stringify(expected)))).toEqual(expected)
  })

  test('says honestly that INSERT statements are not fingerprinted', async () => {
    const fingerprint = await fingerprintOf(await dump(['-Fc', '-Z0', '--inserts']))
    expect(fingerprint.tables).toEqual([])
    expect(fingerprint.notCompared).toHaveLength(21)
  })

  test('of a schema-only or data-only dump holds what is there', async () => {
    const schemaOnly = await fingerprintOf(await dump(['-Fc', '-Z0', '--schema-only']))
    expect(schemaOnly.tables).toEqual([])
    expect(schemaOnly.largeObjects.count).toBe(0)
    // Without its data part a dump fills no materialised view.
    expect(schemaOnly.derived).toEqual(expected.derived.map((object) => (object.populated === null ? object : { ...object, populated: false })))
    const dataOnly = await fingerprintOf(await dump(['-Fc', '-Z0', '--data-only']))
    const digests = ({ tables }: ContentFingerprint) => Object.fromEntries(tables.map(({ schema, name, digest }) => [`${schema}.${name}`, digest]))
    expect(digests(dataOnly)).toEqual(digests(expected))
  })

  test('finds the offsets that pg_dump writes into a file, and the same content', async () => {
    const path = join(directory, 'seekable.dump')
    await server.run('pg_dump', ['-Fc', '-Z0', '-f', path, '-d', 'source'], { environment: { PGOPTIONS: pgOptions(fingerprintSettings) } })
    const bytes = await readFile(path)
    expect(await fingerprintOf(bytes)).toEqual(expected)
  })
})

describe('other encodings', () => {
  test.each([
    ['LATIN1', "SELECT 'caf\u00e9 \u00fc'", 'é'],
    ['SQL_ASCII', "SELECT E'\\xff\\xfe raw'", 'é'],
    ['EUC_JP', "SELECT '\u65e5\u672c'", '\u65e5\u672c'],
  ])('%s databases are dumped, restored and equal, names included', async (encoding, select, name) => {
    const low = encoding.toLowerCase()
    const create = (database: string) => `CREATE DATABASE ${database} TEMPLATE template0 ENCODING '${encoding}' LC_COLLATE 'C' LC_CTYPE 'C'`
    await server.sql('postgres', create(`source_${low}`))
    const client = encoding === 'SQL_ASCII' ? '' : "SET client_encoding = 'UTF8';"
    await server.sql(
      `source_${low}`,
      `${client} CREATE TABLE "t${name}" ("c${name}" text); INSERT INTO "t${name}" ${select}; INSERT INTO "t${name}" VALUES ('plain')`,
    )
    const bytes = await dump(['-Fc', '-Z0', `--encoding=${encoding}`], `source_${low}`)
    const fingerprint = await fingerprintOf(bytes)
    expect(fingerprint.encoding).toBe(encoding)
    expect(fingerprint.tables.map((table) => [table.name, table.columns, table.rows])).toEqual([[`t${name}`, [`c${name}`], 2]])
    const verdict = await restoredAndCompared(`copy_${low}`, '', { create: create(`copy_${low}`), dump: bytes, fingerprint })
    expect(verdict.problems).toEqual([])
    await server.sql(`copy_${low}`, `${client} UPDATE "t${name}" SET "c${name}" = 'other' WHERE "c${name}" = 'plain'`)
    expect((await compared(`copy_${low}`, fingerprint, bytes)).outcome).toBe('different')
  })

  test('a LATIN1 database restored as UTF8 still holds the same content', async () => {
    const bytes = await dump(['-Fc', '-Z0', '--encoding=LATIN1'], 'source_latin1')
    const verdict = await restoredAndCompared('copy_recoded', '', { dump: bytes, fingerprint: await fingerprintOf(bytes) })
    expect(verdict.problems).toEqual([])
  })
})
