import { resolve } from 'node:path'
import type { ClusterSettings } from '../config/settings.ts'
import { Failure, isFailure } from '../kernel/failure.ts'
import { livingBackups, type ClusterState } from '../repository/cluster-log.ts'
import { newestIntactBeside } from '../repository/find-backup.ts'
import { readManifest, type Manifest } from '../repository/manifest.ts'
import type { Repository } from '../repository/repository.ts'
import { requireOpenable } from '../repository/stored-files.ts'
import { requireOpenableFile, stageForeignFile } from '../restore/staged-file.ts'
import { stageBackup, type StagedDump } from '../restore/staged-dump.ts'
import { isDump, requireDump } from '../repository/backup.ts'
import { fileKeysOf } from './file-keys.ts'
import { locateBackup, type FoundBackup, type Wanted } from './list-backups.ts'
import type { RestoreOptions } from './restore-options.ts'
import { oneCluster, resolveSubject, type Subject } from './subjects.ts'
import { chooseClusters, openRepositories, repositoryNames, requireOneCluster, type Workspace } from './workspace.ts'

/** What is restored: a backup of a repository, or a file on disk. */
export interface Origin {
  readonly cluster: ClusterSettings | null
  readonly clusterName: string
  readonly repository: Repository | null
  readonly state: ClusterState | null
  readonly manifest: Manifest | null
  readonly file: string | null
  readonly database: string
}

/** Finds what the words and flags mean; the repositories it opens are closed with `stack`. */
export async function findOrigin(workspace: Workspace, options: RestoreOptions, stack: AsyncDisposableStack): Promise<Origin> {
  const subject = await chooseSubject(workspace, options)
  const clusterName = oneCluster(subject.kind === 'cluster' ? subject.name : undefined, options.cluster)
  const configured = clusterName === undefined ? undefined : workspace.settings.clusters[clusterName]
  const only = Object.values(workspace.settings.clusters)
  const fallback = only.length === 1 ? (only[0] ?? null) : null
  if (subject.kind === 'file') {
    await requireOpenableFile({ path: subject.path, keys: () => fileKeysOf(workspace) }, workspace.context)
    const cluster = configured ?? fallback
    const open = await openRepositories(workspace, repositoryNames(workspace, cluster ?? undefined, options.repositories), {
      create: options.replace !== undefined,
      tolerant: true,
    }).catch((error: unknown) => {
      if (isFailure(error, 'repository-missing') && options.replace === undefined) return null
      throw error
    })
    if (open !== null) stack.use(open)
    return {
      cluster,
      clusterName: cluster?.name ?? 'files',
      repository: open?.repositories[0] ?? null,
      state: null,
      manifest: null,
      file: subject.path,
      database: cluster?.target.database ?? 'restored',
    }
  }
  const wanted: Wanted = subject.kind === 'backup' ? { ...subject, family: 'dump' } : { text: 'latest', family: 'dump' }
  requireOneCluster(workspace, clusterName, wanted.text)
  const open = stack.use(await openRepositories(workspace, repositoryNames(workspace, configured, options.repositories), { tolerant: true }))
  const clusters = await chooseClusters(workspace, open, clusterName, wanted.text)
  const found = await locateBackup(open, clusters, wanted, workspace.context)
  requireOneMeaning(workspace, options, found, wanted.text)
  const facts = requireDump(found.record.facts, 'restore it to a database')
  const manifest = await readManifest(found.repository.storage, found.record, workspace.context.signal)
  const origin: Origin = {
    cluster: workspace.settings.clusters[found.state.cluster] ?? configured ?? fallback,
    clusterName: found.state.cluster,
    repository: found.repository,
    state: found.state,
    manifest,
    file: null,
    database: facts.database,
  }
  await sayingWhatIsIntact(origin, manifest, () => requireOpenable(found.repository, manifest, workspace.context.signal))
  return origin
}

/** What replaces or changes a live database must not have been found by luck. */
function requireOneMeaning(workspace: Workspace, options: RestoreOptions, found: FoundBackup, text: string): void {
  if (options.replace === undefined && options.clean !== true && options.dataOnly !== true) return
  if (workspace.settings.clusters[found.state.cluster] === undefined && options.server === undefined) {
    throw new Failure(
      'target-unsafe',
      `backup ${found.record.facts.id} belongs to cluster "${found.state.cluster}", which is not configured here, so it is not known which server it may change`,
      { hints: ['name the server: --server URL', 'or restore it beside: without --replace'] },
    )
  }
  const databases = new Set(
    livingBackups(found.state)
      .filter(({ facts }) => isDump(facts) && !facts.partial && !facts.safety)
      .map(({ facts }) => facts.database),
  )
  if (text === 'latest' && databases.size > 1) {
    throw new Failure(
      'usage-invalid',
      `cluster "${found.state.cluster}" has backups of several databases (${[...databases].join(', ')}), so "latest" does not say which one to change`,
      { hints: ['name the backup: tidemark list'] },
    )
  }
}

async function chooseSubject(workspace: Workspace, options: RestoreOptions): Promise<Subject> {
  if (options.file !== undefined) return { kind: 'file', path: resolve(workspace.machine.cwd, options.file) }
  if (options.backup !== undefined) return { kind: 'backup', text: options.backup }
  return options.wanted === undefined ? { kind: 'backup', text: 'latest' } : resolveSubject(workspace, options.wanted)
}

/** Reads the whole origin onto local disk, checked; a damaged backup is named together with the newest intact one. */
export async function stageOrigin(origin: Origin, stage: string, workspace: Workspace): Promise<StagedDump> {
  const { context } = workspace
  if (origin.file !== null) return stageForeignFile({ path: origin.file, keys: () => fileKeysOf(workspace) }, stage, context)
  const { repository, manifest } = origin
  if (repository === null || manifest === null) throw new Error('a restore without an origin')
  return sayingWhatIsIntact(origin, manifest, () => stageBackup(repository, manifest, stage, context))
}

async function sayingWhatIsIntact<T>({ state }: Origin, { backup: { id } }: Manifest, reading: () => Promise<T>): Promise<T> {
  try {
    return await reading()
  } catch (error) {
    if (!isFailure(error, 'integrity', 'object-missing', 'dump-empty')) throw error
    const record = state?.backups.get(id)
    const intact = record === undefined || state === null ? undefined : newestIntactBeside(state, record)
    throw new Failure('integrity', `backup ${id} is damaged, so nothing was touched: ${error.message}`, {
      cause: error,
      hints:
        intact === undefined
          ? ['no other backup of this database is known to be intact; look for a copy of the repository']
          : [`the newest intact one is ${intact.facts.id}: tidemark restore ${intact.facts.id}`],
      details: error.details,
    })
  }
}
