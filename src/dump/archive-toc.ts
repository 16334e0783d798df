import { Failure } from '../kernel/failure.ts'
import { archiveCursor, Shortage, type ArchiveCursor } from './archive-cursor.ts'
import { cutOff, malformed } from './faults.ts'
import { textDecoder, type DecodeText } from './text-encoding.ts'

/** Header of an archive (`WriteHead` in pg_backup_archiver.c). Numbers as PostgreSQL 10–18 write them: 1.13–1.16. */
export interface ArchiveHeader {
  /** `[1, 16, 0]`. */
  readonly version: readonly [major: number, minor: number, revision: number]
  readonly intSize: number
  readonly offsetSize: number
  /** `tar` is also what pg_dump writes into the toc.dat of a directory. */
  readonly format: 'custom' | 'tar' | 'directory'
  readonly compression: 'none' | 'gzip' | 'lz4' | 'zstd'
  readonly database: string
  readonly serverVersion: string
  readonly dumpVersion: string
  /** `client_encoding` of the dump; UTF8 when the archive does not say. */
  readonly encoding: string
}

export interface TocEntry {
  readonly dumpId: number
  /** Whether pg_dump wrote a data block (or file) for this entry. */
  readonly hadData: boolean
  readonly tableOid: number
  readonly oid: number
  readonly tag: string
  readonly desc: string
  readonly section: 'none' | 'pre-data' | 'data' | 'post-data'
  /** Null when there is none, and where the reader was told to keep only what a scan needs. */
  readonly definition: string | null
  readonly dropStatement: string | null
  readonly copyStatement: string | null
  readonly namespace: string | null
  readonly tablespace: string | null
  readonly tableAccessMethod: string | null
  /** `r`, `p`, `S`, …; null before 1.16. */
  readonly relkind: string | null
  readonly owner: string | null
  readonly dependencies: readonly number[]
  /** Custom format: where the data block begins, if pg_dump could go back and write it (not into a pipe). */
  readonly dataOffset: number | null
  /** Custom format: where in the archive that offset is written, behind a byte that says whether it is known. */
  readonly dataOffsetAt: number | null
  /** Directory format: the data file's name. */
  readonly fileName: string | null
}

export interface ArchiveToc extends ArchiveHeader {
  readonly entries: readonly TocEntry[]
  /** Bytes of header and table of contents. */
  readonly sizeBytes: number
}

export interface TocOptions {
  /** `needed` drops the definitions that only a restore needs, so that memory stays small; default `all`. */
  readonly definitions?: 'all' | 'needed'
}

export interface TocReader {
  /** Takes the next bytes. Returns what follows the table of contents once it is complete, else null. */
  push(input: Uint8Array): Uint8Array | null
  /** The table of contents; throws `dump-empty` when the bytes ended before it did. */
  end(): ArchiveToc
}

const tocLimitBytes = 1024 * 1024 * 1024
const sections = { 1: 'none', 2: 'pre-data', 3: 'data', 4: 'post-data' } as const
const formats: Readonly<Record<number, ArchiveHeader['format']>> = { 1: 'custom', 3: 'tar', 5: 'directory' }
const methods: Readonly<Record<number, ArchiveHeader['compression']>> = { 0: 'none', 1: 'gzip', 2: 'lz4', 3: 'zstd' }
/** Entries whose definition a scan reads: settings, sequence values, and the partition root a table is loaded through. */
const neededDefinitions = new Set(['ENCODING', 'STDSTRINGS', 'SEARCHPATH', 'SEQUENCE SET', 'TABLE DATA'])

/** Reads the header and table of contents of a custom archive or a `toc.dat`, as they come. Every value is checked before it is used. */
export function createTocReader(options: TocOptions = {}): TocReader {
  const keepAll = options.definitions !== 'needed'
  let waiting: Uint8Array[] = []
  let waitingBytes = 0
  let neededBytes = 1
  let consumedBytes = 0
  let header: Omit<ArchiveHeader, 'encoding'> | undefined
  let entryCount: number | undefined
  let encoding = 'UTF8'
  let decode = textDecoder(encoding)
  const entries: TocEntry[] = []
  const ids = new Set<number>()

  const isComplete = () => entryCount !== undefined && entries.length === entryCount

  const readNext = (cursor: ArchiveCursor) => {
    if (header === undefined) header = readHeader(cursor)
    else if (entryCount === undefined) {
      entryCount = cursor.int()
      if (entryCount < 0) throw malformed('its table of contents has a negative length', consumedBytes)
    } else {
      const entry = readEntry(cursor, { header, decode, keepAll, offset: consumedBytes })
      if (ids.has(entry.dumpId)) throw malformed(`entry ${entry.dumpId} is in its table of contents twice`, consumedBytes)
      ids.add(entry.dumpId)
      entries.push(entry)
      if (entry.desc === 'ENCODING') decode = textDecoder((encoding = settingOf(entry) ?? encoding))
    }
  }

  return {
    push: (input) => {
      if (isComplete()) return input
      // A copy: the caller's chunk may be gone when the next one comes.
      waiting.push(Uint8Array.from(input))
      waitingBytes += input.length
      if (waitingBytes < neededBytes) return null
      let rest: Uint8Array = waiting.length === 1 ? input : Buffer.concat(waiting)
      neededBytes = 1
      try {
        while (!isComplete()) {
          const cursor = archiveCursor(rest, { offset: consumedBytes, intSize: header?.intSize ?? 4 })
          readNext(cursor)
          consumedBytes += cursor.position()
          if (consumedBytes > tocLimitBytes) throw malformed('its table of contents is larger than 1 GiB', consumedBytes)
          rest = rest.subarray(cursor.position())
        }
        waiting = []
        return rest
      } catch (error) {
        if (!(error instanceof Shortage)) throw error
        neededBytes = error.neededBytes
        waiting = rest.length === 0 ? [] : [Uint8Array.from(rest)]
        waitingBytes = rest.length
        return null
      }
    },
    end: () => {
      const received = consumedBytes + waitingBytes
      if (header === undefined && received === 0)
        throw new Failure('dump-empty', 'the dump is empty', { hints: ['run the dump again and read what pg_dump says'] })
      if (header === undefined || !isComplete()) throw cutOff('it ends inside its table of contents', received)
      return { ...header, encoding, entries, sizeBytes: consumedBytes }
    },
  }
}

function readHeader(cursor: ArchiveCursor): Omit<ArchiveHeader, 'encoding'> {
  if (Buffer.from(cursor.raw(5)).toString('latin1') !== 'PGDMP') throw malformed('it does not begin with PGDMP, so it is no archive of pg_dump', 0)
  const version = [cursor.byte(), cursor.byte(), cursor.byte()] as const
  const [major, minor] = version
  if (major !== 1 || minor < 12 || minor > 16) {
    throw new Failure('integrity', `the archive has format ${version.join('.')}; this version reads 1.12 to 1.16 (pg_dump 9.0 to 18)`, {
      hints: ['update Tidemark, or restore it with the pg_restore that belongs to it'],
      details: { version: version.join('.') },
    })
  }
  const intSize = cursor.byte()
  if (intSize !== 4 && intSize !== 8) throw malformed(`its numbers have ${intSize} bytes`, cursor.position())
  cursor.useIntSize(intSize)
  const offsetSize = cursor.byte()
  if (offsetSize < 1 || offsetSize > 16) throw malformed(`its offsets have ${offsetSize} bytes`, cursor.position())
  const format = formats[cursor.byte()]
  if (format === undefined) throw malformed('it has an unknown archive format', cursor.position())
  const compression = readCompression(cursor, minor)
  // Time of creation: second, minute, hour, day, month, year, daylight saving; in an unnamed zone, so of no use.
  for (let field = 0; field < 7; field++) cursor.int()
  const text = textDecoder('UTF8')
  const [database, serverVersion, dumpVersion] = [cursor.string(), cursor.string(), cursor.string()].map((bytes) => (bytes === null ? '' : text(bytes))) as [
    string,
    string,
    string,
  ]
  return { version, intSize, offsetSize, format, compression, database, serverVersion, dumpVersion }
}

/** From 1.15 on the method's number; before, zlib's level, 0 for none and −1 for zlib's default. */
function readCompression(cursor: ArchiveCursor, minor: number): ArchiveHeader['compression'] {
  if (minor < 15) {
    const level = cursor.int()
    if (level < -1 || level > 9) throw malformed(`it has compression level ${level}`, cursor.position())
    return level === 0 ? 'none' : 'gzip'
  }
  const method = methods[cursor.byte()]
  if (method === undefined) throw malformed('it has an unknown compression method', cursor.position())
  return method
}

interface EntryReading {
  readonly header: Omit<ArchiveHeader, 'encoding'>
  readonly decode: DecodeText
  readonly keepAll: boolean
  readonly offset: number
}

/** The order of the fields is that of `WriteToc` in pg_backup_archiver.c. */
function readEntry(cursor: ArchiveCursor, reading: EntryReading): TocEntry {
  const { header, decode, offset } = reading
  const minor = header.version[1]
  const decoded = (bytes: Uint8Array) => {
    // No name or statement can hold it, and everything that reads these texts later would stop there.
    if (bytes.includes(0)) throw malformed('a text in its table of contents holds a NUL byte', offset)
    return decode(bytes)
  }
  const text = () => {
    const bytes = cursor.string()
    return bytes === null ? null : decoded(bytes)
  }
  const dumpId = cursor.int()
  if (dumpId <= 0) throw malformed('an entry of its table of contents has no valid number', offset)
  const dumper = cursor.int()
  if (dumper !== 0 && dumper !== 1) throw malformed(`entry ${dumpId} does not say whether it has data`, offset)
  const hadData = dumper === 1
  const tableOid = oidOf(text(), offset)
  const oid = oidOf(text(), offset)
  const tag = text() ?? ''
  const desc = text()
  if (desc === null || desc === '') throw malformed(`entry ${dumpId} does not say what it is`, offset)
  const section = sections[cursor.int() as 1 | 2 | 3 | 4]
  if (section === undefined) throw malformed(`entry ${dumpId} is in no known section`, offset)
  const definitionBytes = cursor.string()
  const definition = definitionBytes !== null && (reading.keepAll || neededDefinitions.has(desc)) ? decoded(definitionBytes) : null
  const dropBytes = cursor.string()
  const dropStatement = dropBytes !== null && reading.keepAll ? decoded(dropBytes) : null
  const copyStatement = text()
  const namespace = text()
  const tablespace = text()
  const tableAccessMethod = minor >= 14 ? text() : null
  const relkindCode = minor >= 16 ? cursor.int() : 0
  const owner = text()
  if (text() === null) throw malformed(`entry ${dumpId} is not complete`, offset)
  const dependencies: number[] = []
  for (let dependency = text(); dependency !== null; dependency = text()) dependencies.push(dumpIdOf(dependency, offset))
  const relkind = relkindCode > 32 && relkindCode < 127 ? String.fromCharCode(relkindCode) : null
  const facts = {
    dumpId,
    hadData,
    tableOid,
    oid,
    tag,
    desc,
    section,
    definition,
    dropStatement,
    copyStatement,
    namespace,
    tablespace,
    tableAccessMethod,
    relkind,
    owner,
    dependencies,
  }
  if (header.format !== 'custom') {
    const fileName = text()
    return { ...facts, dataOffset: null, dataOffsetAt: null, fileName: fileName === '' ? null : fileName }
  }
  const dataOffsetAt = offset + cursor.position()
  return { ...facts, dataOffset: readDataOffset(cursor, { header, dumpId, hadData, offset }), dataOffsetAt, fileName: null }
}

/** `K_OFFSET_POS_SET` in pg_backup_archiver.h: what follows is the offset, least significant byte first. */
export const offsetIsSet = 2

/** `WriteOffset`: 1 = not set, 2 = set, 3 = no data; then the offset. */
function readDataOffset(
  cursor: ArchiveCursor,
  entry: { header: Omit<ArchiveHeader, 'encoding'>; dumpId: number; hadData: boolean; offset: number },
): number | null {
  const state = cursor.byte()
  if (state < 1 || state > 3 || (state === 3) === entry.hadData) throw malformed(`entry ${entry.dumpId} contradicts itself about its data`, entry.offset)
  const value = cursor.unsigned(entry.header.offsetSize)
  return state === offsetIsSet ? value : null
}

function oidOf(text: string | null, offset: number): number {
  if (text === null || !/^\d{1,10}$/.test(text) || Number(text) > 0xffffffff) throw malformed('an entry of its table of contents has no valid OID', offset)
  return Number(text)
}

function dumpIdOf(text: string, offset: number): number {
  if (!/^\d{1,10}$/.test(text)) throw malformed('an entry of its table of contents has an invalid dependency', offset)
  return Number(text)
}

/** The value of an entry like `SET client_encoding = 'UTF8';`. */
function settingOf(entry: TocEntry): string | undefined {
  return /^SET \w+ = '([^']*)'/.exec(entry.definition ?? '')?.[1]
}

/** Reads the whole table of contents from a source that may go on after it. */
export async function readToc(source: AsyncIterable<Uint8Array>, options: TocOptions = {}): Promise<ArchiveToc> {
  const reader = createTocReader(options)
  for await (const chunk of source) if (reader.push(chunk) !== null) break
  return reader.end()
}
