import { ByteReader } from './byte-reader.ts'
import { ByteWriter } from './byte-writer.ts'
import { longestPath } from './leaf.ts'
import { largestFrameCount } from './pack-format.ts'
import { createPackTable, type PackTable } from './pack-table.ts'

/** The root of a base backup: docs/base-backups.md "Root". Its JSON is for whoever knows what a backup is; here are the tables. */
export interface RootTables {
  readonly packs: readonly PackUse[]
  /** In the order of path and page. */
  readonly leaves: readonly LeafPlace[]
}

export interface PackUse {
  readonly id: Buffer
  /** Which of the root's indexes knows it. */
  readonly index: number
  /** A byte for each frame: how much of its content is live, in 1/255, rounded up; so 0 means nothing. */
  readonly live: Buffer
}

export interface LeafPlace {
  /** The first file that it describes. */
  readonly path: string
  /** Of a leaf that describes a part of one large file: the part's first page. Null for a group of files. */
  readonly firstPage: number | null
  /** By its number in the table of packs. */
  readonly pack: number
  readonly frame: number
  /** 16 bytes of its content: equal leaves need not be stored twice. */
  readonly digest: Buffer
}

const magic = Buffer.from('TMROOT1\n', 'latin1')

export function encodeRoot(json: string, tables: RootTables, table: PackTable): Buffer {
  const writer = new ByteWriter(1 << 16)
  writer.bytes(magic)
  const text = Buffer.from(json, 'utf8')
  writer.uint32(text.length)
  writer.bytes(text)
  writer.varint(tables.packs.length)
  const numbers = new Map<number, number>()
  for (const { id, index, live } of tables.packs) {
    numbers.set(table.numberOf(id), numbers.size)
    writer.bytes(id)
    writer.varint(index)
    writer.varint(live.length)
    writer.bytes(live)
  }
  writer.varint(tables.leaves.length)
  for (const { path, firstPage, pack, frame, digest } of tables.leaves) {
    const number = numbers.get(pack)
    if (number === undefined) throw new RangeError(`the leaf of ${path} lies in a pack that the root does not name`)
    writer.text(path)
    writer.varint(firstPage === null ? 0 : firstPage + 1)
    writer.varint(number)
    writer.varint(frame)
    writer.bytes(digest)
  }
  return Buffer.from(writer.written())
}

/** The packs of the tables get their numbers from a new table. */
export function decodeRoot(content: Uint8Array, object: string): { readonly json: string; readonly tables: RootTables; readonly table: PackTable } {
  const reader = new ByteReader(content, object)
  if (!reader.bytes(8).equals(magic)) throw reader.broken('it is no root of this format')
  const json = reader.bytes(reader.uint32()).toString('utf8')
  const table = createPackTable()
  const packs = Array.from({ length: reader.varint(reader.left / 18) }, () => {
    const id = Buffer.from(reader.bytes(16))
    table.numberOf(id)
    return { id, index: reader.varint(0xffff), live: Buffer.from(reader.bytes(reader.varint(largestFrameCount))) }
  })
  if (table.count !== packs.length) throw reader.broken('it names a pack twice')
  const leaves = Array.from({ length: reader.varint(reader.left / 20) }, () => decodeLeafPlace(reader, packs.length))
  reader.requireEnd()
  return { json, tables: { packs, leaves }, table }
}

function decodeLeafPlace(reader: ByteReader, packs: number): LeafPlace {
  const path = reader.text(longestPath)
  const page = reader.varint()
  const pack = reader.varint(packs - 1)
  return { path, firstPage: page === 0 ? null : page - 1, pack, frame: reader.varint(0xffff_ffff), digest: Buffer.from(reader.bytes(16)) }
}
