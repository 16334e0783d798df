import type { Context } from '../kernel/context.ts'
import type { Storage } from '../storage/storage.ts'
import { isThere } from './bytes.ts'
import { append, listClusters, readClusterLog } from './commit-log.ts'
import type { ClusterState, OpenRun } from './cluster-log.ts'
import { stemOf } from './layout.ts'

/** The log after what it had lost was listed again (`relistBackups`). */
export interface Relisted {
  readonly state: ClusterState
  /** A manifest is there that the log does not name and that could not be understood: what it speaks of may be a backup, so no dump may be swept. */
  readonly doubtful: boolean
}

/** Under whose lease something is removed. */
export interface SweepHolder {
  readonly epoch: number
  readonly run: string
}

/**
 * Removes what dead runs left outside the log. A file that a living backup of any cluster has, or that another cluster's run is writing,
 * is never touched, whatever folder it lies in; a key once named by a dead run is never used again (`burntKeys`), so its stale
 * writer, should it wake, can overwrite nothing.
 *
 * A dump that may once have been committed is never removed: where its `.info` lies beside it, it was whole and its manifest was written next, so
 * its manifest and its entry may be what is lost. Such files are spared, and the log is told. Where there is a doubtful manifest, the dump of every dead run is.
 */
export async function sweepInterrupted(storage: Storage, { state, doubtful }: Relisted, holder: SweepHolder, context: Context): Promise<ClusterState> {
  if (state.interrupted.length === 0) return state
  const inUse = await namesInUse(storage, state, context)
  let current = state
  for (const dead of state.interrupted) {
    const { epoch, run } = holder
    const isListed = dead.committed !== null || state.backups.has(dead.run)
    const orphans = isListed ? [] : dead.objects.filter((key) => !inUse.has(baseName(key)))
    const spared = dead.abandoned ? [] : await sparedOf(storage, orphans, context, { doubtful, verb: dead.verb })
    if (spared.length === 0) for (const key of orphans) await deleteTree(storage, key, context)
    current = await append(
      storage,
      current,
      { kind: 'swept', epoch, interrupted: dead.epoch, run, ...(spared.length === 0 ? {} : { spared: [...spared] }) },
      context,
      { epoch },
    )
    if (spared.length > 0) context.emit({ type: 'warning', code: 'orphans-spared', message: describeSpared(storage, dead, spared) })
    else context.emit({ type: 'note', message: `removed what the interrupted ${dead.verb} ${dead.run} had left` })
  }
  return current
}

/** The objects of a dead run that must stay, all that are there: none, unless there is a dump with its `.info`. */
async function sparedOf(
  storage: Storage,
  keys: readonly string[],
  context: Context,
  { doubtful, verb }: { doubtful: boolean; verb: string },
): Promise<readonly string[]> {
  const there: string[] = []
  for (const key of keys) if (await isThere(storage, key, context)) there.push(key)
  const hasDump = there.some((key) => !isCompanion(key))
  // What was adopted has the `.info` of another program, copied before the dump was read back.
  const wasWhole = verb !== 'adopt' && there.some((key) => key.endsWith('.info'))
  return hasDump && (doubtful || wasWhole) ? there : []
}

const isCompanion = (key: string) => key.endsWith('.info') || key.endsWith('.globals.sql')

function describeSpared(storage: Storage, dead: OpenRun, spared: readonly string[]): string {
  const dump = spared.find((key) => !isCompanion(key)) ?? ''
  const path = storage.localPath?.(dump.replace(/\/$/, ''))
  const folder = path?.slice(0, path.lastIndexOf('/'))
  const next =
    folder === undefined
      ? 'fetch it, and take it in with: tidemark repo adopt DIRECTORY'
      : dump.endsWith('/')
        ? `look at it with: tidemark verify ${path ?? ''}`
        : `take it in with: tidemark repo adopt ${folder}`
  return (
    `${dump} was stored by run ${dead.run} and is in no backup: the commit log and the manifest may have lost their end, or the run died just before its commit. ` +
    `It is kept, and nobody will remove it; ${next}, or delete it yourself`
  )
}

function baseName(key: string): string {
  return key.replace(/\/$/, '').split('/').at(-1) ?? key
}

/** File names in use: those of living backups of all clusters, with their companions, and those that other clusters' open runs may be writing. */
async function namesInUse(storage: Storage, state: ClusterState, context: Context): Promise<ReadonlySet<string>> {
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
export async function keysInUse(storage: Storage, state: ClusterState, context: Context): Promise<(key: string) => boolean> {
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
