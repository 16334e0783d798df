import { Failure } from '../kernel/failure.ts'
import { archiveCursor, type ArchiveCursor } from './archive-cursor.ts'
import { offsetIsSet, type ArchiveToc } from './archive-toc.ts'
import type { EntryTexts } from './role-texts.ts'

/**
 * A header and table of contents with other texts in some entries. `bytes` are the first `toc.sizeBytes` of an archive or the whole toc.dat, and `toc` is what `readToc` made of
 * them, so they are known to be well formed. Everything else stays as it is, byte for byte, except where the data blocks of a custom archive begin: these move with the new length.
 * Texts are bytes as Latin 1.
 */
export function rewriteToc(bytes: Uint8Array, toc: ArchiveToc, change: (entry: EntryTexts) => EntryTexts | null): Uint8Array {
  const cursor = archiveCursor(bytes, { offset: 0, intSize: toc.intSize })
  const parts: Uint8Array[] = []
  const offsets: { readonly part: Buffer; readonly at: number }[] = []
  skipHeader(cursor, toc)
  let copiedTo = 0
  for (const { dumpId } of toc.entries) {
    const entry = readTexts(cursor, toc)
    if (entry.dumpId !== dumpId) throw new Error(`entry ${dumpId} was read as ${entry.dumpId}`)
    const changed = change(entry.texts)
    for (const { name, start, end } of entry.spans) {
      if (changed === null || changed[name] === entry.texts[name]) continue
      parts.push(bytes.subarray(copiedTo, start), encodeString(changed[name], toc.intSize))
      copiedTo = end
    }
    if (entry.offsetAt !== null) {
      const part = Buffer.from(bytes.subarray(copiedTo, cursor.position()))
      offsets.push({ part, at: part.length - toc.offsetSize })
      parts.push(part)
      copiedTo = cursor.position()
    }
  }
  parts.push(bytes.subarray(copiedTo, toc.sizeBytes))
  const moved = parts.reduce((sum, part) => sum + part.length, 0) - toc.sizeBytes
  for (const { part, at } of offsets) writeUnsigned(part, at, readUnsigned(part, at, toc.offsetSize) + BigInt(moved), toc.offsetSize)
  return Buffer.concat(parts)
}

/** `WriteHead` and the number of entries. */
function skipHeader(cursor: ArchiveCursor, { version: [, minor] }: ArchiveToc): void {
  cursor.raw(5 + 3 + 1 + 1 + 1)
  if (minor < 15) cursor.int()
  else cursor.byte()
  for (let field = 0; field < 7; field += 1) cursor.int()
  for (let field = 0; field < 3; field += 1) cursor.string()
  cursor.int()
}

interface Span {
  readonly name: 'definition' | 'dropStatement' | 'owner'
  readonly start: number
  readonly end: number
}

/** One entry as `WriteToc` writes it, with where its texts stand; archive-toc.ts has the same order. */
function readTexts(cursor: ArchiveCursor, { version: [, minor], format, offsetSize }: ArchiveToc) {
  const spans: Span[] = []
  const text = (name?: Span['name']): string | null => {
    const start = cursor.position()
    const read = cursor.string()
    if (name !== undefined) spans.push({ name, start, end: cursor.position() })
    return read === null ? null : Buffer.from(read.buffer, read.byteOffset, read.byteLength).toString('latin1')
  }
  const dumpId = cursor.int()
  cursor.int()
  text()
  text()
  const tag = text() ?? ''
  const desc = text() ?? ''
  cursor.int()
  const definition = text('definition')
  const dropStatement = text('dropStatement')
  text()
  text()
  text()
  if (minor >= 14) text()
  if (minor >= 16) cursor.int()
  const owner = text('owner')
  text()
  while (text() !== null);
  let offsetAt: number | null = null
  if (format !== 'custom') text()
  else {
    // Where it is not set, what follows means nothing.
    if (cursor.byte() === offsetIsSet) offsetAt = cursor.position()
    cursor.raw(offsetSize)
  }
  return { dumpId, spans, offsetAt, texts: { desc, tag, owner, definition, dropStatement } }
}

/** `WriteStr`: a sign, the length least significant byte first, and the bytes; NULL has the length −1. */
function encodeString(text: string | null, intSize: number): Uint8Array {
  const length = Buffer.alloc(1 + intSize)
  const bytes = text === null ? Buffer.alloc(0) : Buffer.from(text, 'latin1')
  length[0] = text === null ? 1 : 0
  writeUnsigned(length, 1, text === null ? 1n : BigInt(bytes.length), intSize)
  return Buffer.concat([length, bytes])
}

function readUnsigned(bytes: Uint8Array, at: number, size: number): bigint {
  let value = 0n
  for (let index = size - 1; index >= 0; index -= 1) value = value * 256n + BigInt(bytes[at + index] ?? 0)
  return value
}

function writeUnsigned(bytes: Uint8Array, at: number, value: bigint, size: number): void {
  if (value < 0n || value >= 256n ** BigInt(size)) throw new Failure('integrity', 'the table of contents names a position that cannot be')
  for (let index = 0; index < size; index += 1) bytes[at + index] = Number((value >> BigInt(8 * index)) & 0xffn)
}
