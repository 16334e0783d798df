import { Failure } from '../kernel/failure.ts'

/** `INCREMENTAL.<segment file>`: what an incremental backup of 17 or later sends of a relation's segment file (`basebackup_incremental.c`). */
export interface IncrementalFile {
  /** The segment file has at least so many pages after the backup: pages below that are not listed are those of the prior backup. */
  readonly truncationPages: number
  /** Numbers of the pages that follow the header, within the segment file, ascending. */
  readonly blocks: Uint32Array
  /** Where the first page begins. */
  readonly headerBytes: number
  /** Size of the whole file. */
  readonly fileBytes: number
}

export interface IncrementalOptions {
  readonly pageBytes: number
  readonly relationSegmentPages: number
}

/** How many bytes `incrementalHeaderBytes` needs; every such file has them. */
export const incrementalPrefixBytes = 12

const magic = 0xd3ae1f0d
const namePrefix = 'INCREMENTAL.'

/** The path of the file that an incremental file stands for, or null when this is none. */
export function incrementalTarget(path: string): string | null {
  const name = path.slice(path.lastIndexOf('/') + 1)
  if (!name.startsWith(namePrefix) || name.length === namePrefix.length) return null
  return path.slice(0, path.length - name.length) + name.slice(namePrefix.length)
}

/** Length of the header, told by the first twelve bytes. Throws `integrity` when these are none of an incremental file. */
export function incrementalHeaderBytes(prefix: Uint8Array, options: IncrementalOptions): number {
  return prefixOf(prefix, options).headerBytes
}

/** Reads the header. Throws `integrity` when it is cut or says what cannot be. */
export function parseIncrementalFile(header: Uint8Array, options: IncrementalOptions): IncrementalFile {
  const { count, truncationPages, headerBytes } = prefixOf(header, options)
  if (header.length < headerBytes) throw broken(`its header is cut at ${header.length} of ${headerBytes} bytes`)
  const view = new DataView(header.buffer, header.byteOffset, headerBytes)
  const blocks = Uint32Array.from({ length: count }, (_, index) => view.getUint32(incrementalPrefixBytes + index * 4, true))
  blocks.forEach((block, index) => {
    if (block >= options.relationSegmentPages || block <= (blocks[index - 1] ?? -1)) throw broken(`its page ${index} is block ${block}`)
  })
  return { truncationPages, blocks, headerBytes, fileBytes: headerBytes + count * options.pageBytes }
}

/** Pages of the segment file that this file and the prior ones make: none of the prior's pages from there on are left. */
export function reconstructedPages({ truncationPages, blocks }: IncrementalFile): number {
  return Math.max(truncationPages, (blocks.at(-1) ?? -1) + 1)
}

/** Magic, number of pages, truncation length, 32 bits each; behind the block numbers zeros up to a whole page, where there are any. */
function prefixOf(prefix: Uint8Array, { pageBytes, relationSegmentPages }: IncrementalOptions) {
  if (prefix.length < incrementalPrefixBytes) throw broken(`it has only ${prefix.length} bytes`)
  const view = new DataView(prefix.buffer, prefix.byteOffset, incrementalPrefixBytes)
  const [found, count, truncationPages] = [view.getUint32(0, true), view.getUint32(4, true), view.getUint32(8, true)]
  if (found !== magic) throw broken(`it begins with 0x${found.toString(16)}, not 0x${magic.toString(16)}`)
  if (count > relationSegmentPages) throw broken(`it lists ${count} pages, a segment file has ${relationSegmentPages}`)
  if (truncationPages > relationSegmentPages) throw broken(`it speaks of ${truncationPages} pages, a segment file has ${relationSegmentPages}`)
  const usedBytes = incrementalPrefixBytes + count * 4
  return { count, truncationPages, headerBytes: count === 0 ? usedBytes : Math.ceil(usedBytes / pageBytes) * pageBytes }
}

function broken(why: string): Failure {
  return new Failure('integrity', `cannot read an incremental file: ${why}`)
}
