import { isInnerPath } from '../pgdata/file-path.ts'
import { ByteReader } from './byte-reader.ts'
import { ByteWriter } from './byte-writer.ts'
import { largestFrameBytes } from './pack-format.ts'
import type { PackTable } from './pack-table.ts'

/**
 * A leaf: which pages the files of a part of a cluster have, and where each lies. docs/base-backups.md "Leaf".
 *
 * Paths are `latin1` texts, one character for each byte, since names in a data directory need not be UTF-8; their order is that of their bytes.
 */
export interface LeafEntry {
  readonly path: string
  readonly kind: 'file' | 'directory'
  /** Permission bits. */
  readonly mode: number
  /** Of the whole file. */
  readonly sizeBytes: number
  /** Where a file has several leaves: the first page that this one describes. */
  readonly firstPage: number
  /** `hashBytes` for each page. */
  readonly hashes: Buffer
  readonly extents: readonly Extent[]
}

/** Pages of a file that lie one after the other in a frame. */
export interface Extent {
  readonly pages: number
  /** By its number in the table of packs. */
  readonly pack: number
  readonly frame: number
  /** Of the first page in the frame's content. */
  readonly offset: number
}

export const hashBytes = 8
const version = 1
const kinds = ['file', 'directory'] as const
/** Bytes of a path: `MAXPGPATH` of PostgreSQL. */
export const longestPath = 1_024
const largestFile = 2 ** 50

export function encodeLeaf(entries: readonly LeafEntry[], packs: PackTable): Buffer {
  const writer = new ByteWriter(1 << 16)
  const local = new Map<number, number>()
  for (const { extents } of entries) for (const { pack } of extents) if (!local.has(pack)) local.set(pack, local.size)
  writer.byte(version)
  writer.varint(local.size)
  for (const pack of local.keys()) writer.bytes(packs.idOf(pack))
  writer.varint(entries.length)
  let before = ''
  for (const entry of entries) {
    encodeEntry(writer, entry, before, local)
    before = entry.path
  }
  return Buffer.from(writer.written())
}

/** How many pages an entry describes. */
export const pagesOf = ({ hashes }: Pick<LeafEntry, 'hashes'>): number => hashes.length / hashBytes

function encodeEntry(writer: ByteWriter, entry: LeafEntry, before: string, local: ReadonlyMap<number, number>): void {
  const shared = sharedLength(before, entry.path)
  writer.varint(shared)
  writer.text(entry.path.slice(shared))
  writer.byte(kinds.indexOf(entry.kind))
  writer.varint(entry.mode)
  writer.varint(entry.sizeBytes)
  writer.varint(entry.firstPage)
  writer.varint(pagesOf(entry))
  writer.bytes(entry.hashes)
  for (const { pages, pack, frame, offset } of entry.extents) {
    writer.varint(pages)
    writer.varint(local.get(pack) ?? 0)
    writer.varint(frame)
    writer.varint(offset)
  }
}

/** Reads a leaf. It may be hostile: `object` is named in the failure, and every number is held against its bounds; extents cover exactly the pages. */
export function decodeLeaf(content: Uint8Array, packs: PackTable, object: string): LeafEntry[] {
  const reader = new ByteReader(content, object)
  const found = reader.byte()
  if (found !== version) throw reader.broken(`it has version ${found}`)
  const local = Array.from({ length: reader.varint(reader.left / 16) }, () => packs.numberOf(reader.bytes(16)))
  const count = reader.varint(reader.left)
  const entries: LeafEntry[] = []
  let before = ''
  for (let index = 0; index < count; index += 1) {
    const entry = decodeEntry(reader, before, local)
    if (index > 0 && entry.path <= before) throw reader.broken('its files are in no order')
    before = entry.path
    entries.push(entry)
  }
  reader.requireEnd()
  return entries
}

function decodeEntry(reader: ByteReader, before: string, local: readonly number[]): LeafEntry {
  const shared = reader.varint(before.length)
  const path = before.slice(0, shared) + reader.text(longestPath - shared)
  if (!isInnerPath(path)) throw reader.broken('a file has a path that leads elsewhere')
  const kind = kinds[reader.byte()]
  if (kind === undefined) throw reader.broken('an entry is of no kind that is known')
  const mode = reader.varint(0o7777)
  const sizeBytes = reader.varint(largestFile)
  const firstPage = reader.varint(largestFile)
  const pages = reader.varint(reader.left / hashBytes)
  const hashes = Buffer.from(reader.bytes(pages * hashBytes))
  const extents: Extent[] = []
  for (let covered = 0; covered < pages;) {
    const extentPages = reader.varint(pages - covered)
    if (extentPages === 0) throw reader.broken('an extent has no pages')
    const pack = local[reader.varint()]
    if (pack === undefined) throw reader.broken('an extent lies in no pack')
    extents.push({ pages: extentPages, pack, frame: reader.varint(0xffff_ffff), offset: reader.varint(largestFrameBytes) })
    covered += extentPages
  }
  return { path, kind, mode, sizeBytes, firstPage, hashes, extents }
}

function sharedLength(a: string, b: string): number {
  const longest = Math.min(a.length, b.length)
  let shared = 0
  while (shared < longest && a.charCodeAt(shared) === b.charCodeAt(shared)) shared += 1
  return shared
}
