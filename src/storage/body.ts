import { Failure } from '../kernel/failure.ts'
import type { Body } from './storage.ts'

/** The body as chunks, from its beginning. Call it once per attempt. */
export function chunksOf(body: Body): AsyncIterable<Uint8Array> {
  if (body instanceof Uint8Array) return single(body)
  return typeof body === 'function' ? body() : body
}

async function* single(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  if (bytes.length > 0) yield bytes
}

/** Whether a broken transfer can begin again. */
export function isReplayable(body: Body): boolean {
  return body instanceof Uint8Array || typeof body === 'function'
}

/**
 * The chunks, counted: throws `storage-failed` as soon as more than `sizeBytes` come, or at the end when fewer came,
 * and the signal's reason when it aborts. Empty chunks are dropped.
 */
export async function* checkedChunks(key: string, body: Body, limits: { sizeBytes?: number; signal?: AbortSignal }): AsyncGenerator<Uint8Array> {
  const { sizeBytes, signal } = limits
  let seen = 0
  for await (const chunk of chunksOf(body)) {
    signal?.throwIfAborted()
    if (chunk.length === 0) continue
    seen += chunk.length
    if (sizeBytes !== undefined && seen > sizeBytes) throw wrongSize(key, sizeBytes, `more than that came`)
    yield chunk
  }
  signal?.throwIfAborted()
  if (sizeBytes !== undefined && seen !== sizeBytes) throw wrongSize(key, sizeBytes, `${seen} bytes came`)
}

function wrongSize(key: string, expected: number, found: string): Failure {
  return new Failure('storage-failed', `cannot store "${key}": its source promised ${expected} bytes and ${found}`)
}

/** The whole of a stream that is known to be small; `storage-failed` beyond `maxBytes`. */
export async function collect(chunks: AsyncIterable<Uint8Array>, maxBytes: number): Promise<Uint8Array<ArrayBuffer>> {
  const parts: Uint8Array[] = []
  let total = 0
  for await (const chunk of chunks) {
    total += chunk.length
    if (total > maxBytes) throw new Failure('storage-failed', `cannot read an object into memory: it is longer than ${maxBytes} bytes`)
    parts.push(chunk)
  }
  const whole = new Uint8Array(total)
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}
