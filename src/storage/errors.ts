import { Failure } from '../kernel/failure.ts'
import type { FailureOptions } from '../kernel/failure.ts'

/** The sentences that every driver says alike. */

export function objectMissing(location: string, key: string, cause?: unknown): Failure {
  return new Failure('object-missing', `cannot read "${key}" in ${location}: there is no such object`, { cause, details: { key } })
}

export function objectExists(location: string, key: string, options: { ambiguous?: boolean } = {}): Failure {
  return new Failure('object-exists', `cannot create "${key}" in ${location}: it exists`, {
    details: options.ambiguous === true ? { key, ambiguous: true } : { key },
  })
}

export function beyondEnd(location: string, key: string, range: { offset: number; length: number | undefined; sizeBytes: number }): Failure {
  const wanted = range.length === undefined ? `from byte ${range.offset}` : `${range.length} bytes from byte ${range.offset}`
  return new Failure('storage-failed', `cannot read ${wanted} of "${key}" in ${location}: it has ${range.sizeBytes} bytes`, { details: { key } })
}

export function replacedWhileReading(location: string, key: string): Failure {
  return new Failure('storage-failed', `cannot read "${key}" in ${location}: it was replaced while being read`, { details: { key } })
}

/** A read that ended after `found` of `expected` bytes; the rest may come when asked again. */
export function shortRead(location: string, key: string, counts: { expected: number; found: number }, options: FailureOptions = {}): Failure {
  return new Failure('storage-failed', `cannot read "${key}" in ${location}: it ended after ${counts.found} of ${counts.expected} bytes`, {
    ...options,
    details: { key, transient: true, ...options.details },
  })
}

export function isTransient(error: unknown): error is Failure {
  return error instanceof Failure && error.details['transient'] === true
}

export function isAmbiguous(error: unknown): boolean {
  return error instanceof Failure && error.details['ambiguous'] === true
}

/** Refuses ranges that no object could satisfy. */
export function requireRange(key: string, offset: number, length: number | undefined): void {
  for (const [name, value] of [['offset', offset] as const, ['length', length ?? 0] as const]) {
    if (!Number.isSafeInteger(value) || value < 0) throw new Failure('storage-failed', `cannot read "${key}": the ${name} ${value} is no number of bytes`)
  }
}
