import { asFailure, type Failure } from '../../kernel/failure.ts'

/** One thing that was looked at. `ok` means it was looked at and is well; what could not be looked at is never `ok`. */
export interface Finding {
  readonly severity: 'ok' | 'warn' | 'fail'
  /** Stable, for scripts: `connection`, `role-rights`, `repository-writable`, … */
  readonly check: string
  /** The cluster or repository it concerns; null: the machine or the configuration. */
  readonly subject: string | null
  readonly what: string
  /** What would go wrong, or why it is well; null where `what` says it all. */
  readonly why: string | null
  /** Exact commands, SQL or settings, one per line; null where there is nothing to do. */
  readonly fix: string | null
  /** SQL that `--apply` may run, and in which database. Null for everything that a person must do. */
  readonly apply: { readonly database: string; readonly sql: string } | null
}

export interface Report {
  readonly findings: readonly Finding[]
  add(finding: Partial<Finding> & Pick<Finding, 'severity' | 'check' | 'what'>): void
  /** A failure as a finding: its message, and its hints as the fix. */
  addFailure(check: string, error: unknown, more?: Partial<Finding>): Failure
  about(subject: string | null): Report
}

export function createReport(findings: Finding[] = [], subject: string | null = null): Report {
  const add: Report['add'] = (finding) => {
    const whole = { subject, why: null, fix: null, apply: null, ...finding }
    // Several databases of one server, or two clusters on one, say the same of it.
    if (!findings.some((other) => other.check === whole.check && other.subject === whole.subject && other.what === whole.what)) findings.push(whole)
  }
  return {
    findings,
    add,
    addFailure: (check, error, more = {}) => {
      const failure = asFailure(error)
      // An error that nobody foresaw is a bug of ours and must not look like a finding about the server.
      if (failure.code === 'bug' || failure.code === 'cancelled') throw error
      add({ severity: 'fail', check, what: failure.message, fix: failure.hints.length === 0 ? null : failure.hints.join('\n'), ...more })
      return failure
    },
    about: (other) => createReport(findings, other),
  }
}
