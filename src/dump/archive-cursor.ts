import { malformed } from './faults.ts'

/** More than any definition that a server can send (1 GB is its limit for one value; pg_dump's are far smaller). */
const stringLimitBytes = 256 * 1024 * 1024

/** Thrown by a cursor that stands at the end of what has come so far; the reader tries again when more has come. */
export class Shortage extends Error {
  readonly neededBytes: number

  constructor(neededBytes: number) {
    super(`${neededBytes} bytes are needed`)
    this.neededBytes = neededBytes
  }
}

/**
 * Reads the primitive values of pg_dump's archives (`ReadInt`, `ReadStr`, `ReadOffset` in pg_backup_archiver.c) from bytes
 * that may not all have come yet: then a Shortage says how many are needed from the start of `bytes`.
 * No length is trusted before the bytes are there, so nothing is allocated from a forged one.
 */
export interface ArchiveCursor {
  /** Position in `bytes`. */
  position(): number
  byte(): number
  /** A sign byte and `intSize` bytes, least significant first. */
  int(): number
  /** Bytes of a string, or null where pg_dump wrote NULL (length −1). */
  string(): Uint8Array | null
  raw(length: number): Uint8Array
  /** Of `size` bytes, least significant first. */
  unsigned(size: number): number
  useIntSize(size: number): void
}

export interface CursorOrigin {
  /** Where `bytes` begins in the dump, for messages. */
  readonly offset: number
  readonly intSize: number
}

export function archiveCursor(bytes: Uint8Array, origin: CursorOrigin): ArchiveCursor {
  let at = 0
  let intSize = origin.intSize
  const where = () => origin.offset + at

  const raw = (length: number): Uint8Array => {
    if (at + length > bytes.length) throw new Shortage(at + length)
    at += length
    return bytes.subarray(at - length, at)
  }
  const byte = () => raw(1)[0] as number
  const unsigned = (size: number): number => {
    const parts = raw(size)
    let value = 0
    for (let index = size - 1; index >= 0; index--) value = value * 256 + (parts[index] as number)
    if (value > Number.MAX_SAFE_INTEGER) throw malformed('a number in its table of contents is too large', where())
    return value
  }
  const int = (): number => {
    const sign = byte()
    if (sign > 1) throw malformed('a number in its table of contents has no valid sign', where())
    const value = unsigned(intSize)
    return sign === 1 ? -value : value
  }
  return {
    position: () => at,
    byte,
    int,
    raw,
    unsigned,
    string: () => {
      const length = int()
      if (length < 0) return null
      if (length > stringLimitBytes) throw malformed(`a text of ${length} bytes in its table of contents is not believable`, where())
      return raw(length)
    },
    useIntSize: (size) => {
      intSize = size
    },
  }
}
