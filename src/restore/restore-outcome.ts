import { formatConnectionUrl } from '../postgres/connection-url.ts'
import type { RestorePlan } from './restore-plan.ts'
import type { RestoredCopy } from './restore-copy.ts'
import type { CopyAnswers, RestoreWork } from './restore-request.ts'

export interface RestoreResult {
  readonly run: string
  readonly connection: string
  readonly database: string
  readonly directory: null
  readonly host: string | null
  readonly port: number
  readonly user: string
  readonly socketDirectory: string | null
  readonly reachedLsn: string | null
  readonly reachedTime: string | null
  readonly tables: readonly {
    readonly schema: string
    readonly name: string
    readonly rows: number | null
    readonly restoredRows: number | null
    readonly match: boolean
  }[]
  readonly validation: 'content' | 'rows' | 'none'
  /** Answers of the configured checks, for a test restore. */
  readonly checks: readonly { readonly sql: string; readonly expected: string; readonly actual: string | null; readonly ok: boolean }[]
  /** The newest rows of the configured tables, for a test restore. */
  readonly newest: readonly { readonly table: string; readonly rows: readonly Readonly<Record<string, string | null>>[] }[]
  readonly errors: readonly { readonly message: string; readonly statement: string | null }[]
  readonly warnings: readonly string[]
  readonly keptAs: string | null
  readonly safetyBackup: string | null
  readonly dropped: boolean
  readonly durationSeconds: number
}

export interface RestoreOutcome {
  readonly plan: RestorePlan
  /** Null after a dry run. */
  readonly result: RestoreResult | null
  /** An error was ignored or content left out: exit code 3. */
  readonly partial: boolean
}

/** A restore that is carried out, before anybody is told. */
export interface Restored {
  /** As it is now: after a swap it has the name of what it replaced. */
  readonly copy: RestoredCopy
  readonly keptAs: string | null
  readonly safetyBackup: string | null
  readonly dropped: boolean
  readonly warnings: readonly string[]
  readonly answers: Pick<CopyAnswers, 'checks' | 'newest'>
  /** False when the restore is done and its record could not be written. */
  readonly recorded: boolean
}

export function describeOutcome({ request, server, plan, context }: RestoreWork, done: Restored): RestoreOutcome {
  const { copy } = done
  const { validation } = copy
  const target = { ...server.target, database: copy.database }
  const result: RestoreResult = {
    run: request.run,
    connection: formatConnectionUrl(target),
    database: copy.database,
    directory: null,
    host: target.host,
    port: target.port,
    user: target.user,
    socketDirectory: target.host?.startsWith('/') === true ? target.host : null,
    reachedLsn: request.manifest?.backup.startLsn ?? null,
    reachedTime: request.manifest?.backup.startedAt ?? null,
    tables: validation.tables,
    validation: validation.how,
    checks: done.answers.checks,
    newest: done.answers.newest,
    errors: copy.errors,
    warnings: [...plan.warnings, ...copy.warnings, ...done.warnings, ...validation.problems.map((problem) => `${problem.object}: ${problem.message}`)],
    keptAs: done.keptAs,
    safetyBackup: done.safetyBackup,
    dropped: done.dropped,
    durationSeconds: (context.clock.monotonicMs() - request.begunMs) / 1000,
  }
  return { plan, result, partial: copy.errors.length > 0 || validation.outcome === 'different' || !done.recorded }
}
