import type { ClusterSettings, RepositorySettings, Settings } from '../config/settings.ts'
import type { Context } from '../kernel/context.ts'
import { Failure, isFailure, messageOf } from '../kernel/failure.ts'
import { requireOutsideServers } from '../postgres/data-directory.ts'
import type { Reach } from '../postgres/reach.ts'
import { readClusterLog, listClusters } from '../repository/commit-log.ts'
import type { ClusterState } from '../repository/cluster-log.ts'
import { openOrCreateRepository, openRepository, type Repository } from '../repository/repository.ts'
import { openStorage } from '../storage/open.ts'
import type { Storage } from '../storage/storage.ts'
import type { Machine } from './machine.ts'

/** What every verb of the API stands on: the settings, the machine, and where to tell and when to stop. */
export interface Workspace {
  readonly settings: Settings
  readonly machine: Machine
  readonly context: Context
  /** Opens a repository's storage; the settings' own, with time limits and retries, unless a test puts another in its place. */
  readonly openStorage?: (repository: RepositorySettings, context: Context) => Promise<Storage>
  /** Finds the client programs of this machine, for callers that run many verbs and need not look every time. */
  readonly discoverTools?: Reach['discover']
}

/** The cluster meant by `name`, or the only one there is. */
export function pickCluster(workspace: Workspace, name?: string): ClusterSettings {
  const names = Object.keys(workspace.settings.clusters)
  const wanted = name ?? (names.length === 1 ? names[0] : undefined)
  const cluster = wanted === undefined ? undefined : workspace.settings.clusters[wanted]
  if (cluster !== undefined) return requireActing(workspace, cluster)
  if (names.length === 0) {
    throw new Failure('config-invalid', 'no database is configured', {
      hints: ['set DATABASE_URL=postgres://user:password@host/database, or write a tidemark.yaml: tidemark init'],
    })
  }
  throw new Failure('usage-invalid', name === undefined ? 'several clusters are configured; name one' : `no cluster is called "${name}"`, {
    hints: [`configured: ${names.join(', ')}`],
  })
}

/** A setting that decides *which* server is meant must act; without the tunnel, `localhost` would be another database. */
function requireActing(workspace: Workspace, cluster: ClusterSettings): ClusterSettings {
  const tunnel = workspace.settings.notActing.find(
    ({ setting }) => setting === `clusters.${cluster.name}.ssh` || setting.startsWith(`clusters.${cluster.name}.ssh.`),
  )
  if (tunnel === undefined) return cluster
  throw new Failure(
    'config-invalid',
    `cluster "${cluster.name}" asks for an SSH tunnel, which this version does not make; without it another server could be reached`,
    {
      hints: ['open the tunnel yourself (ssh -L 5433:localhost:5432 host), point url at it, and remove ssh: from the configuration'],
    },
  )
}

export interface OpenRepositories extends AsyncDisposable {
  readonly repositories: readonly Repository[]
  /** Those that could not be opened, when `tolerant`. */
  readonly failed: readonly { readonly name: string; readonly error: unknown }[]
}

/** Opens repositories by name. With `create`, missing ones are made (the first backup needs no `init`); work given there comes first, and may refuse. With `tolerant`, one that fails does not stop the others. */
export async function openRepositories(
  workspace: Workspace,
  names: readonly string[],
  options: { create?: boolean | (() => Promise<void>); tolerant?: boolean } = {},
): Promise<OpenRepositories> {
  await using stack = new AsyncDisposableStack()
  const repositories: Repository[] = []
  const failed: { name: string; error: unknown }[] = []
  for (const name of names) {
    const settings = workspace.settings.repositories[name]
    if (settings === undefined) {
      throw new Failure('usage-invalid', `no repository is called "${name}"`, {
        hints: [`configured: ${Object.keys(workspace.settings.repositories).join(', ')}`],
      })
    }
    try {
      const repository = await openOne(settings, workspace, options.create)
      stack.use(repository.storage)
      repositories.push(repository)
    } catch (error) {
      if (options.tolerant !== true || workspace.context.signal.aborted) throw error
      failed.push({ name, error })
    }
  }
  const [first] = failed
  if (repositories.length === 0 && first !== undefined) throw first.error
  for (const { name, error } of failed)
    workspace.context.emit({ type: 'warning', code: 'repository-failed', message: `repository "${name}" cannot be used: ${messageOf(error)}` })
  const owned = stack.move()
  return { repositories, failed, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}

async function openOne(settings: RepositorySettings, workspace: Workspace, create: boolean | (() => Promise<void>) = false): Promise<Repository> {
  const { context } = workspace
  if (settings.storage.kind === 'posix') await requireOutsideServers(settings.storage.path)
  const storage = await openStorageOf(workspace, settings)
  try {
    return await openRepository(settings.name, storage, context.signal).catch(async (error: unknown) => {
      if (create === false || !isFailure(error, 'repository-missing')) throw error
      if (create !== true) await create()
      return openOrCreateRepository(settings.name, storage, settings.layout, context)
    })
  } catch (error) {
    await storage[Symbol.asyncDispose]()
    throw error
  }
}

/** The storage that a repository's settings describe; nothing is contacted yet. */
export function openStorageOf(workspace: Workspace, settings: RepositorySettings): Promise<Storage> {
  const { context, openStorage: replaced } = workspace
  return replaced === undefined ? openStorage(settings.storage, context, { bandwidth: settings.bandwidth }) : replaced(settings, context)
}

/** The repositories a read may use: those of the cluster, or the named ones. */
export function repositoryNames(workspace: Workspace, cluster: ClusterSettings | undefined, named: readonly string[] | undefined): readonly string[] {
  if (named !== undefined && named.length > 0) return named
  return cluster?.repositories ?? Object.keys(workspace.settings.repositories)
}

/** What the logs of several repositories say of one cluster, first repository first. */
export async function readStates(
  repositories: readonly Repository[],
  cluster: string,
  context: Context,
): Promise<readonly { repository: Repository; state: ClusterState }[]> {
  return Promise.all(repositories.map(async (repository) => ({ repository, state: await readClusterLog(repository.storage, cluster, context) })))
}

/** Every cluster that is configured or has a log in one of the repositories. */
export async function knownClusters(workspace: Workspace, repositories: readonly Repository[]): Promise<readonly string[]> {
  const names = new Set(Object.keys(workspace.settings.clusters))
  for (const repository of repositories) for (const name of await listClusters(repository.storage, workspace.context.signal)) names.add(name)
  return [...names]
}

/**
 * The clusters a read is about: the named one; for `latest`, those that are configured here (another host may share the bucket, and its newest
 * backup must never pass for ours); else all that are known. Rejects with `usage-invalid` for a name that is neither configured nor in one of the repositories.
 */
export async function chooseClusters(
  workspace: Workspace,
  repositories: readonly Repository[],
  name: string | undefined,
  wanted?: string,
): Promise<readonly string[]> {
  const configured = Object.keys(workspace.settings.clusters)
  if (name === undefined && wanted === 'latest' && configured.length > 0) return configured
  if (name !== undefined && Object.hasOwn(workspace.settings.clusters, name)) return [name]
  const known = await knownClusters(workspace, repositories)
  if (name === undefined) return known
  if (known.includes(name)) return [name]
  throw new Failure('usage-invalid', `no cluster is called "${name}"`, {
    hints: [known.length === 0 ? 'none is configured, and the repository has none' : `known: ${known.join(', ')}`],
  })
}

/** Where client programs are looked for and how docker is called, from the settings and the environment. */
export function reachOf(workspace: Workspace): Reach {
  const { machine, settings } = workspace
  return {
    toolPath: machine.env['PATH'] ?? '',
    toolDirectories: settings.pgBin === null ? [] : [settings.pgBin],
    docker: {
      environment: machine.env,
      ...(settings.directories.containerWork === null ? {} : { workDirectory: settings.directories.containerWork }),
    },
    ...(workspace.discoverTools === undefined ? {} : { discover: workspace.discoverTools }),
  }
}
