import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { isTarPath } from '../stream/tar-header.ts'
import { createBaseTarReader } from './tar-reader.ts'
import { formatBaseTar, type BaseTarPiece } from './tar-writer.ts'

const run = promisify(execFile)
const long = `pg_tblspc/16400/${'d'.repeat(90)}/${'f'.repeat(90)}`

function* pieces(): Generator<BaseTarPiece, void, undefined> {
  const file = (path: string, content: Buffer, step: number): BaseTarPiece[] => {
    const entry = { path, kind: 'file' as const, mode: 0o640, sizeBytes: content.length }
    if (content.length === 0) return [{ entry, offset: 0, bytes: content }]
    return Array.from({ length: Math.ceil(content.length / step) }, (_, index) => ({
      entry,
      offset: index * step,
      bytes: content.subarray(index * step, (index + 1) * step),
    }))
  }
  yield { entry: { path: 'base', kind: 'directory', mode: 0o700, sizeBytes: 0 }, offset: 0, bytes: Buffer.alloc(0) }
  yield* file('base/empty', Buffer.alloc(0), 1)
  yield* file('base/odd', Buffer.alloc(1_025, 'odd'), 100)
  yield* file('base/round', Buffer.alloc(1_024, 'round'), 1_000)
  yield* file(long, Buffer.from('far away'), 3)
}

async function* each<T>(items: Iterable<T>): AsyncGenerator<T, void, undefined> {
  yield* items
}

const tarOf = (of: Iterable<BaseTarPiece>, prefix = ''): Promise<Buffer> =>
  buffer(Readable.from(formatBaseTar(each(of), { prefix, modifiedSeconds: 1_700_000_000 }), { objectMode: false }))

describe('an archive of a base backup', () => {
  it('is unpacked by the tar of this machine, with modes, times and names of more than 100 bytes', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'tidemark-tar-'))
    try {
      await writeFile(join(directory, 'base.tar'), await tarOf(pieces()))
      await run('tar', ['-xf', join(directory, 'base.tar'), '-C', directory, '--no-same-owner'])
      expect(await readFile(join(directory, 'base/odd'))).toEqual(Buffer.alloc(1_025, 'odd'))
      expect(await readFile(join(directory, 'base/round'))).toEqual(Buffer.alloc(1_024, 'round'))
      expect(await readFile(join(directory, long), 'utf8')).toBe('far away')
      const empty = await stat(join(directory, 'base/empty'))
      expect({ size: empty.size, mode: empty.mode & 0o777, seconds: empty.mtimeMs / 1_000 }).toEqual({ size: 0, mode: 0o640, seconds: 1_700_000_000 })
      expect((await stat(join(directory, 'base'))).mode & 0o777).toBe(0o700)
      // As a server's: GNU tar names the owner that it would give the files to.
      expect((await run('tar', ['-tvf', join(directory, 'base.tar')])).stdout).toContain('postgres/postgres')
    } finally {
      await rm(directory, { recursive: true, force: true })
    }
  })

  it('is read as one by what reads those of servers', async () => {
    const found: { path: string; kind: string; content: string }[] = []
    const reader = createBaseTarReader({
      entry: ({ path, kind }) => void found.push({ path, kind, content: '' }),
      body: (bytes) => {
        const last = found.at(-1)
        if (last !== undefined) last.content += bytes.toString('latin1')
      },
      end: () => undefined,
    })
    await reader.write(await tarOf(pieces()))
    reader.finish()
    expect(found.map(({ path, kind, content }) => [path, kind, content.length])).toEqual([
      ['base', 'directory', 0],
      ['base/empty', 'file', 0],
      ['base/odd', 'file', 1_025],
      ['base/round', 'file', 1_024],
      [long, 'file', 8],
    ])
  })

  it('leaves the beginning of paths off where it is of a tablespace', async () => {
    const tar = await tarOf([...pieces()].slice(-3), 'pg_tblspc/16400/')
    // Beginning and end of the name, as ustar splits it.
    expect([tar.toString('latin1', 345, 355), tar.toString('latin1', 0, 10)]).toEqual(['d'.repeat(10), 'f'.repeat(10)])
  })

  it.each([
    ['lacks its end', (all: BaseTarPiece[]) => all.slice(0, 3)],
    ['lacks its middle', (all: BaseTarPiece[]) => all.filter((_, index) => index !== 4)],
    ['has a part twice', (all: BaseTarPiece[]) => all.flatMap((piece, index) => (index === 4 ? [piece, piece] : [piece]))],
    ['is cut at the end of all', (all: BaseTarPiece[]) => all.slice(0, -1)],
  ])('is not made of a file that %s', async (_what, broken) => {
    await expect(tarOf(broken([...pieces()]))).rejects.toMatchObject({ code: 'integrity' })
  })

  it('holds every name of up to 99 bytes, and longer ones only with a slash in the right place', () => {
    expect([99, 100].map((length) => isTarPath(Buffer.alloc(length, 'a')))).toEqual([true, false])
    expect(isTarPath(Buffer.from(`${'a'.repeat(154)}/${'b'.repeat(99)}`))).toBe(true)
    expect(isTarPath(Buffer.from(`${'a'.repeat(155)}/${'b'.repeat(99)}`))).toBe(false)
    expect(isTarPath(Buffer.from(`${'a'.repeat(10)}/${'b'.repeat(100)}`))).toBe(false)
    expect(isTarPath(Buffer.from(`${'a'.repeat(120)}/`))).toBe(false)
  })
})
