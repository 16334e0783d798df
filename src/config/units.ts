import { Failure } from '../kernel/failure.ts'

/*
 * Sizes, durations and truth values as people write them. None of these parsers repeats the text it
 * could not read: it may be a secret that was pasted into the wrong place.
 */

const sizeUnits: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  k: 2 ** 10,
  kb: 2 ** 10,
  kib: 2 ** 10,
  m: 2 ** 20,
  mb: 2 ** 20,
  mib: 2 ** 20,
  g: 2 ** 30,
  gb: 2 ** 30,
  gib: 2 ** 30,
  t: 2 ** 40,
  tb: 2 ** 40,
  tib: 2 ** 40,
}

/** Bytes of `10GB`, `512kB`, `1.5 GiB`, `1048576`. As in postgresql.conf, kB, MB, GB and TB are powers of 1024. */
export function parseSize(text: string | number): number {
  const match = /^(\d{1,15}(?:\.\d{1,6})?)\s*([a-z]{0,3})$/i.exec(String(text).trim())
  const unit = sizeUnits[match?.[2]?.toLowerCase() ?? 'none']
  const bytes = Math.round(Number(match?.[1]) * (unit ?? Number.NaN))
  if (!Number.isSafeInteger(bytes)) throw new Failure('config-invalid', 'expected a size such as 512MB, 10GB or a number of bytes')
  return bytes
}

/** Bytes per second of `10MB/s` or `10MB`. */
export function parseBandwidth(text: string | number): number {
  const bytes = parseSize(String(text).replace(/\s*\/s$/i, ''))
  if (bytes === 0) throw new Failure('config-invalid', 'a bandwidth limit of 0 would never end; leave it out for no limit')
  return bytes
}

const durationUnits: Readonly<Record<string, number>> = { s: 1, m: 60, min: 60, h: 3600, d: 86_400, w: 604_800 }

/** Seconds of `90s`, `5m` (minutes), `36h`, `7d`, `12w`, or of several such parts: `1h 30m`. */
export function parseDuration(text: string): number {
  const parts = [...text.trim().matchAll(/(\d{1,9})\s*(min|[smhdw])\s*/gi)]
  const whole = parts.map((part) => part[0]).join('')
  const seconds = parts.reduce((sum, part) => sum + Number(part[1]) * (durationUnits[part[2]?.toLowerCase() ?? ''] ?? Number.NaN), 0)
  if (parts.length === 0 || whole !== text.trim() || !Number.isSafeInteger(seconds)) {
    throw new Failure('config-invalid', 'expected a duration such as 90s, 5m, 36h, 7d or 12w')
  }
  return seconds
}

/** A calendar length for retention; months and years have no fixed number of seconds. */
export interface Period {
  readonly count: number
  readonly unit: 'hours' | 'days' | 'weeks' | 'months' | 'years'
}

const periodUnits: Readonly<Record<string, Period['unit']>> = { h: 'hours', d: 'days', w: 'weeks', m: 'months', mo: 'months', y: 'years' }

/** `24h`, `7d`, `12w`, `12m` (here **months**, as in retention nobody means minutes), `1y`. */
export function parsePeriod(text: string): Period {
  const match = /^(\d{1,6})\s*(mo|[hdwmy])$/i.exec(text.trim())
  const unit = periodUnits[match?.[2]?.toLowerCase() ?? '']
  if (match === null || unit === undefined) throw new Failure('config-invalid', 'expected a retention period such as 24h, 7d, 12w, 12m (months) or 1y')
  return { count: Number(match[1]), unit }
}

const truths: Readonly<Record<string, boolean>> = { true: true, yes: true, on: true, 1: true, false: false, no: false, off: false, 0: false }

/** true/false, yes/no, on/off, 1/0, in any case. */
export function parseTruth(text: string | boolean): boolean {
  const truth = typeof text === 'boolean' ? text : truths[text.trim().toLowerCase()]
  if (truth === undefined) throw new Failure('config-invalid', 'expected true or false (also yes/no, on/off, 1/0)')
  return truth
}

/** A whole number in decimal digits between two bounds, both included. */
export function parseInteger(text: string, bounds: { readonly least: number; readonly most: number }): number {
  const number = /^\d{1,15}$/.test(text.trim()) ? Number(text.trim()) : Number.NaN
  if (!(number >= bounds.least && number <= bounds.most)) {
    throw new Failure('config-invalid', `expected a whole number from ${bounds.least} to ${bounds.most}`)
  }
  return number
}

export const portBounds = { least: 1, most: 65_535 } as const

/** The canonical name of an IANA time zone; a leading `:` as in POSIX TZ is allowed. */
export function parseTimeZone(text: string): string {
  const name = text.trim().replace(/^:/, '')
  try {
    return Temporal.Instant.fromEpochMilliseconds(0).toZonedDateTimeISO(name).timeZoneId
  } catch {
    // The original error repeats the text, which may be a secret in the wrong place.
    throw new Failure('config-invalid', 'expected an IANA time zone such as Europe/Paris or UTC')
  }
}

export function isTimeZone(text: string): boolean {
  try {
    parseTimeZone(text)
    return true
  } catch {
    // parseTimeZone fails for one reason only.
    return false
  }
}
