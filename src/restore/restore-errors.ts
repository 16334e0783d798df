/** An error pg_restore met, went on after, and counted. */
export interface IgnoredError {
  readonly message: string
  /** The statement it could not run, when it said so. */
  readonly statement: string | null
}

/**
 * Errors that change nothing, by their exact text: settings that newer client programs announce and older servers do not know.
 * Each entry has a test. Nothing is ever added because it "is probably harmless".
 */
const harmless: readonly RegExp[] = [/^unrecognized configuration parameter "transaction_timeout"$/]

export interface RestoreReport {
  readonly errors: readonly IgnoredError[]
  /** Errors of the reviewed list: said as a note, never exit code 3. */
  readonly notes: readonly string[]
  /** Errors that pg_restore reported and its kept output does not show. */
  readonly unlisted: number
}

/** Whether a line of pg_restore's standard error begins a report of an error. Its own count at the end is none to go by: with several workers it counts most of them twice. */
export function isErrorLine(line: string): boolean {
  return line.startsWith('pg_restore: error: ')
}

/** Reads what was kept of pg_restore's standard error, of `reported` errors in all. Pure. */
export function parseRestoreErrors(lines: readonly string[], reported: number): RestoreReport {
  const errors: IgnoredError[] = []
  for (const [index, line] of lines.entries()) {
    if (!isErrorLine(line)) continue
    const message = line.replace(/^pg_restore: error: (?:could not execute query: )?(?:ERROR: {2})?/, '')
    errors.push({ message, statement: statementBelow(lines, index + 1) })
  }
  // Counted, but in words that we do not know.
  const isUnknown = errors.length === 0 && lines.some((line) => /errors ignored on restore: [1-9]/.test(line))
  const notes = errors.filter((error) => harmless.some((pattern) => pattern.test(error.message))).map((error) => error.message)
  return {
    errors: errors.filter((error) => !harmless.some((pattern) => pattern.test(error.message))),
    notes,
    unlisted: isUnknown ? 1 : Math.max(0, reported - errors.length),
  }
}

/** The statement of an error: its first line, and of an ALTER TABLE the second, which names the constraint. More could hold what is nobody's business (options, bodies). */
function statementBelow(lines: readonly string[], from: number): string | null {
  const prefix = 'Command was: '
  const at = lines.findIndex((line, index) => index >= from && (line.startsWith(prefix) || line.startsWith('pg_restore: ')))
  const first = lines[at]
  if (first?.startsWith(prefix) !== true) return null
  const second = lines[at + 1]?.trim() ?? ''
  const isCut = first.startsWith(`${prefix}ALTER TABLE`) && !first.endsWith(';') && !second.startsWith('pg_restore: ')
  return `${first}${isCut ? ` ${second}` : ''}`.slice(prefix.length).trimEnd()
}
