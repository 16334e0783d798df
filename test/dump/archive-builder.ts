import { deflateSync } from 'node:zlib'

export interface ArchiveTable {
  readonly name: string
  /** COPY lines, each with its line end. */
  readonly rows: readonly string[]
}

export interface ArchiveShape {
  readonly minor?: 13 | 14 | 15 | 16
  readonly intSize?: 4 | 8
  readonly compression?: 'none' | 'gzip'
  /** Rows in one chunk; 1 as pg_dump up to 15 writes them uncompressed. */
  readonly rowsPerChunk?: number
  readonly tables?: readonly ArchiveTable[]
  readonly largeObjects?: readonly { readonly oid: number; readonly content: Uint8Array }[]
  readonly sequences?: readonly { readonly name: string; readonly value: number }[]
}

/** Writes custom archives as pg_dump does, for tests that need one of every version, or a broken one. */
export function buildArchive(shape: ArchiveShape): Buffer {
  const { compression = 'none', rowsPerChunk = 1, tables = [], largeObjects = [], sequences = [] } = shape
  const writer = createWriter(shape)
  const { byte, int, raw } = writer
  const data = (pieces: readonly Uint8Array[]) => {
    const chunks = compression === 'none' ? pieces : chunksOf(deflateSync(Buffer.concat(pieces)), 4096)
    for (const chunk of chunks) {
      int(chunk.length)
      raw(chunk)
    }
    int(0)
  }

  writer.header(1, compression)
  int(1 + tables.length + sequences.length + (largeObjects.length > 0 ? 1 : 0))
  const entries: Entry[] = [
    encoding,
    ...tables.map(({ name }, index) => tableData(10 + index, name)),
    ...sequences.map(({ name, value }, index) => ({
      dumpId: 5000 + index,
      tag: name,
      desc: 'SEQUENCE SET',
      definition: `SELECT pg_catalog.setval('public."${name}"', ${value}, true);\n`,
      namespace: 'public',
    })),
    ...(largeObjects.length > 0 ? [{ dumpId: 9000, hadData: true, tag: 'BLOBS', desc: 'BLOBS' }] : []),
  ]
  for (const entry of entries) {
    writer.entry(entry)
    byte(entry.hadData === true ? 1 : 3)
    raw(Buffer.alloc(8))
  }

  tables.forEach(({ rows }, index) => {
    byte(1)
    int(10 + index)
    const pieces: Uint8Array[] = []
    for (let from = 0; from < rows.length; from += rowsPerChunk) pieces.push(Buffer.from(rows.slice(from, from + rowsPerChunk).join('')))
    data([...pieces, Buffer.from('\\.\n\n\n')])
  })
  if (largeObjects.length > 0) {
    byte(3)
    int(9000)
    for (const { oid, content } of largeObjects) {
      int(oid > 0x7fffffff ? oid - 2 ** 32 : oid)
      data(content.length === 0 ? [] : [content])
    }
    int(0)
  }
  return writer.whole()
}

export interface TocShape {
  readonly minor: 13 | 14 | 15 | 16
  readonly tables: readonly { readonly name: string; readonly fileName: string }[]
  readonly objectLists: readonly string[]
}

/** Writes the toc.dat of a directory dump. */
export function buildToc({ minor, tables, objectLists }: TocShape): Buffer {
  const writer = createWriter({ minor })
  writer.header(3, 'none')
  writer.int(1 + tables.length + objectLists.length)
  const entries = [
    { entry: encoding, fileName: '' },
    ...tables.map(({ name, fileName }, index) => ({ entry: tableData(10 + index, name), fileName })),
    ...objectLists.map((fileName, index) => ({ entry: { dumpId: 20 + index, hadData: true, tag: 'BLOBS', desc: 'BLOBS' }, fileName })),
  ]
  for (const { entry, fileName } of entries) {
    writer.entry(entry)
    writer.text(fileName)
  }
  return writer.whole()
}

interface Entry {
  readonly dumpId: number
  readonly hadData?: boolean
  readonly tag: string
  readonly desc: string
  readonly definition?: string
  readonly copy?: string
  readonly namespace?: string
}

const encoding: Entry = { dumpId: 1, tag: 'ENCODING', desc: 'ENCODING', definition: "SET client_encoding = 'UTF8';\n" }

function tableData(dumpId: number, name: string): Entry {
  return { dumpId, hadData: true, tag: name, desc: 'TABLE DATA', copy: `COPY public."${name.replaceAll('"', '""')}" (a, b) FROM stdin;\n`, namespace: 'public' }
}

function createWriter({ minor = 14, intSize = 4 }: Pick<ArchiveShape, 'minor' | 'intSize'>) {
  const parts: Uint8Array[] = []
  const raw = (bytes: Uint8Array) => {
    parts.push(bytes)
  }
  const byte = (value: number) => raw(Uint8Array.of(value))
  const int = (value: number) => {
    byte(value < 0 ? 1 : 0)
    const bytes = Buffer.alloc(intSize)
    bytes.writeUInt32LE(Math.abs(value))
    raw(bytes)
  }
  const text = (value: string | null) => {
    if (value === null) return int(-1)
    const bytes = Buffer.from(value)
    int(bytes.length)
    raw(bytes)
  }
  return {
    raw,
    byte,
    int,
    text,
    header: (format: number, compression: 'none' | 'gzip') => {
      raw(Buffer.from('PGDMP'))
      for (const value of [1, minor, 0, intSize, 8, format]) byte(value)
      if (minor >= 15) byte(compression === 'none' ? 0 : 1)
      else int(compression === 'none' ? 0 : -1)
      for (const field of [0, 0, 12, 21, 10, 126, 0]) int(field)
      for (const value of ['database', '15.20', '15.20']) text(value)
    },
    entry: ({ dumpId, hadData = false, tag, desc, definition = '', copy, namespace }: Entry) => {
      int(dumpId)
      int(hadData ? 1 : 0)
      for (const value of ['1259', String(16_000 + dumpId), tag, desc]) text(value)
      int(3)
      for (const value of [definition, '', copy ?? null, namespace ?? null, '']) text(value)
      if (minor >= 14) text('heap')
      if (minor >= 16) int(114)
      for (const value of ['postgres', 'false', '1', null]) text(value)
    },
    whole: () => Buffer.concat(parts),
  }
}

function chunksOf(bytes: Uint8Array, size: number): Uint8Array[] {
  return Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) => bytes.subarray(index * size, (index + 1) * size))
}
