import type { Context } from '../../kernel/context.ts'
import { Failure } from '../../kernel/failure.ts'
import type { IndexedPack } from '../../packs/pack-index.ts'
import type { MetadataSeal } from '../../packs/whole-pack.ts'
import { repackOf } from '../layout.ts'
import type { Lease } from '../lease.ts'
import type { Repository } from '../repository.ts'
import { moveFrames, storeRepackIndex } from './move-frames.ts'
import type { PackKeys } from './pack-keys.ts'
import { packsIn, planGarbage, storageNow, viewGarbage, type GarbagePlan, type GarbageView } from './plan-garbage.ts'
import { removeUnmarked } from './remove-unmarked.ts'

export interface GarbageRequest {
  readonly run: string
  readonly keys: PackKeys | null
  /** Null where nothing is sealed. */
  readonly seal: MetadataSeal | null
  /** How long objects stay of which something was moved: a restore that began before may be reading them. */
  readonly graceSeconds: number
}

export interface CollectedGarbage {
  readonly removedObjects: number
  /** Objects of which what is live lies elsewhere now. */
  readonly movedObjects: number
  readonly movedBytes: number
  /** What waits now for its removal. */
  readonly waitingObjects: number
  readonly warnings: readonly string[]
}

/**
 * Collects the garbage of a cluster, under its lease: what is due goes; what no backup needs gets a tombstone, and goes after everything was marked once more; what is
 * live in objects that are mostly dead is copied elsewhere, and those wait. A run that dies anywhere leaves nothing that the next would not see as garbage.
 */
export async function collectGarbage(repository: Repository, lease: Lease, request: GarbageRequest, context: Context): Promise<CollectedGarbage> {
  let removedObjects = 0
  const first = await lookAgain(repository, lease, request, context)
  for (const { entry, objects, dueInSeconds } of first.plan.waiting)
    if (dueInSeconds <= 0) removedObjects += await clear(repository, lease, { ...first, entry, objects, request }, context)
  if (first.plan.unnamed.count > 0)
    removedObjects += await bury(repository, lease, { objects: first.plan.unnamed.objects, request: { ...request, graceSeconds: 0 } }, context)

  const moved = await repack(repository, lease, { ...first, request }, context)
  const second = moved === null ? first : await lookAgain(repository, lease, request, context)
  if (second.plan.left.count > 0) removedObjects += await bury(repository, lease, { objects: second.plan.left.objects, request }, context)
  return {
    removedObjects,
    movedObjects: moved?.objects ?? 0,
    movedBytes: moved?.bytes ?? 0,
    waitingObjects: lease.state().garbage.reduce((count, { objects }) => count + objects.length, 0),
    warnings: first.plan.warnings,
  }
}

interface Looked {
  readonly view: GarbageView
  readonly plan: GarbagePlan
}

async function lookAgain(repository: Repository, lease: Lease, { keys }: Pick<GarbageRequest, 'keys'>, context: Context): Promise<Looked> {
  const state = lease.state()
  const view = await viewGarbage(repository, { state, keys }, context)
  const plan = await planGarbage(repository, { state, view, now: await storageNow(repository, state, context) }, context)
  requireCollectable(plan)
  return { view, plan }
}

/** Rejects with `target-unsafe` while it is not known what backups need. */
export function requireCollectable({ refusals }: GarbagePlan): void {
  if (refusals.length === 0) return
  throw new Failure('target-unsafe', `no garbage is removed: ${refusals.join('; ')}`, { hints: ['see which backups are damaged: tidemark verify --all'] })
}

/** Writes a tombstone, and removes at once what needs no grace. */
async function bury(
  repository: Repository,
  lease: Lease,
  { objects, request }: { readonly objects: readonly string[]; readonly request: GarbageRequest },
  context: Context,
): Promise<number> {
  const { run, graceSeconds } = request
  const { head: entry } = await lease.append({ kind: 'garbage', epoch: lease.epoch, objects: [...objects], graceSeconds, run })
  if (graceSeconds > 0) return 0
  return clear(repository, lease, { ...(await lookAgain(repository, lease, request, context)), entry, objects, request }, context)
}

/** Removes what a tombstone names and nothing needs, as was marked after it was written. */
async function clear(
  { storage }: Repository,
  lease: Lease,
  { view, entry, objects, request }: Looked & { readonly entry: number; readonly objects: readonly string[]; readonly request: GarbageRequest },
  context: Context,
): Promise<number> {
  const { removed } = await removeUnmarked(storage, { cluster: lease.state().cluster, objects, marks: view.marks }, context)
  await lease.append({ kind: 'cleared', epoch: lease.epoch, garbage: entry, run: request.run })
  return removed.length
}

/** Copies what is live of sparse objects, and lets the new places count for all readers from its entry on. Null where there is nothing to move. */
async function repack(
  repository: Repository,
  lease: Lease,
  { view, plan, request }: Looked & { readonly request: GarbageRequest },
  context: Context,
): Promise<{ readonly objects: number; readonly bytes: number } | null> {
  const { run, keys, seal } = request
  const { cluster } = lease.state()
  const { marks } = view
  if (plan.sparse.length === 0 && !plan.isIndexIdle) return null
  const packs = packsIn(marks, new Set(plan.sparse.map(({ key }) => key)))
  const moving = new Set(packs)
  // One index tells of everything that was ever moved and is needed still, so none before it is.
  const kept = [...marks.packs.values()]
    .filter((pack) => pack.isMoved && !moving.has(pack))
    .flatMap(({ place, frames }): IndexedPack[] => (frames === null ? [] : [{ ...place, frames }]))
  const moved = await moveFrames(repository, { cluster, run, packs, keys }, context)
  const all = [...kept, ...moved]
  const index = all.length === 0 ? null : await storeRepackIndex(repository, { cluster, run, number: nextNumber(cluster, view), packs: all, seal }, context)
  await lease.append({ kind: 'repack', epoch: lease.epoch, index, run })
  return { objects: plan.sparse.length, bytes: packs.reduce((bytes, { liveBytes }) => bytes + liveBytes, 0) }
}

/** Above every one that is there: of two that the log has lost, the higher counts. */
function nextNumber(cluster: string, { present }: GarbageView): number {
  return 1 + [...present.keys()].reduce((highest, key) => Math.max(highest, repackOf(cluster, key)?.number ?? 0), 0)
}
