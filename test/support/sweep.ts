import { isFailure } from '../../src/kernel/failure.ts'
import { type Fault, type FaultPlan, type Operation, WorldStopped } from './faulty-storage.ts'

/** `make crash` sets one of them: everything, everywhere. Without: every operation on memory, a seeded tenth elsewhere. */
export const isComplete = process.env['TIDEMARK_CRASH'] === 'complete' || process.env['TIDEMARK_SWEEP'] === 'complete'

/**
 * Every fault at every operation, once and persistently; those that stop the world persist anyway. In the fast form operations that change
 * nothing are not hit in ways that nobody could tell apart: a read that fails after it was read has failed, and a stop after it is a stop
 * before the next.
 */
export function everyPlan(operations: readonly Operation[]): readonly FaultPlan[] {
  return operations.flatMap(({ number: at, name, key }) => {
    const kinds = (...these: readonly Fault['kind'][]) => these.map((kind): FaultPlan => ({ fault: { kind }, at }))
    const lasting = (...these: readonly Fault['kind'][]) => these.map((kind): FaultPlan => ({ fault: { kind }, at, persistent: true }))
    if (isComplete || name === 'put') return [...kinds('fail', 'fail-after', 'cut', 'stop', 'stop-after'), ...lasting('fail', 'fail-after', 'cut')]
    if (name === 'delete' || name === 'copy' || name === 'setAlias')
      return [...kinds('fail', 'fail-after', 'stop', 'stop-after'), ...lasting('fail', 'fail-after')]
    return [
      ...kinds('fail', 'stop', ...(name === 'list' || (name === 'read' && !key.startsWith('.tidemark/commits/')) ? (['cut'] as const) : [])),
      ...lasting('fail'),
    ]
  })
}

/** A repeatable choice of about `share` of the items: the same seed, the same choice. */
export function seeded<T>(items: readonly T[], share: number, seed: number): readonly T[] {
  let state = seed >>> 0
  const next = () => {
    // mulberry32
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
  return items.filter(() => next() < share)
}

export function nameOf(plan: FaultPlan, operations?: readonly Operation[]): string {
  const operation = operations?.[plan.at - 1]
  const where = operation === undefined ? `operation ${plan.at}` : `operation ${plan.at} (${operation.name} ${operation.key})`
  return `${plan.fault.kind}${plan.persistent === true ? ' persistently from' : ' at'} ${where}`
}

/** How a run under a fault ended. Anything but success, a foreseen failure or the end of the world is a bug of ours. */
export type Ending<T> =
  | { readonly kind: 'done'; readonly value: T }
  | { readonly kind: 'failed'; readonly exitCode: number; readonly message: string }
  | { readonly kind: 'stopped' }
  | { readonly kind: 'bug'; readonly message: string }

export async function endingOf<T>(work: () => Promise<T>): Promise<Ending<T>> {
  try {
    return { kind: 'done', value: await work() }
  } catch (error) {
    if (hasWorldStopped(error)) return { kind: 'stopped' }
    if (isFailure(error) && error.code !== 'bug') return { kind: 'failed', exitCode: error.exitCode, message: error.message }
    return { kind: 'bug', message: error instanceof Error ? (error.stack ?? error.message) : String(error) }
  }
}

/** The end of the world may have been wrapped on its way, or have met another error while scopes were left. */
function hasWorldStopped(error: unknown): boolean {
  for (let each: unknown = error, depth = 0; each instanceof Error && depth < 8; depth += 1) {
    if (each instanceof WorldStopped) return true
    if (each instanceof SuppressedError && (hasWorldStopped(each.error) || hasWorldStopped(each.suppressed))) return true
    each = each.cause
  }
  return false
}

/** Does the work for each item, a few at a time, and throws the first error after all have ended. */
export async function eachOf<T>(items: readonly T[], atOnce: number, work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items]
  const workers = Array.from({ length: atOnce }, async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item)
  })
  const failed = (await Promise.allSettled(workers)).find((outcome) => outcome.status === 'rejected')
  if (failed !== undefined) throw failed.reason
}
