import type { Context } from '../../kernel/context.ts'
import { isFailure, messageOf } from '../../kernel/failure.ts'
import { quoted } from '../../storage/key.ts'
import type { BackupFacts } from '../backup.ts'
import type { ClusterState } from '../cluster-log.ts'
import { rootKey, rootsPrefix } from '../layout.ts'
import type { Repository } from '../repository.ts'
import { isUtc } from '../unlisted-manifests.ts'
import { baseObjectOf } from './base-objects.ts'
import type { BaseRoot } from './base-root.ts'
import type { PackKeys } from './pack-keys.ts'
import { readUnnamedRoot, type DecodedRoot } from './read-base-objects.ts'

/** A root that is there and not in the log. */
export type UnlistedRoot = { readonly key: string; readonly run: string } & (
  | {
      /** A root as runs of ours write it here; whether everything that it names is there is another question. */
      readonly kind: 'whole'
      readonly sha256: string
      /** As its commit would have stated them. */
      readonly facts: BackupFacts
      readonly decoded: DecodedRoot
    }
  /** It says something that no run of ours writes here. */
  | { readonly kind: 'foreign'; readonly why: string }
  /** Nobody knows now what it needs: damaged, of a newer version, or sealed with a key that is not at hand. */
  | { readonly kind: 'unreadable'; readonly why: string }
)

/**
 * Reads every root of the cluster that no entry names. Those of runs that gave up, or that are over and committed nothing, are leftovers whatever they say, and not among
 * them: the log proves that they never were a backup. Those of interrupted runs are asked for by name, too: a listing may be stale.
 */
export async function findUnlistedRoots(
  repository: Repository,
  state: ClusterState,
  keys: PackKeys | null,
  context: Context,
): Promise<readonly UnlistedRoot[]> {
  const { storage } = repository
  const found = new Set<string>()
  for await (const { key } of storage.list(rootsPrefix(state.cluster), context)) found.add(key)
  for (const { run } of state.interrupted) {
    const key = rootKey(state.cluster, run)
    if (!found.has(key) && (await storage.stat(key, context)) !== undefined) found.add(key)
  }
  const unlisted: UnlistedRoot[] = []
  for (const key of found) {
    const run = baseObjectOf(state.cluster, key)?.run
    if (run === undefined) unlisted.push({ key, run: key, kind: 'foreign', why: 'no run of ours gives such a name' })
    else if (!isSettled(state, run)) unlisted.push(await readOne(repository, { key, run, cluster: state.cluster }, keys, context))
  }
  return unlisted
}

/** Whether the log says all there is to say of this run's root. */
export function isSettled(state: ClusterState, run: string): boolean {
  return state.backups.has(run) || state.fruitless.has(run) || state.interrupted.some((dead) => dead.run === run && dead.abandoned)
}

async function readOne(
  repository: Repository,
  place: { readonly key: string; readonly run: string; readonly cluster: string },
  keys: PackKeys | null,
  context: Context,
): Promise<UnlistedRoot> {
  const { key, run } = place
  try {
    const { sha256, sizeBytes, ...decoded } = await readUnnamedRoot(repository, place, keys, context)
    const { root } = decoded
    const why = refusalOf(root, { ...place, repository: repository.id })
    if (why !== undefined) return { key, run, kind: 'foreign', why }
    const facts = { ...root.backup, checksum: sha256, storedBytes: root.backup.storedBytes + sizeBytes, committedAs: 'stored' as const }
    return { key, run, kind: 'whole', sha256, facts, decoded }
  } catch (error) {
    if (!isFailure(error, 'integrity', 'object-missing', 'key-missing')) throw error
    return { key, run, kind: 'unreadable', why: messageOf(error) }
  }
}

/** Why this cannot be the root of a backup of this cluster and repository. */
function refusalOf(
  root: BaseRoot,
  own: { readonly key: string; readonly run: string; readonly cluster: string; readonly repository: string },
): string | undefined {
  const { backup, cluster, repository } = root
  if (repository !== own.repository) return `it is of the repository ${quoted(repository)}`
  if (cluster !== own.cluster || backup.cluster !== own.cluster || backup.id !== own.run)
    return `it speaks of backup ${quoted(backup.id)} of cluster ${quoted(cluster)}`
  if (backup.type === 'dump' || backup.database !== null || backup.format !== 'packs' || backup.key !== own.key) return 'it does not speak of a base backup'
  return isUtc(backup.startedAt) && isUtc(backup.endedAt) ? undefined : `its times are none: ${quoted(backup.startedAt)}, ${quoted(backup.endedAt)}`
}
