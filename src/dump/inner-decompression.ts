import { constants, createGunzip, createInflate, createZstdDecompress, inflateSync, zstdDecompressSync } from 'node:zlib'
import { systemCodeOf } from '../kernel/failure.ts'

export type InnerMethod = 'zlib' | 'gzip' | 'zstd'

/** Most bytes that `decompressSmall` gives back; more is a case for the streaming form. */
const smallOutputBytes = 32 * 1024 * 1024
const outputPieceBytes = 128 * 1024

export interface Decompressor {
  /** Takes a piece; the bytes must stay unchanged until `settled` resolves. */
  push(piece: Uint8Array): void
  /** The compressed data is complete. Resolves when the last byte was given on; rejects when it is cut, damaged or followed by other bytes. */
  end(): Promise<void>
  /** Resolves when everything pushed so far was decompressed; rejects as `end` does. */
  settled(): Promise<void>
}

/** Decompresses a stream in bounded memory; the bytes go to `onBytes` as they come. */
export function createDecompressor(method: InnerMethod, onBytes: (piece: Uint8Array) => void): Decompressor {
  const options = { chunkSize: outputPieceBytes }
  const stream = method === 'zlib' ? createInflate(options) : method === 'gzip' ? createGunzip(options) : createZstdDecompress(options)
  const whole = Promise.withResolvers<void>()
  // Whoever waits gets the error from `settled` or `end`; a rejection before anybody waits must not end the process.
  whole.promise.catch(() => undefined)
  let pushedBytes = 0
  let last: Promise<void> = Promise.resolve()
  stream.on('data', (piece: Uint8Array) => {
    try {
      onBytes(piece)
    } catch (error) {
      stream.destroy(error instanceof Error ? error : new Error(String(error)))
    }
  })
  stream.on('error', (error) => whole.reject(error))
  stream.on('end', () => {
    const consumed = stream.bytesWritten
    if (consumed === pushedBytes) whole.resolve()
    else whole.reject(new Error(`${pushedBytes - consumed} bytes follow the end of the compressed data`))
  })
  return {
    push: (piece) => {
      pushedBytes += piece.length
      last = new Promise((resolve) => stream.write(piece, () => resolve()))
    },
    settled: () => Promise.race([last, whole.promise]),
    end: () => {
      stream.end()
      return whole.promise
    },
  }
}

/** Decompresses a small piece at once; undefined when its content is larger than fits comfortably into memory. */
export function decompressSmall(method: 'zlib' | 'zstd', compressed: Uint8Array): Uint8Array | undefined {
  try {
    const options = { maxOutputLength: smallOutputBytes, info: true as const }
    const { buffer, engine } =
      method === 'zlib'
        ? (inflateSync(compressed, { ...options, finishFlush: constants.Z_FINISH }) as unknown as WithEngine)
        : (zstdDecompressSync(compressed, options) as unknown as WithEngine)
    if (engine.bytesWritten !== compressed.length) throw new Error(`${compressed.length - engine.bytesWritten} bytes follow the end of the compressed data`)
    return buffer
  } catch (error) {
    if (systemCodeOf(error) === 'ERR_BUFFER_TOO_LARGE') return undefined
    throw error
  }
}

/** What zlib returns with `info: true`; the type declarations leave it out. */
interface WithEngine {
  readonly buffer: Uint8Array
  readonly engine: { readonly bytesWritten: number }
}
