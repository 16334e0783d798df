import type { Context } from '../../kernel/context.ts'
import type { ClusterState } from '../cluster-log.ts'
import { listClusters, readClusterLog } from '../commit-log.ts'
import type { Repository } from '../repository.ts'

/**
 * Keys that backups of any cluster have, that tombstones are about to remove, or that a run may be writing (also one that was taken over, unless what it
 * wrote was spared: a stale writer creates and never overwrites), with the backup's id where there is one. `own` is the state of one cluster that was read already.
 */
export async function keysInUse(repository: Repository, own: ClusterState, context: Context): Promise<ReadonlyMap<string, string | null>> {
  const keys = new Map(keysOf(own))
  for (const cluster of await listClusters(repository.storage, context.signal)) {
    if (cluster === own.cluster) continue
    for (const [key, id] of keysOf(await readClusterLog(repository.storage, cluster, context))) keys.set(key, id)
  }
  return keys
}

function keysOf(state: ClusterState): ReadonlyMap<string, string | null> {
  const keys = new Map<string, string | null>()
  const burnt = [...state.burntKeys].filter((key) => !state.sparedKeys.has(key))
  for (const key of [...burnt, ...(state.open?.objects ?? []), ...state.interrupted.flatMap((run) => run.objects)]) keys.set(key, null)
  for (const { facts, deleted } of state.backups.values()) {
    if (deleted === null) keys.set(facts.key, facts.id)
    else if (!deleted.purged) for (const key of deleted.objects) keys.set(key, facts.id)
  }
  return keys
}
