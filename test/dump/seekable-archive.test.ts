import { readFileSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createArchiveScanner, type ArchiveScan } from '../../src/dump/archive-scan.ts'
import { selectingSink } from '../../src/dump/sink.ts'
import { makeSeekable } from '../../src/dump/seekable-archive.ts'
import { startServer, type TestServer } from './postgres.ts'

let server: TestServer
let directory: string

beforeAll(async () => {
  server = await startServer()
  directory = await mkdtemp(join(tmpdir(), 'tm-seekable-'))
  await server.sql('postgres', 'CREATE DATABASE source')
  await server.sql('source', readFileSync(new URL('workload.sql', import.meta.url), 'utf8'))
}, 60_000)

afterAll(async () => {
  await server[Symbol.asyncDispose]()
  await rm(directory, { recursive: true, force: true })
})

async function piped(): Promise<{ path: string; scan: ArchiveScan }> {
  const parts: Uint8Array[] = []
  for await (const part of server.bytes('pg_dump', ['-Fc', '-Z0', '-d', 'source'])) parts.push(part)
  const path = join(directory, 'piped.dump')
  await writeFile(path, Buffer.concat(parts))
  return { path, scan: await scan(path) }
}

async function scan(path: string): Promise<ArchiveScan> {
  const scanner = createArchiveScanner(selectingSink(() => null))
  scanner.write(await readFile(path))
  return scanner.end()
}

/** What the archive itself says about where its data is. */
const statedOffsets = ({ toc }: ArchiveScan) => toc.entries.filter(({ hadData }) => hadData).map(({ tag, dataOffset }) => [tag, dataOffset])

/** Without the words that are new in each output. */
const unmarked = (text: string) => text.replaceAll(/^\\(un)?restrict \w+$/gm, '')

describe('an archive that came through a pipe', () => {
  test('has no offsets, and gets just those that pg_dump writes into a file itself, so that parallel jobs read their table and nothing else', async () => {
    const { path, scan: before } = await piped()
    expect(statedOffsets(before).every(([, offset]) => offset === null)).toBe(true)
    const contents = await readFile(path)

    await makeSeekable(path, before.blockOffsets)
    const file = join(directory, 'file.dump')
    await server.run('pg_dump', ['-Fc', '-Z0', '-d', 'source', '-f', file])
    const after = await scan(path)
    const native = await scan(file)
    expect(statedOffsets(after).length).toBeGreaterThan(10)
    expect(statedOffsets(after)).toEqual(statedOffsets(native))
    // Behind the table of contents nothing changed.
    expect((await readFile(path)).subarray(after.toc.sizeBytes).equals(contents.subarray(before.toc.sizeBytes))).toBe(true)

    // The scanner holds stated offsets against the blocks, and pg_restore jumps to them.
    const asText = async (archive: string) => unmarked(await server.run('pg_restore', ['-f', '-', archive]))
    expect(await asText(path)).toBe(await asText(file))
    await server.sql('postgres', 'CREATE DATABASE seekable')
    await server.run('pg_restore', ['-j', '3', '-d', 'seekable', path])
    // Which partition of "hashed" a row goes to depends on the OIDs of an enum, which a restore does not keep.
    const lines = async (database: string) => [
      ...unmarked(await server.run('pg_dump', ['-d', database, '-T', 'hashed*']))
        .split('\n')
        .toSorted(),
      await server.sql(database, 'SELECT hashed::text FROM hashed ORDER BY 1'),
    ]
    expect(await lines('seekable')).toEqual(await lines('source'))
  })

  test('is refused when the manifest leads to another table, before pg_restore loads from there', async () => {
    const { path, scan: found } = await piped()
    const [[first, at] = [0, 0], [second, other] = [0, 0], ...rest] = found.blockOffsets
    await expect(makeSeekable(path, [[first, other], [second, at], ...rest])).rejects.toMatchObject({ code: 'integrity' })
    await expect(makeSeekable(path, [[first, found.sizeBytes + 1]])).rejects.toMatchObject({ code: 'integrity' })
  })
})
