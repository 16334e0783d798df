import type { Context } from '../kernel/context.ts'
import type { Storage } from '../storage/storage.ts'
import { append, listClusters, readClusterLog } from './commit-log.ts'
import type { ClusterState } from './cluster-log.ts'
import { manifestsPrefix, stemOf } from './layout.ts'

/** Under whose lease something is removed. */
export interface SweepHolder {
  readonly epoch: number
  readonly run: string
}

/**
 * Removes what dead runs left outside the log. A file that a living backup of any cluster has, or that another cluster's run is writing,
 * is never touched, whatever folder it lies in; a key once named by a dead run is never used again (`burntKeys`), so its stale
 * writer, should it wake, can overwrite nothing.
 */
export async function sweepInterrupted(storage: Storage, state: ClusterState, holder: SweepHolder, context: Context): Promise<ClusterState> {
  if (state.interrupted.length === 0) return state
  const spared = await sparedNames(storage, state, context)
  let current = state
  for (const dead of state.interrupted) {
    const own = dead.committed === null ? [] : dead.objects
    for (const key of dead.objects) if (!own.includes(key) && !spared.has(baseName(key))) await deleteTree(storage, key, context)
    await forgetManifests(storage, current, context)
    current = await append(storage, current, { kind: 'swept', epoch: holder.epoch, interrupted: dead.epoch, run: holder.run }, context, { epoch: holder.epoch })
    context.emit({ type: 'note', message: `removed what the interrupted ${dead.verb} ${dead.run} had left` })
  }
  return current
}

/** Removes manifests that no commit entry names: a run died between the two. Under our lease nobody else is about to name one. */
async function forgetManifests(storage: Storage, state: ClusterState, context: Context): Promise<void> {
  const named = new Set([...state.backups.values()].map((record) => record.manifest.key))
  const orphans: string[] = []
  for await (const { key } of storage.list(manifestsPrefix(state.cluster), context)) if (!named.has(key)) orphans.push(key)
  for (const key of orphans) await storage.delete(key, context)
}

function baseName(key: string): string {
  return key.replace(/\/$/, '').split('/').at(-1) ?? key
}

/** File names in use: those of living backups of all clusters, with their companions, and those that other clusters' open runs may be writing. */
async function sparedNames(storage: Storage, state: ClusterState, context: Context): Promise<ReadonlySet<string>> {
  const names = new Set<string>()
  for (const cluster of await listClusters(storage, context.signal)) {
    const log = cluster === state.cluster ? state : await readClusterLog(storage, cluster, context)
    for (const { facts, deleted } of log.backups.values()) {
      if (deleted !== null) continue
      const stem = stemOf(facts.fileName)
      for (const name of [facts.fileName, baseName(facts.key), `${stem}.info`, `${stem}.globals.sql`]) names.add(name)
    }
    if (cluster !== state.cluster) for (const key of log.open?.objects ?? []) names.add(baseName(key))
  }
  return names
}

/** Deletes an object, or, for a key ending in `/`, everything below it. */
export async function deleteTree(storage: Storage, key: string, context: Pick<Context, 'signal'>): Promise<void> {
  if (!key.endsWith('/')) return storage.delete(key, context)
  const keys: string[] = []
  for await (const object of storage.list(key, context)) keys.push(object.key)
  for (const each of keys) await storage.delete(each, context)
}

/**
 * Removes the objects of every tombstone that is not purged yet: of new ones, and of those whose purge was interrupted. Since their objects
 * were removed the keys may have been given to another backup, or to another cluster's run: those are spared.
 */
export async function purgeTombstones(storage: Storage, state: ClusterState, holder: SweepHolder, context: Context): Promise<ClusterState> {
  const waiting = [...state.backups.values()].filter(({ deleted }) => deleted !== null && !deleted.purged)
  if (waiting.length === 0) return state
  const isUsed = await keysInUse(storage, state, context)
  let current = state
  for (const { facts, deleted } of waiting) {
    for (const key of deleted?.objects ?? []) if (!isUsed(key)) await deleteTree(storage, key, context)
    current = await append(storage, current, { kind: 'purged', backup: facts.id, run: holder.run }, context, { epoch: holder.epoch })
  }
  return current
}

/** Tells whether a key belongs to a living backup of any cluster, its companions and copies included, or may be written by another cluster's run. */
async function keysInUse(storage: Storage, state: ClusterState, context: Context): Promise<(key: string) => boolean> {
  const keys = new Set<string>()
  const folders: string[] = []
  const copied = new Set<string>()
  const add = (key: string) => (key.endsWith('/') ? folders.push(key) : keys.add(key))
  for (const cluster of await listClusters(storage, context.signal)) {
    const log = cluster === state.cluster ? state : await readClusterLog(storage, cluster, context)
    for (const { facts, deleted } of log.backups.values()) {
      if (deleted !== null) continue
      const stem = `${facts.key.slice(0, facts.key.length - baseName(facts.key).length)}${stemOf(baseName(facts.key))}`
      for (const key of [facts.key, `${facts.key}/`, `${stem}.info`, `${stem}.globals.sql`]) add(key)
      copied.add(facts.fileName)
    }
    if (cluster !== state.cluster) for (const key of log.open?.objects ?? []) add(key)
  }
  // The tiered layout's copies have the name of their original and lie in folders of their own.
  return (key) => keys.has(key) || folders.some((folder) => key.startsWith(folder)) || (/^(weekly|monthly)\//.test(key) && copied.has(baseName(key)))
}
