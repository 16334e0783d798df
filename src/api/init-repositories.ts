import type { Context } from '../kernel/context.ts'
import { isFailure } from '../kernel/failure.ts'
import { requireOutsideServers } from '../postgres/data-directory.ts'
import { openOrCreateRepository, openRepository, type Repository } from '../repository/repository.ts'
import type { Storage } from '../storage/storage.ts'
import { repositorySettings } from './test-repositories.ts'
import { openStorageOf, repositoryNames, type Workspace } from './workspace.ts'

export interface InitializedRepository {
  readonly name: string
  readonly location: string
  readonly id: string
  readonly layout: 'flat' | 'tiered' | 'dated'
  /** False where it existed before. */
  readonly created: boolean
}

/** What `repo init` would do. Plain data, for `--dry-run`. */
export interface RepositoriesPlan {
  readonly repositories: readonly { readonly name: string; readonly location: string; readonly layout: 'flat' | 'tiered' | 'dated'; readonly exists: boolean }[]
  readonly lines: readonly string[]
}

/** Looks which repositories exist and writes nothing. */
export async function planRepositories(workspace: Workspace, options: { repositories?: readonly string[] } = {}): Promise<RepositoriesPlan> {
  const repositories = []
  for (const name of repositoryNames(workspace, undefined, options.repositories)) {
    const settings = repositorySettings(workspace, name)
    if (settings.storage.kind === 'posix') await requireOutsideServers(settings.storage.path)
    await using storage = await openStorageOf(workspace, settings)
    const before = await openIfThere(name, storage, workspace.context)
    repositories.push({ name, location: storage.location, layout: before?.layout ?? settings.layout, exists: before !== undefined })
  }
  const lines = repositories.map(({ name, location, layout, exists }) =>
    exists ? `${name} exists already at ${location}` : `would create ${name} at ${location}, layout ${layout}`,
  )
  return { repositories, lines }
}

async function openIfThere(name: string, storage: Storage, context: Context): Promise<Repository | undefined> {
  return openRepository(name, storage, context.signal).catch((error: unknown) => {
    if (isFailure(error, 'repository-missing')) return undefined
    throw error
  })
}

/** Creates the repositories that do not exist yet; the storage of each is tried first. A path inside a server's data directory is refused. */
export async function initRepositories(workspace: Workspace, options: { repositories?: readonly string[] } = {}): Promise<readonly InitializedRepository[]> {
  const { context } = workspace
  const results: InitializedRepository[] = []
  for (const name of repositoryNames(workspace, undefined, options.repositories)) {
    const settings = repositorySettings(workspace, name)
    if (settings.storage.kind === 'posix') await requireOutsideServers(settings.storage.path)
    await using storage = await openStorageOf(workspace, settings)
    const before = await openIfThere(name, storage, context)
    const repository = before ?? (await openOrCreateRepository(name, storage, settings.layout, context))
    results.push({ name, location: storage.location, id: repository.id, layout: repository.layout, created: before === undefined })
  }
  return results
}
