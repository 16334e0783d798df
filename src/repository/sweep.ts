import type { Context } from '../kernel/context.ts'
import type { Storage } from '../storage/storage.ts'
import { familyOf } from './backup.ts'
import type { PackKeys } from './base/pack-keys.ts'
import { purgeBaseBackup, sweepBaseRun } from './base/sweep-base.ts'
import { isThere } from './bytes.ts'
import { append, listClusters, readClusterLog } from './commit-log.ts'
import type { ClusterState, OpenRun } from './cluster-log.ts'
import { companionsOf, isContentKey, isGlobalsKey, isInfoKey, stemOf } from './layout.ts'

/** The log after what it had lost was listed again (`relistBackups`). */
export interface Relisted {
  readonly state: ClusterState
  /** A manifest is there that the log does not name and that could not be understood: what it speaks of may be a backup, so no dump may be swept. */
  readonly doubtful: boolean
  /** Files that manifests name which the log does not and that were left as they are: they may be of a backup, so none of them may be removed. */
  readonly named: ReadonlySet<string>
}

/** Under whose lease something is removed. */
export interface SweepHolder {
  readonly epoch: number
  readonly run: string
  /** Opens the roots of base backups; null where nothing is sealed, or no key is at hand. */
  readonly keys: PackKeys | null
}

/**
 * Removes what dead runs left outside the log. A file that a living backup of any cluster has, or that another cluster's run is writing,
 * is never touched, whatever folder it lies in; a key once named by a dead run is never used again (`burntKeys`), so its stale
 * writer, should it wake, can overwrite nothing.
 *
 * A dump that may once have been committed is never removed: where its `.info` lies beside it, it was whole and its manifest was written next, so
 * its manifest and its entry may be what is lost. Such files are spared, and the log is told. So is a dump that a manifest outside the log names, or, where
 * one cannot be read, may name.
 */
export async function sweepInterrupted(storage: Storage, { state, doubtful, named }: Relisted, holder: SweepHolder, context: Context): Promise<ClusterState> {
  if (state.interrupted.length === 0) return state
  const inUse = await namesInUse(storage, state, context)
  let current = state
  for (const dead of state.interrupted) {
    const { epoch, run } = holder
    const isListed = dead.committed !== null || state.backups.has(dead.run) || state.repackRuns.has(dead.run)
    // A run that may write no file outside of our own folder may have stored packs.
    if (!isListed && dead.objects.length === 0) {
      current = await sweepBaseRun(storage, { state: current, dead }, holder, context)
      continue
    }
    const orphans = isListed ? [] : dead.objects.filter((key) => isContentKey(key) && !inUse.has(baseName(key)))
    const isDoubtful = (doubtful && !dead.abandoned) || orphans.some((key) => isAmong(named, key))
    const { spared, wasWhole } = await sparedOf(storage, orphans, context, { dead, isDoubtful })
    if (spared.length === 0) for (const key of orphans) await deleteTree(storage, key, context)
    current = await append(
      storage,
      current,
      { kind: 'swept', epoch, interrupted: dead.epoch, run, ...(spared.length === 0 ? {} : { spared: [...spared] }) },
      context,
      { epoch },
    )
    if (spared.length > 0) context.emit({ type: 'warning', code: 'orphans-spared', message: describeSpared(storage, { dead, spared, wasWhole }) })
    else context.emit({ type: 'note', message: `removed what the interrupted ${dead.verb} ${dead.run} had left` })
  }
  return current
}

/** The objects of a dead run that must stay, all that are there: none, unless there is a dump with its `.info`. */
async function sparedOf(
  storage: Storage,
  keys: readonly string[],
  context: Context,
  { dead, isDoubtful }: { readonly dead: OpenRun; readonly isDoubtful: boolean },
): Promise<{ spared: readonly string[]; wasWhole: boolean }> {
  const there: string[] = []
  for (const key of keys) if (await isThere(storage, key, context)) there.push(key)
  const hasDump = there.some((key) => !isCompanion(key))
  // What was adopted has the `.info` of another program, copied before the dump was read back.
  const wasWhole = !dead.abandoned && dead.verb !== 'adopt' && there.some(isInfoKey)
  return hasDump && (isDoubtful || wasWhole) ? { spared: there, wasWhole } : nothingSpared
}

const nothingSpared = { spared: [], wasWhole: false }

/** Whether a key, or anything below one that ends in `/`, is among these. */
function isAmong(keys: ReadonlySet<string>, key: string): boolean {
  return keys.has(key) || (key.endsWith('/') && [...keys].some((each) => each.startsWith(key)))
}

const isCompanion = (key: string) => isInfoKey(key) || isGlobalsKey(key)

function describeSpared(
  storage: Storage,
  { dead, spared, wasWhole }: { readonly dead: OpenRun; readonly spared: readonly string[]; readonly wasWhole: boolean },
): string {
  const dump = spared.find((key) => !isCompanion(key)) ?? ''
  const path = storage.localPath?.(dump.replace(/\/$/, ''))
  const folder = path?.slice(0, path.lastIndexOf('/'))
  const adopt =
    folder === undefined
      ? 'fetch it, and take it in with: tidemark repo adopt DIRECTORY'
      : dump.endsWith('/')
        ? `look at it with: tidemark verify ${path ?? ''}`
        : `take it in with: tidemark repo adopt ${folder}`
  return wasWhole
    ? `${dump} was stored by run ${dead.run} and is in no backup: the commit log and the manifest may have lost their end, or the run died just before its commit. ` +
        `It is kept, and nobody will remove it; ${adopt}, or delete it yourself`
    : `${dump} was left by run ${dead.run}, which died; it is most likely a part of a dump, and is kept only since a manifest that could not be used may speak of it. ` +
        `${path === undefined ? 'Fetch it, and see whether it is whole with: tidemark verify FILE' : `See whether it is whole with: tidemark verify ${path}`}, or delete it yourself`
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
      const { info, globals } = companionsOf(stemOf(facts.fileName))
      for (const name of [facts.fileName, baseName(facts.key), ...info, ...globals]) names.add(name)
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
 * were removed the keys may have been given to another backup, or to another cluster's run: those are spared, and so are files that a manifest outside the log names.
 */
export async function purgeTombstones(
  storage: Storage,
  { state, named }: Pick<Relisted, 'state' | 'named'>,
  holder: SweepHolder,
  context: Context,
): Promise<ClusterState> {
  const waiting = [...state.backups.values()].filter(({ deleted }) => deleted !== null && !deleted.purged)
  if (waiting.length === 0) return state
  const isUsed = await keysInUse(storage, state, context)
  let current = state
  for (const record of waiting) {
    const { facts, deleted } = record
    if (familyOf(facts) === 'base') {
      current = await purgeBaseBackup(storage, { state: current, record }, holder, context)
      continue
    }
    for (const key of (deleted?.objects ?? []).filter((each) => !isUsed(each))) {
      if (isContentKey(key) && !isAmong(named, key)) await deleteTree(storage, key, context)
      else context.emit({ type: 'warning', code: 'object-kept', message: `${key} is not removed with backup ${facts.id}: ${whyKept(key)}` })
    }
    current = await append(storage, current, { kind: 'purged', backup: facts.id, run: holder.run }, context, { epoch: holder.epoch })
  }
  return current
}

const whyKept = (key: string) => (isContentKey(key) ? 'a manifest that is not in the commit log names it' : 'no file of a backup can lie there')

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
      const { info, globals } = companionsOf(`${facts.key.slice(0, facts.key.length - baseName(facts.key).length)}${stemOf(baseName(facts.key))}`)
      for (const key of [facts.key, `${facts.key}/`, ...info, ...globals]) add(key)
      copied.add(facts.fileName)
    }
    if (cluster !== state.cluster) for (const key of log.open?.objects ?? []) add(key)
  }
  // The tiered layout's copies have the name of their original and lie in folders of their own.
  return (key) => keys.has(key) || folders.some((folder) => key.startsWith(folder)) || (/^(weekly|monthly)\//.test(key) && copied.has(baseName(key)))
}
