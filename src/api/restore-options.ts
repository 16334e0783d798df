import type { RestorePlan } from '../restore/plan-restore.ts'

export interface RestoreOptions {
  /** Backup, `latest`, cluster or file, as typed; left out = latest. */
  readonly wanted?: string
  readonly backup?: string
  readonly file?: string
  readonly cluster?: string
  readonly repositories?: readonly string[]
  readonly as?: string
  readonly test?: boolean
  /** With `test`: drop the copy after validation. */
  readonly drop?: boolean
  readonly replace?: 'swap' | 'drop'
  readonly dropExisting?: boolean
  readonly clean?: boolean
  readonly tables?: readonly string[]
  readonly dataOnly?: boolean
  readonly truncate?: boolean
  readonly append?: boolean
  readonly server?: string
  readonly jobs?: number
  readonly noOwner?: boolean
  readonly noPrivileges?: boolean
  readonly runSql?: string
  readonly before?: string
  readonly after?: string
  readonly healthUrl?: string
  readonly healthTimeoutSeconds?: number
  readonly safetyBackup?: boolean
  readonly validate?: 'content' | 'rows' | 'none'
  /** With `dryRun`: read and decode the whole backup too. Default true. */
  readonly verify?: boolean
  readonly dryRun?: boolean
  /** Asked with the plan before anything is changed; rejects to stop. */
  readonly approve?: (plan: RestorePlan) => Promise<void>
}

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
