import { randomBytes } from 'node:crypto'
import type { Clock } from '../kernel/clock.ts'
import { asFailure } from '../kernel/failure.ts'
import type { Failure } from '../kernel/failure.ts'
import { listingCases } from './conformance-listing.ts'
import { readingCases } from './conformance-reading.ts'
import type { ConformanceCase, ConformanceTools } from './conformance-tools.ts'
import { writingCases } from './conformance-writing.ts'
import { requirePrefix } from './key.ts'
import type { Storage } from './storage.ts'

export type { ConformanceCase, ConformanceTools } from './conformance-tools.ts'

/** What every Storage must do, as experiments: our tests run them over every driver, `repo test` over the user's storage. */
export const conformanceCases: readonly ConformanceCase[] = [...writingCases, ...readingCases, ...listingCases]

export interface ConformanceResult {
  readonly name: string
  /** Undefined when the storage kept this promise. */
  readonly problem: Failure | undefined
  readonly durationMs: number
}

export interface ConformanceOptions {
  readonly clock: Pick<Clock, 'monotonicMs'>
  /** Everything happens below it, and is removed from there; ends in `/`. */
  readonly prefix: string
  /** Also the cases that need a thousand objects. */
  readonly slow?: boolean
  /** Length of the object that should need an upload in parts; default 9 MiB. */
  readonly bigBytes?: number
  readonly signal?: AbortSignal
  /** Told after every case. */
  readonly told?: (result: ConformanceResult) => void
}

/**
 * Runs the suite and returns what it found, in order; a case that fails does not stop the others, a cancellation does.
 * Objects are removed after each case, and whatever cannot be removed is a finding of its own.
 */
export async function runConformance(storage: Storage, options: ConformanceOptions): Promise<readonly ConformanceResult[]> {
  requirePrefix(options.prefix)
  const results: ConformanceResult[] = []
  for (const experiment of conformanceCases) {
    if (experiment.slow === true && options.slow !== true) continue
    options.signal?.throwIfAborted()
    const tools = conformanceTools(options.prefix, options.bigBytes)
    const begunMs = options.clock.monotonicMs()
    const problem = (await problemOf(() => experiment.run(storage, tools))) ?? (await problemOf(() => removeAll(storage, tools.prefix)))
    const result = { name: experiment.name, problem, durationMs: options.clock.monotonicMs() - begunMs }
    results.push(result)
    options.told?.(result)
  }
  // What failing cases have left behind.
  for (const result of results) if (result.problem !== undefined) await problemOf(() => removeAll(storage, options.prefix))
  return results
}

/** Tools for one case: a prefix of its own below `prefix`, so that no case sees what another one left. */
export function conformanceTools(prefix: string, bigBytes = 9 * 1024 ** 2 + 7): ConformanceTools {
  return { prefix: `${prefix}${randomBytes(6).toString('hex')}/`, bigBytes }
}

export async function removeAll(storage: Storage, prefix: string): Promise<void> {
  const keys: string[] = []
  for await (const object of storage.list(prefix)) keys.push(object.key)
  while (keys.length > 0) await Promise.all(keys.splice(0, 16).map((key) => storage.delete(key)))
}

async function problemOf(step: () => Promise<void>): Promise<Failure | undefined> {
  try {
    await step()
    return undefined
  } catch (error) {
    return asFailure(error)
  }
}
