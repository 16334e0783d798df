import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { messageOf, systemCodeOf } from '../../kernel/failure.ts'
import { pathBytes } from '../../pgdata/file-path.ts'
import { findBadPages } from '../../pgdata/page-checksum.ts'
import type { BadPageFound, PageJob, Piece } from './page-job.ts'

/** The part of a thread that reads the files of a running server into its slot, and judges what it read. */

export interface Fetched {
  /** By their number in the job: pieces of files that are not there any more, or have another length. */
  missed: number[]
  /** Pages whose checksum is wrong. A page that the server wrote while it was read looks like that, too. */
  suspects: readonly BadPageFound[]
}

/** The system refused to read a piece; what it said is the cause. */
export class PieceUnreadable extends Error {
  override readonly name = 'PieceUnreadable'
  readonly piece: number

  constructor(piece: number, cause: unknown) {
    super(messageOf(cause), { cause })
    this.piece = piece
  }
}

/** As often as the server would have finished writing any page. */
const attempts = 5
const pauseMs = 100

/** Reads the pieces that are not in the slot yet. Where a file ends too early there are zeros: WAL cuts it, as it cuts the server's own copy. Throws PieceUnreadable. */
export function fetchPieces({ pieces, newerThan }: Pick<PageJob, 'pieces' | 'newerThan'>, slot: Buffer, pageBytes: number): Fetched {
  const missed: number[] = []
  const suspects: BadPageFound[] = []
  for (const [number, piece] of pieces.entries()) {
    if (piece.source === null) continue
    const into = slot.subarray(piece.offset, piece.offset + piece.bytes)
    if (!readOrThrow(number, piece, into, 0)) missed.push(number)
    else if (piece.source.firstBlock !== null) {
      // What is no whole page at the end of a relation was never written by a server.
      const pages = into.subarray(0, Math.floor(into.length / pageBytes) * pageBytes)
      for (const page of findBadPages(pages, { pageBytes, firstBlock: piece.source.firstBlock, newerThan })) suspects.push({ ...page, piece: number })
    }
  }
  return { missed, suspects }
}

/** Reads suspect pages again, until they are right or are known to be bad. Throws PieceUnreadable. */
export async function fetchAgain(
  { pieces, newerThan }: Pick<PageJob, 'pieces' | 'newerThan'>,
  slot: Buffer,
  { pageBytes, fetched }: { readonly pageBytes: number; readonly fetched: Fetched },
): Promise<void> {
  const missed = new Set(fetched.missed)
  for (let attempt = 0; attempt < attempts && fetched.suspects.length > 0; attempt += 1) {
    await delay(pauseMs)
    fetched.suspects = fetched.suspects.flatMap((suspect) => {
      const piece = pieces[suspect.piece]
      const firstBlock = piece?.source?.firstBlock
      if (piece === undefined || firstBlock == null || missed.has(suspect.piece)) return []
      const at = (suspect.block - firstBlock) * pageBytes
      const page = slot.subarray(piece.offset + at, piece.offset + at + pageBytes)
      if (!readOrThrow(suspect.piece, piece, page, at)) {
        missed.add(suspect.piece)
        return []
      }
      return findBadPages(page, { pageBytes, firstBlock: suspect.block, newerThan }).map((bad) => ({ ...bad, piece: suspect.piece }))
    })
  }
  fetched.missed = [...missed]
}

function readOrThrow(number: number, piece: Piece, into: Buffer, from: number): boolean {
  try {
    return readPiece(piece, into, from)
  } catch (error) {
    throw new PieceUnreadable(number, error)
  }
}

/** Fills `into` with the bytes `from` byte `from` of the piece on. False when the file is not there, or is not the one that was announced. */
function readPiece({ source, bytes }: Piece, into: Buffer, from: number): boolean {
  if (source === null) return true
  if (typeof source.file === 'number') {
    readFully(source.file, into, source.position + from)
    return true
  }
  const file = openIfThere(source.file)
  if (file === null) return false
  try {
    if (source.whole && fstatSync(file).size !== bytes) return false
    readFully(file, into, source.position + from)
    return true
  } finally {
    closeSync(file)
  }
}

/** Of a file that was a regular one when it was found: what took its place since must neither lead elsewhere nor make us wait. */
export const openFlags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

function openIfThere(path: string): number | null {
  try {
    return openSync(pathBytes(path), openFlags)
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return null
    throw error
  }
}

function readFully(file: number, into: Buffer, position: number): void {
  let at = 0
  while (at < into.length) {
    const count = readSync(file, into, at, into.length - at, position + at)
    if (count === 0) break
    at += count
  }
  into.fill(0, at)
}
