import type { Storage } from '../storage/storage.ts'
import { latestGood, type ClusterState } from './cluster-log.ts'
import { extensionOf, latestAlias } from './layout.ts'

/**
 * Points `latest_backup.<ext>` at the newest verified complete dump and removes aliases of other extensions that would be stale.
 * Only where the storage has aliases, and never at something that was not read back. Never dangling: the new alias replaces the old atomically.
 */
export async function updateLatestAlias(storage: Storage, state: ClusterState): Promise<void> {
  if (storage.setAlias === undefined || storage.readAlias === undefined) return
  const latest = latestGood(state)
  if (latest !== undefined && latest.state !== 'stored') await storage.setAlias(latestAlias(extensionOf(latest.facts.fileName)), latest.facts.key)
  const living = new Set([...state.backups.values()].filter((record) => record.deleted === null && record.state !== 'damaged').map((record) => record.facts.key))
  for (const extension of ['.sql', '.sql.gz', '.sql.zst', '.dump', '.dump.zst', '.d']) {
    const target = await storage.readAlias(latestAlias(extension))
    if (target !== undefined && !living.has(target)) await storage.delete(latestAlias(extension))
  }
}
