import { createHash } from 'node:crypto'
import { fileStamp } from '../kernel/clock.ts'
import { Failure } from '../kernel/failure.ts'

/** The names the seeds' scripts gave their files, by preset; `default` is also seed 000's and 002's. */
export const namePresets = {
  default: '<db>_<YYYYMMDD_HHMMSS>',
  s0: '<db>_<YYYYMMDD_HHMMSS>',
  s1: '<db>_backup_<YYYYMMDD_HHMMSS>',
  s2: '<db>_<YYYYMMDD_HHMMSS>',
  s3: '<db>_backup_<YYYYMMDD_HHMMSS>',
  s4: 'postgres-dump-<YYYYMMDD-HHMMSS>',
} as const

const fields = ['db', 'cluster', 'id', 'YYYYMMDD_HHMMSS', 'YYYYMMDD-HHMMSS', 'YYYYMMDD', 'HHMMSS'] as const
type Field = (typeof fields)[number]

export interface NameFacts {
  readonly database: string
  readonly cluster: string
  readonly id: string
  /** When the backup began, in the cluster's zone. */
  readonly time: Temporal.ZonedDateTime
}

/**
 * Checks a template and returns it, a preset's name replaced by what it stands for. Refused are directories, unknown
 * fields, a leading dash or dot, and a template that gives every backup of a database the same name.
 */
export function parseNameTemplate(text: string): string {
  const template = Object.hasOwn(namePresets, text) ? namePresets[text as keyof typeof namePresets] : text
  const found = [...template.matchAll(/<([^<>]*)>/g)].map((match) => match[1] ?? '')
  const unknown = found.find((field) => !isField(field))
  if (unknown !== undefined) {
    throw new Failure('config-invalid', `the file name template has an unknown field; possible are ${fields.map((field) => `<${field}>`).join(', ')}`)
  }
  if (!/^\w[\w.+@=-]*$/.test(template.replaceAll(/<[^<>]*>/g, 'x'))) {
    throw new Failure(
      'config-invalid',
      'a file name template may hold letters, digits, _ . + @ = - and fields; it begins with none of . - and names no directory',
    )
  }
  const distinguishes = found.includes('id') || found.some((field) => field.includes('HHMMSS'))
  if (!distinguishes) throw new Failure('config-invalid', 'the file name template needs <id> or a time of day, or every backup would have the same name')
  if (template.length > 120) throw new Failure('config-invalid', 'the file name template is longer than 120 characters')
  return template
}

function isField(text: string): text is Field {
  return (fields as readonly string[]).includes(text)
}

/** The file name without extension. Whatever the database is called, the result is one safe path segment. */
export function renderName(template: string, facts: NameFacts): string {
  return template.replaceAll(/<([^<>]*)>/g, (whole, field: string) => (isField(field) ? fieldText(field, facts) : whole))
}

function fieldText(field: Field, facts: NameFacts): string {
  const stamp = fileStamp(facts.time)
  const [date = '', time = ''] = stamp.split('_')
  switch (field) {
    case 'db':
      return safeFileName(facts.database)
    case 'cluster':
      return safeFileName(facts.cluster)
    case 'id':
      return safeFileName(facts.id)
    case 'YYYYMMDD_HHMMSS':
      return stamp
    case 'YYYYMMDD-HHMMSS':
      return `${date}-${time}`
    case 'YYYYMMDD':
      return date
    case 'HHMMSS':
      return time
    default:
      throw new Error(`unexpected field "${field satisfies never}"`)
  }
}

/**
 * One path segment for any name: letters, digits, `_ . -`, at most 90 bytes, never beginning with a dash or dot.
 * A name that had to change gets `-` and 8 hex digits of its SHA-256, and so does one that already ends that way: two
 * different names therefore never meet.
 */
export function safeFileName(name: string): string {
  const reserved = name === '__proto__'
  const marked = /-[0-9a-f]{8}$/.test(name)
  // Told apart first: Unicode's tables take longer to load than the rest of the start.
  if (/^[A-Za-z0-9_][A-Za-z0-9._-]{0,79}$/.test(name) && !marked && !reserved) return name
  const plain = name
    .normalize('NFKD')
    .replaceAll(/\p{M}/gu, '')
    .replaceAll(/[^A-Za-z0-9._-]/gu, '_')
    .replace(/^[-.]+/, '_')
    .slice(0, 80)
  return `${plain === '' ? '_' : plain}-${createHash('sha256').update(name).digest('hex').slice(0, 8)}`
}
