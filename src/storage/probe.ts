import { randomBytes } from 'node:crypto'
import { isFailure } from '../kernel/failure.ts'
import { collect } from './body.ts'
import { requirePrefix } from './key.ts'
import type { CallOptions, ConditionalCreate, Storage } from './storage.ts'

export interface ProbeOptions extends CallOptions {
  /** Writers that race for one key; default 16. */
  writers?: number
  /** Races; default 4. */
  rounds?: number
}

/**
 * Finds out by trying how far `put({ ifAbsent: true })` can be trusted: first that it leaves an existing object alone,
 * then, by letting writers race for a new key several times, that exactly one of them wins and that its bytes stay.
 * Works below `prefix` under random names and removes what it wrote. Errors other than the storage's own
 * "cannot do that" are thrown, for a store that did not answer has not been tried.
 */
export async function probeConditionalCreate(storage: Storage, prefix: string, options: ProbeOptions = {}): Promise<ConditionalCreate> {
  requirePrefix(prefix)
  const base = `${prefix}${randomBytes(6).toString('hex')}-`
  const keys: string[] = []
  const call: CallOptions = options.signal === undefined ? {} : { signal: options.signal }
  try {
    const first = `${base}kept`
    keys.push(first)
    if (!(await keepsExisting(storage, first, call))) return 'unsupported'
    for (let round = 0; round < (options.rounds ?? 4); round += 1) {
      const key = `${base}race-${round}`
      keys.push(key)
      if (!(await isWonByOne(storage, key, { ...call, writers: options.writers ?? 16 }))) return 'racy'
    }
    return 'atomic'
  } finally {
    // Without the caller's signal: a cancelled probe clears up, too.
    for (const key of keys) await storage.delete(key)
  }
}

async function keepsExisting(storage: Storage, key: string, call: CallOptions): Promise<boolean> {
  try {
    await storage.put(key, Buffer.from('first'), { ...call, ifAbsent: true })
  } catch (error) {
    if (isFailure(error, 'storage-unsafe')) return false
    throw error
  }
  try {
    await storage.put(key, Buffer.from('second'), { ...call, ifAbsent: true })
    return false
  } catch (error) {
    if (!isFailure(error, 'object-exists')) throw error
  }
  return (await textOf(storage, key)) === 'first'
}

async function isWonByOne(storage: Storage, key: string, race: CallOptions & { writers: number }): Promise<boolean> {
  const { writers, ...call } = race
  const outcomes = await Promise.allSettled(
    Array.from({ length: writers }, (_, index) => storage.put(key, Buffer.from(`writer ${index}`), { ...call, ifAbsent: true })),
  )
  const winners: number[] = []
  let lost = 0
  for (const [index, outcome] of outcomes.entries()) {
    if (outcome.status === 'fulfilled') winners.push(index)
    else if (!isFailure(outcome.reason, 'object-exists')) throw outcome.reason
    else if (outcome.reason.details['ambiguous'] === true) lost += 1
  }
  // A winner whose answer was lost says "exists, perhaps mine": then nobody may have won but the object tells who did.
  if (winners.length === 0) return lost > 0 && /^writer \d+$/.test(await textOf(storage, key))
  return winners.length === 1 && (await textOf(storage, key)) === `writer ${winners[0]}`
}

async function textOf(storage: Storage, key: string): Promise<string> {
  return Buffer.from(await collect(storage.read(key), 1024)).toString()
}
