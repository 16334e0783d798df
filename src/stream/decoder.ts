import { pipeline, type Transform } from 'node:stream'
import { Failure, messageOf, systemCodeOf } from '../kernel/failure.ts'

/**
 * The bytes that a Node decoder makes of `source`. Errors of the source pass as themselves; errors of the decoder go through
 * `explain`. Ends only when both have ended, so nothing of the source is left unread unseen.
 */
export async function* throughDecoder(
  source: AsyncIterable<Uint8Array>,
  decoder: Transform,
  explain: (error: unknown) => Error,
): AsyncGenerator<Uint8Array, void, undefined> {
  let sourceFailure: { readonly error: unknown } | undefined
  async function* watched(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      yield* source
    } catch (error) {
      sourceFailure = { error }
      throw error
    }
  }
  const done = new Promise<void>((resolve, reject) => pipeline(watched, decoder, (error) => (error ? reject(error) : resolve())))
  done.catch(() => undefined) // met below, or overtaken by the same error from the decoder
  try {
    for await (const chunk of decoder) yield chunk as Uint8Array
    await done
  } catch (error) {
    throw sourceFailure === undefined ? explain(error) : sourceFailure.error
  } finally {
    decoder.destroy()
  }
}

/** Errors of zlib's decoders carry these codes; anything else (no memory, our own mistakes) must not be called damage. */
export function isDecodingError(error: unknown): boolean {
  return /^(Z_(DATA|BUF|NEED_DICT)|ZSTD_error_|ERR_BUFFER_TOO_LARGE)/.test(systemCodeOf(error) ?? '')
}

/** An `integrity` failure about compressed bytes, with the way out. */
export function damaged(message: string, offset: number, cause?: unknown): Failure {
  return new Failure('integrity', `${message} (at byte ${offset} of the compressed stream)`, {
    hints: ['the stored file is damaged or incomplete: fetch it again or use another backup', 'tidemark verify tells which backups are whole'],
    details: { offset, ...(cause === undefined ? {} : { decoder: messageOf(cause) }) },
    cause,
  })
}
