import type { Readable } from 'node:stream'
import type { Clock } from '../kernel/clock.ts'
import { Failure } from '../kernel/failure.ts'

/**
 * A stage takes bytes and gives bytes. Chunk borders carry no meaning; an empty source is an empty stream; errors of the source
 * pass through as themselves; nobody reads ahead but `prefetch.ts`, so back-pressure reaches the source by itself.
 */
export type Stage = (source: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>

/** Cuts into blocks of exactly `sizeBytes`; only the last may be shorter, and none is empty. `take` provides the memory. */
export async function* blocks(
  source: AsyncIterable<Uint8Array>,
  sizeBytes: number,
  take: () => Uint8Array = () => Buffer.allocUnsafeSlow(sizeBytes),
): AsyncGenerator<Uint8Array, void, undefined> {
  let block: Uint8Array | undefined
  let filled = 0
  for await (const chunk of source) {
    for (let offset = 0; offset < chunk.length;) {
      block ??= take()
      const count = Math.min(sizeBytes - filled, chunk.length - offset)
      block.set(chunk.subarray(offset, offset + count), filled)
      offset += count
      filled += count
      if (filled < sizeBytes) continue
      yield block
      block = undefined
      filled = 0
    }
  }
  if (block !== undefined) yield block.subarray(0, filled)
}

/**
 * The bytes of a Node stream. Listens from the call on, not from the first read, so an error in between is neither lost nor
 * fatal to the process (bytes buffered before it may be: Node drops them). A stream that closes without ending throws an Error with
 * code `ERR_STREAM_PREMATURE_CLOSE`. Stopping early, or `signal`, destroys the stream at once. Can be iterated once.
 */
export function fromReadable(readable: Readable, signal?: AbortSignal): AsyncIterableIterator<Uint8Array, undefined> {
  let failure: { readonly error: unknown } | undefined = readable.errored === null ? undefined : { error: readable.errored }
  let ended = readable.readableEnded
  let closed = readable.closed
  let stopped = false
  let wake: (() => void) | undefined
  const look = (): void => {
    wake?.()
    wake = undefined
  }
  const stop = (): void => {
    stopped = true
    signal?.removeEventListener('abort', onAbort)
    readable.destroy()
    look()
  }
  const onAbort = (): void => {
    failure = { error: signal?.reason }
    stop()
  }
  // The error listener stays for good: a late error of a stream that we are done with must not end the process.
  readable.on('error', (error: unknown) => {
    failure ??= { error }
    look()
  })
  readable.once('end', () => {
    ended = true
    look()
  })
  readable.once('close', () => {
    closed = true
    look()
  })
  readable.on('readable', look)
  if (signal?.aborted === true) onAbort()
  else signal?.addEventListener('abort', onAbort, { once: true })

  const next = async (): Promise<IteratorResult<Uint8Array, undefined>> => {
    for (;;) {
      if (signal?.aborted === true) throw signal.reason
      if (stopped && failure === undefined) return { done: true, value: undefined }
      const chunk: unknown = stopped ? null : readable.read()
      if (chunk !== null) {
        if (!(chunk instanceof Uint8Array)) {
          stop()
          throw new TypeError('fromReadable needs a stream of bytes, without an encoding and not in object mode')
        }
        return { done: false, value: chunk }
      }
      if (failure !== undefined || ended || closed) {
        stop()
        if (failure !== undefined) throw failure.error
        if (ended) return { done: true, value: undefined }
        throw Object.assign(new Error('the stream closed before its end'), { code: 'ERR_STREAM_PREMATURE_CLOSE' })
      }
      await new Promise<void>((resolve) => (wake = resolve))
    }
  }
  return {
    next,
    return: () => {
      stop()
      return Promise.resolve({ done: true, value: undefined })
    },
    [Symbol.asyncIterator]() {
      return this
    },
  }
}

/** Room behind a whole result that its maker may leave: with none, Node's zlib looks for more and takes as much memory again. */
export const resultRoomBytes = 64
/** Smaller ones are not worth it, and may share their buffer. */
const leastGivenBack = 32 * 1024

/**
 * Gives the memory of a chunk back at once: left to the garbage collector, chunks of this size make it run every few megabytes. Only for
 * who made the chunk or was handed it for good, since nobody can look at it afterwards. A part of a larger buffer is left alone.
 */
export function giveBack({ buffer, byteOffset, byteLength }: Uint8Array): void {
  const isWhole = byteOffset === 0 && buffer.byteLength - byteLength <= resultRoomBytes
  if (isWhole && byteLength >= leastGivenBack && buffer instanceof ArrayBuffer) buffer.transfer(0)
}

/** The same chunks, each given back when the next is asked for: for a consumer that is done with a chunk by then, of a source whose chunks nobody else keeps. */
export async function* givingBack(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of source) {
    yield chunk
    giveBack(chunk)
  }
}

/** Everything in one buffer. More than `maxBytes` is an `integrity` failure naming `what`, thrown before it is held in memory. */
export async function readAll(source: AsyncIterable<Uint8Array>, maxBytes: number, what = 'the stream'): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  for await (const chunk of atMost(source, maxBytes, what)) chunks.push(chunk)
  return chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks)
}

/** Passes at most `maxBytes` on; the byte after that is an `integrity` failure naming `what`. */
export async function* atMost(source: AsyncIterable<Uint8Array>, maxBytes: number, what: string): AsyncGenerator<Uint8Array, void, undefined> {
  let sizeBytes = 0
  for await (const chunk of source) {
    sizeBytes += chunk.length
    if (sizeBytes > maxBytes)
      throw new Failure('integrity', `cannot read ${what}: it has more than the ${maxBytes} bytes that it may have`, { details: { maxBytes } })
    yield chunk
  }
}

export interface ProgressOptions {
  /** Told the bytes that went through since the beginning. */
  readonly report: (doneBytes: number) => void
  readonly clock: Pick<Clock, 'monotonicMs'>
  /** Least milliseconds between two reports, default 250. */
  readonly everyMs?: number
}

/** Reports how far the stream is: at most every `everyMs`, and once more at its end with the final number. */
export async function* withProgress(source: AsyncIterable<Uint8Array>, options: ProgressOptions): AsyncGenerator<Uint8Array, void, undefined> {
  const { report, clock, everyMs = 250 } = options
  let doneBytes = 0
  let reportedMs = clock.monotonicMs()
  for await (const chunk of source) {
    doneBytes += chunk.length
    const nowMs = clock.monotonicMs()
    if (nowMs - reportedMs >= everyMs) {
      reportedMs = nowMs
      report(doneBytes)
    }
    yield chunk
  }
  report(doneBytes)
}
