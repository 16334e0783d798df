import type { ClusterSettings, RepositorySettings, Settings } from '../config/settings.ts'
import type { Context } from '../kernel/context.ts'
import { Failure, isFailure, messageOf } from '../kernel/failure.ts'
import { requireOutsideServers } from '../postgres/data-directory.ts'
import type { Reach } from '../postgres/reach.ts'
import { readClusterLog, listClusters } from '../repository/commit-log.ts'
import type { ClusterState } from '../repository/cluster-log.ts'
import type { KeysAtHand } from '../repository/keys/keys-at-hand.ts'
import { openOrCreateRepository, openRepository, type Repository } from '../repository/repository.ts'
import { openStorage } from '../storage/open.ts'
import type { Storage } from '../storage/storage.ts'
import type { Machine } from './machine.ts'
import { requireClear, unlockRepository } from './unlock-repository.ts'

/** What every verb of the API stands on: the settings, the machine, and where to tell and when to stop. */
export interface Workspace {
  readonly settings: Settings
  readonly machine: Machine
  readonly context: Context
  /** Opens a repository's storage; the settings' own, with time limits and retries, unless a test puts another in its place. */
  readonly openStorage?: (repository: RepositorySettings, context: Context) => Promise<Storage>
  /** The keys at hand, read once for all verbs; without, each reads the files that the settings name. */
  readonly keys?: () => Promise<KeysAtHand>
  /** Finds the client programs of this machine, for callers that run many verbs and need not look every time. */
  readonly discoverTools?: Reach['discover']
}

/** Every cluster that is configured, also one that cannot be used now. */
export function configuredNames({ settings }: Pick<Workspace, 'settings'>): readonly string[] {
  return [...Object.keys(settings.clusters), ...Object.keys(settings.unusable)]
}

/** The cluster meant by `name`, or the only one there is. */
export function pickCluster(workspace: Workspace, name?: string): ClusterSettings {
  const names = configuredNames(workspace)
  const wanted = name ?? (names.length === 1 ? names[0] : undefined)
  const cluster = wanted === undefined ? undefined : workspace.settings.clusters[wanted]
  if (cluster !== undefined) return requireActing(workspace, cluster)
  const wrong = wanted === undefined ? undefined : workspace.settings.unusable[wanted]
  if (wrong !== undefined) throw new Failure('config-invalid', wrong.message, { hints: wrong.hints })
  if (names.length === 0) {
    throw new Failure('config-invalid', 'no database is configured', {
      hints: ['set DATABASE_URL=postgres://user:password@host/database, or write a tidemark.yaml: tidemark init'],
    })
  }
  if (name === undefined) throw severalClusters(names)
  throw new Failure('usage-invalid', `no cluster is called "${name}"`, { hints: [`configured: ${names.join(', ')}`] })
}

/** `latest` must not mean whichever of several clusters was backed up last (exit 2). A backup's id or name says which it is. */
export function requireOneCluster(workspace: Workspace, name: string | undefined, wanted: string): void {
  const names = configuredNames(workspace)
  if (name === undefined && wanted === 'latest' && names.length > 1) throw severalClusters(names)
}

function severalClusters(names: readonly string[]): Failure {
  return new Failure('usage-invalid', `several clusters are configured; name one: ${names.join(', ')}`, { hints: [`--cluster ${names[0] ?? ''}`] })
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
  /** Those that answer. When `tolerant`, one that fails later drops out. */
  readonly repositories: readonly Repository[]
  /** Those that could not be opened or, later, asked, when `tolerant`. */
  readonly failed: readonly FailedRepository[]
  /** Asks each for something. One that fails drops out and is said when `tolerant`; else, and when none is left, this rejects. */
  ask<T>(question: (repository: Repository) => Promise<T>): Promise<readonly { readonly repository: Repository; readonly answer: T }[]>
}

export interface FailedRepository {
  readonly name: string
  readonly error: unknown
}

/** What a reader says of repositories that it could not ask; not empty = exit 3. */
export function notAsked(open: Pick<OpenRepositories, 'failed'>): readonly string[] {
  return open.failed.map(couldNotBeAsked)
}

/** As a warning says it. */
export function couldNotBeAsked({ name, error }: FailedRepository): string {
  return `repository "${name}" cannot be used: ${messageOf(error)}`
}

/** Opens repositories by name, each with its keyring before anything else is read or written. With `create`, missing ones are made (the first backup needs no `init`); work given there comes first, and may refuse. With `tolerant`, one that fails does not stop the others. */
export async function openRepositories(
  workspace: Workspace,
  names: readonly string[],
  options: { create?: boolean | (() => Promise<void>); tolerant?: boolean } = {},
): Promise<OpenRepositories> {
  await using stack = new AsyncDisposableStack()
  let repositories: readonly Repository[] = []
  const failed: FailedRepository[] = []
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
      repositories = [...repositories, repository]
    } catch (error) {
      if (options.tolerant !== true || workspace.context.signal.aborted) throw error
      failed.push({ name, error })
    }
  }
  const [first] = failed
  if (repositories.length === 0 && first !== undefined) throw first.error
  const say = (each: FailedRepository) => workspace.context.emit({ type: 'warning', code: 'repository-failed', message: couldNotBeAsked(each) })
  failed.forEach(say)
  const owned = stack.move()
  return {
    get repositories() {
      return repositories
    },
    failed,
    ask: async (question) => {
      const asked = await Promise.all(
        repositories.map(async (repository) => {
          try {
            return { repository, answer: await question(repository) }
          } catch (error) {
            workspace.context.signal.throwIfAborted()
            // What nobody foresaw is a bug, and another repository does not make up for it.
            if (options.tolerant !== true || !isFailure(error)) throw error
            return { repository, error }
          }
        }),
      )
      const answers = asked.flatMap((each) => ('error' in each ? [] : [each]))
      for (const each of asked) {
        if (!('error' in each)) continue
        if (answers.length === 0) throw each.error
        // It may be asked several things at once.
        if (!repositories.includes(each.repository)) continue
        repositories = repositories.filter((other) => other !== each.repository)
        const gone = { name: each.repository.name, error: each.error }
        failed.push(gone)
        say(gone)
      }
      return answers
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

async function openOne(settings: RepositorySettings, workspace: Workspace, create: boolean | (() => Promise<void>) = false): Promise<Repository> {
  const { context } = workspace
  if (settings.storage.kind === 'posix') await requireOutsideServers(settings.storage.path)
  const storage = await openStorageOf(workspace, settings)
  try {
    const repository = await openRepository(settings.name, storage, context.signal).catch(async (error: unknown) => {
      if (create === false || !isFailure(error, 'repository-missing')) throw error
      await requireClear(workspace, settings, { storage, repository: null })
      if (create !== true) await create()
      return openOrCreateRepository(settings.name, storage, settings.layout, context)
    })
    return await unlockRepository(repository, settings, workspace)
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
  open: Pick<OpenRepositories, 'ask'>,
  cluster: string,
  context: Context,
): Promise<readonly { repository: Repository; state: ClusterState }[]> {
  const answers = await open.ask((repository) => readClusterLog(repository.storage, cluster, context))
  return answers.map(({ repository, answer }) => ({ repository, state: answer }))
}

/** Every cluster that is configured or has a log in one of the repositories. */
export async function knownClusters(workspace: Workspace, open: Pick<OpenRepositories, 'ask'>): Promise<readonly string[]> {
  const names = new Set(configuredNames(workspace))
  for (const { answer } of await open.ask((repository) => listClusters(repository.storage, workspace.context.signal)))
    for (const name of answer) names.add(name)
  return [...names]
}

/**
 * The clusters a read is about: the named one; for `latest`, the one that is configured here (another host may share the bucket, and its newest
 * backup must never pass for ours; of several, one must be named); else all that are known. Rejects with `usage-invalid` for a name that is neither configured nor in one of the repositories.
 */
export async function chooseClusters(
  workspace: Workspace,
  open: Pick<OpenRepositories, 'ask'>,
  name: string | undefined,
  wanted?: string,
): Promise<readonly string[]> {
  const configured = configuredNames(workspace)
  if (wanted !== undefined) requireOneCluster(workspace, name, wanted)
  if (name === undefined && wanted === 'latest' && configured.length > 0) return configured
  if (name !== undefined && configured.includes(name)) return [name]
  const known = await knownClusters(workspace, open)
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
