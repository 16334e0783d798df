import type { Context } from '../kernel/context.ts'
import type { Session } from '../postgres/session.ts'
import type { ConnectionTarget } from '../postgres/target.ts'
import type { Manifest } from '../repository/manifest.ts'
import type { RestoreHooks } from './hooks.ts'
import type { RoleMap } from './map-roles.ts'
import type { CopyPlace } from './restore-copy.ts'
import type { RestorePlan } from './restore-plan.ts'
import type { RestoreRecord } from './run-record.ts'
import type { StagedDump } from './staged-dump.ts'

/** What a restore is asked to do, decided before anything is looked at. */
export type RestoreGoal =
  /** A new database; `explicit` when its name was given. */
  | { readonly kind: 'new'; readonly name: string; readonly explicit: boolean }
  /** `<db>_restore_test`, replacing an earlier one of ours. */
  | { readonly kind: 'test'; readonly name: string }
  /** Drop the named database first. */
  | { readonly kind: 'drop-existing'; readonly name: string }
  /** Into an existing database: its objects dropped first, or rows only. Not `explicit`: the original, which is then backed up first. */
  | { readonly kind: 'into'; readonly name: string; readonly how: 'clean' | 'append' | 'truncate'; readonly explicit: boolean }
  /** Replace the original: beside, validated, swapped; or dropped first where there is no room for both. */
  | { readonly kind: 'replace'; readonly name: string; readonly how: 'swap' | 'drop' }

/** Everything that decides what a restore does, once words and settings were understood. */
export interface RestoreRequest {
  readonly run: string
  /** Name of the cluster, for the run record. */
  readonly cluster: string
  readonly goal: RestoreGoal
  /** Of the backup that is restored, its source's roles already replaced; null for a file. */
  readonly manifest: Manifest | null
  /** The dump file that is restored, absolute; null for a backup. */
  readonly file: string | null
  /** True when the restore goes to the server the backup came from, as far as can be known. */
  readonly sameServer: boolean
  /** Databases that configured clusters on this server use; only `--replace` may touch them. */
  readonly protectedDatabases: ReadonlySet<string>
  /** Name under which a replaced database is kept. */
  readonly keptAs: string
  readonly jobs: number
  readonly tables: readonly string[]
  readonly dataOnly: boolean
  readonly truncate: boolean
  readonly clean: boolean
  readonly noOwner: boolean
  readonly noPrivileges: boolean
  readonly roleMap: RoleMap
  readonly validate: 'content' | 'rows' | 'none'
  readonly safetyBackup: boolean
  /** False: too little room on the server is only a warning. */
  readonly spaceCheck: boolean
  /** Run before hand-over. Read before anything is touched: a missing file must not be found out after a drop. */
  readonly sql: { readonly file: string; readonly text: string } | null
  readonly hooks: RestoreHooks
  readonly health: { readonly url: string; readonly timeoutSeconds: number } | null
  /** With a test restore: drop the copy after validation. */
  readonly dropAfterwards: boolean
  /** `plan`: only look; `read`: read and decode the whole backup, too. */
  readonly dryRun: 'plan' | 'read' | null
  readonly workDirectory: string
  /** When it began, on the monotonic clock. */
  readonly begunMs: number
}

/** The server that is restored on. */
export interface RestoreServer extends CopyPlace {
  /** `host:port`, no credentials. */
  readonly name: string
  readonly target: ConnectionTarget
}

/** What the story needs of others: of the repository, of the other verbs, and of the person who asked for it. */
export interface RestoreDoors {
  /** Reads the whole dump onto local disk and checks every byte. */
  stage(directory: string): Promise<StagedDump>
  /** Takes a complete, verified backup of a database of the server as it is now; returns its id. Anything less rejects. */
  backUp(database: string, name: string): Promise<string>
  saveRecord(record: RestoreRecord): Promise<void>
  /** What a drill would ask a copy; null when nothing is configured. */
  readonly ask: ((session: Session) => Promise<CopyAnswers>) | null
  /** Asked with the plan before anything is changed; rejects to stop. */
  approve(plan: RestorePlan): Promise<void>
}

/** Answers of the configured checks, and the newest rows for a person to recognise. */
export interface CopyAnswers {
  readonly checks: readonly { readonly sql: string; readonly expected: string; readonly actual: string | null; readonly ok: boolean }[]
  readonly newest: readonly { readonly table: string; readonly rows: readonly Readonly<Record<string, string | null>>[] }[]
  readonly problems: readonly string[]
}

/** One restore that is at work. */
export interface RestoreWork {
  readonly request: RestoreRequest
  readonly server: RestoreServer
  readonly doors: RestoreDoors
  readonly plan: RestorePlan
  readonly context: Context
}
