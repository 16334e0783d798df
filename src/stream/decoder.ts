import { once } from 'node:events'
import type { Gunzip, ZstdDecompress } from 'node:zlib'
import { Failure, messageOf, systemCodeOf } from '../kernel/failure.ts'
import { resultRoomBytes } from './chunks.ts'

/**
 * The bytes that a decoder of `node:zlib` makes of `source`. Errors of the source pass as themselves; errors of the decoder go
 * through `explain`. Not `stream.pipeline`: that waits for ever when the decoder is done before its input is (node's zlib then
 * never calls back), and does not tell what was left over.
 *
 * @returns the end of the last chunk fed that the decoder did not want; the source is then closed, with or without more to give.
 */
export async function* throughDecoder(
  source: AsyncIterable<Uint8Array>,
  decoder: Gunzip | ZstdDecompress,
  explain: (error: unknown) => Error,
): AsyncGenerator<Uint8Array, Uint8Array, undefined> {
  let sourceFailure: { readonly error: unknown } | undefined
  let fedBytes = 0
  let last: Uint8Array = new Uint8Array(0)
  const finished = once(decoder, 'close').then(() => undefined)
  finished.catch(() => undefined) // `once` rejects on 'error', which the loop below meets too

  const feed = async (): Promise<void> => {
    try {
      for await (const chunk of source) {
        last = chunk
        fedBytes += chunk.length
        const written = new Promise<void>((resolve) => decoder.write(chunk, () => resolve()))
        await Promise.race([written, finished])
        if (decoder.destroyed || decoder.readableEnded) return
      }
      decoder.end()
    } catch (error) {
      if (decoder.destroyed) return
      sourceFailure = { error }
      decoder.destroy(error instanceof Error ? error : new Error(messageOf(error)))
    }
  }

  void feed()
  try {
    for await (const chunk of decoder) yield apart(chunk as Uint8Array)
    return last.subarray(last.length - (fedBytes - decoder.bytesWritten))
  } catch (error) {
    throw sourceFailure === undefined ? explain(error) : sourceFailure.error
  } finally {
    decoder.destroy()
  }
}

/** zlib goes on filling what is left of a buffer after it gave the first part; a part that nearly is the whole would look like one to `giveBack`. */
function apart(piece: Uint8Array): Uint8Array {
  const left = piece.buffer.byteLength - piece.byteLength
  return piece.byteOffset === 0 && left > 0 && left <= resultRoomBytes ? Uint8Array.from(piece) : piece
}

/** Errors of zlib's decoders carry these codes; anything else (no memory, our own mistakes) must not be called damage. */
export function isDecodingError(error: unknown): boolean {
  return /^(Z_(DATA_ERROR|BUF_ERROR|NEED_DICT)$|ZSTD_error_|ERR_BUFFER_TOO_LARGE$)/.test(systemCodeOf(error) ?? '')
}

/** An `integrity` failure about compressed bytes, with the way out. */
export function damaged(message: string, offset: number, cause?: unknown): Failure {
  return new Failure('integrity', `${message} (at byte ${offset} of the compressed stream)`, {
    hints: ['the stored file is damaged or incomplete: fetch it again or use another backup', 'tidemark verify tells which backups are whole'],
    details: { offset },
    cause,
  })
}
