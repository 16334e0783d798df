import { dirname } from 'node:path'
import { Failure } from '../kernel/failure.ts'
import { findEnclosingServer, realPathOfExisting } from '../postgres/data-directory.ts'
import { keyBelow, realPathOrSame } from './real-paths.ts'
import type { Workspace } from './workspace.ts'

/** What lies in a repository may be taken for its own, and what lies in a data directory for the server's. */
export async function requireFreePlace({ settings }: Pick<Workspace, 'settings'>, target: string): Promise<void> {
  const place = await realPathOfExisting(target)
  for (const { name, storage } of Object.values(settings.repositories)) {
    if (storage.kind !== 'posix' || keyBelow(await realPathOrSame(storage.path), place) === undefined) continue
    throw new Failure('target-unsafe', `${target} lies inside the repository "${name}"`, { hints: ['name a directory outside of it'] })
  }
  const server = await findEnclosingServer(dirname(place))
  if (server === null) return
  throw new Failure('target-unsafe', `${target} lies inside the ${server.kind} ${server.path} of a PostgreSQL server`, {
    hints: ['name a directory outside of it'],
  })
}
