import { utc } from '../kernel/clock.ts'
import type { Context } from '../kernel/context.ts'
import { isFailure, messageOf } from '../kernel/failure.ts'
import { quoted } from '../storage/key.ts'
import type { Storage } from '../storage/storage.ts'
import type { BackupFacts } from './backup.ts'
import { readObjectIfThere } from './bytes.ts'
import type { ClusterState } from './cluster-log.ts'
import { digestOf } from './commit-entry.ts'
import { companionsOf, extensionOf, isContentKey, manifestKey, manifestsPrefix, stemOf } from './layout.ts'
import { decodeManifest, manifestLimitBytes, type Manifest, type StoredFile } from './manifest.ts'
import { openRepository } from './repository.ts'

/** A manifest that the log does not name. */
export interface Orphan {
  readonly key: string
  readonly manifest: Manifest
  readonly sha256: string
}

/** One that says something which no run of ours writes here: what it speaks of is never listed, and nothing it names is removed. */
export interface RefusedManifest {
  readonly key: string
  readonly manifest: Manifest
  readonly why: string
}

export interface UnlistedManifests {
  readonly orphans: readonly Orphan[]
  readonly refused: readonly RefusedManifest[]
  /** Of runs that gave up: they never can have been committed. */
  readonly abandoned: readonly string[]
  /** Torn, or of a newer version: nobody knows which files they name. */
  readonly unreadable: readonly { readonly key: string; readonly why: string }[]
}

/** Reads every manifest of the cluster that no entry names. What a repository holds is hostile until it was looked at: each is held against what we write. */
export async function readUnlisted(storage: Storage, known: ClusterState, context: Context): Promise<UnlistedManifests> {
  const dead = new Set(known.interrupted.filter(({ abandoned }) => abandoned).map(({ run }) => manifestKey(known.cluster, run)))
  const keys = await unlistedKeys(storage, known, context)
  const abandoned = keys.filter((key) => dead.has(key))
  const orphans: Orphan[] = []
  const refused: RefusedManifest[] = []
  const unreadable: { key: string; why: string }[] = []
  if (keys.length === abandoned.length) return { orphans, refused, abandoned, unreadable }

  const { id } = await openRepository(storage.location, storage, context.signal)
  for (const key of keys) {
    if (dead.has(key)) continue
    try {
      const bytes = await readObjectIfThere(storage, key, manifestLimitBytes, context.signal)
      if (bytes === undefined) continue
      const manifest = decodeManifest(key, bytes)
      const why = refusalOf(key, manifest, { cluster: known.cluster, repository: id })
      if (why === undefined) orphans.push({ key, manifest, sha256: digestOf(bytes) })
      else refused.push({ key, manifest, why })
    } catch (error) {
      if (!isFailure(error, 'integrity')) throw error
      unreadable.push({ key, why: messageOf(error) })
    }
  }
  return { orphans, refused, abandoned, unreadable }
}

/** Those of dead runs are asked for by name, too: a listing may be stale. */
async function unlistedKeys(storage: Storage, state: ClusterState, context: Context): Promise<readonly string[]> {
  const named = new Set([...state.backups.values()].map((record) => record.manifest.key))
  const found = new Set<string>()
  for await (const { key } of storage.list(manifestsPrefix(state.cluster), context)) if (!named.has(key)) found.add(key)
  for (const { run } of state.interrupted) {
    const key = manifestKey(state.cluster, run)
    if (!named.has(key) && !found.has(key) && (await storage.stat(key, context)) !== undefined) found.add(key)
  }
  return [...found]
}

/** Why this cannot be the manifest of a backup of this cluster and repository. */
function refusalOf(key: string, manifest: Manifest, own: { readonly cluster: string; readonly repository: string }): string | undefined {
  const { backup, files, cluster, repository } = manifest
  if (cluster !== own.cluster || backup.cluster !== own.cluster || manifestKey(own.cluster, backup.id) !== key)
    return `it speaks of backup ${quoted(backup.id)} of cluster ${quoted(cluster)}`
  if (repository !== own.repository) return `it is of the repository ${quoted(repository)}`
  if (!isUtc(backup.startedAt) || !isUtc(backup.endedAt)) return `its times are none: ${quoted(backup.startedAt)}, ${quoted(backup.endedAt)}`
  if (!isContentKey(backup.key) || baseName(backup.key) !== backup.fileName || extensionOf(backup.fileName) === '')
    return `${quoted(backup.key)} cannot be where its dump ${quoted(backup.fileName)} lies`
  const foreign = files.find((file) => !isContentKey(file.key) || !belongsTo(backup, file))
  if (foreign !== undefined) return `${quoted(foreign.key)} cannot be a file of its dump ${quoted(backup.key)}`
  return contentsOf(manifest).length === 0 ? 'it names no file of its dump' : undefined
}

/** Whether a run of ours gives this file this place: docs/design.md "Repository format 1". */
function belongsTo({ key, fileName, format }: BackupFacts, file: StoredFile): boolean {
  const { info, globals } = companionsOf(`${key.slice(0, key.length - fileName.length)}${stemOf(fileName)}`)
  switch (file.role) {
    case 'dump':
      return format !== 'directory' && file.key === key
    case 'part':
      return format === 'directory' && file.key.startsWith(`${key}/`)
    case 'globals':
      return globals.includes(file.key)
    case 'info':
      return info.includes(file.key)
    case 'copy':
      return /^(weekly|monthly)\//.test(file.key) && file.key !== key && baseName(file.key) === fileName
  }
}

/** The files that a restore reads. */
export function contentsOf(manifest: Manifest): readonly StoredFile[] {
  return manifest.files.filter(({ role }) => role === 'dump' || role === 'part')
}

const baseName = (key: string) => key.split('/').at(-1) ?? key

/** As we write times: orders compare them as texts. */
export function isUtc(text: string): boolean {
  try {
    return utc(Temporal.Instant.from(text)) === text
  } catch (error) {
    if (error instanceof RangeError) return false
    throw error
  }
}
