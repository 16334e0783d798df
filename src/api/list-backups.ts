import type { Context } from '../kernel/context.ts'
import { Failure } from '../kernel/failure.ts'
import type { Backup, BackupFamily } from '../repository/backup.ts'
import { latestGood, livingBackups, type BackupRecord, type ClusterState } from '../repository/cluster-log.ts'
import { describeBackup, findBackup } from '../repository/find-backup.ts'
import type { Repository } from '../repository/repository.ts'
import { chooseClusters, notAsked, openRepositories, readStates, repositoryNames, type OpenRepositories, type Workspace } from './workspace.ts'

export interface ListOptions {
  readonly cluster?: string
  readonly repositories?: readonly string[]
  readonly category?: 'daily' | 'weekly' | 'monthly'
  readonly type?: 'dump' | 'full' | 'incr'
  /** False leaves out what restores took of what they replaced. Default true. */
  readonly safety?: boolean
}

export interface ListedBackups {
  readonly backups: readonly Backup[]
  /** The ids of each cluster's `latest`. */
  readonly latest: ReadonlySet<string>
  /** Repositories that could not be asked; not empty = exit 3. */
  readonly warnings: readonly string[]
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

export async function listBackups(workspace: Workspace, options: ListOptions = {}): Promise<ListedBackups> {
  const configured = options.cluster === undefined ? undefined : workspace.settings.clusters[options.cluster]
  await using open = await openRepositories(workspace, repositoryNames(workspace, configured, options.repositories), { tolerant: true })
  const clusters = await chooseClusters(workspace, open, options.cluster)
  const backups: Backup[] = []
  const latest = new Set<string>()
  for (const cluster of clusters) {
    const states = await readStates(open, cluster, workspace.context)
    for (const located of mergeStates(states)) backups.push(describeBackup(located.record, located.repositories))
    const [newest] = states.flatMap(({ state }) => latestGood(state) ?? []).toSorted(newestFirst)
    if (newest !== undefined) latest.add(newest.facts.id)
  }
  const isWanted = (backup: Backup) =>
    (options.category === undefined || backup.category === options.category) &&
    (options.type === undefined || backup.type === options.type) &&
    (options.safety !== false || !backup.safety)
  return { backups: backups.filter(isWanted).toSorted((a, b) => (a.endedAt < b.endedAt ? 1 : -1)), latest, warnings: notAsked(open) }
}

function newestFirst(a: { readonly facts: { readonly endedAt: string } }, b: { readonly facts: { readonly endedAt: string } }): number {
  // One backup in two repositories: the first of them keeps its place.
  return a.facts.endedAt === b.facts.endedAt ? 0 : a.facts.endedAt < b.facts.endedAt ? 1 : -1
}

export interface FoundBackup {
  readonly record: BackupRecord
  readonly state: ClusterState
  readonly repository: Repository
}

/** Which backup is looked for. */
export interface Wanted {
  readonly text: string
  /** Of which family the latest is wanted. */
  readonly family?: BackupFamily
  /** What else the word might have been and is not, where it was only guessed that a backup is meant. */
  readonly elseIs?: string
}

/** Finds one backup over several repositories and clusters; the first repository that has it intact serves it. */
export async function locateBackup(open: Pick<OpenRepositories, 'ask'>, clusters: readonly string[], wanted: Wanted, context: Context): Promise<FoundBackup> {
  const found: FoundBackup[] = []
  const asked = new Set<string>()
  let last: Failure | undefined
  for (const cluster of clusters) {
    for (const { repository, state } of await readStates(open, cluster, context)) {
      try {
        asked.add(`cluster "${cluster}" in repository "${repository.name}"`)
        found.push({ record: findBackup(state, wanted.text, wanted.family), state, repository })
      } catch (error) {
        if (!(error instanceof Failure) || error.code !== 'backup-missing') throw error
        last = error
      }
    }
  }
  const best = wanted.text === 'latest' ? found.toSorted((a, b) => newestFirst(a.record, b.record)) : found
  const chosen = best.find(({ record }) => record.state !== 'damaged') ?? best[0]
  if (chosen === undefined) throw noSuchBackup(wanted, [...asked], last)
  const ids = new Set(found.map(({ record }) => record.facts.id))
  if (wanted.text !== 'latest' && ids.size > 1)
    throw new Failure('usage-invalid', `"${wanted.text}" means backups of several clusters`, { hints: ['name the cluster: --cluster NAME'] })
  return chosen
}

function noSuchBackup({ text, elseIs }: Wanted, asked: readonly string[], last: Failure | undefined): Failure {
  if (last === undefined) return new Failure('backup-missing', 'there is no backup yet', { hints: ['make one: tidemark backup'] })
  if (elseIs === undefined || text === 'latest') return last
  return new Failure('backup-missing', `"${text}" was taken for a backup, for it is ${elseIs}; no backup is called so (${asked.join('; ')})`, {
    cause: last,
    hints: last.hints,
  })
}
