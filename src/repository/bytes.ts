import type { Context } from '../kernel/context.ts'
import { Failure } from '../kernel/failure.ts'
import type { Storage } from '../storage/storage.ts'

/** Reads a small object whole. `limitBytes` bounds what a hostile or broken storage can make us hold. */
export async function readObject(storage: Storage, key: string, limitBytes: number, signal?: AbortSignal): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  let size = 0
  for await (const part of storage.read(key, signal === undefined ? {} : { signal })) {
    size += part.byteLength
    if (size > limitBytes) throw new Failure('integrity', `object ${key} is larger than the ${limitBytes} bytes it may have`, { details: { object: key } })
    parts.push(part)
  }
  return Buffer.concat(parts)
}

/** As `readObject`, but undefined when there is no such object. */
export async function readObjectIfThere(storage: Storage, key: string, limitBytes: number, signal?: AbortSignal): Promise<Uint8Array | undefined> {
  try {
    return await readObject(storage, key, limitBytes, signal)
  } catch (error) {
    if (error instanceof Failure && error.code === 'object-missing') return undefined
    throw error
  }
}

/** Whether there is such an object; for a key that ends in `/`, anything below it. */
export async function isThere(storage: Storage, key: string, context: Pick<Context, 'signal'>): Promise<boolean> {
  if (!key.endsWith('/')) return (await storage.stat(key, context)) !== undefined
  for await (const _object of storage.list(key, context)) return true
  return false
}
