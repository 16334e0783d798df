import { Failure } from '../kernel/failure.ts'
import { BrokenTar, encodeTarHeader, readTarHeader, tarBlockBytes, tarEnd, tarPadding } from '../stream/tar-header.ts'

/**
 * As much of tar as it takes to pass plain files through a pipe: headers of 512 bytes, contents filled up to the next 512, and at the end
 * two blocks of zeros. Names are plain file names, below 100 bytes. Anything else is refused, for whatever it is, we did not ask for it.
 */
export interface TarFile {
  readonly name: string
  readonly sizeBytes: number
  readonly body: AsyncIterable<Uint8Array>
}

/** Reads a tar stream to its end and hands every file over, which must read its body to the end. Rejects with BrokenTar when the stream is cut or is no tar. */
export async function readTar(source: AsyncIterable<Uint8Array>, onFile: (file: TarFile) => Promise<void>): Promise<void> {
  const input = pieces(source)
  for (let zeroBlocks = 0; zeroBlocks < 2;) {
    const block = await input.exactly(tarBlockBytes)
    if (block.every((byte) => byte === 0)) {
      zeroBlocks += 1
      continue
    }
    if (zeroBlocks > 0) throw new BrokenTar('there is a file after its end')
    const header = parsePlainHeader(block)
    if (header.kind === 'directory') continue
    await onFile({ name: header.name, sizeBytes: header.sizeBytes, body: input.next(header.sizeBytes) })
    await input.exactly(tarPadding(header.sizeBytes))
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
    yield Buffer.alloc(tarPadding(sizeBytes))
  }
  yield tarEnd
}

export function tarHeader(name: string, sizeBytes: number): Buffer {
  if (!isPlainName(name)) throw new Error(`not a plain file name: ${name}`)
  return encodeTarHeader({ path: Buffer.from(name, 'latin1'), type: '0', sizeBytes, mode: 0o600 })
}

export function parsePlainHeader(block: Buffer): { readonly name: string; readonly sizeBytes: number; readonly kind: 'file' | 'directory' } {
  const { path, type, sizeBytes } = readTarHeader(block)
  const name = path.toString('latin1').replace(/^\.\//, '')
  if (type === '5') return { name, sizeBytes: 0, kind: 'directory' }
  if (type !== '0') throw new BrokenTar(`it holds something that is no plain file: ${name}`)
  if (name.includes('/')) throw new BrokenTar(`a file lies in a folder: ${name}`)
  if (!isPlainName(name)) throw new BrokenTar(`a file has a strange name: ${name}`)
  return { name, sizeBytes, kind: 'file' }
}

/** What may be a file's name on both sides; all that pg_dump writes is. */
export function isPlainName(name: string): boolean {
  return /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,98}$/.test(name)
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
      if (rest.length === 0 && !(await more())) throw new BrokenTar('it ends too early')
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
