import { describe, expect, test } from 'vitest'
import { buildArchive } from '../../test/dump/archive-builder.ts'
import { createTocReader, readToc } from './archive-toc.ts'

async function* pieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let from = 0; from < bytes.length; from += size) yield bytes.subarray(from, from + size)
}

const archive = buildArchive({ minor: 16, tables: [{ name: 'a "table"', rows: ['1\t2\n'] }] })

describe('the table of contents', () => {
  test('is read from pieces of any size, and what follows it is given back', async () => {
    for (const size of [1, 7, 4096]) {
      const toc = await readToc(pieces(archive, size))
      expect(toc).toMatchObject({ version: [1, 16, 0], format: 'custom', compression: 'none', database: 'database', serverVersion: '15.20', encoding: 'UTF8' })
      expect(toc.entries[1]).toMatchObject({
        dumpId: 10,
        hadData: true,
        tableOid: 1259,
        oid: 16_010,
        tag: 'a "table"',
        desc: 'TABLE DATA',
        section: 'data',
        namespace: 'public',
        relkind: 'r',
        dependencies: [1],
      })
    }
    const reader = createTocReader()
    const rest = reader.push(archive)
    expect(rest?.length).toBe(archive.length - reader.end().sizeBytes)
  })

  test('allocates nothing for a length or a count that was forged', () => {
    const forged = Buffer.from(archive)
    forged.writeUInt32LE(0x0fffffff, archive.indexOf('database') - 4)
    const reader = createTocReader()
    const before = process.memoryUsage().arrayBuffers
    expect(reader.push(forged)).toBeNull()
    expect(() => reader.end()).toThrow('not complete')
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1_000_000)
  })

  test('refuses what is no archive, and archives of a newer format, by name', () => {
    expect(() => createTocReader().push(Buffer.from('-- PostgreSQL database dump'))).toThrow('no archive of pg_dump')
    const newer = Buffer.from(archive)
    newer[6] = 17
    expect(() => createTocReader().push(newer)).toThrow('the archive has format 1.17.0')
    expect(() => createTocReader().end()).toThrow('the dump is empty')
  })
})
