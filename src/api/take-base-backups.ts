import { takeBaseBackup } from '../backup/base/take-base-backup.ts'
import type { BaseBackupRequest } from '../backup/base/base-request.ts'
import { openBaseSource } from '../backup/base/open-base-source.ts'
import type { ClusterSettings } from '../config/settings.ts'
import { parseZstd } from '../config/compression.ts'
import { Failure, messageOf } from '../kernel/failure.ts'
import type { Backup } from '../repository/backup.ts'
import { newRunId } from './run-id.ts'
import type { BackupOptions, BackupResult } from './take-backups.ts'
import { openRepositories, pickCluster, reachOf, repositoryNames, type Workspace } from './workspace.ts'

/** Takes a base backup of a cluster into each of its repositories, one after the other: what lies in a pack is sealed for one repository. */
export async function takeBaseBackups(workspace: Workspace, options: BackupOptions & { readonly type: BaseBackupRequest['type'] }): Promise<BackupResult> {
  const { context } = workspace
  const cluster = pickCluster(workspace, options.cluster)
  refuseDumpOptions(options)
  const names = repositoryNames(workspace, cluster, options.repositories)
  const describe = () => describeRequest(workspace, cluster, options)
  // Where there is no repository yet, none is made for a server that cannot be backed up.
  const create = async () => {
    await using _source = await openBaseSource(describe(), { ...context, emit: () => undefined })
  }
  if (options.dryRun === true) {
    await create()
    const lines = names.map((name) => `would take a base backup (${options.type}) of cluster "${cluster.name}" into ${name}`)
    return { kind: 'plan', plan: { cluster: cluster.name, databases: [], repositories: names, lines, warnings: [] } }
  }

  await using open = await openRepositories(workspace, names, { create, tolerant: true })
  const backups: Backup[] = []
  const warnings: string[] = []
  const failures: unknown[] = []
  let partial = open.failed.length > 0
  for (const repository of open.repositories) {
    try {
      const outcome = await takeBaseBackup(describe(), repository, context)
      backups.push(outcome.backup)
      warnings.push(...outcome.warnings)
      partial ||= outcome.partial
    } catch (error) {
      context.signal.throwIfAborted()
      // What nobody foresaw is a bug, and another repository does not make up for it.
      if (!(error instanceof Failure)) throw error
      failures.push(error)
      warnings.push(`repository "${repository.name}" failed: ${messageOf(error)}`)
      if (open.repositories.length > 1)
        context.emit({ type: 'warning', code: 'repository-failed', message: `repository "${repository.name}" failed: ${messageOf(error)}` })
    }
  }
  if (backups.length === 0) throw failures[0]
  return { kind: 'done', backups, warnings, partial: partial || failures.length > 0 }
}

/** The flag of an option that chooses databases, tables or formats, which only a dump can be asked for; null when there is none. */
export function dumpOptionIn(options: BackupOptions): string | null {
  const { selection } = options
  const given = [
    (options.databases ?? []).length > 0 ? '--database' : null,
    options.allDatabases === true ? '--all-databases' : null,
    options.format !== undefined ? '--format' : null,
    selection?.schemaOnly === true ? '--schema-only' : null,
    selection?.dataOnly === true ? '--data-only' : null,
    (selection?.tables ?? []).length > 0 ? '--table' : null,
    (selection?.schemas ?? []).length > 0 ? '--schema' : null,
    (selection?.excludeTables ?? []).length > 0 ? '--exclude-table' : null,
  ]
  return given.find((flag) => flag !== null) ?? null
}

/** A base backup is of the whole cluster: none of them must be ignored. */
function refuseDumpOptions(options: BackupOptions): void {
  const given = dumpOptionIn(options)
  if (given === null) return
  throw new Failure('usage-invalid', `${given} is for dumps; a base backup is always of the whole cluster`, {
    hints: [`take a dump: tidemark backup --type dump ${given} …`],
  })
}

function describeRequest(
  workspace: Workspace,
  cluster: ClusterSettings,
  options: BackupOptions & { readonly type: BaseBackupRequest['type'] },
): BaseBackupRequest {
  const { machine, context } = workspace
  return {
    run: newRunId(context),
    cluster: cluster.name,
    target: options.target ?? cluster.target,
    reach: reachOf(workspace),
    type: options.type,
    reader: options.reader ?? cluster.base.reader,
    name: options.name ?? null,
    threads: options.jobs ?? cluster.base.jobs,
    level: options.compress === undefined ? cluster.base.level : levelOf(options.compress),
    verify: options.verify ?? true,
    timeZone: cluster.timeZone,
    hostName: machine.hostName,
    whereabouts: machine.whereabouts,
  }
}

function levelOf(compress: string): number {
  try {
    return parseZstd(compress).level
  } catch (error) {
    throw new Failure('usage-invalid', `--compress ${compress}: ${messageOf(error)}`, { cause: error })
  }
}
