import { isFailure } from '../kernel/failure.ts'
import { requireOutsideServers } from '../postgres/data-directory.ts'
import { openOrCreateRepository, openRepository } from '../repository/repository.ts'
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

/** Creates the repositories that do not exist yet; the storage of each is tried first. A path inside a server's data directory is refused. */
export async function initRepositories(workspace: Workspace, options: { repositories?: readonly string[] } = {}): Promise<readonly InitializedRepository[]> {
  const { context } = workspace
  const results: InitializedRepository[] = []
  for (const name of repositoryNames(workspace, undefined, options.repositories)) {
    const settings = repositorySettings(workspace, name)
    if (settings.storage.kind === 'posix') await requireOutsideServers(settings.storage.path)
    await using storage = await openStorageOf(workspace, settings)
    const before = await openRepository(name, storage, context.signal).catch((error: unknown) => {
      if (isFailure(error, 'repository-missing')) return undefined
      throw error
    })
    const repository = before ?? (await openOrCreateRepository(name, storage, settings.layout, context))
    results.push({ name, location: storage.location, id: repository.id, layout: repository.layout, created: before === undefined })
  }
  return results
}
