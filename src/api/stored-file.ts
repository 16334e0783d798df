import { realpath } from 'node:fs/promises'
import { parseRepositoryReference } from '../config/repositories.ts'
import { Failure, isFailure, messageOf } from '../kernel/failure.ts'
import { livingBackups, type BackupRecord } from '../repository/cluster-log.ts'
import { keyBelow, realPathOrSame } from './real-paths.ts'
import { knownClusters, openRepositories, readStates, type Workspace } from './workspace.ts'

/**
 * The key of the backup whose file `path` is, when it lies in one of the repositories (a link such as `latest_backup.dump.zst` is followed): its
 * record is known then, and its content can be compared with it. Undefined for any other file.
 */
export async function keyOfStoredFile(workspace: Workspace, path: string): Promise<string | undefined> {
  const file = await realpath(path)
  for (const { name, storage } of Object.values(workspace.settings.repositories)) {
    if (storage.kind !== 'posix') continue
    const key = keyBelow(await realPathOrSame(storage.path), file)
    if (key !== undefined && (await isRecorded(workspace, name, key))) return key
  }
  return undefined
}

async function isRecorded(workspace: Workspace, repository: string, key: string): Promise<boolean> {
  try {
    return (await livingIn(workspace, [repository])).some(({ facts }) => facts.key === key)
  } catch (error) {
    if (!isFailure(error, 'repository-missing')) throw error
    return false
  }
}

/** Whether a backup of any repository has this name or file name. Repositories that cannot be asked are said, for the word may also be a file that needs none. */
export async function isKnownBackup(workspace: Workspace, text: string): Promise<boolean> {
  try {
    return (await livingIn(workspace, Object.keys(workspace.settings.repositories))).some(
      ({ facts }) => facts.id === text || facts.name === text || facts.fileName === text,
    )
  } catch (error) {
    workspace.context.signal.throwIfAborted()
    if (!isFailure(error)) throw error
    if (error.code !== 'repository-missing') {
      workspace.context.emit({
        type: 'warning',
        code: 'repository-failed',
        message: `no repository can be asked whether a backup is called "${text}", so the file here is meant: ${messageOf(error)}`,
      })
    }
    return false
  }
}

async function livingIn(workspace: Workspace, repositories: readonly string[]): Promise<readonly BackupRecord[]> {
  await using open = await openRepositories(workspace, repositories, { tolerant: true })
  const found: BackupRecord[] = []
  for (const cluster of await knownClusters(workspace, open.repositories)) {
    for (const { state } of await readStates(open.repositories, cluster, workspace.context)) found.push(...livingBackups(state))
  }
  return found
}

/** The key of `s3://bucket/prefix/file` in the configured repository where it lies. Rejects with `usage-invalid` for every other place: its credentials and its log are not known. */
export function keyInBucket(workspace: Workspace, text: string): string {
  const reference = parseRepositoryReference(text)
  if (reference.kind !== 's3') throw new Failure('usage-invalid', `${text} is no backup: possible are an id, a name, a file, and s3://bucket/prefix/file`)
  for (const { storage } of Object.values(workspace.settings.repositories)) {
    if (storage.kind !== 's3' || storage.bucket !== reference.bucket) continue
    const below = storage.prefix === '' ? '' : `${storage.prefix.replace(/\/+$/, '')}/`
    if (reference.prefix.startsWith(below) && reference.prefix !== below) return reference.prefix.slice(below.length)
  }
  throw new Failure('usage-invalid', `${text} lies in no configured repository`, {
    hints: [
      `configure it in tidemark.yaml: repositories: { bucket: { s3: { bucket: ${reference.bucket} } } }`,
      'or by variables: S3_BUCKET_NAME, S3_REGION, BACKUP_S3_PREFIX',
      'or fetch the file and name its path',
    ],
  })
}
