import { resolve } from 'node:path'
import { thisProcess } from '../config/load.ts'
import { systemClock } from '../kernel/clock.ts'
import type { Context } from '../kernel/context.ts'
import type { Emit, Event } from '../kernel/event.ts'
import { asFailure, Failure, messageOf } from '../kernel/failure.ts'
import type { Proof } from '../drill/proof.ts'
import type { Backup } from '../repository/backup.ts'
import type { DeletePlan } from '../repository/delete-backup.ts'
import type { RestorePlan } from '../restore/plan-restore.ts'
import type { UndoPlan } from '../restore/undo-restore.ts'
import type { VerifiedBackup } from '../verify/verify-backup.ts'
import { adoptFiles, type AdoptOutcome } from './adopt-files.ts'
import { deleteBackup, pinBackup } from './change-backups.ts'
import { drillBackup, type DrillOptions } from './drill-backup.ts'
import { initRepositories, type InitializedRepository } from './init-repositories.ts'
import { listBackups } from './list-backups.ts'
import { openWorkspace } from './open-workspace.ts'
import { restoreBackup, type RestoreOptions, type RestoreResult } from './restore-backup.ts'
import { showBackup } from './show-backup.ts'
import { takeBackups, type BackupOptions } from './take-backups.ts'
import { testRepositories, type StorageTest } from './test-repositories.ts'
import { undoRestore } from './undo-restore.ts'
import { verifyBackups } from './verify-backups.ts'
import type { Workspace } from './workspace.ts'

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
export interface RestoreBackupOptions extends ScopeOptions, Omit<RestoreOptions, 'wanted' | 'backup' | 'file' | 'cluster' | 'repositories' | 'replace' | 'dryRun'> {
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
  showBackup(backup?: string, options?: ScopeOptions): Promise<ListedBackup & { readonly open: string | null }>
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
  /** Restores a backup where it harms nobody and compares its content. Whether it is proven is in the proof's `outcome`. */
  drill(backup?: string, options?: DrillBackupOptions): Promise<Drilled>
  pin(backup: string, options?: ChangeBackupOptions): Promise<ListedBackup>
  unpin(backup: string, options?: ChangeBackupOptions): Promise<ListedBackup>
  planDelete(backup: string, options?: ScopeOptions): Promise<DeletePlans>
  /** Rejects with `target-unsafe` for a pinned backup and the last good one of its database. */
  deleteBackup(backup: string, options?: ChangeBackupOptions): Promise<DeletePlans>
  /** Takes dumps that other programs left into the repository, after reading each to its end. */
  adoptFiles(directory: string, options?: AdoptFilesOptions): Promise<AdoptOutcome>
  initRepositories(options?: ScopeOptions): Promise<readonly InitializedRepository[]>
  /** Tries every promise that backups rest on, on scratch objects. */
  testRepositories(options?: ScopeOptions): Promise<readonly StorageTest[]>
}

/** Reads the configuration and gives the verbs. Nothing is contacted before the first call. Rejects with `config-invalid` and its kin. */
export async function openTidemark(options: OpenOptions = {}): Promise<Tidemark> {
  const closing = new AbortController()
  const running = new Set<Promise<unknown>>()
  const emit = options.onEvent === undefined ? () => undefined : undisturbed(options.onEvent)
  const contextOf = (signal?: AbortSignal): Context => ({ clock: systemClock, emit, signal: AbortSignal.any([closing.signal, options.signal, signal].filter((each) => each !== undefined)) })
  const outside = thisProcess()
  const base = await openWorkspace({ ...outside, env: options.env ?? outside.env, cwd: resolve(options.cwd ?? outside.cwd) }, flagsOf(options), contextOf())

  async function call<T>(signal: AbortSignal | undefined, work: (workspace: Workspace) => Promise<T>): Promise<T> {
    const context = contextOf(signal)
    const result = within(context, () => work({ ...base, context }))
    running.add(result)
    try {
      return await result
    } finally {
      running.delete(result)
    }
  }

  return {
    ...verbs(call),
    [Symbol.asyncDispose]: async () => {
      closing.abort(new Failure('cancelled', 'this Tidemark was closed'))
      await Promise.allSettled(running)
    },
  }
}

type Call = <T>(signal: AbortSignal | undefined, work: (workspace: Workspace) => Promise<T>) => Promise<T>

function verbs(call: Call): Omit<Tidemark, typeof Symbol.asyncDispose> {
  const restoreOptions = ({ signal: _signal, replace, ...rest }: RestoreBackupOptions, wanted: string | undefined): RestoreOptions => ({
    ...rest,
    ...(wanted === undefined ? {} : { wanted }),
    ...(replace === undefined || replace === false ? {} : { replace: replace === true ? 'swap' : replace }),
  })
  const deletion = async (backup: string, { signal, reason, ...scope }: ChangeBackupOptions, dryRun: boolean) =>
    call(signal, async (workspace) => {
      const { plans } = await deleteBackup(workspace, { ...scope, backup, reason: reason ?? 'deleted by program', dryRun, approve: async () => undefined })
      return { plans }
    })
  const change = (kind: 'pin' | 'unpin', backup: string, { signal, reason, ...scope }: ChangeBackupOptions) =>
    call(signal, async (workspace) => listed(await pinBackup(workspace, kind, { ...scope, backup, reason: reason ?? `${kind}ned by program` })))

  return {
    createBackup: ({ signal, ...options } = {}) => call(signal, (workspace) => createOne(workspace, options)),
    createBackups: ({ signal, ...options } = {}) =>
      call(signal, async (workspace) => {
        const { backups, ...rest } = await takeAll(workspace, backupOptions(options))
        return { backups: backups.map(listed), ...rest }
      }),
    listBackups: ({ signal, ...options } = {}) => call(signal, async (workspace) => (await listBackups(workspace, options)).map(listed)),
    showBackup: (backup = 'latest', { signal, ...scope } = {}) =>
      call(signal, async (workspace) => {
        const shown = await showBackup(workspace, { ...scope, backup })
        return { ...listed(shown.backup), open: shown.open }
      }),
    verifyBackup: (idOrPath = 'latest', { signal, ...scope } = {}) =>
      call(signal, async (workspace) => {
        const { backups, intact } = await verifyBackups(workspace, { ...scope, wanted: [idOrPath] })
        const [checked] = backups
        if (checked === undefined) throw new Failure('backup-missing', `"${idOrPath}" was not found`)
        return verification(checked, intact)
      }),
    verifyBackups: ({ signal, ...scope } = {}) =>
      call(signal, async (workspace) => {
        const { backups, intact } = await verifyBackups(workspace, { ...scope, all: true })
        return backups.map((checked) => verification(checked, intact))
      }),
    planRestore: (idOrPath, options = {}) => call(options.signal, async (workspace) => (await restoreBackup(workspace, { ...restoreOptions(options, idOrPath), dryRun: true })).plan),
    restoreBackup: (idOrPath, options = {}) =>
      call(options.signal, async (workspace) => {
        const { plan, result, partial } = await restoreBackup(workspace, restoreOptions(options, idOrPath))
        if (result === null) throw new Failure('bug', 'the restore gave no result')
        return { plan, result, outcome: partial ? 'partial' : 'ok' }
      }),
    planUndo: (run, { signal, ...scope } = {}) => call(signal, async (workspace) => (await undoRestore(workspace, { ...scope, ...(run === undefined ? {} : { run }), dryRun: true })).plan),
    undo: (run, { signal, ...scope } = {}) => call(signal, async (workspace) => (await undoRestore(workspace, { ...scope, ...(run === undefined ? {} : { run }) })).plan),
    drill: (backup, { signal, ...options } = {}) =>
      call(signal, async (workspace) => {
        const { proof, keptDatabase, directory } = await drillBackup(workspace, { ...options, ...(backup === undefined ? {} : { backup }) })
        return { proof, keptDatabase, directory }
      }),
    pin: (backup, options = {}) => change('pin', backup, options),
    unpin: (backup, options = {}) => change('unpin', backup, options),
    planDelete: (backup, options = {}) => deletion(backup, options, true),
    deleteBackup: (backup, options = {}) => deletion(backup, options, false),
    adoptFiles: (directory, { signal, dryRun, ...options } = {}) => call(signal, (workspace) => adoptFiles(workspace, { ...options, directory, dryRun: dryRun === true, approve: async () => undefined })),
    initRepositories: ({ signal, ...scope } = {}) => call(signal, (workspace) => initRepositories(workspace, scope)),
    testRepositories: ({ signal, ...scope } = {}) => call(signal, (workspace) => testRepositories(workspace, scope)),
  }
}

async function createOne(workspace: Workspace, { database, ...options }: Omit<CreateBackupOptions, 'signal'>): Promise<CreatedBackup> {
  const wanted = backupOptions({ ...options, ...(database === undefined ? {} : { databases: [database] }) })
  const planned = await takeBackups(workspace, { ...wanted, dryRun: true })
  const databases = planned.kind === 'plan' ? planned.plan.databases : []
  if (databases.length > 1) {
    throw new Failure('usage-invalid', `cannot create one backup: ${databases.length} databases are configured (${databases.join(', ')})`, { hints: ['name one: createBackup({ database })', 'or take them all: createBackups()'] })
  }
  const { backups, ...rest } = await takeAll(workspace, wanted)
  const [backup] = backups
  if (backup === undefined) throw new Failure('bug', 'the backup gave no backup')
  return { ...listed(backup), ...rest }
}

async function takeAll(workspace: Workspace, options: BackupOptions): Promise<{ backups: readonly Backup[]; warnings: readonly string[]; outcome: Outcome }> {
  const taken = await takeBackups(workspace, options)
  if (taken.kind === 'plan') throw new Failure('bug', 'the backup was only planned')
  return { backups: taken.backups, warnings: taken.warnings, outcome: taken.partial ? 'partial' : 'ok' }
}

function backupOptions(options: Omit<CreateBackupsOptions, 'signal'> & { name?: string; nameUnique?: boolean }): BackupOptions {
  const { schemaOnly, dataOnly, tables, schemas, excludeTables, ...rest } = options
  return { ...rest, type: 'dump', selection: { schemaOnly: schemaOnly === true, dataOnly: dataOnly === true, tables: tables ?? [], schemas: schemas ?? [], excludeTables: excludeTables ?? [] } }
}

function listed(backup: Backup): ListedBackup {
  return { ...backup, filename: backup.fileName, size: backup.storedBytes, created: backup.endedAt }
}

function verification({ tables, ...checked }: VerifiedBackup, intact: string | null): Verification {
  return { ...checked, tables: tables.length, tableNames: tables.map(({ schema, name }) => `${schema}.${name}`), intact: checked.valid ? null : intact }
}

function flagsOf(options: OpenOptions): Parameters<typeof openWorkspace>[1] {
  const { databaseUrl, directory, repositories, configFile, envFile, cwd } = options
  // A repository is told from the name of one by its slash.
  const chosen = [...(directory === undefined ? [] : [resolve(cwd ?? thisProcess().cwd, directory)]), ...(repositories ?? [])]
  return {
    ...(databaseUrl === undefined ? {} : { databaseUrl }),
    ...(configFile === undefined ? {} : { config: configFile }),
    ...(envFile === undefined ? {} : { envFile }),
    ...(chosen.length === 0 ? {} : { repositories: chosen }),
  }
}

/** Rejections are Failures, whatever was thrown; after a stop they say so, unless damage was found on the way. */
async function within<T>(context: Context, work: () => Promise<T>): Promise<T> {
  try {
    context.signal.throwIfAborted()
    return await work()
  } catch (error) {
    const failure = asFailure(error)
    if (!context.signal.aborted || failure.code === 'integrity' || failure.code === 'cancelled') throw failure
    throw new Failure('cancelled', `stopped on request (${messageOf(context.signal.reason)})`, { cause: error })
  }
}

/** A listener must not be able to stop a backup, and its error must not be lost either. */
function undisturbed(listener: Emit): Emit {
  return (event: Event) => {
    try {
      listener(event)
    } catch (error) {
      queueMicrotask(() => {
        throw error
      })
    }
  }
}
