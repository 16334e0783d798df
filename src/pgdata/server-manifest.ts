import { isUtf8 } from 'node:buffer'
import { createHash } from 'node:crypto'
import { Failure } from '../kernel/failure.ts'
import { isInnerPath, pathFromBytes, readablePath } from './file-path.ts'
import { parseLsn } from './lsn.ts'

/** A file of a base backup as PostgreSQL's `backup_manifest` lists it. */
export interface ManifestFile {
  /** Relative to the data directory; see `file-path.ts`. */
  readonly path: string
  readonly sizeBytes: number
  /** As it stands there: `2026-11-21 19:48:43 GMT`. */
  readonly lastModified: string
  /** Null with `MANIFEST_CHECKSUMS 'NONE'`. `hex` is PostgreSQL's: CRC32C in the byte order of the machine, see `crc32cHex`. */
  readonly checksum: { readonly algorithm: ChecksumAlgorithm; readonly hex: string } | null
}

export type ChecksumAlgorithm = 'CRC32C' | 'SHA224' | 'SHA256' | 'SHA384' | 'SHA512'

export interface WalRange {
  readonly timeline: number
  readonly startLsn: bigint
  readonly endLsn: bigint
}

/** A manifest without its files. */
export interface ManifestFrame {
  /** 1 from servers 13 to 16, 2 from 17 on. */
  readonly version: 1 | 2
  /** In decimal; null in version 1. */
  readonly systemIdentifier: string | null
  readonly walRanges: readonly WalRange[]
}

export interface ServerManifestReader {
  /** The next bytes, cut anywhere. Throws `integrity`. */
  write(chunk: Uint8Array): void
  /** Throws `integrity` when the manifest is cut or its own checksum is wrong. Believe nothing of it before. */
  finish(): ManifestFrame
}

/** Reads a manifest as it comes in and keeps nothing: `onFile` is told of every file, in order (whether one comes twice is for it to notice). */
export function createServerManifestReader(onFile: (file: ManifestFile) => void): ServerManifestReader {
  const hash = createHash('sha256')
  let rest = Buffer.alloc(0)
  let version: 1 | 2 | undefined
  let systemIdentifier: string | null = null
  const walRanges: WalRange[] = []

  type Expectation = (line: string) => Expectation
  const beginning: Expectation = (line) => {
    version = matched(grammar.version, line)[1] === '1' ? 1 : 2
    return version === 1 ? filesBegin : identifier
  }
  const identifier: Expectation = (line) => {
    systemIdentifier = String(matched(grammar.systemIdentifier, line)[1])
    return filesBegin
  }
  const filesBegin: Expectation = (line) => literal('"Files": [', line, file)
  const file: Expectation = (line) => {
    const match = matched(grammar.file, line)
    onFile(fileOf(match))
    return match.at(-1) === ',' ? file : filesEnd
  }
  const filesEnd: Expectation = (line) => literal('],', line, rangesBegin)
  const rangesBegin: Expectation = (line) => literal('"WAL-Ranges": [', line, range)
  const range: Expectation = (line) => {
    const match = matched(grammar.walRange, line)
    walRanges.push(rangeOf(match))
    return match.at(-1) === ',' ? range : rangesEnd
  }
  const rangesEnd: Expectation = (line) => literal('],', line, checksum)
  const checksum: Expectation = (line) => {
    if (matched(grammar.checksum, line)[1] !== hash.copy().digest('hex')) throw unreadable('its own checksum is wrong')
    return ended
  }
  const ended: Expectation = () => {
    throw unreadable('there is something behind its end')
  }

  let expected = beginning
  const takeLine = (line: Buffer) => {
    if (!isUtf8(line)) throw unreadable('a line is not UTF-8')
    expected = expected(line.toString('utf8', 0, line.length - 1))
    hash.update(line)
  }
  return {
    write(chunk) {
      const bytes = rest.length === 0 ? Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length) : Buffer.concat([rest, chunk])
      let start = 0
      for (let end = bytes.indexOf(10); end !== -1; end = bytes.indexOf(10, start)) {
        takeLine(bytes.subarray(start, end + 1))
        start = end + 1
      }
      if (bytes.length - start > longestLine) throw unreadable('a line is too long')
      rest = Buffer.from(bytes.subarray(start))
    },
    finish() {
      if (expected !== ended || rest.length > 0 || version === undefined) throw unreadable('it is cut')
      return { version, systemIdentifier, walRanges }
    },
  }
}

const digestBytes: ReadonlyMap<string, number> = new Map<ChecksumAlgorithm, number>([
  ['CRC32C', 4],
  ['SHA224', 28],
  ['SHA256', 32],
  ['SHA384', 48],
  ['SHA512', 64],
])

/** Paths have at most 1,024 bytes (`MAXPGPATH`), which may be written as six characters each. */
const longestLine = 16_384

/** The lines that a server or pg_combinebackup writes, and nothing else (`backup_manifest.c`, `write_manifest.c`). */
const grammar = {
  version: /^\{ "PostgreSQL-Backup-Manifest-Version": ([12]),$/,
  systemIdentifier: /^"System-Identifier": (\d{1,20}),$/,
  file: /^\{ (?:"Path": ("(?:[^"\\]|\\.)+")|"Encoded-Path": "((?:[0-9a-f]{2})+)"), "Size": (\d{1,15}), "Last-Modified": "([^"\\]*)"(?:, "Checksum-Algorithm": "(\w+)", "Checksum": "([0-9a-f]*)")? \}(,?)$/,
  walRange: /^\{ "Timeline": (\d{1,10}), "Start-LSN": "([0-9A-F/]+)", "End-LSN": "([0-9A-F/]+)" \}(,?)$/,
  checksum: /^"Manifest-Checksum": "([0-9a-f]{64})"\}$/,
}

function matched(pattern: RegExp, line: string): RegExpExecArray {
  const match = pattern.exec(line)
  if (match === null) throw unreadable(`this line should not be there: ${line.length > 300 ? `${line.slice(0, 300)}…` : line}`)
  return match
}

function literal<T>(text: string, line: string, next: T): T {
  if (line !== text) throw unreadable(`expected the line ${text}, found ${JSON.stringify(line.slice(0, 300))}`)
  return next
}

function fileOf([, plain, encoded, size, lastModified = '', algorithm, hex = '']: RegExpExecArray): ManifestFile {
  const path = plain === undefined ? pathFromBytes(Buffer.from(encoded ?? '', 'hex')) : pathIn(plain)
  if (!isInnerPath(path)) throw unreadable(`it lists a path that leads outside or is none: ${JSON.stringify(readablePath(path))}`)
  const known = { path, sizeBytes: Number(size), lastModified }
  if (algorithm === undefined) return { ...known, checksum: null }
  if (hex.length / 2 !== digestBytes.get(algorithm)) throw unreadable(`the ${algorithm} checksum of ${readablePath(path)} cannot be read`)
  return { ...known, checksum: { algorithm: algorithm as ChecksumAlgorithm, hex } }
}

function pathIn(quoted: string): string {
  const path = parsedOrNull(quoted)
  if (typeof path !== 'string' || !path.isWellFormed()) throw unreadable(`it lists a path that cannot be read: ${quoted}`)
  return pathFromBytes(Buffer.from(path))
}

function parsedOrNull(json: string): unknown {
  try {
    return JSON.parse(json)
  } catch {
    // What the parser says names no line of the manifest; whoever asked names it.
    return null
  }
}

function rangeOf([, timeline, start = '', end = '']: RegExpExecArray): WalRange {
  const range = { timeline: Number(timeline), startLsn: parseLsn(start), endLsn: parseLsn(end) }
  if (range.timeline === 0 || range.endLsn < range.startLsn) throw unreadable(`it needs WAL from ${start} to ${end} of timeline ${timeline}`)
  return range
}

function unreadable(why: string): Failure {
  return new Failure('integrity', `cannot read the server's backup manifest: ${why}`)
}
