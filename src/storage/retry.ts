import type { Clock } from '../kernel/clock.ts'
import type { Emit } from '../kernel/event.ts'
import { Failure } from '../kernel/failure.ts'
import { isAmbiguous, isTransient } from './errors.ts'

export interface RetryPolicy {
  /** No attempt begins later than this after the first one began. */
  readonly totalMs: number
  readonly firstWaitMs: number
  readonly longestWaitMs: number
  /** 0 ≤ x < 1; handed in by tests. Jitter keeps many hosts from coming back in step. */
  readonly random: () => number
}

export const defaultRetryPolicy: RetryPolicy = { totalMs: 5 * 60_000, firstWaitMs: 200, longestWaitMs: 20_000, random: Math.random }

export interface RetryContext {
  readonly clock: Pick<Clock, 'monotonicMs' | 'sleep'>
  readonly emit: Emit
  readonly policy: RetryPolicy
  readonly signal?: AbortSignal | undefined
}

export interface Attempt {
  /** From 1. */
  readonly number: number
  /** An earlier attempt may have happened although its answer was lost. */
  readonly afterLostAnswer: boolean
}

/**
 * Repeats `step` while it fails with `details.transient`, waiting exponentially longer, half of it at random, until
 * the policy's time is up; then throws the last failure, which says how often it was tried.
 */
export async function retried<T>(operation: string, context: RetryContext, step: (attempt: Attempt) => Promise<T>): Promise<T> {
  const { clock, emit, policy, signal } = context
  const begunMs = clock.monotonicMs()
  let afterLostAnswer = false
  for (let number = 1; ; number += 1) {
    try {
      return await step({ number, afterLostAnswer })
    } catch (error) {
      if (!isTransient(error) || signal?.aborted === true) throw error
      afterLostAnswer ||= isAmbiguous(error)
      const waitMs = waitBefore(number, policy)
      if (clock.monotonicMs() - begunMs + waitMs > policy.totalMs)
        throw gaveUp(error, number, { seconds: Math.round((clock.monotonicMs() - begunMs) / 1000), afterLostAnswer })
      emit({ type: 'retry', operation, attempt: number, waitMs, reason: error.message })
      await clock.sleep(waitMs, signal)
    }
  }
}

/** Milliseconds to wait after attempt `number` failed. */
export function waitBefore(number: number, policy: RetryPolicy): number {
  const ceiling = Math.min(policy.longestWaitMs, policy.firstWaitMs * 2 ** (number - 1))
  return Math.round(ceiling * (0.5 + policy.random() / 2))
}

function gaveUp(last: Failure, attempts: number, facts: { seconds: number; afterLostAnswer: boolean }): Failure {
  if (attempts === 1) return last
  return new Failure(last.code, `${last.message}; gave up after ${attempts} attempts in ${facts.seconds} s`, {
    hints: last.hints,
    cause: last.cause,
    details: { ...last.details, attempts, ...(facts.afterLostAnswer ? { ambiguous: true } : {}) },
  })
}
