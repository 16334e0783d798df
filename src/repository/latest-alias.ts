import type { Context } from '../kernel/context.ts'
import { isFailure, messageOf } from '../kernel/failure.ts'
import type { Storage } from '../storage/storage.ts'
import { isAtLeast, isDump } from './backup.ts'
import { isThere } from './bytes.ts'
import { livingBackups, type ClusterState } from './cluster-log.ts'
import { listClusters } from './commit-log.ts'
import { extensionOf, extensions, latestAlias } from './layout.ts'

/**
 * Points `latest_backup.<ext>` at the newest verified complete dump of the cluster and removes its aliases of other extensions, which would be stale.
 * Where the repository has several clusters each has its own, `latest_backup_<cluster>.<ext>`, and a shared one is removed by the cluster whose backup
 * it names, once it has its own: until then it is not wrong.
 * Only where the storage has aliases, and never at something that was not read back. Never dangling: the new alias replaces the old atomically.
 * What stands there and is not ours (a file, a link out of the repository) is said and left alone.
 */
export async function updateLatestAlias(storage: Storage, state: ClusterState, context: Context): Promise<void> {
  if (storage.setAlias === undefined || storage.readAlias === undefined) return
  const { readAlias, setAlias } = storage
  const latest = livingBackups(state).find(
    (record) => isDump(record.facts) && isAtLeast(record.state, 'verified') && !record.facts.partial && !record.facts.safety,
  )
  const isShared = (await listClusters(storage, context.signal)).some((cluster) => cluster !== state.cluster)
  const cluster = isShared ? state.cluster : null
  const current = latest === undefined ? null : latestAlias(extensionOf(latest.facts.fileName), cluster)

  if (latest !== undefined && current !== null) {
    await sparingForeign('warning', context, async () => {
      await readAlias.call(storage, current)
      await setAlias.call(storage, current, latest.facts.key)
    })
  }
  const own = new Set([...state.backups.values()].map(({ facts }) => facts.key))
  for (const alias of [cluster, ...(isShared ? [null] : [])].flatMap((name) => extensions.map((extension) => latestAlias(extension, name)))) {
    if (alias === current) continue
    await sparingForeign('note', context, async () => {
      const target = await readAlias.call(storage, alias)
      if (target !== undefined && (own.has(target) || !(await isDumpThere(storage, target, context)))) await storage.delete(alias, context)
    })
  }
}

/** A directory dump has no object of its own, only parts below its key. */
async function isDumpThere(storage: Storage, key: string, context: Context): Promise<boolean> {
  return (await isThere(storage, key, context)) || (await isThere(storage, `${key}/`, context))
}

/** An alias is a convenience: what others put in its place is theirs, and no reason for a run to fail. */
async function sparingForeign(type: 'warning' | 'note', context: Context, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    if (!isFailure(error, 'storage-denied', 'object-exists')) throw error
    const message = `the link to the latest backup was left as it is: ${messageOf(error)}`
    context.emit(type === 'note' ? { type, message } : { type, code: 'alias-not-moved', message })
  }
}
