import { requireOutsideServers } from '../../postgres/data-directory.ts'
import { isFailure } from '../../kernel/failure.ts'
import { hasKeyring } from '../../repository/keys/has-keyring.ts'
import type { KitRepository } from '../../repository/keys/recovery-kit.ts'
import { commitsRoot } from '../../repository/layout.ts'
import { openRepository, type Repository } from '../../repository/repository.ts'
import type { RepositorySettings } from '../../config/settings.ts'
import type { Storage } from '../../storage/storage.ts'
import { repositorySettings } from '../test-repositories.ts'
import { requireNotGone } from '../unlock-repository.ts'
import { openStorageOf, repositoryNames, type Workspace } from '../workspace.ts'

/** A configured repository as the verbs of keys see it: nothing of it is opened with a key. */
export interface KeyRepository {
  readonly settings: RepositorySettings
  readonly storage: Storage
  /** Null where there is none yet. */
  readonly repository: Repository | null
  /** `clear`: backups are recorded in it, and nothing seals them. */
  readonly state: 'missing' | 'empty' | 'clear' | 'sealed'
}

/** Looks at repositories and writes nothing. Throws `integrity` for one whose keyring is gone. Those that are in clear on purpose are left out, unless they are named. */
export async function lookAtRepositories(
  workspace: Workspace,
  stack: AsyncDisposableStack,
  named: readonly string[] | undefined,
): Promise<readonly KeyRepository[]> {
  const found: KeyRepository[] = []
  for (const name of repositoryNames(workspace, undefined, named)) {
    const settings = repositorySettings(workspace, name)
    if (settings.isClear && named === undefined) continue
    if (settings.storage.kind === 'posix') await requireOutsideServers(settings.storage.path)
    const storage = stack.use(await openStorageOf(workspace, settings))
    const repository = await openIfThere(name, storage, workspace)
    const state = repository === null ? 'missing' : await stateOf(storage, workspace)
    if (repository !== null && state !== 'sealed') await requireNotGone(workspace, repository)
    found.push({ settings, storage, repository, state })
  }
  return found
}

async function openIfThere(name: string, storage: Storage, { context }: Workspace): Promise<Repository | null> {
  try {
    return await openRepository(name, storage, context.signal)
  } catch (error) {
    if (isFailure(error, 'repository-missing')) return null
    throw error
  }
}

async function stateOf(storage: Storage, { context }: Workspace): Promise<KeyRepository['state']> {
  if (await hasKeyring(storage, context)) return 'sealed'
  for await (const _entry of storage.list(commitsRoot, { signal: context.signal })) return 'clear'
  return 'empty'
}

/** As the recovery kit names it: with what must be set to reach it, and never with credentials. */
export function kitRepository({ id, storage: { location } }: Repository, { storage }: RepositorySettings): KitRepository {
  if (storage.kind === 'posix') return { id, location, variables: {} }
  const { endpoint, region } = storage
  return {
    id,
    location: storage.prefix === '' ? `s3://${storage.bucket}` : `s3://${storage.bucket}/${storage.prefix}`,
    variables: { ...(region === null ? {} : { AWS_REGION: region }), ...(endpoint === null ? {} : { AWS_ENDPOINT_URL_S3: endpoint }) },
  }
}
