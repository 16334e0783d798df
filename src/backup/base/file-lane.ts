import type { FileHead, FilePart } from './file-part.ts'
import { addDirectory, addEmptyFile, openPart, type LaneOptions } from './open-part.ts'
import type { PageWorkers, Slot } from './page-workers.ts'
import { createPartJobs, type PartPiece } from './part-jobs.ts'

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

export interface FileLaneOptions extends LaneOptions {
  readonly workers: PageWorkers
}

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

export function createFileLane({ workers, ...parts }: FileLaneOptions): FileLane {
  const { pageBytes, leaves } = parts
  const jobs = createPartJobs({ workers, leaves })
  let file: OpenFile | null = null
  let slot: Slot | null = null
  let filled = 0
  let pieces: PartPiece[] = []
  /** Where the piece that is being filled begins. */
  let pieceAt = 0

  const openNext = (open: OpenFile): void | Promise<void> => {
    open.partStart += open.part?.pages ?? 0
    open.given = 0
    open.part = null
    if (open.partStart >= open.pages) return undefined
    const take = (part: FilePart): void => {
      open.part = part
      open.partEnd = Math.min(open.head.sizeBytes, (open.partStart + part.pages) * pageBytes)
    }
    const part = openPart(open.head, open.partStart, parts)
    return part instanceof Promise ? part.then(take) : take(part)
  }

  const closePiece = (): void => {
    if (file?.part == null || filled === pieceAt) return
    const { part } = file
    const bytes = filled - pieceAt
    const pages = Math.ceil(bytes / pageBytes)
    pieces.push({ offset: pieceAt, bytes, source: null, part, from: file.given, pages })
    file.given += pages
    pieceAt = filled
  }

  const dispatch = (): void => {
    if (slot === null || pieces.length === 0) return
    jobs.send(slot, pieces)
    slot = null
    pieces = []
    filled = 0
    pieceAt = 0
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
      jobs.requireNoFailure()
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
        const opening = openNext(open)
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
      if (pages === 0) addEmptyFile(head, leaves)
      return openNext(file)
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
    directory: (path, mode) => addDirectory(path, mode, leaves),
    finish: async () => {
      dispatch()
      await jobs.settle()
    },
  }
}
