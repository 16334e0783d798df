import { Failure } from '../kernel/failure.ts'
import { formatLsn } from './lsn.ts'

/** One file of `pg_wal`: WAL from `number × walSegmentBytes` on, as the timeline has it. */
export interface WalSegment {
  readonly timeline: number
  /** Counted from the beginning of the WAL; the first that a server ever fills is 1. */
  readonly number: number
}

/** The file name: timeline, then the segment's place in two parts of 32 bits, eight hexadecimal digits each. */
export function walSegmentName({ timeline, number }: WalSegment, walSegmentBytes: number): string {
  const perUpper = segmentsPerUpper(walSegmentBytes)
  return [timeline, Math.floor(number / perUpper), number % perUpper].map((part) => part.toString(16).toUpperCase().padStart(8, '0')).join('')
}

/** The segment of this file name, or null when it is none: histories, `.partial`, and places that do not exist with this segment size. */
export function parseWalSegmentName(name: string, walSegmentBytes: number): WalSegment | null {
  if (!/^[0-9A-F]{24}$/.test(name)) return null
  const [timeline, upper, lower] = [0, 8, 16].map((start) => Number.parseInt(name.slice(start, start + 8), 16)) as [number, number, number]
  const perUpper = segmentsPerUpper(walSegmentBytes)
  return timeline === 0 || lower >= perUpper ? null : { timeline, number: upper * perUpper + lower }
}

/** Where the WAL of this segment begins. */
export function walSegmentStart(number: number, walSegmentBytes: number): bigint {
  return BigInt(number) * BigInt(walSegmentBytes)
}

/** The segment that holds the byte at `lsn`. */
export function walSegmentNumber(lsn: bigint, walSegmentBytes: number): number {
  return Number(lsn / BigInt(walSegmentBytes))
}

export interface WalSpan {
  readonly timeline: number
  /** First byte. */
  readonly from: bigint
  /** The byte after the last: at the border of two segments only the one before it is needed. */
  readonly to: bigint
}

/** Names of the segments that hold the WAL of a span, in order; none for an empty one. */
export function* walSegmentNames({ timeline, from, to }: WalSpan, walSegmentBytes: number): Generator<string, void, undefined> {
  if (to < from) throw new RangeError(`WAL from ${formatLsn(from)} to ${formatLsn(to)} runs backwards`)
  if (to === from) return
  const last = walSegmentNumber(to - 1n, walSegmentBytes)
  for (let number = walSegmentNumber(from, walSegmentBytes); number <= last; number += 1) yield walSegmentName({ timeline, number }, walSegmentBytes)
}

/** Bytes at the beginning of a segment that `requireWalSegment` looks at. */
export const walSegmentHeaderBytes = 40

/** `XLOG_PAGE_MAGIC` of each major. */
const pageMagics: ReadonlyMap<number, number> = new Map([
  [13, 0xd106],
  [14, 0xd10d],
  [15, 0xd110],
  [16, 0xd113],
  [17, 0xd116],
  [18, 0xd118],
])

export interface WalSegmentIdentity {
  readonly name: string
  readonly major: number
  readonly systemIdentifier: string
  readonly walSegmentBytes: number
}

/**
 * Throws `integrity` unless the first page of the segment says that it is what its name says, of this cluster: magic, flag of the long header,
 * timeline, address, system identifier, segment size (`XLogLongPageHeaderData` at 0, 2, 4, 8, 24, 32). A file that the server reserved and
 * never filled, or one of another cluster, does not pass. The records behind are not looked at.
 */
export function requireWalSegment(beginning: Uint8Array, { name, major, systemIdentifier, walSegmentBytes }: WalSegmentIdentity): void {
  const refuse = (why: string) => new Failure('integrity', `the WAL segment ${name} is not what it should be: ${why}`)
  const segment = parseWalSegmentName(name, walSegmentBytes)
  if (segment === null) throw refuse(`there is no segment of that name where segments have ${walSegmentBytes} bytes`)
  if (beginning.length < walSegmentHeaderBytes) throw refuse(`it has only ${beginning.length} bytes`)
  const magic = pageMagics.get(major)
  if (magic === undefined) throw refuse(`the WAL of PostgreSQL ${major} is not known`)

  const header = new DataView(beginning.buffer, beginning.byteOffset, walSegmentHeaderBytes)
  const found = header.getUint16(0, true)
  if (found !== magic) throw refuse(`it begins with 0x${found.toString(16)}, WAL of PostgreSQL ${major} with 0x${magic.toString(16)}`)
  if ((header.getUint16(2, true) & 2) === 0) throw refuse('its first page has no long header')
  const address = header.getBigUint64(8, true)
  const start = walSegmentStart(segment.number, walSegmentBytes)
  if (address !== start) throw refuse(`it holds the WAL from ${formatLsn(address)} on, not from ${formatLsn(start)}`)
  // A timeline begins with a copy of the pages before it, which keep the number of theirs.
  const timeline = header.getUint32(4, true)
  if (timeline === 0 || timeline > segment.timeline) throw refuse(`it is of timeline ${timeline}`)
  const system = String(header.getBigUint64(24, true))
  if (system !== systemIdentifier) throw refuse(`it is of the cluster ${system}, not of ${systemIdentifier}`)
  const size = header.getUint32(32, true)
  if (size !== walSegmentBytes) throw refuse(`it says that segments have ${size} bytes, not ${walSegmentBytes}`)
}

function segmentsPerUpper(walSegmentBytes: number): number {
  return 2 ** 32 / walSegmentBytes
}
