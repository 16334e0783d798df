import { hashBytes, type LeafEntry } from '../../packs/leaf.ts'
import { createFilePart, type FileHead, type FilePart } from './file-part.ts'
import type { LeafWriter } from './leaf-writer.ts'
import type { Piece } from './page-job.ts'
import type { PageWorkers, Slot } from './page-workers.ts'
import type { PriorBackup } from './prior-backup.ts'

/**
 * Takes files, one after the other, byte by byte, and hands their pages to the threads. A backup has several lanes: the stream of files, and WAL beside it.
 * What returns a promise must be waited for before the next call; what does not, need not.
 */
export interface FileLane {
  begin(head: FileHead): void | Promise<void>
  write(bytes: Uint8Array): void | Promise<void>
  /** The file is complete. Throws when bytes are missing. */
  end(): void
  directory(path: string, mode: number): void
  /** Resolves when every page of every file was looked at and is in the leaves. */
  finish(): Promise<void>
}

export interface FileLaneOptions {
  readonly workers: PageWorkers
  readonly pageBytes: number
  readonly prior: PriorBackup
  readonly leaves: LeafWriter
}

/** A file with more is cut into parts of this many bytes, with a leaf for each. */
export const smallFileBytes = 16 << 20
export const partBytes = 128 << 20

interface OpenFile {
  readonly head: FileHead
  readonly pages: number
  /** Bytes that came. */
  received: number
  part: FilePart | null
  /** First page of the part, and how many of its pages were given away. */
  partStart: number
  given: number
  /** The byte of the file behind the part. */
  partEnd: number
}

interface FilledPiece extends Piece {
  readonly part: FilePart
  readonly from: number
  readonly pages: number
}

export function createFileLane({ workers, pageBytes, prior, leaves }: FileLaneOptions): FileLane {
  let file: OpenFile | null = null
  let slot: Slot | null = null
  let filled = 0
  let pieces: FilledPiece[] = []
  /** Where the piece that is being filled begins. */
  let pieceAt = 0
  const running = new Set<Promise<void>>()
  let failure: { readonly error: unknown } | null = null

  const openPart = (open: OpenFile): void | Promise<void> => {
    open.partStart += open.part?.pages ?? 0
    open.given = 0
    open.part = null
    if (open.partStart >= open.pages) return undefined
    const isLarge = open.head.sizeBytes > smallFileBytes
    const pages = isLarge ? Math.min(open.pages - open.partStart, partBytes / pageBytes) : open.pages
    open.partEnd = Math.min(open.head.sizeBytes, (open.partStart + pages) * pageBytes)
    const make = (known: LeafEntry | undefined): void => {
      open.part = createFilePart({ head: open.head, firstPage: open.partStart, pages, pageBytes, known, prior })
    }
    const find = (): void | Promise<void> => {
      const known = prior.entry(open.head.path, open.partStart)
      return known instanceof Promise ? known.then(make) : make(known)
    }
    return isLarge ? leaves.room().then(find) : find()
  }

  const closePiece = (): void => {
    if (file?.part == null || filled === pieceAt) return
    const { part } = file
    const bytes = filled - pieceAt
    const pages = Math.ceil(bytes / pageBytes)
    pieces.push({ offset: pieceAt, bytes, part, from: file.given, pages })
    file.given += pages
    pieceAt = filled
  }

  const dispatch = (): void => {
    if (slot === null || pieces.length === 0) return
    const full = slot
    const job = pieces
    slot = null
    pieces = []
    filled = 0
    pieceAt = 0
    const pages = job.reduce((count, piece) => count + piece.pages, 0)
    const hashes = Buffer.alloc(pages * hashBytes)
    const compare = Buffer.alloc(pages)
    let at = 0
    for (const { part, from, pages: count } of job) {
      part.expectation(from, count, { prior: hashes, compare, at })
      at += count
    }
    const isCompared = compare.includes(1)
    const work = workers
      .run(full, {
        pieces: job.map(({ offset, bytes }) => ({ offset, bytes })),
        prior: isCompared ? hashes : null,
        compare: isCompared ? compare : null,
      })
      .then((looked) => {
        let page = 0
        for (const { part, from, pages: count } of job) {
          if (part.add(looked, { from, count, at: page })) complete(part)
          page += count
        }
      })
      .catch((error: unknown) => {
        failure ??= { error }
      })
      .finally(() => running.delete(work))
    running.add(work)
  }

  const complete = (part: FilePart): void => {
    const entry = part.entry()
    if (entry.sizeBytes > smallFileBytes) leaves.part(entry)
    else leaves.small(entry)
  }

  /** Room in the slot for more bytes of the open part: to its end, or whole pages, since none lies in two slots. */
  const roomFor = (open: OpenFile): number => {
    const begun = filled - pieceAt
    const room = workers.slotBytes - pieceAt
    const left = open.partEnd - open.received
    return begun + left <= room ? left : Math.floor(room / pageBytes) * pageBytes - begun
  }

  const take = (open: OpenFile, bytes: Uint8Array): void | Promise<void> => {
    let at = 0
    for (;;) {
      if (failure !== null) throw failure.error
      if (at === bytes.length) return undefined
      if (slot === null) {
        const next = workers.slot()
        if (next instanceof Promise) return next.then((free) => resume(open, free, bytes.subarray(at)))
        slot = next
      }
      const count = Math.min(roomFor(open), bytes.length - at)
      if (count === 0) {
        closePiece()
        dispatch()
        continue
      }
      slot.bytes.set(bytes.subarray(at, at + count), filled)
      at += count
      filled += count
      open.received += count
      if (open.received === open.partEnd) {
        closePiece()
        if (filled === workers.slotBytes) dispatch()
        const opening = openPart(open)
        if (opening instanceof Promise) return opening.then(() => take(open, bytes.subarray(at)))
      }
    }
  }
  const resume = (open: OpenFile, free: Slot, bytes: Uint8Array): void | Promise<void> => {
    slot = free
    return take(open, bytes)
  }

  return {
    begin: (head) => {
      if (file !== null) throw new Error(`${file.head.path} was not ended`)
      const pages = Math.ceil(head.sizeBytes / pageBytes)
      file = { head, pages, received: 0, part: null, partStart: 0, given: 0, partEnd: 0 }
      if (pages === 0) leaves.small({ ...head, kind: 'file', firstPage: 0, hashes: Buffer.alloc(0), extents: [] })
      return openPart(file)
    },
    write: (bytes) => {
      if (file === null) throw new Error('bytes came outside of any file')
      if (file.received + bytes.length > file.head.sizeBytes) throw new Error(`${file.head.path} has more bytes than were announced`)
      return take(file, bytes)
    },
    end: () => {
      if (file === null || file.received !== file.head.sizeBytes) throw new Error(`${file?.head.path ?? 'a file'} ended too early`)
      file = null
    },
    directory: (path, mode) => leaves.small({ path, kind: 'directory', mode, sizeBytes: 0, firstPage: 0, hashes: Buffer.alloc(0), extents: [] }),
    finish: async () => {
      dispatch()
      await Promise.all(running)
      if (failure !== null) throw failure.error
    },
  }
}
