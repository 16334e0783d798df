/**
 * One header of tar: 512 bytes as POSIX.1-1988 (ustar) lays them out, sizes from 8 GiB on in binary as GNU tar, busybox and PostgreSQL write
 * them. Fields: 0 name, 100 mode, 108 owner, 116 group, 124 size, 136 time, 148 checksum, 156 type, 157 link, 257 `ustar`, 345 prefix of the name.
 */
export const tarBlockBytes = 512

/** The stream was cut or is no tar; why is known to whoever made it. */
export class BrokenTar extends Error {
  constructor(why: string) {
    super(`the tar stream is broken: ${why}`)
  }
}

/** What the header says, nothing of it judged. */
export interface TarHeader {
  readonly path: Buffer
  /** `0` file, `1` hard link, `2` symbolic link, `5` directory and so on; `0` also where an old tar wrote NUL. */
  readonly type: string
  readonly sizeBytes: number
  /** Permission bits. */
  readonly mode: number
  readonly linkTarget: Buffer
}

/** Throws BrokenTar when the checksum is wrong or a number cannot be read. */
export function readTarHeader(block: Buffer): TarHeader {
  if (octal(block, 148, 8) !== tarChecksum(block)) throw new BrokenTar('a header has a wrong checksum')
  const name = field(block, 0, 100)
  // Other dialects (GNU's `ustar` is followed by a space) keep other things there.
  const prefix = field(block, 257, 6).toString('latin1') === 'ustar' ? field(block, 345, 155) : Buffer.alloc(0)
  const path = prefix.length === 0 ? name : Buffer.concat([prefix, Buffer.from('/'), name])
  const sizeBytes = sizeIn(block)
  if (!Number.isSafeInteger(sizeBytes)) throw new BrokenTar(`the size of ${path.toString()} cannot be read`)
  const mode = octal(block, 100, 8)
  if (Number.isNaN(mode)) throw new BrokenTar(`the permissions of ${path.toString()} cannot be read`)
  const type = block[156] === 0 ? '0' : String.fromCharCode(block[156] ?? 0)
  return { path, type, sizeBytes, mode: mode & 0o7777, linkTarget: field(block, 157, 100) }
}

/** The sum of all bytes, those of the checksum itself counted as spaces. */
export function tarChecksum(header: Buffer): number {
  let sum = 0
  for (let index = 0; index < tarBlockBytes; index += 1) sum += index >= 148 && index < 156 ? 0x20 : (header[index] ?? 0)
  return sum
}

/** Bytes that fill up the last block of a content. */
export function tarPadding(sizeBytes: number): number {
  return (tarBlockBytes - (sizeBytes % tarBlockBytes)) % tarBlockBytes
}

/** Octal digits, or one byte 0x80 and a big-endian number. */
function sizeIn(block: Buffer): number {
  const binary = block.readUInt32BE(124)
  return binary === 0x80000000 ? Number(block.readBigUInt64BE(128)) : octal(block, 124, 12)
}

function octal(block: Buffer, offset: number, length: number): number {
  const digits = field(block, offset, length).toString('latin1').trim()
  return /^[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : Number.NaN
}

function field(block: Buffer, offset: number, length: number): Buffer {
  const bytes = block.subarray(offset, offset + length)
  const end = bytes.indexOf(0)
  // A copy: the block is used again for the next header.
  return Buffer.from(bytes.subarray(0, end === -1 ? length : end))
}
