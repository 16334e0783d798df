import type { Context } from '../kernel/context.ts'
import { Failure } from '../kernel/failure.ts'
import type { Backup } from '../repository/backup.ts'
import { livingBackups, type BackupRecord, type ClusterState } from '../repository/cluster-log.ts'
import { describeBackup, findBackup } from '../repository/find-backup.ts'
import type { Repository } from '../repository/repository.ts'
import { chooseClusters, openRepositories, readStates, repositoryNames, type Workspace } from './workspace.ts'

export interface ListOptions {
  readonly cluster?: string
  readonly repositories?: readonly string[]
  readonly category?: 'daily' | 'weekly' | 'monthly'
  readonly type?: 'dump' | 'full' | 'incr'
}

/** A backup and every repository that holds it. */
export interface LocatedBackup {
  readonly record: BackupRecord
  readonly repositories: readonly Repository[]
}

/** One backup may lie in several repositories; its strongest state counts, and the first repository is read from. */
export function mergeStates(states: readonly { repository: Repository; state: ClusterState }[]): readonly LocatedBackup[] {
  const merged = new Map<string, { record: BackupRecord; repositories: Repository[] }>()
  for (const { repository, state } of states) {
    for (const record of livingBackups(state)) {
      const known = merged.get(record.facts.id)
      if (known === undefined) merged.set(record.facts.id, { record, repositories: [repository] })
      // A copy that is damaged here may be good elsewhere: the good one is read first.
      else if (known.record.state === 'damaged' && record.state !== 'damaged')
        merged.set(record.facts.id, { record, repositories: [repository, ...known.repositories] })
      else known.repositories.push(repository)
    }
  }
  return [...merged.values()].toSorted((a, b) => (a.record.facts.endedAt < b.record.facts.endedAt ? 1 : -1))
}

export async function listBackups(workspace: Workspace, options: ListOptions = {}): Promise<readonly Backup[]> {
  const configured = options.cluster === undefined ? undefined : workspace.settings.clusters[options.cluster]
  await using open = await openRepositories(workspace, repositoryNames(workspace, configured, options.repositories))
  const clusters = await chooseClusters(workspace, open.repositories, options.cluster)
  const backups: Backup[] = []
  for (const cluster of clusters) {
    for (const located of mergeStates(await readStates(open.repositories, cluster, workspace.context)))
      backups.push(describeBackup(located.record, located.repositories))
  }
  return backups
    .filter(
      (backup) => (options.category === undefined || backup.category === options.category) && (options.type === undefined || backup.type === options.type),
    )
    .toSorted((a, b) => (a.endedAt < b.endedAt ? 1 : -1))
}

export interface FoundBackup {
  readonly record: BackupRecord
  readonly state: ClusterState
  readonly repository: Repository
}

/** Finds one backup over several repositories and clusters; the first repository that has it intact serves it. */
export async function locateBackup(repositories: readonly Repository[], clusters: readonly string[], wanted: string, context: Context): Promise<FoundBackup> {
  const found: FoundBackup[] = []
  let last: Failure | undefined
  for (const cluster of clusters) {
    for (const { repository, state } of await readStates(repositories, cluster, context)) {
      try {
        found.push({ record: findBackup(state, wanted), state, repository })
      } catch (error) {
        if (!(error instanceof Failure) || error.code !== 'backup-missing') throw error
        last = error
      }
    }
  }
  const best = wanted === 'latest' ? found.toSorted((a, b) => (a.record.facts.endedAt < b.record.facts.endedAt ? 1 : -1)) : found
  const chosen = best.find(({ record }) => record.state !== 'damaged') ?? best[0]
  if (chosen === undefined) throw last ?? new Failure('backup-missing', 'there is no backup yet', { hints: ['make one: tidemark backup'] })
  const ids = new Set(found.map(({ record }) => record.facts.id))
  if (wanted !== 'latest' && ids.size > 1)
    throw new Failure('usage-invalid', `"${wanted}" means backups of several clusters`, { hints: ['name the cluster: --cluster NAME'] })
  return chosen
}
