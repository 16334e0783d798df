import { resolve } from 'node:path'
import { describeSettings } from '../config/describe.ts'
import { thisProcess } from '../config/load.ts'
import { systemClock } from '../kernel/clock.ts'
import type { Context } from '../kernel/context.ts'
import type { Emit, Event } from '../kernel/event.ts'
import { asFailure, Failure, messageOf } from '../kernel/failure.ts'
import type { Backup } from '../repository/backup.ts'
import type { VerifiedBackup } from '../verify/verify-backup.ts'
import { adoptFiles } from './adopt-files.ts'
import { deleteBackup, pinBackup } from './change-backups.ts'
import type {
  ChangeBackupOptions,
  CreateBackupOptions,
  CreateBackupsOptions,
  CreatedBackup,
  ListedBackup,
  OpenOptions,
  Outcome,
  RestoreBackupOptions,
  Tidemark,
  Verification,
} from './contract.ts'
import { diagnose } from './doctor/diagnose.ts'
import { drillBackup } from './drill-backup.ts'
import { exportBackup } from './export-backup.ts'
import { initRepositories } from './init-repositories.ts'
import { listBackups } from './list-backups.ts'
import { readMachine } from './machine.ts'
import { openWorkspace } from './open-workspace.ts'
import { restoreBackup } from './restore-backup.ts'
import type { RestoreOptions } from './restore-options.ts'
import { showBackup } from './show-backup.ts'
import { databasesOf, takeBackups, type BackupOptions } from './take-backups.ts'
import { testRepositories } from './test-repositories.ts'
import { undoRestore } from './undo-restore.ts'
import { verifyBackups } from './verify-backups.ts'
import type { Workspace } from './workspace.ts'

/** Reads the configuration and gives the verbs. Nothing is contacted before the first call. Rejects with `config-invalid` and its kin. */
export async function openTidemark(options: OpenOptions = {}): Promise<Tidemark> {
  const closing = new AbortController()
  const running = new Set<Promise<unknown>>()
  const emit = options.onEvent === undefined ? () => undefined : undisturbed(options.onEvent)
  const contextOf = (signal?: AbortSignal): Context => ({
    clock: systemClock,
    emit,
    signal: AbortSignal.any([closing.signal, options.signal, signal].filter((each) => each !== undefined)),
  })
  const outside = thisProcess()
  const machine = await readMachine({ ...outside, env: options.env ?? outside.env, cwd: resolve(options.cwd ?? outside.cwd) })
  const base = await openWorkspace(machine, flagsOf(options), contextOf())

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
    config: () => describeSettings(base.settings),
    [Symbol.asyncDispose]: async () => {
      closing.abort(new Failure('cancelled', 'this Tidemark was closed'))
      await Promise.allSettled(running)
    },
  }
}

type Call = <T>(signal: AbortSignal | undefined, work: (workspace: Workspace) => Promise<T>) => Promise<T>

function verbs(call: Call): Omit<Tidemark, 'config' | typeof Symbol.asyncDispose> {
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
    listBackups: ({ signal, ...options } = {}) => call(signal, async (workspace) => (await listBackups(workspace, options)).backups.map(listed)),
    showBackup: (backup = 'latest', { signal, ...scope } = {}) =>
      call(signal, async (workspace) => {
        const shown = await showBackup(workspace, { ...scope, backup })
        return { ...listed(shown.backup), open: shown.open, base: shown.base }
      }),
    latest: ({ signal, ...scope } = {}) =>
      call(signal, async (workspace) => listed((await showBackup(workspace, { ...scope, backup: 'latest', manifest: false })).backup)),
    doctor: ({ signal, ...scope } = {}) => call(signal, (workspace) => diagnose(workspace, scope)),
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
    planRestore: (idOrPath, options = {}) =>
      call(options.signal, async (workspace) => (await restoreBackup(workspace, { ...restoreOptions(options, idOrPath), dryRun: true })).plan),
    restoreBackup: (idOrPath, options = {}) =>
      call(options.signal, async (workspace) => {
        const { plan, result, partial } = await restoreBackup(workspace, restoreOptions(options, idOrPath))
        if (result === null) throw new Failure('bug', 'the restore gave no result')
        return { plan, result, outcome: partial ? 'partial' : 'ok' }
      }),
    planUndo: (run, { signal, ...scope } = {}) =>
      call(signal, async (workspace) => (await undoRestore(workspace, { ...scope, ...(run === undefined ? {} : { run }), dryRun: true })).plan),
    undo: (run, { signal, ...scope } = {}) =>
      call(signal, async (workspace) => (await undoRestore(workspace, { ...scope, ...(run === undefined ? {} : { run }) })).plan),
    planExport: (wanted, { signal, ...options }) =>
      call(signal, async (workspace) => (await exportBackup(workspace, { ...options, wanted, dryRun: true })).plan),
    exportBackup: (wanted, { signal, ...options }) =>
      call(signal, async (workspace) => {
        const { plan, result } = await exportBackup(workspace, { ...options, wanted })
        if (result === null) throw new Failure('bug', 'the export gave no result')
        return { plan, result }
      }),
    drill: (backup, { signal, ...options } = {}) =>
      call(signal, async (workspace) => {
        const { proof, keptDatabase, directory } = await drillBackup(workspace, { ...options, ...(backup === undefined ? {} : { backup }) })
        return { proof, keptDatabase, directory }
      }),
    pin: (backup, options = {}) => change('pin', backup, options),
    unpin: (backup, options = {}) => change('unpin', backup, options),
    planDelete: (backup, options = {}) => deletion(backup, options, true),
    deleteBackup: (backup, options = {}) => deletion(backup, options, false),
    adoptFiles: (directory, { signal, dryRun, ...options } = {}) =>
      call(signal, (workspace) => adoptFiles(workspace, { ...options, directory, dryRun: dryRun === true, approve: async () => undefined })),
    initRepositories: ({ signal, ...scope } = {}) => call(signal, (workspace) => initRepositories(workspace, scope)),
    testRepositories: ({ signal, ...scope } = {}) => call(signal, (workspace) => testRepositories(workspace, { ...scope, slow: false })),
  }
}

async function createOne(workspace: Workspace, { database, ...options }: Omit<CreateBackupOptions, 'signal'>): Promise<CreatedBackup> {
  const wanted = backupOptions({ ...options, ...(database === undefined ? {} : { databases: [database] }) })
  const databases = await databasesOf(workspace, wanted)
  if (databases.length > 1) {
    throw new Failure('usage-invalid', `cannot create one backup: ${databases.length} databases are configured (${databases.join(', ')})`, {
      hints: ['name one: createBackup({ database })', 'or take them all: createBackups()'],
    })
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
  return {
    ...rest,
    type: 'dump',
    selection: {
      schemaOnly: schemaOnly === true,
      dataOnly: dataOnly === true,
      tables: tables ?? [],
      schemas: schemas ?? [],
      excludeTables: excludeTables ?? [],
    },
  }
}

function listed(backup: Backup): ListedBackup {
  return { ...backup, filename: backup.fileName, size: backup.storedBytes, created: backup.endedAt }
}

function verification({ tables, ...checked }: VerifiedBackup, intact: string | null): Verification {
  return { ...checked, tables: tables.length, tableNames: tables.map(({ schema, name }) => `${schema}.${name}`), intact: checked.valid ? null : intact }
}

function flagsOf(options: OpenOptions): Parameters<typeof openWorkspace>[1] {
  const { databaseUrl, directory, repositories, configFile, envFile, cwd, hostKeyFile, kitFile, identityFiles, passphraseFile, root } = options
  // A repository is told from the name of one by its slash.
  const chosen = [...(directory === undefined ? [] : [resolve(cwd ?? thisProcess().cwd, directory)]), ...(repositories ?? [])]
  return {
    ...(databaseUrl === undefined ? {} : { databaseUrl }),
    ...(configFile === undefined ? {} : { config: configFile }),
    ...(envFile === undefined ? {} : { envFile }),
    ...(hostKeyFile === undefined ? {} : { hostKey: hostKeyFile }),
    ...(kitFile === undefined ? {} : { kit: kitFile }),
    ...(identityFiles === undefined ? {} : { identities: identityFiles }),
    ...(passphraseFile === undefined ? {} : { passphraseFile }),
    ...(root === undefined ? {} : { root }),
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
