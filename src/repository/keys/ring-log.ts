import type { Context } from '../../kernel/context.ts'
import { type Failure, isFailure } from '../../kernel/failure.ts'
import type { AgeIdentity } from '../../seal/age-keys.ts'
import type { VerifyKey } from '../../seal/signing.ts'
import type { Storage } from '../../storage/storage.ts'
import { readObject } from '../bytes.ts'
import { digestOf } from '../commit-entry.ts'
import { ringCopyKey, ringKey, ringNumberOf, ringsPrefix } from './key-layout.ts'
import type { SeenRing } from './key-memory.ts'
import { parseRing, ringLimitBytes, type Ring } from './ring.ts'
import { openBytes } from './stored-secret.ts'

/** What is needed to read rings. */
export interface RingReader {
  readonly storage: Storage
  /** The repository's id. */
  readonly repository: string
  readonly identities: readonly AgeIdentity[]
  readonly root: VerifyKey | null
  /** A recovery kit is a member of every ring: one that it cannot open is no ring of ours. */
  readonly hasKit: boolean
}

/** A ring and its bytes. */
export interface ReadRing {
  readonly ring: Ring
  readonly bytes: Uint8Array
  readonly seen: SeenRing
  /** Why this is not the newest ring that there is or was: then it is good for reading only. Null when it is. */
  readonly outdated: Failure | null
}

/** The numbers of the rings that are there, the newest first. The listing only says where to begin, so a stale one hides nothing. */
export async function listRings(storage: Storage, context: Pick<Context, 'signal'>): Promise<readonly number[]> {
  const listed = new Set<number>()
  for await (const { key } of storage.list(ringsPrefix, context)) {
    const number = ringNumberOf(key)
    if (number !== undefined && number > 0) listed.add(number)
  }
  for (let next = Math.max(0, ...listed) + 1; await hasRing(storage, next, context); next++) listed.add(next)
  return [...listed].toSorted((one, other) => other - one)
}

export async function hasRing(storage: Storage, number: number, context: Pick<Context, 'signal'>): Promise<boolean> {
  return (await storage.stat(ringKey(number), context)) !== undefined
}

/**
 * Reads the first of `numbers`, else the next that is whole, with a warning. Throws `key-missing` when the newest one is for others, and the
 * first problem when none can be used.
 */
export async function readNewestRing(reader: RingReader, numbers: readonly number[], context: Context): Promise<ReadRing> {
  let problem: Failure | null = null
  for (const number of numbers) {
    try {
      const read = await readRing(reader, number, context)
      if (problem !== null) {
        context.emit({ type: 'warning', code: 'key-damaged', message: `${problem.message}; ring ${number} is used, for reading only` })
      }
      return { ...read, outdated: problem }
    } catch (error) {
      const isPassedOver = isFailure(error, 'integrity', 'object-missing') || (isFailure(error, 'key-missing') && (reader.hasKit || problem !== null))
      if (!isPassedOver) throw error
      problem ??= error
    }
  }
  throw problem ?? new Error('there is no ring to read')
}

/** One ring, from its object or the copy of it. */
async function readRing(reader: RingReader, number: number, context: Context): Promise<Omit<ReadRing, 'outdated'>> {
  try {
    return await readRingObject(reader, ringKey(number), number, context)
  } catch (error) {
    if (!isFailure(error, 'integrity', 'object-missing', 'key-missing')) throw error
    const copy = await readRingObject(reader, ringCopyKey(number), number, context).catch((failure: unknown) => {
      if (isFailure(failure, 'integrity', 'object-missing', 'key-missing')) return undefined
      throw failure
    })
    if (copy === undefined) throw error
    context.emit({ type: 'warning', code: 'key-damaged', message: `${error.message}; its copy ${ringCopyKey(number)} is whole and is used` })
    return copy
  }
}

async function readRingObject(reader: RingReader, key: string, number: number, context: Context): Promise<Omit<ReadRing, 'outdated'>> {
  const { storage, repository, root, identities } = reader
  const bytes = await readObject(storage, key, ringLimitBytes, context.signal)
  const ring = parseRing(key, await openBytes(key, bytes, { identities }), { repository, number, root })
  return { ring, bytes, seen: { number, sha256: digestOf(bytes) } }
}
