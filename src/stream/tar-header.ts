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

export interface TarHeaderOptions extends Omit<TarHeader, 'linkTarget' | 'type'> {
  readonly type: '0' | '5'
  /** Seconds since 1970; default 0. */
  readonly modifiedSeconds?: number
  /** Name of user and group: who unpacks as root gives the file to that account, where there is one. */
  readonly owner?: string
}

/** What `readTarHeader` reads. Throws a RangeError for a path that no such header can hold (`isTarPath`). */
export function encodeTarHeader({ path, type, sizeBytes, mode, modifiedSeconds = 0, owner = '' }: TarHeaderOptions): Buffer {
  const split = splitPath(path)
  if (split === null) throw new RangeError(`tar cannot hold the path ${path.toString()}`)
  const header = Buffer.alloc(tarBlockBytes)
  split.name.copy(header, 0)
  header.write(octalText(mode, 7), 100, 'latin1')
  header.write(octalText(0, 7), 108, 'latin1')
  header.write(octalText(0, 7), 116, 'latin1')
  if (sizeBytes <= largestOctal) header.write(octalText(sizeBytes, 11), 124, 'latin1')
  else {
    header.writeUInt8(0x80, 124)
    header.writeBigUInt64BE(BigInt(sizeBytes), 128)
  }
  header.write(octalText(modifiedSeconds, 11), 136, 'latin1')
  header.write(type, 156, 'latin1')
  header.write('ustar\x0000', 257, 'latin1')
  header.write(owner, 265, 31, 'latin1')
  header.write(owner, 297, 31, 'latin1')
  split.prefix.copy(header, 345)
  header.write(`${octalText(tarChecksum(header), 6)} `, 148, 'latin1')
  return header
}

/** Two blocks of zeros. */
export const tarEnd: Buffer = Buffer.alloc(2 * tarBlockBytes)

/** Whether a header can name it: up to 99 bytes, or up to 254 with a slash at the right place. */
export function isTarPath(path: Buffer): boolean {
  return splitPath(path) !== null
}

const largestOctal = 0o77777777777
/** One byte less than there is room for: some readers, PostgreSQL's among them, want a NUL behind the name. */
const longestName = 99
const longestPrefix = 154

function splitPath(path: Buffer): { readonly prefix: Buffer; readonly name: Buffer } | null {
  if (path.length <= longestName) return { prefix: Buffer.alloc(0), name: path }
  const slash = path.subarray(0, longestPrefix + 1).lastIndexOf(0x2f)
  const name = path.subarray(slash + 1)
  // Where the prefix ends there is one slash that is written nowhere.
  return slash < 1 || name.length === 0 || name.length > longestName ? null : { prefix: path.subarray(0, slash), name }
}

function octalText(value: number, digits: number): string {
  return `${value.toString(8).padStart(digits, '0')}\0`
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
