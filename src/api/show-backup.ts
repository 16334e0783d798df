import { access } from 'node:fs/promises'
import { isFailure, messageOf, systemCodeOf } from '../kernel/failure.ts'
import { familyOf, type Backup } from '../repository/backup.ts'
import { packKeysOf } from '../repository/base/pack-keys.ts'
import type { BaseRoot } from '../repository/base/base-root.ts'
import { openBaseBackup } from '../repository/base/open-base-backup.ts'
import { describeBackup } from '../repository/find-backup.ts'
import { openedName } from '../repository/layout.ts'
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
  /** What a base backup is of, and how it was taken; null for a dump, and where its root cannot be read. */
  readonly base: BaseFacts | null
  /** Repositories that could not be asked; not empty = exit 3. */
  readonly warnings: readonly string[]
}

export interface BaseFacts {
  readonly systemIdentifier: string
  /** `stream`: the server sent every file; `direct`: the files were read where they lie; `summaries`: the server said what changed. */
  readonly how: BaseRoot['read']['how']
  /** Why in no better way. */
  readonly why: readonly string[]
  /** The backup that it was compared with. */
  readonly prior: string | null
  readonly dataChecksums: boolean
  readonly tablespaces: BaseRoot['tablespaces']
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
  const { leftOut, beyondDatabase, base } = options.manifest === false ? unread : await readFacts(found, workspace)
  const backup = describeBackup(found.record, holders, leftOut)
  const isFile = backup.type === 'dump' && beyondDatabase === null
  return { backup, open: isFile ? await commandToOpen(backup, workspace) : null, base, warnings: notAsked(open) }
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
  readonly base: BaseFacts | null
}

const unread: ManifestFacts = { leftOut: null, beyondDatabase: null, base: null }

/** A manifest that cannot be read does not hide the backup; that it cannot is said. */
async function readFacts({ repository, record }: FoundBackup, { context }: Workspace): Promise<ManifestFacts> {
  try {
    if (familyOf(record.facts) === 'base')
      return describeRoot((await openBaseBackup(repository, record, packKeysOf(repository.keyring, context), context)).root)
    const { leftOut, beyondDatabase = null } = await readManifest(repository.storage, record, context.signal)
    if (beyondDatabase !== null) context.emit({ type: 'warning', code: 'target-unsafe', message: `${record.facts.fileName}: ${beyondDatabase}` })
    return { leftOut, beyondDatabase, base: null }
  } catch (error) {
    context.signal.throwIfAborted()
    if (!isFailure(error)) throw error
    context.emit({ type: 'warning', code: error.code, message: `what was left out of ${record.facts.id} is not known: ${error.message}` })
    return unread
  }
}

function describeRoot({ server, read, prior, tablespaces, leftOut }: BaseRoot): ManifestFacts {
  const { systemIdentifier, dataChecksums } = server
  return { leftOut, beyondDatabase: null, base: { systemIdentifier, how: read.how, why: read.why, prior, dataChecksums, tablespaces } }
}

/** The stock programs that restore this file into a database called `restored`. IDENTITY is a recovery kit, or another identity file that age takes. */
export function openWithoutUs(backup: Pick<Backup, 'format' | 'fileName' | 'encryption'>, path: string): string {
  const file = `'${path.replaceAll("'", `'\\''`)}'`
  const isSealed = backup.encryption !== null
  if (backup.format === 'directory') return isSealed ? openParts(file) : `pg_restore --dbname=restored ${file}`
  const name = openedName(backup.fileName)
  const unpack = name.endsWith('.zst') ? 'zstd -dc' : name.endsWith('.gz') ? 'gzip -dc' : null
  const [load, from] = backup.format === 'plain' ? ['psql --set ON_ERROR_STOP=1 --dbname=restored', '--file='] : ['pg_restore --dbname=restored', '']
  if (isSealed) return [`age -d -i IDENTITY ${file}`, ...(unpack === null ? [] : [unpack]), load].join(' | ')
  return unpack === null ? `${load} ${from}${file}` : `${unpack} ${file} | ${load}`
}

function openParts(directory: string): string {
  const open = `(for part in ${directory}/*.age; do age -d -i IDENTITY -o "restored.d/$(basename "$part" .age)" "$part" || exit; done)`
  return `mkdir restored.d && ${open} && pg_restore --dbname=restored restored.d`
}
