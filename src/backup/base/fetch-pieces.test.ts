import { appendFileSync, closeSync, mkdtempSync, openSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { pageChecksum } from '../../pgdata/page-checksum.ts'
import { fetchAgain, fetchPieces, PieceUnreadable } from './fetch-pieces.ts'
import type { Piece, PieceSource } from './page-job.ts'

const pageBytes = 8_192
let room = ''
beforeEach(() => {
  room = mkdtempSync(join(tmpdir(), 'tidemark-pieces-'))
})
afterEach(() => rmSync(room, { recursive: true }))

/** A page of a table as a server writes it, with its checksum as block `block`, last changed at `lsn`. */
function page(block: number, lsn: number): Buffer {
  const bytes = Buffer.alloc(pageBytes, block + 1)
  bytes.writeUInt32LE(0, 0)
  bytes.writeUInt32LE(lsn, 4)
  bytes.writeUInt16LE(4_000, 14)
  bytes.writeUInt16LE(pageChecksum(bytes, block), 8)
  return bytes
}
const torn = (block: number, lsn: number): Buffer => {
  const bytes = page(block, lsn)
  bytes.fill(0xee, 4_096)
  return bytes
}

function piece(file: PieceSource['file'], bytes: number, source: Partial<PieceSource> = {}): Piece {
  return { offset: 64, bytes, source: { file, position: 0, whole: false, firstBlock: null, ...source } }
}
const slot = () => Buffer.alloc(1 << 17, 0xaa)
const newerThan = 1_000n

describe('pieces that a thread fetches', () => {
  it('of a file that is gone, or has taken the place of another, are missed', () => {
    writeFileSync(join(room, 'grown'), 'longer than before')
    writeFileSync(join(room, 'same'), 'as long')
    const pieces = [piece(join(room, 'gone'), 10), piece(join(room, 'grown'), 10, { whole: true }), piece(join(room, 'same'), 7, { whole: true })]
    expect(fetchPieces({ pieces, newerThan }, slot(), pageBytes)).toEqual({ missed: [0, 1], suspects: [] })
  })

  it('of a file that grew end where it was seen to end, and of one that shrank are filled up with zeros', () => {
    const path = join(room, 'file')
    writeFileSync(path, page(0, 1))
    appendFileSync(path, page(1, 1))
    const cut = slot()
    fetchPieces({ pieces: [piece(path, pageBytes)], newerThan }, cut, pageBytes)
    expect(cut.subarray(64, 64 + pageBytes).equals(page(0, 1))).toBe(true)
    expect(cut[64 + pageBytes]).toBe(0xaa)

    const file = openSync(path, 'r')
    truncateSync(path, pageBytes + 5)
    const filled = slot()
    const fetched = fetchPieces({ pieces: [piece(file, 3 * pageBytes, { firstBlock: 0 })], newerThan }, filled, pageBytes)
    closeSync(file)
    expect(filled.subarray(64, 64 + pageBytes).equals(page(0, 1))).toBe(true)
    expect(filled.subarray(64 + pageBytes + 5, 64 + 3 * pageBytes).every((byte) => byte === 0)).toBe(true)
    expect(fetched.missed).toEqual([])
  })

  it('that the system refuses to read name themselves', () => {
    expect(() => fetchPieces({ pieces: [piece(join(room, 'gone'), 1), piece(room, 1)], newerThan }, slot(), pageBytes)).toThrow(PieceUnreadable)
    expect(() => fetchPieces({ pieces: [piece(join(room, 'gone'), 1), piece(room, 1)], newerThan }, slot(), pageBytes)).toThrow(
      expect.objectContaining({ piece: 1, message: expect.stringContaining('EISDIR') as string }),
    )
  })
})

describe('a page whose checksum is wrong', () => {
  const judge = async (path: string, bytes: number, meanwhile?: () => void) => {
    const pieces = [piece(path, bytes, { firstBlock: 7 })]
    const into = slot()
    const fetched = fetchPieces({ pieces, newerThan }, into, pageBytes)
    if (meanwhile !== undefined) setTimeout(meanwhile, 20)
    await fetchAgain({ pieces, newerThan }, into, { pageBytes, fetched })
    return { ...fetched, bytes: into.subarray(64, 64 + bytes) }
  }

  it('is taken as the server wrote it, when that was in the middle of writing it', async () => {
    const path = join(room, 'file')
    writeFileSync(path, Buffer.concat([page(7, 5), torn(8, 5), page(9, 5)]))
    const right = Buffer.concat([page(7, 5), page(8, 5), page(9, 5)])
    const read = await judge(path, 3 * pageBytes, () => writeFileSync(path, right))
    expect(read.suspects).toEqual([])
    expect(read.bytes.equals(right)).toBe(true)
  })

  it('is told of when it stays as it is, and is kept', async () => {
    const path = join(room, 'file')
    const bad = Buffer.concat([page(7, 5), torn(8, 5), page(9, 5)])
    writeFileSync(path, bad)
    const read = await judge(path, 3 * pageBytes)
    expect(read.suspects).toMatchObject([{ piece: 0, block: 8 }])
    expect(read.bytes.equals(bad)).toBe(true)
  })

  it('is left to WAL when it is newer than the start of the backup, also when it becomes so', async () => {
    const path = join(room, 'file')
    writeFileSync(path, torn(7, 2_000))
    expect((await judge(path, pageBytes)).suspects).toEqual([])
    writeFileSync(path, torn(7, 999))
    expect((await judge(path, pageBytes, () => writeFileSync(path, torn(7, 2_000)))).suspects).toEqual([])
  })

  it('does not matter any more when its file is gone, or was cut before it', async () => {
    const path = join(room, 'file')
    writeFileSync(path, torn(7, 5))
    expect(await judge(path, pageBytes, () => rmSync(path))).toMatchObject({ missed: [0], suspects: [] })
    writeFileSync(path, torn(7, 5))
    expect(await judge(path, pageBytes, () => truncateSync(path, 0))).toMatchObject({ missed: [], suspects: [] })
  })
})
