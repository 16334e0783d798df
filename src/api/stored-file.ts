import { realpath } from 'node:fs/promises'
import { relative, sep } from 'node:path'
import { isFailure, systemCodeOf } from '../kernel/failure.ts'
import { knownClusters, openRepositories, readStates, type Workspace } from './workspace.ts'

/**
 * The key of the backup whose file `path` is, when it lies in one of the repositories (a link such as `latest_backup.dump.zst` is followed): its
 * record is known then, and its content can be compared with it. Undefined for any other file.
 */
export async function keyOfStoredFile(workspace: Workspace, path: string): Promise<string | undefined> {
  const file = await realpath(path)
  for (const { name, storage } of Object.values(workspace.settings.repositories)) {
    if (storage.kind !== 'posix') continue
    const key = keyBelow(await realPathIfThere(storage.path), file)
    if (key !== undefined && (await isRecorded(workspace, name, key))) return key
  }
  return undefined
}

function keyBelow(root: string | undefined, file: string): string | undefined {
  if (root === undefined || !file.startsWith(root.endsWith(sep) ? root : `${root}${sep}`)) return undefined
  return relative(root, file).split(sep).join('/')
}

async function isRecorded(workspace: Workspace, repository: string, key: string): Promise<boolean> {
  try {
    await using open = await openRepositories(workspace, [repository])
    for (const cluster of await knownClusters(workspace, open.repositories)) {
      const states = await readStates(open.repositories, cluster, workspace.context)
      if (states.some(({ state }) => [...state.backups.values()].some((record) => record.deleted === null && record.facts.key === key))) return true
    }
    return false
  } catch (error) {
    if (!isFailure(error, 'repository-missing')) throw error
    return false
  }
}

async function realPathIfThere(path: string): Promise<string | undefined> {
  try {
    return await realpath(path)
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return undefined
    throw error
  }
}
