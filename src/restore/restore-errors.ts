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
  /** pg_restore counted more errors than its kept output shows. */
  readonly incomplete: boolean
}

/** Reads pg_restore's standard error. Pure. */
export function parseRestoreErrors(lines: readonly string[]): RestoreReport {
  const errors: IgnoredError[] = []
  let counted: number | null = null
  for (const [index, line] of lines.entries()) {
    const count = /errors ignored on restore: (\d+)/.exec(line)
    if (count !== null) counted = Number(count[1])
    const match = /^pg_restore: error: (?:could not execute query: )?(?:ERROR: {2})?(.*)$/.exec(line)
    if (match === null) continue
    const statement = lines.slice(index + 1, index + 8).find((next) => next.startsWith('Command was: ')) ?? null
    errors.push({ message: match[1] ?? line, statement: statement === null ? null : statement.slice('Command was: '.length) })
  }
  const notes = errors.filter((error) => harmless.some((pattern) => pattern.test(error.message))).map((error) => error.message)
  return {
    errors: errors.filter((error) => !harmless.some((pattern) => pattern.test(error.message))),
    notes,
    incomplete: counted !== null && counted > errors.length,
  }
}
