import { readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { buildArchive } from '../../test/dump/archive-builder.ts'
import { scanArchive } from './archive-scan.ts'
import { readToc } from './archive-toc.ts'
import { createFingerprintCollector } from './fingerprint-collector.ts'
import { rewriteToc } from './rewrite-toc.ts'

const fixtures = new URL('../../test/fixtures/dump/', import.meta.url)
const recorded = ['pg15-none.dump', 'pg15-gzip.dump', 'pg17-zstd.dump', 'pg18-none.dump', 'pg15.d/toc.dat', 'pg17.d/toc.dat', 'pg18.d/toc.dat']

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

/** The whole archive with a new table of contents. */
async function rewritten(archive: Uint8Array, change: Parameters<typeof rewriteToc>[2]): Promise<Buffer> {
  const toc = await readToc(once(archive))
  return Buffer.concat([rewriteToc(archive, toc, change), archive.subarray(toc.sizeBytes)])
}

describe.each(recorded)('of %s', (name) => {
  test('nothing is different when nothing is changed', async () => {
    const archive = await readFile(new URL(name, fixtures))
    expect((await rewritten(archive, () => null)).equals(archive)).toBe(true)
    expect((await rewritten(archive, (entry) => ({ ...entry }))).equals(archive)).toBe(true)
  })

  test('only the changed texts are others, longer or shorter or gone, and back again every byte is the same', async () => {
    const archive = await readFile(new URL(name, fixtures))
    const before = await readToc(once(archive))
    const owners = new Set(before.entries.flatMap(({ owner }) => (owner === null || owner === '' ? [] : [owner])))
    const [owner = ''] = owners
    const longer = (text: string | null) => (text === null ? null : `${text}--`)
    for (const other of ['x', 'ö"'.repeat(40), '']) {
      const inBytes = Buffer.from(other).toString('latin1')
      const changed = await rewritten(archive, (entry) => (entry.owner === owner ? { ...entry, owner: inBytes, definition: longer(entry.definition) } : null))
      const { entries } = await readToc(once(changed))
      const moved = changed.length - archive.length
      for (const [index, { dataOffset, dataOffsetAt: _, ...entry }] of before.entries.entries()) {
        const { dataOffset: newOffset, dataOffsetAt: __, ...found } = entries[index] ?? { dataOffset: null }
        expect(found).toEqual(entry.owner === owner ? { ...entry, owner: other, definition: longer(entry.definition) } : entry)
        expect(newOffset).toBe(dataOffset === null ? null : dataOffset + moved)
      }
      // What a scan finds behind the table of contents lies where that says.
      if (before.format === 'custom') await scanArchive(once(changed), createFingerprintCollector().sink)
      if (other === '') continue
      const back = await rewritten(changed, (entry) =>
        entry.owner === inBytes ? { ...entry, owner, definition: entry.definition?.slice(0, -2) ?? null } : null,
      )
      expect(back.equals(archive)).toBe(true)
    }
  })
})

test('NULL is written as NULL, and every version of the format is met', async () => {
  for (const minor of [13, 14, 15, 16] as const) {
    const archive = buildArchive({ minor, tables: [{ name: 'a', rows: ['1\n'] }] })
    const changed = await rewritten(archive, (entry) => ({ ...entry, owner: null, dropStatement: 'DROP it' }))
    const { entries } = await readToc(once(changed))
    for (const entry of entries) expect([entry.owner, entry.dropStatement]).toEqual([null, 'DROP it'])
  }
})

test('an archive that says where its data blocks begin says so afterwards, too', async () => {
  const archive = await readFile(new URL('pg15-none.dump', fixtures))
  const { entries, offsetSize } = await readToc(once(archive))
  const places = entries.flatMap(({ hadData, dataOffsetAt }) => (hadData && dataOffsetAt !== null ? [dataOffsetAt] : []))
  expect(places.length).toBeGreaterThan(2)
  for (const [index, at] of places.entries()) {
    archive[at] = 2
    archive.writeUIntLE(100_000 + index, at + 1, Math.min(offsetSize, 6))
  }
  const changed = await rewritten(archive, (entry) => ({ ...entry, owner: 'a much longer name than before' }))
  const after = await readToc(once(changed))
  expect(after.entries.flatMap(({ dataOffset }) => (dataOffset === null ? [] : [dataOffset]))).toEqual(
    places.map((_, index) => 100_000 + index + changed.length - archive.length),
  )
})
