import { gzipSync, zstdCompressSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { buildToc } from '../../test/dump/archive-builder.ts'
import { scanDirectory, type DumpFiles } from './directory-scan.ts'
import { createFingerprintCollector } from './fingerprint-collector.ts'

const rows = Buffer.from('1\tone\n2\ttwo\n\\.\n\n\n')

function dump(): Map<string, Uint8Array> {
  const toc = buildToc({
    minor: 16,
    tables: [
      { name: 'a', fileName: '10.dat' },
      { name: 'b', fileName: '11.dat' },
    ],
    objectLists: ['blobs_20.toc'],
  })
  return new Map<string, Uint8Array>([
    ['toc.dat', toc],
    ['10.dat', rows],
    ['11.dat.gz', gzipSync(rows)],
    ['blobs_20.toc', Buffer.from('16400 blob_16400.dat\n16401 blob_16401.dat\n')],
    ['blob_16400.dat', Buffer.from('content')],
    ['blob_16401.dat.zst', zstdCompressSync(Buffer.from('other'))],
  ])
}

function filesOf(content: ReadonlyMap<string, Uint8Array>): DumpFiles {
  return {
    list: async () => [...content].map(([name, bytes]) => ({ name, sizeBytes: bytes.length })),
    read: async function* (name) {
      const bytes = content.get(name) ?? new Uint8Array()
      for (let from = 0; from < bytes.length; from += 5) yield bytes.subarray(from, from + 5)
    },
  }
}

async function scan(content: ReadonlyMap<string, Uint8Array>) {
  const collector = createFingerprintCollector()
  const found = await scanDirectory(filesOf(content), collector.sink)
  return { found, fingerprint: collector.finish({ encoding: found.toc.encoding, settings: null, derived: [] }) }
}

describe('a directory dump', () => {
  test('is read from all its files, each compressed in its own way', async () => {
    const { found, fingerprint } = await scan(new Map([...dump(), ['notes.txt', Buffer.from('mine')]]))
    expect(fingerprint.tables.map(({ name, rows: count }) => [name, count])).toEqual([
      ['a', 2],
      ['b', 2],
    ])
    expect(fingerprint.tables[0]?.digest).toBe(fingerprint.tables[1]?.digest)
    expect(fingerprint.largeObjects).toMatchObject({ count: 2, bytes: 12 })
    expect(found.strangers).toEqual(['notes.txt'])
    expect(found.files).toHaveLength(6)
  })

  test.each([...dump().keys()])('is refused when %s is missing', async (name) => {
    const content = dump()
    content.delete(name)
    await expect(scan(content)).rejects.toMatchObject({ code: 'dump-empty' })
  })

  test.each(['toc.dat', '10.dat', '11.dat.gz', 'blobs_20.toc', 'blob_16401.dat.zst'])('is refused when %s was cut off anywhere', async (name) => {
    const whole = dump().get(name) ?? new Uint8Array()
    // An empty .zst is how pg_dump 17 writes an empty large object; the fingerprint notices one that was emptied.
    for (let length = name.endsWith('.zst') ? 1 : 0; length < whole.length; length++) {
      const cut = new Map([...dump(), [name, whole.subarray(0, length)]])
      await expect(scan(cut), `${name} cut to ${length} bytes`).rejects.toMatchObject({ code: expect.stringMatching(/dump-empty|integrity/) })
    }
  })

  test.each([
    ['bytes behind the table of contents', 'toc.dat', (bytes: Uint8Array) => Buffer.concat([bytes, Buffer.from('x')])],
    ['bytes behind compressed data', '11.dat.gz', (bytes: Uint8Array) => Buffer.concat([bytes, Buffer.from('more')])],
    ['a line in the list that names another file', 'blobs_20.toc', () => Buffer.from('16400 ../../etc/passwd\n')],
    ['an object twice in the list', 'blobs_20.toc', () => Buffer.from('16400 blob_16400.dat\n16400 blob_16400.dat\n')],
    ['a data file of nothing', '12.dat', () => Buffer.from(rows)],
    ['a large object twice', 'blob_16400.dat.gz', () => gzipSync('content')],
    ['a file name that leaves the directory', 'toc.dat', () => buildToc({ minor: 16, tables: [{ name: 'a', fileName: '../10.dat' }], objectLists: [] })],
  ])('is refused when there are %s', async (_name, file, change) => {
    const content = dump()
    content.set(file, change(content.get(file) ?? new Uint8Array()))
    await expect(scan(content)).rejects.toMatchObject({ code: 'integrity' })
  })

  test('whose data is compressed with lz4 is whole, but not compared', async () => {
    const content = dump()
    content.delete('10.dat')
    content.set('10.dat.lz4', Buffer.from('whatever'))
    const { fingerprint } = await scan(content)
    expect(fingerprint.notCompared).toEqual([{ what: 'public.a', why: expect.stringContaining('lz4') }])
  })
})
