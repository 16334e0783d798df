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
  const { minor = 14, intSize = 4, compression = 'none', rowsPerChunk = 1, tables = [], largeObjects = [], sequences = [] } = shape
  const parts: Uint8Array[] = []
  const byte = (value: number) => parts.push(Uint8Array.of(value))
  const int = (value: number) => {
    byte(value < 0 ? 1 : 0)
    const bytes = Buffer.alloc(intSize)
    bytes.writeUInt32LE(Math.abs(value))
    parts.push(bytes)
  }
  const text = (value: string | null) => {
    if (value === null) return int(-1)
    const bytes = Buffer.from(value)
    int(bytes.length)
    parts.push(bytes)
  }
  const entry = (dumpId: number, facts: { hadData: boolean; tag: string; desc: string; section: number; definition: string | null; copy: string | null; namespace: string | null }) => {
    int(dumpId)
    int(facts.hadData ? 1 : 0)
    text('1259')
    text(String(16_000 + dumpId))
    text(facts.tag)
    text(facts.desc)
    int(facts.section)
    text(facts.definition)
    text('')
    text(facts.copy)
    text(facts.namespace)
    text('')
    if (minor >= 14) text('heap')
    if (minor >= 16) int(114)
    text('postgres')
    text('false')
    text('1')
    text(null)
    byte(facts.hadData ? 1 : 3)
    parts.push(Buffer.alloc(8))
  }
  const chunk = (bytes: Uint8Array) => {
    int(bytes.length)
    parts.push(bytes)
  }
  const data = (pieces: readonly Uint8Array[]) => {
    if (compression === 'none') pieces.forEach(chunk)
    else {
      const whole = deflateSync(Buffer.concat(pieces))
      for (let from = 0; from < whole.length; from += 4096) chunk(whole.subarray(from, from + 4096))
    }
    int(0)
  }

  parts.push(Buffer.from('PGDMP'), Uint8Array.of(1, minor, 0, intSize, 8, 1))
  if (minor >= 15) byte(compression === 'none' ? 0 : 1)
  else int(compression === 'none' ? 0 : -1)
  for (const field of [0, 0, 12, 21, 10, 126, 0]) int(field)
  for (const value of ['database', '15.20', '15.20']) text(value)
  int(1 + tables.length + sequences.length + (largeObjects.length > 0 ? 1 : 0))
  entry(1, { hadData: false, tag: 'ENCODING', desc: 'ENCODING', section: 2, definition: "SET client_encoding = 'UTF8';\n", copy: null, namespace: null })
  tables.forEach(({ name }, index) =>
    entry(10 + index, { hadData: true, tag: name, desc: 'TABLE DATA', section: 3, definition: '', copy: `COPY public."${name.replaceAll('"', '""')}" (a, b) FROM stdin;\n`, namespace: 'public' }),
  )
  sequences.forEach(({ name, value }, index) =>
    entry(5000 + index, { hadData: false, tag: name, desc: 'SEQUENCE SET', section: 3, definition: `SELECT pg_catalog.setval('public."${name}"', ${value}, true);\n`, copy: null, namespace: 'public' }),
  )
  if (largeObjects.length > 0) entry(9000, { hadData: true, tag: 'BLOBS', desc: 'BLOBS', section: 3, definition: '', copy: null, namespace: null })

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
  return Buffer.concat(parts)
}
