import { isFailure } from '../kernel/failure.ts'
import type { Backup } from '../repository/backup.ts'
import { readClusterLog } from '../repository/commit-log.ts'
import { describeBackup } from '../repository/find-backup.ts'
import type { Repository } from '../repository/repository.ts'
import { readManifest } from '../repository/manifest.ts'
import { locateBackup, type FoundBackup } from './list-backups.ts'
import { chooseBackup } from './subjects.ts'
import { chooseClusters, openRepositories, repositoryNames, type Workspace } from './workspace.ts'

export interface ShowOptions {
  /** As typed: a backup, its file, or a cluster, whose latest is meant; default: latest. */
  readonly wanted?: string
  /** A backup, whatever it is called. */
  readonly backup?: string
  readonly cluster?: string
  /** Read what was left out, too, which only the manifest says. Default true. */
  readonly manifest?: boolean
  readonly repositories?: readonly string[]
}

/** One backup, and the command that opens its file without Tidemark. */
export async function showBackup(workspace: Workspace, options: ShowOptions): Promise<{ backup: Backup; open: string | null }> {
  const chosen = await chooseBackup(workspace, 'show', options, { clusters: true })
  const configured = chosen.cluster === undefined ? undefined : workspace.settings.clusters[chosen.cluster]
  await using open = await openRepositories(workspace, repositoryNames(workspace, configured, options.repositories))
  const clusters = await chooseClusters(workspace, open.repositories, chosen.cluster, chosen.text)
  const found = await locateBackup(open.repositories, clusters, chosen.text, workspace.context)
  const id = found.record.facts.id
  const holders = [found.repository]
  for (const repository of open.repositories) {
    if (repository !== found.repository && (await holds(repository, found.state.cluster, id, workspace))) holders.push(repository)
  }
  const backup = describeBackup(found.record, holders, options.manifest === false ? null : await leftOutOf(found, workspace))
  return { backup, open: backup.path === null ? null : openWithoutUs(backup, backup.path) }
}

/** A manifest that cannot be read does not hide the backup; that it cannot is said. */
async function leftOutOf({ repository, record }: FoundBackup, { context }: Workspace): Promise<Backup['leftOut']> {
  try {
    return (await readManifest(repository.storage, record, context.signal)).leftOut
  } catch (error) {
    context.signal.throwIfAborted()
    if (!isFailure(error)) throw error
    context.emit({ type: 'warning', code: error.code, message: `what was left out of ${record.facts.id} is not known: ${error.message}` })
    return null
  }
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
