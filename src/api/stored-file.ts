import { realpath } from 'node:fs/promises'
import { parseRepositoryReference } from '../config/repositories.ts'
import { Failure, isFailure, messageOf } from '../kernel/failure.ts'
import { livingBackups, type BackupRecord } from '../repository/cluster-log.ts'
import { readManifest } from '../repository/manifest.ts'
import type { Storage } from '../storage/storage.ts'
import { keyBelow, realPathOrSame } from './real-paths.ts'
import { knownClusters, openRepositories, readStates, type OpenRepositories, type Workspace } from './workspace.ts'

/**
 * The key of the backup whose file `path` is, when it lies in one of the repositories (a link such as `latest_backup.dump.zst` is followed): its
 * record is known then, and its content can be compared with it. A copy of the tiered layout is the backup's, too. Undefined for any other file.
 */
export async function keyOfStoredFile(workspace: Workspace, path: string): Promise<string | undefined> {
  const file = await realpath(path)
  for (const { name, storage } of Object.values(workspace.settings.repositories)) {
    if (storage.kind !== 'posix') continue
    const key = keyBelow(await realPathOrSame(storage.path), file)
    const recorded = key === undefined ? undefined : await recordedKey(workspace, name, key)
    if (recorded !== undefined) return recorded
  }
  return undefined
}

/** The dump's key of the backup that has an object `key` as its dump or as a copy of it. */
async function recordedKey(workspace: Workspace, repository: string, key: string): Promise<string | undefined> {
  try {
    await using open = await openRepositories(workspace, [repository])
    const found = await livingOf(workspace, open)
    if (found.some(({ record }) => record.facts.key === key)) return key
    // Copies have the name of their original. Where that is not whole, the copy stands for itself: it is what can still be restored.
    for (const { record, storage } of found.filter((each) => each.record.facts.fileName === key.split('/').at(-1))) {
      if (record.state === 'damaged') continue
      const { files } = await readManifest(storage, record, workspace.context.signal)
      const original = await storage.stat(record.facts.key, workspace.context)
      const isWhole = files.some((file) => file.role === 'dump' && file.sizeBytes === original?.sizeBytes)
      if (isWhole && files.some((file) => file.role === 'copy' && file.key === key)) return record.facts.key
    }
  } catch (error) {
    if (!isFailure(error, 'repository-missing')) throw error
  }
  return undefined
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
  return (await livingOf(workspace, open)).map(({ record }) => record)
}

async function livingOf(workspace: Workspace, open: OpenRepositories): Promise<readonly { record: BackupRecord; storage: Storage }[]> {
  const found: { record: BackupRecord; storage: Storage }[] = []
  for (const cluster of await knownClusters(workspace, open)) {
    for (const { repository, state } of await readStates(open, cluster, workspace.context))
      found.push(...livingBackups(state).map((record) => ({ record, storage: repository.storage })))
  }
  return found
}

/**
 * The key of the backup whose file `s3://bucket/prefix/file` is (or a copy of it), else its own in the configured repository where it lies.
 * Rejects with `usage-invalid` for every other place: its credentials and its log are not known.
 */
export async function keyInBucket(workspace: Workspace, text: string): Promise<string> {
  const reference = parseRepositoryReference(text)
  if (reference.kind !== 's3') throw new Failure('usage-invalid', `${text} is no backup: possible are an id, a name, a file, and s3://bucket/prefix/file`)
  for (const { name, storage } of Object.values(workspace.settings.repositories)) {
    if (storage.kind !== 's3' || storage.bucket !== reference.bucket) continue
    const below = storage.prefix === '' ? '' : `${storage.prefix.replace(/\/+$/, '')}/`
    if (!reference.prefix.startsWith(below) || reference.prefix === below) continue
    const key = reference.prefix.slice(below.length)
    return (await recordedKey(workspace, name, key)) ?? key
  }
  throw new Failure('usage-invalid', `${text} lies in no configured repository`, {
    hints: [
      `configure it in tidemark.yaml: repositories: { bucket: { s3: { bucket: ${reference.bucket} } } }`,
      'or by variables: S3_BUCKET_NAME, S3_REGION, BACKUP_S3_PREFIX',
      'or fetch the file and name its path',
    ],
  })
}
