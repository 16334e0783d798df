import { access } from 'node:fs/promises'
import { isFailure, messageOf, systemCodeOf } from '../kernel/failure.ts'
import type { Backup } from '../repository/backup.ts'
import { describeBackup } from '../repository/find-backup.ts'
import { readManifest } from '../repository/manifest.ts'
import { locateBackup, type FoundBackup } from './list-backups.ts'
import { chooseBackup } from './subjects.ts'
import { chooseClusters, notAsked, openRepositories, readStates, repositoryNames, type Workspace } from './workspace.ts'

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

export interface ShownBackup {
  readonly backup: Backup
  /** The command that opens its file without Tidemark; null where there is no file to open. */
  readonly open: string | null
  /** Repositories that could not be asked; not empty = exit 3. */
  readonly warnings: readonly string[]
}

/** One backup, and the command that opens its file without Tidemark. */
export async function showBackup(workspace: Workspace, options: ShowOptions): Promise<ShownBackup> {
  const chosen = await chooseBackup(workspace, 'show', options, { clusters: true })
  const configured = chosen.cluster === undefined ? undefined : workspace.settings.clusters[chosen.cluster]
  await using open = await openRepositories(workspace, repositoryNames(workspace, configured, options.repositories), { tolerant: true })
  const clusters = await chooseClusters(workspace, open, chosen.cluster, chosen.text)
  const found = await locateBackup(open, clusters, chosen, workspace.context)
  const id = found.record.facts.id
  const others = (await readStates(open, found.state.cluster, workspace.context)).filter(
    ({ repository, state }) => repository !== found.repository && state.backups.get(id)?.deleted === null,
  )
  const holders = [found.repository, ...others.map(({ repository }) => repository)]
  const { leftOut, beyondDatabase } = options.manifest === false ? unread : await readFacts(found, workspace)
  const backup = describeBackup(found.record, holders, leftOut)
  return { backup, open: beyondDatabase === null ? await commandToOpen(backup, workspace) : null, warnings: notAsked(open) }
}

async function commandToOpen(backup: Backup, { context }: Workspace): Promise<string | null> {
  if (backup.path === null) return null
  try {
    await access(backup.path)
    return openWithoutUs(backup, backup.path)
  } catch (error) {
    if (systemCodeOf(error) === undefined) throw error
    context.emit({ type: 'warning', code: 'object-missing', message: `its file cannot be opened: ${messageOf(error)}` })
    return null
  }
}

interface ManifestFacts {
  readonly leftOut: Backup['leftOut']
  /** Why no stock program is to be given the file as it is. */
  readonly beyondDatabase: string | null
}

const unread: ManifestFacts = { leftOut: null, beyondDatabase: null }

/** A manifest that cannot be read does not hide the backup; that it cannot is said. */
async function readFacts({ repository, record }: FoundBackup, { context }: Workspace): Promise<ManifestFacts> {
  try {
    const { leftOut, beyondDatabase = null } = await readManifest(repository.storage, record, context.signal)
    if (beyondDatabase !== null) context.emit({ type: 'warning', code: 'target-unsafe', message: `${record.facts.fileName}: ${beyondDatabase}` })
    return { leftOut, beyondDatabase }
  } catch (error) {
    context.signal.throwIfAborted()
    if (!isFailure(error)) throw error
    context.emit({ type: 'warning', code: error.code, message: `what was left out of ${record.facts.id} is not known: ${error.message}` })
    return unread
  }
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
