import { Failure } from '../kernel/failure.ts'

/**
 * As much of tar as it takes to pass plain files through a pipe: headers of 512 bytes, contents filled up to the next 512, and at the end
 * two blocks of zeros (POSIX.1-1988 ustar; sizes from 8 GiB on in binary, as GNU tar and busybox write and read them). Names are
 * plain file names, below 100 bytes. Anything else is refused, for whatever it is, we did not ask for it.
 */
const blockBytes = 512
const largestOctal = 0o77777777777

/** The stream was cut or is no tar; why is known to whoever made it. */
export class BrokenTar extends Error {}

export interface TarFile {
  readonly name: string
  readonly sizeBytes: number
  readonly body: AsyncIterable<Uint8Array>
}

/** Reads a tar stream to its end and hands every file over, which must read its body to the end. Rejects with BrokenTar when the stream is cut or is no tar. */
export async function readTar(source: AsyncIterable<Uint8Array>, onFile: (file: TarFile) => Promise<void>): Promise<void> {
  const input = pieces(source)
  for (let zeroBlocks = 0; zeroBlocks < 2;) {
    const block = await input.exactly(blockBytes)
    if (block.every((byte) => byte === 0)) {
      zeroBlocks += 1
      continue
    }
    if (zeroBlocks > 0) throw broken('there is a file after its end')
    const header = parseTarHeader(block)
    if (header.kind === 'directory') continue
    await onFile({ name: header.name, sizeBytes: header.sizeBytes, body: input.next(header.sizeBytes) })
    await input.exactly(paddingAfter(header.sizeBytes))
  }
  // What follows only fills up the last record.
  await input.drain()
}

/** The tar stream of these files. Rejects when a body has not exactly its size: whoever unpacks it would take the next header for content. */
export async function* writeTar(files: Iterable<TarFile> | AsyncIterable<TarFile>): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const { name, sizeBytes, body } of files) {
    yield tarHeader(name, sizeBytes)
    let written = 0
    for await (const chunk of body) {
      written += chunk.length
      if (written > sizeBytes) break
      yield chunk
    }
    if (written !== sizeBytes) throw new Failure('integrity', `${name} changed while it was read: it had ${sizeBytes} bytes`)
    yield Buffer.alloc(paddingAfter(sizeBytes))
  }
  yield Buffer.alloc(2 * blockBytes)
}

/** Fields at 0 name, 100 mode, 108 owner, 116 group, 124 size, 136 time, 148 checksum, 156 type, 257 `ustar` and version. */
export function tarHeader(name: string, sizeBytes: number): Buffer {
  if (!isPlainName(name)) throw new Error(`not a plain file name: ${name}`)
  const header = Buffer.alloc(blockBytes)
  header.write(name, 0, 'latin1')
  header.write('0000600\0', 100, 'latin1')
  header.write('0000000\0', 108, 'latin1')
  header.write('0000000\0', 116, 'latin1')
  if (sizeBytes <= largestOctal) header.write(`${sizeBytes.toString(8).padStart(11, '0')}\0`, 124, 'latin1')
  else {
    header.writeUInt8(0x80, 124)
    header.writeBigUInt64BE(BigInt(sizeBytes), 128)
  }
  header.write('00000000000\0', 136, 'latin1')
  header.write('0', 156, 'latin1')
  header.write('ustar\x0000', 257, 'latin1')
  header.write(`${checksumOf(header).toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return header
}

export function parseTarHeader(block: Buffer): { readonly name: string; readonly sizeBytes: number; readonly kind: 'file' | 'directory' } {
  if (octal(block, 148, 8) !== checksumOf(block)) throw broken('a header has a wrong checksum')
  const type = String.fromCharCode(block[156] ?? 0)
  const name = text(block, 0, 100).replace(/^\.\//, '')
  if (type === '5') return { name, sizeBytes: 0, kind: 'directory' }
  if (type !== '0' && type !== '\0') throw broken(`it holds something that is no plain file: ${name}`)
  if (text(block, 345, 155) !== '' && text(block, 257, 6) === 'ustar') throw broken(`a file lies in a folder: ${name}`)
  if (!isPlainName(name)) throw broken(`a file has a strange name: ${name}`)
  const sizeBytes = ((block[124] ?? 0) & 0x80) === 0 ? octal(block, 124, 12) : Number(block.readBigUInt64BE(128))
  if (!Number.isSafeInteger(sizeBytes)) throw broken(`the size of ${name} cannot be read`)
  return { name, sizeBytes, kind: 'file' }
}

/** What may be a file's name on both sides; all that pg_dump writes is. */
export function isPlainName(name: string): boolean {
  return /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,98}$/.test(name)
}

/** The sum of all bytes, those of the checksum itself counted as spaces. */
function checksumOf(header: Buffer): number {
  let sum = 0
  for (let index = 0; index < blockBytes; index += 1) sum += index >= 148 && index < 156 ? 0x20 : (header[index] ?? 0)
  return sum
}

function octal(block: Buffer, offset: number, length: number): number {
  const digits = text(block, offset, length).trim()
  return /^[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : Number.NaN
}

function text(block: Buffer, offset: number, length: number): string {
  const field = block.subarray(offset, offset + length)
  const end = field.indexOf(0)
  return field.subarray(0, end === -1 ? length : end).toString('latin1')
}

function paddingAfter(sizeBytes: number): number {
  return (blockBytes - (sizeBytes % blockBytes)) % blockBytes
}

interface Pieces {
  exactly(bytes: number): Promise<Buffer>
  next(bytes: number): AsyncGenerator<Uint8Array, void, undefined>
  drain(): Promise<void>
}

function pieces(source: AsyncIterable<Uint8Array>): Pieces {
  const chunks = source[Symbol.asyncIterator]()
  let rest: Uint8Array = new Uint8Array(0)
  const more = async (): Promise<boolean> => {
    const step = await chunks.next()
    if (step.done === true) return false
    rest = step.value
    return true
  }
  const next = async function* (bytes: number): AsyncGenerator<Uint8Array, void, undefined> {
    for (let left = bytes; left > 0;) {
      if (rest.length === 0 && !(await more())) throw broken('it ends too early')
      const piece = rest.subarray(0, left)
      rest = rest.subarray(piece.length)
      left -= piece.length
      if (piece.length > 0) yield piece
    }
  }
  return {
    next,
    exactly: async (bytes) => {
      const parts: Uint8Array[] = []
      for await (const part of next(bytes)) parts.push(part)
      return Buffer.concat(parts)
    },
    drain: async () => {
      while (await more());
    },
  }
}

function broken(why: string): BrokenTar {
  return new BrokenTar(`the tar stream is broken: ${why}`)
}
