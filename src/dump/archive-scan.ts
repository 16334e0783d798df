import { createTocReader, type ArchiveToc, type TocEntry } from './archive-toc.ts'
import { createCopyStaging, type CopyStaging } from './copy-staging.ts'
import { cutOff, malformed } from './faults.ts'
import { createInnerBlocks, type InnerBlocks } from './inner-blocks.ts'
import type { ByteSink, DumpSink } from './sink.ts'
import { contentOf, nameOf, tellSequences } from './toc-content.ts'

export interface ArchiveScan {
  readonly toc: ArchiveToc
  /** Bytes of the whole archive. */
  readonly sizeBytes: number
  /** Where the data block of each entry begins. */
  readonly blockOffsets: BlockOffsets
}

/** Pairs of an entry's number (`dumpId`) and the position of its data block in the archive. */
export type BlockOffsets = readonly (readonly [dumpId: number, offset: number])[]

export interface ArchiveScanner {
  /** Takes the next bytes of the archive; they are not kept. Throws when the archive is damaged. */
  write(chunk: Uint8Array): void
  /** Set while data that pg_dump compressed is being decompressed; await it between writes, then memory stays bounded. */
  pending(): Promise<void> | undefined
  /**
   * The archive's last byte was written. Resolves when every block that the table of contents promises was found whole
   * and nothing follows; else rejects with `dump-empty` (cut off) or `integrity` (contradicts itself).
   */
  end(): Promise<ArchiveScan>
}

// What the block parser reads next.
const blockTypeByte = 0
const dumpId = 1
const objectOid = 2
const chunkLength = 3
const chunkBytes = 4

// Block types (BLK_DATA and BLK_BLOBS in pg_backup_archiver.h).
const tableBlock = 1
const largeObjectsBlock = 3

/**
 * Scans a custom-format archive while it flows. Behind the table of contents come blocks (`_StartData`, `_StartLO` in
 * pg_backup_custom.c): a type byte, the entry's number, then chunks, each behind its length, up to a length of zero. In a block
 * of large objects an OID stands before each object's chunks and a zero OID behind the last. There is no end mark, so an
 * archive is complete when each promised block was ended and not a byte follows.
 */
export function createArchiveScanner(sink: DumpSink): ArchiveScanner {
  const tocReader = createTocReader({ definitions: 'needed' })
  const promised = new Map<number, TocEntry>()
  const seenObjects = new Set<number>()
  const blockOffsets: [number, number][] = []
  const staging = createCopyStaging()
  let toc: ArchiveToc | undefined
  let inner: InnerBlocks | null = null
  /** Bytes parsed; within `parse`, up to the number read last. */
  let offset = 0

  let expecting = blockTypeByte
  let numberBytes = 5
  const number = new Uint8Array(9)
  let numberFill = 0
  let chunkLeft = 0
  let blockType = 0
  let blockOffset = 0
  let entry: TocEntry | undefined

  // Where the bytes of the current table or large object go; all null skips them.
  let rows: CopyStaging | null = null
  let raw: ByteSink | null = null
  let compressed: InnerBlocks | null = null

  const tocIsComplete = (whole: ArchiveToc) => {
    if (whole.format !== 'custom') throw malformed('it is the table of contents of a tar or directory dump, not a custom archive', 0)
    toc = whole
    numberBytes = whole.intSize + 1
    for (const each of whole.entries) if (each.hadData) promised.set(each.dumpId, each)
    tellSequences(whole, sink)
    if (whole.compression === 'none' || whole.compression === 'lz4') return
    inner = createInnerBlocks(whole.compression === 'zstd' ? 'zstd' : 'zlib')
  }

  const beginBlock = (id: number) => {
    const found = promised.get(id)
    if (found === undefined) throw malformed(`a data block names entry ${id}, which has no data or had it already`, offset)
    if (found.dataOffset !== null && found.dataOffset !== blockOffset)
      throw malformed(`the data of ${nameOf(found)} is not where its table of contents says`, offset)
    const content = contentOf(found)
    const isUnreadable = toc?.compression === 'lz4'
    if (isUnreadable) sink.notCompared(nameOf(found), 'pg_dump compressed it with lz4, which Tidemark cannot read')
    if ((blockType === largeObjectsBlock) !== (content.kind === 'large-objects'))
      throw malformed(`the data block of ${nameOf(found)} is of the wrong kind`, offset)
    entry = found
    blockOffsets.push([id, blockOffset])
    expecting = content.kind === 'large-objects' ? objectOid : chunkLength
    if (isUnreadable) return
    if (content.kind === 'rows') open('rows', sink.table(content.section))
    else if (content.kind === 'other') {
      sink.notCompared(nameOf(found), content.why)
      open('raw', null)
    }
  }

  const open = (form: 'rows' | 'raw', target: ByteSink | null) => {
    if (inner !== null) {
      compressed = inner
      inner.begin({ name: entry === undefined ? '' : nameOf(entry), form, target, offset })
    } else if (form === 'raw') raw = target
    else if (target !== null) {
      staging.begin(target)
      rows = staging
    }
  }

  const beginObject = (oid: number) => {
    if (seenObjects.has(oid)) throw malformed(`large object ${oid} is in it twice`, offset)
    seenObjects.add(oid)
    if (toc?.compression !== 'lz4') open('raw', sink.largeObject(oid))
    expecting = chunkLength
  }

  const endChunks = () => {
    compressed?.end()
    raw?.end()
    const problem = rows?.finish() ?? null
    if (problem !== null) throw malformed(`table ${entry === undefined ? '' : nameOf(entry)}: ${problem}`, offset)
    rows = null
    raw = null
    compressed = null
    if (blockType === largeObjectsBlock) expecting = objectOid
    else endBlock()
  }

  const endBlock = () => {
    if (entry !== undefined) promised.delete(entry.dumpId)
    entry = undefined
    expecting = blockTypeByte
  }

  const numberIsRead = (value: number) => {
    if (expecting === dumpId) beginBlock(value)
    else if (expecting === objectOid) {
      // pg_dump writes OIDs as signed numbers; those above 2³¹ come out negative.
      const oid = value < 0 ? value + 2 ** 32 : value
      if (oid === 0) endBlock()
      else beginObject(oid)
    } else if (value === 0) endChunks()
    else if (value > 0) {
      chunkLeft = value
      expecting = chunkBytes
    } else throw malformed('a chunk of data has a negative length', offset)
  }

  const takeChunk = (input: Buffer, at: number): number => {
    const to = Math.min(at + chunkLeft, input.length)
    if (rows !== null) rows.append(input, at, to)
    else if (compressed !== null) compressed.push(input, at, to)
    else raw?.bytes(input.subarray(at, to))
    chunkLeft -= to - at
    if (chunkLeft === 0) expecting = chunkLength
    return to
  }

  const parse = (input: Buffer) => {
    const base = offset
    let at = 0
    while (at < input.length) {
      if (expecting === chunkBytes) at = takeChunk(input, at)
      else if (expecting === blockTypeByte) {
        blockOffset = offset = base + at
        blockType = input[at++] as number
        if (blockType !== tableBlock && blockType !== largeObjectsBlock)
          throw malformed('where a data block should begin or the archive end is something else', offset)
        expecting = dumpId
      } else {
        if (rows !== null && numberFill === 0 && numberBytes === 5) at = takeWholeRows(input, at, rows)
        while (at < input.length && numberFill < numberBytes) number[numberFill++] = input[at++] as number
        if (numberFill < numberBytes) break
        numberFill = 0
        offset = base + at
        numberIsRead(signedNumber(number, numberBytes, offset))
      }
    }
    offset = base + input.length
  }

  return {
    write: (chunk) => {
      inner?.check()
      const rest = toc === undefined ? tocReader.push(chunk) : chunk
      if (rest === null) {
        offset += chunk.length
        return
      }
      offset += chunk.length - rest.length
      if (toc === undefined) tocIsComplete(tocReader.end())
      parse(Buffer.from(rest.buffer, rest.byteOffset, rest.byteLength))
    },
    pending: () => inner?.pending(),
    end: async () => {
      await inner?.pending()
      inner?.check()
      toc ??= tocReader.end()
      if (entry !== undefined) throw cutOff(`it ends inside the data of ${nameOf(entry)}`, offset)
      const [missing] = promised.values()
      if (missing !== undefined)
        throw cutOff(`the data of ${nameOf(missing)} is missing${promised.size > 1 ? `, and that of ${promised.size - 1} more entries` : ''}`, offset)
      if (expecting !== blockTypeByte) throw malformed('bytes follow its last data block', offset)
      return { toc, sizeBytes: offset, blockOffsets }
    },
  }
}

/**
 * The hot path: whole chunks of rows, one row each as pg_dump up to 15 writes them uncompressed. Stops before anything else
 * (a chunk that is not all here, the end of the table, a forged length) and leaves that to the general path.
 */
function takeWholeRows(input: Buffer, from: number, into: CopyStaging): number {
  const lastHeader = input.length - 5
  let at = from
  while (at < lastHeader && input[at] === 0 && (input[at + 4] as number) < 0x40) {
    const length = (input[at + 1] as number) | ((input[at + 2] as number) << 8) | ((input[at + 3] as number) << 16) | ((input[at + 4] as number) << 24)
    const to = at + 5 + length
    if (length === 0 || to > input.length) break
    into.append(input, at + 5, to)
    at = to
  }
  return at
}

/** A sign byte and the absolute value, least significant byte first. */
function signedNumber(bytes: Uint8Array, length: number, offset: number): number {
  let value = 0
  for (let index = length - 1; index > 0; index--) value = value * 256 + (bytes[index] as number)
  if ((bytes[0] as number) > 1 || value > 0xffffffff) throw malformed('a number between its data is not valid', offset)
  return bytes[0] === 1 ? -value : value
}

/** Scans a whole archive from a source of bytes. */
export async function scanArchive(source: AsyncIterable<Uint8Array>, sink: DumpSink): Promise<ArchiveScan> {
  const scanner = createArchiveScanner(sink)
  for await (const chunk of source) {
    scanner.write(chunk)
    await scanner.pending()
  }
  return scanner.end()
}
