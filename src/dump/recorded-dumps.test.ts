import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { scanArchive } from './archive-scan.ts'
import { readToc } from './archive-toc.ts'
import { derivedOfToc } from './derived-objects.ts'
import { localDumpFiles, scanDirectory } from './directory-scan.ts'
import { createFingerprintCollector } from './fingerprint-collector.ts'
import type { ContentFingerprint } from './fingerprint.ts'
import { scanPlain } from './plain-scan.ts'

/** One small database of a server 15, dumped by the pg_dump of 15, 17 and 18 in every form they have. */
const fixtures = new URL('../../test/fixtures/dump/', import.meta.url)

async function* pieces(name: string): AsyncGenerator<Uint8Array> {
  const bytes = await readFile(new URL(name, fixtures))
  for (let from = 0; from < bytes.length; from += 4096) yield bytes.subarray(from, from + 4096)
}

async function ofArchive(name: string): Promise<ContentFingerprint> {
  const collector = createFingerprintCollector()
  const { toc } = await scanArchive(pieces(name), collector.sink)
  return collector.finish({ encoding: toc.encoding, settings: null, derived: derivedOfToc(toc) })
}

function content({ tables, largeObjects, sequences, notCompared }: ContentFingerprint) {
  return { tables: tables.toSorted((a, b) => (a.name < b.name ? -1 : 1)), largeObjects, sequences, notCompared }
}

describe('the same database', () => {
  test.each(['pg15-gzip', 'pg17-none', 'pg17-gzip', 'pg17-zstd', 'pg18-none', 'pg18-gzip', 'pg18-zstd'])(
    'has the same fingerprint in %s.dump',
    async (name) => {
      const expected = await ofArchive('pg15-none.dump')
      expect(expected.tables.map(({ rows }) => rows).toSorted((a, b) => a - b)).toEqual([3, 10, 20, 200])
      expect(expected.largeObjects).toMatchObject({ count: 3, bytes: 5005 })
      const found = await ofArchive(`${name}.dump`)
      expect(content(found)).toEqual(content(expected))
      expect(found.derived.map(({ desc, tag }) => `${desc} ${tag}`).toSorted()).toEqual(expected.derived.map(({ desc, tag }) => `${desc} ${tag}`).toSorted())
    },
  )

  test.each(['pg15', 'pg17', 'pg18'])('has the same fingerprint in plain SQL and in the directory of %s', async (name) => {
    const expected = content(await ofArchive('pg15-none.dump'))
    const plain = createFingerprintCollector()
    const scan = await scanPlain(pieces(`${name}.sql`), plain.sink)
    expect(scan).toMatchObject({ kind: 'database', findings: [] })
    expect(content(plain.finish({ encoding: scan.encoding, settings: null, derived: scan.derived }))).toEqual(expected)
    const directory = createFingerprintCollector()
    const found = await scanDirectory(localDumpFiles(fileURLToPath(new URL(`${name}.d`, fixtures))), directory.sink)
    expect(content(directory.finish({ encoding: found.toc.encoding, settings: null, derived: [] }))).toEqual(expected)
  })

  test.each(['pg17-lz4', 'pg18-lz4'])('compressed with lz4 in %s.dump is whole, but said not to be compared', async (name) => {
    const found = await ofArchive(`${name}.dump`)
    expect(found.tables).toEqual([])
    expect(found.notCompared.length).toBeGreaterThan(4)
    expect(found.sequences).toHaveLength(1)
    const whole = await readFile(new URL(`${name}.dump`, fixtures))
    const cut = createFingerprintCollector()
    await expect(scanArchive([whole.subarray(0, -1)] as unknown as AsyncIterable<Uint8Array>, cut.sink)).rejects.toMatchObject({ code: 'dump-empty' })
  })

  test('names its versions', async () => {
    expect(await readToc(pieces('pg15-none.dump'))).toMatchObject({ version: [1, 14, 0], compression: 'none', dumpVersion: expect.stringMatching(/^15\./) })
    expect(await readToc(pieces('pg18-zstd.dump'))).toMatchObject({ version: [1, 16, 0], compression: 'zstd', dumpVersion: expect.stringMatching(/^18\./) })
  })
})

test('every truncation of a recorded archive and every changed byte of its rows is noticed', async () => {
  const whole = await readFile(new URL('pg18-none.dump', fixtures))
  const expected = await ofArchive('pg18-none.dump')
  const scan = async (bytes: Uint8Array) => {
    const collector = createFingerprintCollector()
    const { toc } = await scanArchive([bytes] as unknown as AsyncIterable<Uint8Array>, collector.sink)
    return collector.finish({ encoding: toc.encoding, settings: null, derived: derivedOfToc(toc) })
  }
  for (let length = 0; length < whole.length; length += 7) await expect(scan(whole.subarray(0, length))).rejects.toMatchObject({ code: 'dump-empty' })
  const rows = whole.indexOf('1\trow 1\t')
  for (let at = rows; at < rows + 200; at++) {
    const changed = Buffer.from(whole)
    changed[at] = (changed[at] as number) ^ 0x01
    const found = await scan(changed).catch(() => null)
    expect(found).not.toEqual(expected)
  }
})
