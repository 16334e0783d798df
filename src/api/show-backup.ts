import type { Backup } from '../repository/backup.ts'
import { readClusterLog } from '../repository/commit-log.ts'
import { describeBackup } from '../repository/find-backup.ts'
import type { Repository } from '../repository/repository.ts'
import { locateBackup } from './list-backups.ts'
import { knownClusters, openRepositories, repositoryNames, type Workspace } from './workspace.ts'

export interface ShowOptions {
  readonly backup: string
  readonly cluster?: string
  readonly repositories?: readonly string[]
}

/** One backup, and the command that opens its file without Tidemark. */
export async function showBackup(workspace: Workspace, options: ShowOptions): Promise<{ backup: Backup; open: string | null }> {
  const configured = options.cluster === undefined ? undefined : workspace.settings.clusters[options.cluster]
  await using open = await openRepositories(workspace, repositoryNames(workspace, configured, options.repositories))
  const clusters = options.cluster === undefined ? await knownClusters(workspace, open.repositories) : [options.cluster]
  const found = await locateBackup(open.repositories, clusters, options.backup, workspace.context)
  const id = found.record.facts.id
  const holders = [found.repository]
  for (const repository of open.repositories) {
    if (repository !== found.repository && (await holds(repository, found.state.cluster, id, workspace))) holders.push(repository)
  }
  const backup = describeBackup(found.record, holders)
  return { backup, open: backup.path === null ? null : openWithoutUs(backup, backup.path) }
}

async function holds(repository: Repository, cluster: string, id: string, workspace: Workspace): Promise<boolean> {
  const record = (await readClusterLog(repository.storage, cluster, workspace.context)).backups.get(id)
  return record !== undefined && record.deleted === null
}

/** The stock programs that restore this file into a database called `restored`. */
export function openWithoutUs(backup: Pick<Backup, 'format' | 'fileName'>, path: string): string {
  const file = `'${path.replaceAll("'", `'\\''`)}'`
  if (backup.format === 'directory') return `pg_restore --dbname=restored ${file}`
  if (backup.fileName.endsWith('.dump')) return `pg_restore --dbname=restored ${file}`
  if (backup.fileName.endsWith('.dump.zst')) return `zstd -dc ${file} | pg_restore --dbname=restored`
  if (backup.fileName.endsWith('.sql.zst')) return `zstd -dc ${file} | psql --set ON_ERROR_STOP=1 --dbname=restored`
  if (backup.fileName.endsWith('.sql.gz')) return `gzip -dc ${file} | psql --set ON_ERROR_STOP=1 --dbname=restored`
  return `psql --set ON_ERROR_STOP=1 --dbname=restored --file=${file}`
}
