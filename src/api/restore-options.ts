import type { RestorePlan } from '../restore/restore-plan.ts'

export type { RestoreOutcome, RestoreResult } from '../restore/restore-outcome.ts'

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
  /** Owners and grants of each of these roles go to another one: `{ old: 'new' }`. */
  readonly roleMap?: Readonly<Record<string, string>>
  readonly runSql?: string
  readonly before?: string
  readonly after?: string
  readonly healthUrl?: string
  readonly healthTimeoutSeconds?: number
  readonly safetyBackup?: boolean
  /** False: go on although there seems to be too little room on the server. Default true. */
  readonly spaceCheck?: boolean
  readonly validate?: 'content' | 'rows' | 'none'
  /** With `dryRun`: read and decode the whole backup too. Default true. */
  readonly verify?: boolean
  readonly dryRun?: boolean
  /** Asked with the plan before anything is changed; rejects to stop. */
  readonly approve?: (plan: RestorePlan) => Promise<void>
}
