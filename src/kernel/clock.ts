import { setTimeout as delay } from 'node:timers/promises'

/** The only way to learn the time. Retention, leases and DST tests hand in a fake one. */
export interface Clock {
  /** The moment now, UTC. */
  now(): Temporal.Instant
  /** Milliseconds from an arbitrary origin, never going backwards; for durations. */
  monotonicMs(): number
  /** Resolves after `ms` milliseconds; rejects with AbortError when `signal` aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
  /** The machine's time zone (IANA name), used where a configuration names none. */
  timeZone(): string
}

export const systemClock: Clock = {
  now: () => Temporal.Now.instant(),
  monotonicMs: () => performance.now(),
  sleep: (ms, signal) => delay(ms, undefined, signal === undefined ? {} : { signal }),
  timeZone: () => Temporal.Now.timeZoneId(),
}

/** RFC 3339 in UTC with `Z` and milliseconds: the form of every time in JSON. */
export function utc(instant: Temporal.Instant): string {
  return instant.toString({ smallestUnit: 'millisecond' })
}

/** As file names hold a time: `20260120_143000`, in the zone of `at`. */
export function fileStamp(at: Temporal.ZonedDateTime): string {
  return `${at.toPlainDate().toString().replaceAll('-', '')}_${at.toPlainTime().toString({ smallestUnit: 'second' }).replaceAll(':', '')}`
}
