import type { Storage } from '../storage/storage.ts'
import { isAtLeast } from './backup.ts'
import { livingBackups, type ClusterState } from './cluster-log.ts'
import { extensionOf, latestAlias } from './layout.ts'

/**
 * Points `latest_backup.<ext>` at the newest verified complete dump and removes aliases of other extensions that would be stale.
 * Only where the storage has aliases, and never at something that was not read back. Never dangling: the new alias replaces the old atomically.
 */
export async function updateLatestAlias(storage: Storage, state: ClusterState): Promise<void> {
  if (storage.setAlias === undefined || storage.readAlias === undefined) return
  const latest = livingBackups(state).find((record) => isAtLeast(record.state, 'verified') && !record.facts.partial && !record.facts.safety)
  const current = latest === undefined ? null : latestAlias(extensionOf(latest.facts.fileName))
  if (current !== null && latest !== undefined) await storage.setAlias(current, latest.facts.key)
  for (const extension of ['.sql', '.sql.gz', '.sql.zst', '.dump', '.dump.zst', '.d']) {
    const alias = latestAlias(extension)
    if (alias !== current && (await storage.readAlias(alias)) !== undefined) await storage.delete(alias)
  }
}
