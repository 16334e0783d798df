import { open, type FileHandle } from 'node:fs/promises'
import { systemCodeOf } from '../../kernel/failure.ts'
import { pathBytes } from '../../pgdata/file-path.ts'
import { relationFileOf, type RelationFile } from '../../pgdata/relation-path.ts'
import type { BadPages } from './bad-pages.ts'
import { openFlags } from './fetch-pieces.ts'
import type { FileHead, FilePart } from './file-part.ts'
import { addDirectory, addEmptyFile, openPart, type LaneOptions } from './open-part.ts'
import type { BadPageFound } from './page-job.ts'
import { UnreadableFile, type PageWorkers } from './page-workers.ts'
import { createPartJobs, type PartPiece } from './part-jobs.ts'
import { sourceUnreadable } from './source-unreadable.ts'

/** Takes the names of files, and lets the threads read them. A file that ends too early is filled up with zeros, what grows beyond its size is left to WAL. */
export interface DirectLane extends AsyncDisposable {
  /** `any`: take as many bytes of it as were announced, although it has others by now. What returns a promise must be waited for before the next call. */
  file(head: FileHead, size: 'exact' | 'any'): void | Promise<void>
  directory(path: string, mode: number): void
  /** Resolves when every page of every file was looked at, with the files that were gone, or had another size: they are not in the backup. Rejects with `source-unreadable`. */
  settle(): Promise<readonly FileHead[]>
}

export interface DirectSource {
  /** The data directory: absolute, `latin1`. */
  readonly root: string
  /** `relationSegmentPages` of pg_control. */
  readonly segmentPages: number
  /** Whether relations have page checksums. */
  readonly checksums: boolean
  /** Where the backup starts: what was written since is repaired by WAL. */
  readonly newerThan: bigint
  readonly read: (file: FileHead, bytes: number) => void
  /** `block` counts from the beginning of the file. */
  readonly badPage: BadPages['add']
}

/** A file that is read in many pieces: open until the last of them was read, so that nobody can take it away. */
interface OpenFile {
  readonly handle: FileHandle
  waiting: number
  isHandedOut: boolean
}

interface FilePiece extends PartPiece {
  readonly head: FileHead
  readonly open: OpenFile | null
}

/** Pieces begin at multiples of this: checksums are sums of words. */
const alignment = 64
/** More small files than this in one job, and another thread would have nothing to do. */
const mostPieces = 256

export function createDirectLane({ workers, ...parts }: LaneOptions & { readonly workers: PageWorkers }, source: DirectSource): DirectLane {
  const { pageBytes, leaves } = parts
  const opened = new Set<OpenFile>()
  let missed: FileHead[] = []
  let pieces: FilePiece[] = []
  let filled = 0

  const jobs = createPartJobs<FilePiece>({
    workers,
    leaves,
    newerThan: source.newerThan,
    looked: (piece, { missed: isMissed, badPages }) => {
      if (isMissed) missed.push(piece.head)
      else source.read(piece.head, piece.bytes)
      if (badPages.length > 0) tellBadPages(piece, badPages)
      if (piece.open !== null) {
        piece.open.waiting -= 1
        closeWhenRead(piece.open)
      }
    },
    explain: (error, of) => (error instanceof UnreadableFile ? sourceUnreadable(of[error.piece]?.head.path ?? '', error) : error),
  })
  const tellBadPages = ({ head }: FilePiece, badPages: readonly BadPageFound[]): void => {
    const first = firstBlockOf(relationFileOf(head.path)) ?? 0
    for (const { block, expected, found } of badPages) source.badPage(head.path, { block: block - first, expected, found })
  }
  const closing = new Set<Promise<void>>()
  const closeWhenRead = (file: OpenFile): void => {
    if (!file.isHandedOut || file.waiting > 0) return
    opened.delete(file)
    // It was only read: what closing it says does not matter.
    const close = file.handle
      .close()
      .catch(() => undefined)
      .finally(() => closing.delete(close))
    closing.add(close)
  }
  /** Where its pages have checksums, which say at which block they belong. */
  const firstBlockOf = (relation: RelationFile | null): number | null =>
    relation === null || !source.checksums ? null : relation.segment * source.segmentPages
  const dispatch = (): void | Promise<void> => {
    jobs.requireNoFailure()
    if (pieces.length === 0) return undefined
    const job = pieces
    pieces = []
    filled = 0
    const slot = workers.slot()
    return slot instanceof Promise ? slot.then((free) => jobs.send(free, job)) : jobs.send(slot, job)
  }
  const addPiece = (piece: Omit<FilePiece, 'offset'>): void => {
    pieces.push({ ...piece, offset: filled })
    filled = Math.ceil((filled + piece.bytes) / alignment) * alignment
  }

  /** One piece, opened by the thread that reads it. */
  const addSmall = (head: FileHead, part: FilePart, size: 'exact' | 'any'): void | Promise<void> => {
    const relation = relationFileOf(head.path)
    const add = (): void =>
      addPiece({
        bytes: head.sizeBytes,
        source: { file: `${source.root}/${head.path}`, position: 0, whole: size === 'exact' && relation === null, firstBlock: firstBlockOf(relation) },
        part,
        from: 0,
        pages: part.pages,
        head,
        open: null,
      })
    const waiting = filled + head.sizeBytes > workers.slotBytes || pieces.length >= mostPieces ? dispatch() : undefined
    return waiting instanceof Promise ? waiting.then(add) : add()
  }
  const addLarge = async (found: FileHead): Promise<void> => {
    const handle = await openIfThere(source.root, found.path)
    if (handle === null) {
      missed.push(found)
      return
    }
    const file: OpenFile = { handle, waiting: 0, isHandedOut: false }
    opened.add(file)
    const head = { ...found, sizeBytes: (await handle.stat()).size }
    if (head.sizeBytes === 0) addEmptyFile(head, leaves)
    const pages = Math.ceil(head.sizeBytes / pageBytes)
    for (let firstPage = 0; firstPage < pages;) {
      const part = await openPart(head, firstPage, parts)
      await addPages(file, { head, part, firstPage })
      firstPage += part.pages
    }
    file.isHandedOut = true
    closeWhenRead(file)
  }
  const addPages = async (
    open: OpenFile,
    { head, part, firstPage }: { readonly head: FileHead; readonly part: FilePart; readonly firstPage: number },
  ): Promise<void> => {
    const firstBlock = firstBlockOf(relationFileOf(head.path))
    for (let from = 0; from < part.pages;) {
      if (workers.slotBytes - filled < pageBytes || pieces.length >= mostPieces) await dispatch()
      const pages = Math.min(part.pages - from, Math.floor((workers.slotBytes - filled) / pageBytes))
      const position = (firstPage + from) * pageBytes
      open.waiting += 1
      addPiece({
        bytes: Math.min(pages * pageBytes, head.sizeBytes - position),
        source: { file: open.handle.fd, position, whole: false, firstBlock: firstBlock === null ? null : firstBlock + firstPage + from },
        part,
        from,
        pages,
        head,
        open,
      })
      from += pages
    }
  }

  return {
    file: (head, size) => {
      if (head.sizeBytes === 0) return addEmptyFile(head, leaves)
      if (head.sizeBytes > workers.slotBytes) return addLarge(head)
      const part = openPart(head, 0, parts)
      return part instanceof Promise ? part.then((ready) => addSmall(head, ready, size)) : addSmall(head, part, size)
    },
    directory: (path, mode) => addDirectory(path, mode, leaves),
    settle: async () => {
      await dispatch()
      await jobs.settle()
      await Promise.all(closing)
      const now = missed
      missed = []
      return now
    },
    [Symbol.asyncDispose]: async () => {
      await Promise.all([...closing, ...[...opened].map(({ handle }) => handle.close())])
    },
  }
}

async function openIfThere(root: string, path: string): Promise<FileHandle | null> {
  try {
    return await open(pathBytes(`${root}/${path}`), openFlags)
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return null
    throw sourceUnreadable(path, error)
  }
}
