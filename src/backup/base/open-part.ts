import type { LeafEntry } from '../../packs/leaf.ts'
import { createFilePart, type FileHead, type FilePart } from './file-part.ts'
import type { LeafWriter } from './leaf-writer.ts'
import type { PriorBackup } from './prior-backup.ts'

export interface LaneOptions {
  readonly pageBytes: number
  readonly prior: PriorBackup
  readonly leaves: LeafWriter
  /** The pages of the file that come, ascending; all of them, where this is left out. */
  readonly sent?: Uint32Array
}

/** A file with more is cut into parts of this many bytes, with a leaf for each. */
export const smallFileBytes = 16 << 20
export const partBytes = 128 << 20

/** Begins the part of a file that has this page as its first: to the end of the file, or as much as a leaf describes. Waits where the prior backup, or room for leaves, must be waited for. */
export function openPart(head: FileHead, firstPage: number, { pageBytes, prior, leaves, sent }: LaneOptions): FilePart | Promise<FilePart> {
  const isLarge = head.sizeBytes > smallFileBytes
  const left = Math.ceil(head.sizeBytes / pageBytes) - firstPage
  const pages = isLarge ? Math.min(left, partBytes / pageBytes) : left
  const make = (known: LeafEntry | undefined): FilePart =>
    createFilePart({
      head,
      firstPage,
      pages,
      pageBytes,
      known,
      prior,
      ...(sent === undefined ? {} : { coming: countWithin(sent, firstPage, firstPage + pages) }),
    })
  const find = (): FilePart | Promise<FilePart> => {
    const known = prior.entry(head.path, firstPage)
    return known instanceof Promise ? known.then(make) : make(known)
  }
  return isLarge ? leaves.room().then(find) : find()
}

/** How many of these ascending numbers are at least `from` and below `end`. */
function countWithin(sent: Uint32Array, from: number, end: number): number {
  return sent.reduce((count, page) => (page >= from && page < end ? count + 1 : count), 0)
}

/** Hands the leaves a file without pages. */
export function addEmptyFile(head: FileHead, leaves: LeafWriter): void {
  leaves.small({ ...head, kind: 'file', firstPage: 0, hashes: Buffer.alloc(0), extents: [] })
}

export function addDirectory(path: string, mode: number, leaves: LeafWriter): void {
  leaves.small({ path, kind: 'directory', mode, sizeBytes: 0, firstPage: 0, hashes: Buffer.alloc(0), extents: [] })
}
