import type { BaseFacts } from './show-backup.ts'
import type { DescribedSetting } from '../config/describe.ts'
import type { Emit } from '../kernel/event.ts'
import type { Proof } from '../drill/proof.ts'
import type { Backup } from '../repository/backup.ts'
import type { DeletePlan } from '../repository/delete-backup.ts'
import type { RestorePlan } from '../restore/restore-plan.ts'
import type { ExportPlan, ExportResult } from '../restore/export/export-request.ts'
import type { UndoPlan } from '../restore/undo-restore.ts'
import type { VerifiedBackup } from '../verify/verify-backup.ts'
import type { AdoptOutcome } from './adopt-files.ts'
import type { Diagnosis } from './doctor/diagnose.ts'
import type { DrillOptions } from './drill-backup.ts'
import type { ExportOptions } from './export-backup.ts'
import type { InitializedRepository } from './init-repositories.ts'
import type { RestoreOptions, RestoreResult } from './restore-options.ts'
import type { StorageTest } from './test-repositories.ts'

/** Where the database and the backups are. Everything left out comes from `tidemark.yaml`, the environment and `.env`, as for the command. */
export interface OpenOptions {
  /** `postgres://user@host/database`; replaces the connection of the configured cluster. */
  readonly databaseUrl?: string
  /** Directory of the repository; only this one is used then. */
  readonly directory?: string
  /** Names of configured repositories, or `s3://bucket/prefix`; only these are used then. */
  readonly repositories?: readonly string[]
  readonly configFile?: string
  readonly envFile?: string
  /** Files of keys of a sealed repository, besides those of the configuration: this host's, the recovery kit, others. */
  readonly hostKeyFile?: string
  readonly kitFile?: string
  readonly identityFiles?: readonly string[]
  readonly passphraseFile?: string
  /** The root key to trust, `tidemark-root1…`, where no host key or kit names it. */
  readonly root?: string
  /** Instead of the process's environment; nothing of that is seen then. */
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Instead of the working directory: where `tidemark.yaml`, `.env` and `./backups` are looked for. */
  readonly cwd?: string
  /** Stops every call. */
  readonly signal?: AbortSignal
  /** Told what happens while it happens (docs/reference/events.md). What it throws is not caught: it ends up as the process's uncaught exception. */
  readonly onEvent?: Emit
}

export interface CallOptions {
  /** Stops this call; it rejects with `cancelled`, after having cleaned up. */
  readonly signal?: AbortSignal
}

/** Which cluster and which repositories a call means, where several are configured. */
export interface ScopeOptions extends CallOptions {
  readonly cluster?: string
  readonly repositories?: readonly string[]
}

export interface CreateBackupsOptions extends ScopeOptions {
  readonly databases?: readonly string[]
  readonly allDatabases?: boolean
  readonly format?: 'custom' | 'plain' | 'directory'
  /** `gzip:1-9`, `zstd:1-19` or `none` */
  readonly compress?: string
  readonly schemaOnly?: boolean
  readonly dataOnly?: boolean
  /** pg_dump patterns. */
  readonly tables?: readonly string[]
  readonly schemas?: readonly string[]
  readonly excludeTables?: readonly string[]
  readonly jobs?: number
  /** Default true; without it a drill can only be partial. */
  readonly fingerprint?: boolean
  /** Read everything back. Default true; without it the backup stays `stored`. */
  readonly verify?: boolean
  readonly globals?: boolean
}

export interface CreateBackupOptions extends Omit<CreateBackupsOptions, 'databases' | 'allDatabases'> {
  readonly database?: string
  /** Name of the backup and stem of its file. */
  readonly name?: string
  /** Add a suffix when the name is taken, instead of rejecting with `name-taken`. */
  readonly nameUnique?: boolean
}

/** A backup, and three of its facts by the short names that scripts like. */
export interface ListedBackup extends Backup {
  /** = `fileName` */
  readonly filename: string
  /** Stored bytes, = `storedBytes` */
  readonly size: number
  /** RFC 3339 UTC, = `endedAt` */
  readonly created: string
}

/** `partial`: done, with something left out or ignored (exit code 3 of the command). */
export type Outcome = 'ok' | 'partial'

export interface CreatedBackup extends ListedBackup {
  readonly warnings: readonly string[]
  readonly outcome: Outcome
}

export interface CreatedBackups {
  readonly backups: readonly ListedBackup[]
  readonly warnings: readonly string[]
  readonly outcome: Outcome
}

export interface ListBackupsOptions extends ScopeOptions {
  readonly category?: 'daily' | 'weekly' | 'monthly'
  readonly type?: 'dump' | 'full' | 'incr'
}

export interface Verification extends Omit<VerifiedBackup, 'tables'> {
  /** Number of tables. */
  readonly tables: number
  /** `schema.table` */
  readonly tableNames: readonly string[]
  /** The newest intact backup, where this one is damaged. */
  readonly intact: string | null
}

/**
 * How to restore. Each option that replaces or drops something is the consent to it: nobody is asked. Without any, a new
 * database `<database>_restore_<time>` is made beside the original.
 */
export interface RestoreBackupOptions
  extends ScopeOptions, Omit<RestoreOptions, 'wanted' | 'backup' | 'file' | 'cluster' | 'repositories' | 'replace' | 'dryRun' | 'approve'> {
  /** Replace the original: safety backup, restore beside, validate, swap by rename (`true` or `swap`); `drop` where there is no room for both. */
  readonly replace?: boolean | 'swap' | 'drop'
}

export interface Restored {
  readonly plan: RestorePlan
  readonly result: RestoreResult
  readonly outcome: Outcome
}

export interface DrillBackupOptions extends CallOptions, Omit<DrillOptions, 'backup'> {}

export interface Drilled {
  readonly proof: Proof
  readonly keptDatabase: string | null
  readonly directory: string | null
}

/** As the flags of `export`. */
export interface ExportBackupOptions extends ScopeOptions, Omit<ExportOptions, 'wanted' | 'backup' | 'cluster' | 'repositories' | 'dryRun'> {}

export interface ExportedBackup {
  readonly plan: ExportPlan
  readonly result: ExportResult
}

export interface ChangeBackupOptions extends ScopeOptions {
  /** Recorded for good. */
  readonly reason?: string
}

export interface DeletePlans {
  readonly plans: readonly { readonly repository: string; readonly plan: DeletePlan }[]
}

export interface AdoptFilesOptions extends ScopeOptions {
  readonly again?: boolean
  readonly dryRun?: boolean
}

/**
 * The verbs of the command line for Node programs; names and types of results are those of `--json`. Calls may run side by side. A call
 * that fails rejects with a `Failure`, whose `code` is one of docs/reference/failures.md. Disposing stops what still runs and waits for it.
 */
export interface Tidemark extends AsyncDisposable {
  /** Dumps one database. Rejects with `usage-invalid` where several are configured and none is named. */
  createBackup(options?: CreateBackupOptions): Promise<CreatedBackup>
  /** Dumps several databases; those that fail are named in `warnings` and make the outcome `partial`. Rejects when all fail. */
  createBackups(options?: CreateBackupsOptions): Promise<CreatedBackups>
  /** Newest first. */
  listBackups(options?: ListBackupsOptions): Promise<readonly ListedBackup[]>
  /** One backup by id, beginning of an id, name, file name or `latest` (the default), and the command that opens its file without Tidemark. */
  showBackup(backup?: string, options?: ScopeOptions): Promise<ListedBackup & { readonly open: string | null; readonly base: BaseFacts | null }>
  /** The newest complete backup that is not known to be damaged. Rejects with `backup-missing` when there is none. */
  latest(options?: ScopeOptions): Promise<ListedBackup>
  /** Reads one backup, or a dump file, to its last byte. Damage is an answer (`valid: false`), not a rejection. */
  verifyBackup(idOrPath?: string, options?: ScopeOptions): Promise<Verification>
  /** Every backup there is. */
  verifyBackups(options?: ScopeOptions): Promise<readonly Verification[]>
  /** What `restoreBackup` would do; reads and decodes the whole backup too, unless `verify` is false. Refusals are in the plan. */
  planRestore(idOrPath?: string, options?: RestoreBackupOptions): Promise<RestorePlan>
  restoreBackup(idOrPath?: string, options?: RestoreBackupOptions): Promise<Restored>
  planUndo(run?: string, options?: ScopeOptions): Promise<UndoPlan>
  /** Puts back what the newest `replace` (or the named run) replaced; a named run's copy is dropped. */
  undo(run?: string, options?: ScopeOptions): Promise<UndoPlan>
  /** What `exportBackup` would do. Refusals are in the plan. */
  planExport(backup: string, options: ExportBackupOptions): Promise<ExportPlan>
  /** Writes a backup in PostgreSQL's own formats: what `pg_basebackup` leaves, or the files that pg_dump wrote. */
  exportBackup(backup: string, options: ExportBackupOptions): Promise<ExportedBackup>
  /** Restores a backup where it harms nobody and compares its content. Whether it is proven is in the proof's `outcome`. */
  drill(backup?: string, options?: DrillBackupOptions): Promise<Drilled>
  pin(backup: string, options?: ChangeBackupOptions): Promise<ListedBackup>
  unpin(backup: string, options?: ChangeBackupOptions): Promise<ListedBackup>
  planDelete(backup: string, options?: ScopeOptions): Promise<DeletePlans>
  /** Rejects with `target-unsafe` for a pinned backup and the last good one of its database. */
  deleteBackup(backup: string, options?: ChangeBackupOptions): Promise<DeletePlans>
  /** Takes dumps that other programs left into the repository, after reading each to its end. */
  adoptFiles(directory: string, options?: AdoptFilesOptions): Promise<AdoptOutcome>
  /** Everything that would make a backup or a restore fail later; `ok` is false when something would. */
  doctor(options?: ScopeOptions): Promise<Diagnosis>
  /** Every effective setting with the place it came from; secrets are masked. */
  config(): readonly DescribedSetting[]
  initRepositories(options?: ScopeOptions): Promise<readonly InitializedRepository[]>
  /** Tries every promise that backups rest on, on scratch objects. */
  testRepositories(options?: ScopeOptions): Promise<readonly StorageTest[]>
}
