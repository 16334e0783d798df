import { Failure } from '../kernel/failure.ts'

/** Names below this are the drivers' own scratch space; no object may lie there. */
export const reservedDirectory = '.tidemark-tmp'

const keyBytesMax = 1024
/** NAME_MAX of every file system we meet; S3 has no such limit, but a key must be able to move to a directory. */
const segmentBytesMax = 255

// C0 and C1 controls, DEL, and the separators that terminals and XML treat as line ends.
const forbiddenCharacters = /[\p{Cc}\u2028\u2029\\]/u

/** Why `key` cannot be a key, or undefined when it can. Meant for keys from outside: manifests, listings, arguments. */
export function keyProblem(key: string): string | undefined {
  if (key === '') return 'it is empty'
  if (!key.isWellFormed()) return 'it is not valid Unicode'
  if (Buffer.byteLength(key) > keyBytesMax) return `it is longer than ${keyBytesMax} bytes`
  if (forbiddenCharacters.test(key)) return 'it contains a control character or a backslash'
  if (key.startsWith('/')) return 'it is an absolute path'
  if (/^[a-z]:/i.test(key)) return 'it begins with a drive letter'
  const segments = key.split('/')
  for (const segment of segments) {
    if (segment === '') return 'it has an empty segment'
    if (segment === '.' || segment === '..') return `it contains the segment "${segment}"`
    if (Buffer.byteLength(segment) > segmentBytesMax) return `it has a segment longer than ${segmentBytesMax} bytes`
  }
  if (segments[0]?.toLowerCase() === reservedDirectory) return `it lies in the reserved directory ${reservedDirectory}/`
  return undefined
}

export function isKey(key: string): boolean {
  return keyProblem(key) === undefined
}

/** Refuses what is no key with `storage-failed`, before any I/O. */
export function requireKey(key: string): void {
  const problem = keyProblem(key)
  if (problem !== undefined) throw new Failure('storage-failed', `cannot use ${quoted(key)} as the name of an object: ${problem}`)
}

/**
 * Refuses prefixes under which no key could lie. A prefix may be empty, end in `/` or inside a segment,
 * even inside `.` (a dot begins many names) but may not climb.
 */
export function requirePrefix(prefix: string): void {
  if (prefix === '') return
  const cut = prefix.lastIndexOf('/')
  const problem =
    prefix === '/'
      ? 'it is an absolute path'
      : ((cut < 0 ? undefined : keyProblem(prefix.slice(0, cut))) ?? (cut === prefix.length - 1 ? undefined : keyProblem(`${prefix}x`)))
  if (problem !== undefined) throw new Failure('storage-failed', `cannot list ${quoted(prefix)}: ${problem}`)
}

/** The two ascending orders agree only for UTF-8 bytes; JavaScript's own order of strings is that of UTF-16. */
export function compareKeys(left: string, right: string): number {
  return Buffer.compare(Buffer.from(left), Buffer.from(right))
}

/** The text between quotes, escaped and cut, so that a hostile name cannot drive a terminal or a log. */
export function quoted(text: string): string {
  return JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}…` : text).replaceAll(/[\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
  })
}
