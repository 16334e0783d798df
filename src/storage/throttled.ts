import type { Clock } from '../kernel/clock.ts'
import { chunksOf } from './body.ts'
import { withOptionalParts } from './retrying.ts'
import type { Body, Storage } from './storage.ts'

/**
 * The storage, moving at most `bytesPerSecond` through this machine, all its streams together. The outermost wrapper:
 * the waiting is ours and must not count against the storage's deadlines.
 */
export function throttled(inner: Storage, bytesPerSecond: number, clock: Pick<Clock, 'monotonicMs' | 'sleep'>): Storage {
  // The moment at which everything let through so far is paid for. A second's worth may be saved up while idle.
  let paidAtMs = clock.monotonicMs() - 1000

  async function pay(bytes: number, signal: AbortSignal | undefined): Promise<void> {
    const now = clock.monotonicMs()
    paidAtMs = Math.max(paidAtMs, now - 1000) + (bytes * 1000) / bytesPerSecond
    if (paidAtMs > now) await clock.sleep(paidAtMs - now, signal)
  }

  async function* slowly(chunks: AsyncIterable<Uint8Array>, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) {
      await pay(chunk.length, signal)
      yield chunk
    }
  }

  /** Bytes and factories stay what they are, so that a broken transfer can still begin again (and is paid for again). */
  function slowBody(body: Body, signal: AbortSignal | undefined): Body {
    if (body instanceof Uint8Array) return body
    return typeof body === 'function' ? () => slowly(body(), signal) : slowly(chunksOf(body), signal)
  }

  const storage: Storage = {
    kind: inner.kind,
    location: inner.location,
    async put(key, body, options = {}) {
      if (body instanceof Uint8Array) await pay(body.length, options.signal)
      return inner.put(key, slowBody(body, options.signal), options)
    },
    read: (key, options = {}) => slowly(inner.read(key, options), options.signal),
    stat: (key, call) => inner.stat(key, call),
    list: (prefix, call) => inner.list(prefix, call),
    delete: (key, call) => inner.delete(key, call),
    copy: (from, to, call) => inner.copy(from, to, call),
    [Symbol.asyncDispose]: () => inner[Symbol.asyncDispose](),
  }
  return withOptionalParts(storage, inner)
}
