import { parseCompression } from '../config/compression.ts'
import { renderName, safeFileName } from '../config/name-template.ts'
import type { ClusterSettings, Compression } from '../config/settings.ts'
import { openSource } from '../backup/open-source.ts'
import type { DumpRequest } from '../backup/dump-request.ts'
import { takeDump } from '../backup/take-dump.ts'
import type { Selection } from '../backup/left-out.ts'
import type { Context } from '../kernel/context.ts'
import { asFailure, Failure, isFailure } from '../kernel/failure.ts'
import type { ConnectionTarget } from '../postgres/target.ts'
import type { Backup } from '../repository/backup.ts'
import { sweepStages } from '../repository/stage.ts'
import { dumpOptionIn, takeBaseBackups } from './take-base-backups.ts'
import { planBackups, type BackupPlan } from './plan-backups.ts'
import { newRunId } from './run-id.ts'
import { listDumpableDatabases } from './source-databases.ts'
import { openRepositories, pickCluster, reachOf, repositoryNames, type Workspace } from './workspace.ts'

export interface BackupOptions {
  readonly cluster?: string
  readonly type?: 'dump' | 'full' | 'incr' | 'auto'
  readonly databases?: readonly string[]
  readonly allDatabases?: boolean
  readonly name?: string | null
  readonly nameUnique?: boolean
  /** Who reads the files of a base backup: the server, or we where they lie on this machine. */
  readonly reader?: 'auto' | 'stream' | 'direct'
  readonly format?: 'custom' | 'plain' | 'directory'
  readonly compress?: string
  readonly selection?: Selection
  readonly jobs?: number
  readonly fingerprint?: boolean
  readonly verify?: boolean
  readonly globals?: boolean
  readonly safety?: boolean
  /** Another server than the cluster's: where `restore --server` is about to replace something. */
  readonly target?: ConnectionTarget
  readonly repositories?: readonly string[]
  readonly dryRun?: boolean
}

export type BackupResult =
  | { readonly kind: 'done'; readonly backups: readonly Backup[]; readonly warnings: readonly string[]; readonly partial: boolean }
  | { readonly kind: 'plan'; readonly plan: BackupPlan }

const everything: Selection = { schemaOnly: false, dataOnly: false, tables: [], schemas: [], excludeTables: [] }

/**
 * Takes one dump for each wanted database of a cluster, or a base backup of the whole. When some succeed and some fail, the result is partial and the failures are warnings;
 * when all fail, the first failure is thrown.
 */
export async function takeBackups(workspace: Workspace, options: BackupOptions = {}): Promise<BackupResult> {
  const { context } = workspace
  const cluster = pickCluster(workspace, options.cluster)
  const { type = 'auto' } = options
  // What only a dump can be asked for means a dump.
  if (type === 'full' || type === 'incr' || (type === 'auto' && cluster.base.enabled && dumpOptionIn(options) === null))
    return takeBaseBackups(workspace, { ...options, type })
  const selection = options.selection ?? everything
  if (selection.schemaOnly && selection.dataOnly) throw new Failure('usage-invalid', '--schema-only and --data-only exclude each other')
  const compression = options.compress === undefined ? cluster.dump.compression : parseWithUsage(options.compress)
  const format = options.format ?? cluster.dump.format
  const { databases, skipped } = await chooseDatabases(cluster, options, workspace)
  if (options.name !== undefined && options.name !== null && databases.length > 1)
    throw new Failure('usage-invalid', '--name fits one database only', { hints: [`this would dump ${databases.length}: ${databases.join(', ')}`] })
  const names = repositoryNames(workspace, cluster, options.repositories)
  const describe = (database: string) => describeRequest(workspace, cluster, { ...options, selection, format, database, compression })

  if (options.dryRun === true) {
    const plan = await planBackups(workspace, { cluster: cluster.name, requests: databases.map(describe), repositories: names })
    return { kind: 'plan', plan: { ...plan, lines: [...plan.lines, ...skipped] } }
  }

  await sweepStages(workspace.machine.workDirectory, context)
  // Where there is no repository yet, none is made for a server that cannot be dumped: a first try that fails leaves the machine as it was.
  const create = () => requireSource(databases.map(describe), context)
  await using open = await openRepositories(workspace, names, { create, tolerant: true })
  const backups: Backup[] = []
  const warnings: string[] = [...skipped]
  const failures: unknown[] = []
  let partial = open.failed.length > 0
  for (const database of databases) {
    try {
      const outcome = await takeDump(describe(database), open.repositories, context).catch((error: unknown) => {
        // Another cluster's run chose the same file name in the same second and was first. Nothing was overwritten; with a later second there is another name.
        if (!isFailure(error, 'object-exists', 'name-taken') || (options.name ?? null) !== null) throw error
        context.emit({ type: 'note', message: `${error.message}; once more under another name` })
        return takeDump(describe(database), open.repositories, context)
      })
      backups.push(outcome.backup)
      warnings.push(...outcome.warnings)
      partial ||= outcome.partial
    } catch (error) {
      context.signal.throwIfAborted()
      // What nobody foresaw is a bug, and no other database makes up for it.
      if (!(error instanceof Failure)) throw error
      failures.push(error)
      if (databases.length > 1) context.emit({ type: 'warning', code: error.code, message: `database "${database}" was not dumped: ${error.message}` })
      warnings.push(`database "${database}" was not dumped: ${error.message}`)
    }
  }
  if (backups.length === 0) throw failures[0]
  return { kind: 'done', backups, warnings, partial: partial || failures.length > 0 }
}

/** Resolves when at least one of the databases can be opened for a dump; rejects with what is wrong with the first. */
async function requireSource(requests: readonly DumpRequest[], context: Context): Promise<void> {
  const failures: unknown[] = []
  for (const request of requests) {
    try {
      // The dump says it all again.
      await using _source = await openSource(request, { ...context, emit: () => undefined })
      return
    } catch (error) {
      context.signal.throwIfAborted()
      failures.push(error)
    }
  }
  throw failures[0]
}

function parseWithUsage(text: string): Compression {
  try {
    return parseCompression(text)
  } catch (error) {
    throw new Failure('usage-invalid', `--compress ${text}: ${asFailure(error).message}`, { cause: error })
  }
}

function describeRequest(
  workspace: Workspace,
  cluster: ClusterSettings,
  chosen: BackupOptions & { selection: Selection; format: 'custom' | 'plain' | 'directory'; database: string; compression: Compression },
): DumpRequest {
  const { machine, context } = workspace
  const run = newRunId(context)
  const time = context.clock.now().toZonedDateTimeISO(cluster.timeZone)
  const name = chosen.name ?? null
  return {
    run,
    cluster: cluster.name,
    target: chosen.target ?? cluster.target,
    database: chosen.database,
    lockWaitSeconds: cluster.lockWaitSeconds,
    reach: reachOf(workspace),
    stem: name === null ? renderName(cluster.dump.nameTemplate, { database: chosen.database, cluster: cluster.name, id: run, time }) : safeFileName(name),
    name,
    nameUnique: name === null || chosen.nameUnique === true,
    selection: chosen.selection,
    format: chosen.format,
    compression: chosen.compression,
    jobs: chosen.jobs ?? cluster.dump.jobs,
    fingerprint: chosen.fingerprint ?? cluster.dump.fingerprint,
    verify: chosen.verify ?? true,
    globals: chosen.globals ?? cluster.dump.globals,
    safety: chosen.safety === true,
    timeZone: cluster.timeZone,
    hostName: machine.hostName,
    workDirectory: machine.workDirectory,
    whereabouts: machine.whereabouts,
  }
}

/** The databases that a backup with these options would dump. */
export async function databasesOf(workspace: Workspace, options: Pick<BackupOptions, 'cluster' | 'allDatabases' | 'databases'>): Promise<readonly string[]> {
  return (await chooseDatabases(pickCluster(workspace, options.cluster), options, workspace)).databases
}

async function chooseDatabases(
  cluster: ClusterSettings,
  options: Pick<BackupOptions, 'allDatabases' | 'databases'>,
  workspace: Workspace,
): Promise<{ databases: readonly string[]; skipped: readonly string[] }> {
  if (options.allDatabases === true) {
    const { dumpable, skipped } = await listDumpableDatabases(cluster.target, workspace)
    return { databases: dumpable, skipped: skipped.map(({ name, why }) => `database "${name}" is left out: ${why}`) }
  }
  const named = options.databases ?? []
  if (named.length > 0) return { databases: [...new Set(named)], skipped: [] }
  return { databases: cluster.dump.databases.length > 0 ? cluster.dump.databases : [cluster.target.database], skipped: [] }
}
