import { createHash, randomBytes } from 'node:crypto'
import { Failure, isFailure, messageOf } from '../kernel/failure.ts'
import type { FailureCode } from '../kernel/failure.ts'
import type { Storage, StoredObject } from './storage.ts'

export interface ConformanceTools {
  /** The case writes only below it; ends in `/`. */
  readonly prefix: string
  /** Long enough for an upload in parts where the driver has such a thing. */
  readonly bigBytes: number
}

export interface ConformanceCase {
  /** The promise, as a sentence. */
  readonly name: string
  readonly slow?: boolean
  /** Rejects when the storage breaks the promise. */
  run(storage: Storage, tools: ConformanceTools): Promise<void>
}

export function demand(condition: boolean, otherwise: string): asserts condition {
  if (!condition) throw new Failure('storage-failed', otherwise)
}

/** The work must be refused with one of the codes; being done, or failing in another way, breaks the promise. */
export async function demandRefusal(codes: readonly FailureCode[], what: string, work: () => Promise<unknown>): Promise<Failure> {
  try {
    await work()
  } catch (error) {
    if (isFailure(error, ...codes)) return error
    throw new Failure('storage-failed', `${what} was refused with the wrong error: ${messageOf(error)}`, { cause: error })
  }
  throw new Failure('storage-failed', `${what} was not refused`)
}

export async function readAll(storage: Storage, key: string, options?: Parameters<Storage['read']>[1]): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of storage.read(key, options)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

export async function listAll(storage: Storage, prefix: string): Promise<readonly StoredObject[]> {
  const objects: StoredObject[] = []
  for await (const object of storage.list(prefix)) objects.push(object)
  return objects
}

export async function listKeys(storage: Storage, prefix: string): Promise<readonly string[]> {
  return (await listAll(storage, prefix)).map((object) => object.key.slice(prefix.length))
}

export async function demandBytes(storage: Storage, key: string, expected: Uint8Array, what: string): Promise<void> {
  const found = await readAll(storage, key)
  demand(found.equals(expected), `${what}: ${expected.length} bytes (${digest(expected)}) were expected and ${found.length} (${digest(found)}) were read`)
}

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex').slice(0, 12)
}

export function noise(bytes: number): Buffer {
  return randomBytes(bytes)
}

/** The bytes as a stream whose chunks have awkward sizes: one byte, a prime number, much. */
export async function* unevenly(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  const sizes = [1, 65_537, 1_000_003, 4096, 2 ** 21]
  for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
    const size = sizes[turn % sizes.length] ?? 1
    yield bytes.subarray(at, at + size)
    at += size
  }
}

/** How a put ended, when it may end either way. */
export async function outcomeOf(work: Promise<unknown>): Promise<{ done: true } | { done: false; error: unknown }> {
  try {
    await work
    return { done: true }
  } catch (error) {
    return { done: false, error }
  }
}
