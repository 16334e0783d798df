import type { Context } from '../../kernel/context.ts'
import type { StoredObject } from '../../storage/storage.ts'
import type { BackupRecord, ClusterState } from '../cluster-log.ts'
import { rootKey } from '../layout.ts'
import type { Repository } from '../repository.ts'
import { baseObjectOf, compactKeys, inOrderOfRemoval } from './base-objects.ts'
import { markLive } from './mark-live.ts'
import type { PackKeys } from './pack-keys.ts'
import { listRunObjects } from './run-objects.ts'

/** What goes with a base backup. */
export interface GoingObjects {
  /** Keys; one that ends in `/` means everything below it. */
  readonly objects: readonly string[]
  /** What they have. */
  readonly freedBytes: number
  readonly warnings: readonly string[]
}

/**
 * What no other backup needs of what a base backup needs, and of what its run stored. Others are opened to see that; while one of them cannot be, only the root is
 * certainly nobody else's.
 */
export async function planBaseDelete(
  repository: Repository,
  { state, record, keys }: { readonly state: ClusterState; readonly record: BackupRecord; readonly keys: PackKeys | null },
  context: Context,
): Promise<GoingObjects> {
  const { storage } = repository
  const { cluster } = state
  const { id } = record.facts
  const others = await markLive(repository, { state, keys, except: new Set([id]) }, context)
  const [unopened] = others.unopened
  if (unopened !== undefined) {
    const root = await storage.stat(rootKey(cluster, id), context)
    const warning =
      `what it stored stays, for ${unopened.key} cannot be opened and may need it (${unopened.why}); ` +
      `bring back what is missing, or delete that backup first; then: tidemark repo gc`
    return { objects: [rootKey(cluster, id)], freedBytes: root?.sizeBytes ?? 0, warnings: [warning] }
  }
  const own = await markLive(repository, { state, keys, only: [record] }, context)
  const present = await listRuns(repository, cluster, new Set([id, ...runsOf(cluster, own.objects.keys())]), context)
  const isOwn = (key: string): boolean => own.objects.has(key) || baseObjectOf(cluster, key)?.run === id
  const going = [...present.keys()].filter((key) => isOwn(key) && !others.objects.has(key))
  return {
    objects: inOrderOfRemoval(cluster, compactKeys(cluster, going, [...present.keys()])),
    freedBytes: going.reduce((bytes, key) => bytes + (present.get(key)?.sizeBytes ?? 0), 0),
    warnings: own.unopened.map(
      ({ key, why }) => `${key} cannot be opened (${why}): what only this backup needs of earlier runs is removed by: tidemark repo gc`,
    ),
  }
}

function runsOf(cluster: string, keys: Iterable<string>): readonly string[] {
  return [...keys].flatMap((key) => baseObjectOf(cluster, key)?.run ?? [])
}

async function listRuns({ storage }: Repository, cluster: string, runs: ReadonlySet<string>, context: Context): Promise<ReadonlyMap<string, StoredObject>> {
  const present = new Map<string, StoredObject>()
  for (const run of runs) for (const object of await listRunObjects(storage, { cluster, run }, context)) present.set(object.key, object)
  return present
}
