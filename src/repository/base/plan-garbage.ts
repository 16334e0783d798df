import type { Context } from '../../kernel/context.ts'
import type { Storage, StoredObject } from '../../storage/storage.ts'
import type { ClusterState, Garbage } from '../cluster-log.ts'
import { commitKey } from '../layout.ts'
import type { Repository } from '../repository.ts'
import { baseFolders, baseObjectOf, compactKeys, inOrderOfRemoval } from './base-objects.ts'
import { markLive, sparseBelow, type LiveMarks, type LivePack } from './mark-live.ts'
import type { PackKeys } from './pack-keys.ts'

/** What collecting the garbage of a cluster would do. Plain data. */
export interface GarbagePlan {
  /** Why nothing may be removed; empty = may be done. */
  readonly refusals: readonly string[]
  readonly warnings: readonly string[]
  /** Objects that no backup needs: removed at once. */
  readonly unnamed: GarbageObjects
  /** Objects of which a backup needs so little that it is worth to be copied elsewhere. */
  readonly sparse: readonly SparseObject[]
  /** Objects that were needed until something was moved: they get their tombstone now. */
  readonly left: GarbageObjects
  /** Objects whose tombstone is written: removed when nobody can be reading them any more. */
  readonly waiting: readonly WaitingGarbage[]
  /** Whether the index of the last repack tells nothing any more that anybody needs. */
  readonly isIndexIdle: boolean
}

export interface GarbageObjects {
  /** Keys; one that ends in `/` means everything below it. */
  readonly objects: readonly string[]
  readonly count: number
  readonly bytes: number
}

export interface SparseObject {
  readonly key: string
  readonly bytes: number
  readonly liveBytes: number
}

export interface WaitingGarbage {
  /** Number of its entry in the log. */
  readonly entry: number
  readonly objects: readonly string[]
  /** Seconds to go; 0 when it is due. */
  readonly dueInSeconds: number
}

/** What is there, and what is needed of it. */
export interface GarbageView {
  readonly marks: LiveMarks
  /** Objects of base backups of the cluster, by key. */
  readonly present: ReadonlyMap<string, StoredObject>
  /** Objects in their folders that have no name that a run of ours gives. */
  readonly foreign: readonly string[]
}

/** The moment now by the storage's own clock, by which the age of tombstones is told: that of the newest entry, written just now by whoever holds the lease. */
export async function storageNow({ storage }: Repository, state: ClusterState, context: Context): Promise<Temporal.Instant> {
  return (await storage.stat(commitKey(state.cluster, state.head), context))?.modifiedAt ?? context.clock.now()
}

/** Lists and marks. A listing that fails rejects: nothing is ever concluded from a part of one. */
export async function viewGarbage(
  repository: Repository,
  { state, keys }: { readonly state: ClusterState; readonly keys: PackKeys | null },
  context: Context,
): Promise<GarbageView> {
  const { storage } = repository
  const present = new Map<string, StoredObject>()
  const foreign: string[] = []
  // Listed first: what comes while roots are read is not taken for garbage.
  for (const folder of baseFolders(state.cluster)) {
    for await (const object of storage.list(folder, context)) {
      if (baseObjectOf(state.cluster, object.key) === undefined) foreign.push(object.key)
      else present.set(object.key, object)
    }
  }
  return { marks: await markLive(repository, { state, keys }, context), present, foreign }
}

export async function planGarbage(
  { storage }: Repository,
  { state, view, now }: { readonly state: ClusterState; readonly view: GarbageView; readonly now: Temporal.Instant },
  context: Context,
): Promise<GarbagePlan> {
  const { marks, present, foreign } = view
  const refusals = [
    ...marks.unopened.map(
      ({ key, backup, why }) => `${key}${backup === null ? '' : `, the root of backup ${backup},`} cannot be opened, so nobody knows what it needs: ${why}`,
    ),
    ...[...marks.objects]
      .filter(([key]) => !present.has(key))
      .map(([key, backup]) => `${key} is gone, which backup ${backup} needs: bring it back, or delete the backups that are damaged (tidemark verify --all)`),
  ].slice(0, 20)
  const buried = new Set(state.garbage.flatMap(({ objects }) => objects))
  const isBuried = (key: string): boolean => buried.has(key) || buried.has(key.slice(0, key.lastIndexOf('/') + 1))
  const isDeleted = (key: string): boolean => {
    const { kind, run } = baseObjectOf(state.cluster, key) ?? {}
    return kind === 'root' && run !== undefined && state.backups.get(run)?.deleted?.purged === false
  }
  const isLeft = (key: string): boolean => marks.left.has(key) || isFormerIndex(state, key)
  const idle = [...present.keys()].filter((key) => !marks.objects.has(key) && !isBuried(key) && !isDeleted(key) && !isOfOpenRun(state, key))
  const describe = (keys: readonly string[]): GarbageObjects => ({
    objects: inOrderOfRemoval(state.cluster, compactKeys(state.cluster, keys, [...present.keys()])),
    count: keys.length,
    bytes: keys.reduce((bytes, key) => bytes + (present.get(key)?.sizeBytes ?? 0), 0),
  })
  return {
    refusals,
    warnings: foreign.length === 0 ? [] : [`${foreign.length} objects have no name that Tidemark gives, and stay: ${foreign.slice(0, 3).join(', ')}`],
    unnamed: describe(idle.filter((key) => !isLeft(key))),
    left: describe(idle.filter(isLeft)),
    sparse: sparseObjects(marks),
    waiting: await Promise.all(state.garbage.map((garbage) => whenDue(storage, { cluster: state.cluster, garbage, now }, context))),
    isIndexIdle: state.moved !== null && ![...marks.packs.values()].some(({ isMoved }) => isMoved),
  }
}

/** The index of a repack that counted until the next did. */
function isFormerIndex(state: ClusterState, key: string): boolean {
  const { kind, run } = baseObjectOf(state.cluster, key) ?? {}
  return kind === 'repack' && run !== undefined && state.repackRuns.has(run)
}

function isOfOpenRun({ open, cluster }: ClusterState, key: string): boolean {
  return open !== null && baseObjectOf(cluster, key)?.run === open.run
}

async function whenDue(
  storage: Storage,
  { cluster, garbage, now }: { readonly cluster: string; readonly garbage: Garbage; readonly now: Temporal.Instant },
  context: Context,
): Promise<WaitingGarbage> {
  const { entry, objects, graceSeconds } = garbage
  const written = await storage.stat(commitKey(cluster, entry), context)
  const age = written === undefined ? 0 : now.since(written.modifiedAt).total('seconds')
  return { entry, objects, dueInSeconds: Math.max(0, graceSeconds - age) }
}

/** Objects of which less than a quarter is live. */
function sparseObjects({ packs }: LiveMarks): readonly SparseObject[] {
  const objects = new Map<string, { bytes: number; liveBytes: number }>()
  for (const { place, liveBytes } of packs.values()) {
    const known = objects.get(place.key) ?? { bytes: place.objectBytes, liveBytes: 0 }
    objects.set(place.key, { ...known, liveBytes: known.liveBytes + liveBytes })
  }
  return [...objects].flatMap(([key, { bytes, liveBytes }]) => (liveBytes < bytes * sparseBelow ? [{ key, bytes, liveBytes }] : []))
}

/** The packs that lie in these objects. */
export function packsIn({ packs }: LiveMarks, objects: ReadonlySet<string>): readonly LivePack[] {
  return [...packs.values()].filter(({ place }) => objects.has(place.key))
}
