import type { FileHead, FilePart } from './file-part.ts'
import { addEmptyFile, openPart, type LaneOptions } from './open-part.ts'
import type { PageWorkers, Slot } from './page-workers.ts'
import { completePart, createPartJobs, type PartPiece } from './part-jobs.ts'

/** Takes files of which only some pages come: the others are those of the prior backup. */
export interface ChangedLane {
  /** `sent`: the pages that will come, ascending. Every other one must be in the prior backup. */
  begin(head: FileHead, sent: Uint32Array): Promise<void>
  /** Bytes of the pages, in their order, cut anywhere. */
  write(bytes: Uint8Array): void | Promise<void>
  /** Throws when bytes are missing. */
  end(): Promise<void>
  finish(): Promise<void>
}

interface ChangedFile {
  readonly head: FileHead
  readonly sent: Uint32Array
  readonly pages: number
  /** How many of the pages came whole, and bytes of the one that is coming. */
  came: number
  bytesOfPage: number
  /** The first page behind the parts that were opened. */
  opened: number
  part: FilePart | null
  partStart: number
}

export function createChangedLane({ workers, ...parts }: LaneOptions & { readonly workers: PageWorkers }): ChangedLane {
  const { pageBytes, leaves } = parts
  const jobs = createPartJobs({ workers, leaves })
  let file: ChangedFile | null = null
  let slot: Slot | null = null
  let filled = 0
  let pieces: PartPiece[] = []

  const dispatch = (): void => {
    if (slot === null || pieces.length === 0) return
    jobs.send(slot, pieces)
    slot = null
    pieces = []
    filled = 0
  }

  /** Opens parts until one holds this page (or to the end of the file): those of which nothing comes are complete at once. */
  const openUntil = async (open: ChangedFile, page: number): Promise<void> => {
    while (open.opened <= page && open.opened < open.pages) {
      const part = await openPart(open.head, open.opened, { ...parts, sent: open.sent })
      open.part = part
      open.partStart = open.opened
      open.opened += part.pages
      if (part.isComplete) completePart(part, leaves)
    }
  }

  /** The page that is beginning gets its place: behind the one before it, where it follows that one in its file, or in a piece of its own. */
  const place = (open: ChangedFile): void => {
    const { part } = open
    if (part === null) throw new Error(`no part of ${open.head.path} is open`)
    const from = (open.sent[open.came] ?? 0) - open.partStart
    const last = pieces.at(-1)
    if (last !== undefined && last.part === part && last.from + last.pages === from)
      pieces[pieces.length - 1] = { ...last, bytes: last.bytes + pageBytes, pages: last.pages + 1 }
    else pieces.push({ offset: filled, bytes: pageBytes, source: null, part, from, pages: 1 })
  }

  const take = async (open: ChangedFile, bytes: Uint8Array): Promise<void> => {
    for (let at = 0; at < bytes.length;) {
      jobs.requireNoFailure()
      const page = open.sent[open.came]
      if (page === undefined) throw new Error(`${open.head.path} has more pages than were announced`)
      if (open.bytesOfPage === 0) {
        if (open.opened <= page) await openUntil(open, page)
        if (slot !== null && workers.slotBytes - filled < pageBytes) dispatch()
        slot ??= await workers.slot()
        place(open)
      }
      const count = Math.min(pageBytes - open.bytesOfPage, bytes.length - at)
      slot?.bytes.set(bytes.subarray(at, at + count), filled)
      filled += count
      at += count
      open.bytesOfPage += count
      if (open.bytesOfPage < pageBytes) continue
      open.bytesOfPage = 0
      open.came += 1
    }
  }

  return {
    begin: async (head, sent) => {
      if (file !== null) throw new Error(`${file.head.path} was not ended`)
      file = { head, sent, pages: Math.ceil(head.sizeBytes / pageBytes), came: 0, bytesOfPage: 0, opened: 0, part: null, partStart: 0 }
      if (file.pages === 0) addEmptyFile(head, leaves)
    },
    write: (bytes) => {
      if (file === null) throw new Error('bytes came outside of any file')
      return take(file, bytes)
    },
    end: async () => {
      if (file === null || file.came !== file.sent.length || file.bytesOfPage > 0) throw new Error(`${file?.head.path ?? 'a file'} ended too early`)
      await openUntil(file, file.pages)
      file = null
    },
    finish: async () => {
      dispatch()
      await jobs.settle()
    },
  }
}
