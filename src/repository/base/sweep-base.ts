import type { Context } from '../../kernel/context.ts'
import type { Storage } from '../../storage/storage.ts'
import type { BackupRecord, ClusterState, OpenRun } from '../cluster-log.ts'
import { append } from '../commit-log.ts'
import { repackOf, repacksPrefix, rootKey, rootsPrefix } from '../layout.ts'
import { openRepository } from '../repository.ts'
import type { SweepHolder } from '../sweep.ts'
import { baseObjectOf } from './base-objects.ts'
import { isSettled } from './find-unlisted-roots.ts'
import { markLive } from './mark-live.ts'
import { relistRepack } from './relist-repack.ts'
import { relistRoots } from './relist-roots.ts'
import { removeUnmarked } from './remove-unmarked.ts'
import { listRunObjects } from './run-objects.ts'

/** What whoever takes the lease does for base backups: lists again what the log has lost, removes what dead runs left, carries deletions on. */

/** Places first: they tell where a backup that is listed again has its pages. */
export async function relistBaseBackups(storage: Storage, known: ClusterState, holder: SweepHolder, context: Context): Promise<ClusterState> {
  if (!(await hasUnlisted(storage, known, context))) return known
  const repository = await openRepository(storage.location, storage, context.signal)
  return relistRoots(repository, await relistRepack(repository, known, holder, context), holder, context)
}

async function hasUnlisted(storage: Storage, state: ClusterState, context: Context): Promise<boolean> {
  const { cluster } = state
  for await (const { key } of storage.list(rootsPrefix(cluster), context)) if (!isSettled(state, baseObjectOf(cluster, key)?.run ?? '')) return true
  for await (const { key } of storage.list(repacksPrefix(cluster), context)) {
    const run = repackOf(cluster, key)?.run
    if (run !== undefined && !state.repackRuns.has(run) && !isSettled(state, run)) return true
  }
  // A listing may be stale.
  for (const { run, objects } of state.interrupted)
    if (objects.length === 0 && !isSettled(state, run) && (await storage.stat(rootKey(cluster, run), context)) !== undefined) return true
  return false
}

/**
 * Removes what a dead run stored of a base backup or a repack and did not commit. Where the log lost its end, later backups may refer to its packs although the log does not know that
 * the run committed: what a root needs stays, and where one cannot be opened, everything does.
 */
export async function sweepBaseRun(
  storage: Storage,
  { state, dead }: { readonly state: ClusterState; readonly dead: OpenRun },
  { epoch, run, keys }: SweepHolder,
  context: Context,
): Promise<ClusterState> {
  const { spared, kept } = await removeDeadRun(storage, { state, dead, keys }, context)
  const entry = { kind: 'swept', epoch, interrupted: dead.epoch, run, ...(spared.length === 0 ? {} : { spared: [...spared] }) } as const
  const after = await append(storage, state, entry, context, { epoch })
  const what = `what the interrupted ${dead.verb} ${dead.run} had left`
  if (spared.length > 0) context.emit({ type: 'warning', code: 'orphans-spared', message: `${what} stays, for it cannot be read now: ${spared.join(', ')}` })
  else if (kept !== null) context.emit({ type: 'note', message: `${what} stays (${kept}); what nobody needs is removed by: tidemark repo gc` })
  else context.emit({ type: 'note', message: `removed ${what}` })
  return after
}

async function removeDeadRun(
  storage: Storage,
  { state, dead, keys }: { readonly state: ClusterState; readonly dead: OpenRun; readonly keys: SweepHolder['keys'] },
  context: Context,
): Promise<{ readonly spared: readonly string[]; readonly kept: string | null }> {
  const { cluster } = state
  const { run } = dead
  const objects = (await listRunObjects(storage, { cluster, run }, context)).map(({ key }) => key)
  if (objects.length === 0) return { spared: [], kept: null }
  // What of these could be listed was listed before: what is left could not be read, and may be of something that was committed.
  const spared = isSettled(state, run) ? [] : objects.filter((key) => ['root', 'repack'].includes(baseObjectOf(cluster, key)?.kind ?? ''))
  if (spared.length > 0) return { spared, kept: null }
  const repository = await openRepository(storage.location, storage, context.signal)
  const marks = await markLive(repository, { state, keys, except: new Set([run]) }, context)
  const [unopened] = marks.unopened
  if (unopened !== undefined) return { spared: [], kept: `${unopened.key} cannot be opened: ${unopened.why}` }
  await removeUnmarked(storage, { cluster, objects, marks }, context)
  return { spared: [], kept: objects.some((key) => marks.objects.has(key)) ? 'other backups need some of it' : null }
}

/** Removes the objects of a base backup's tombstone. They may be shared, so everything is marked once more; where some root cannot be opened now, the tombstone waits. */
export async function purgeBaseBackup(
  storage: Storage,
  { state, record }: { readonly state: ClusterState; readonly record: BackupRecord },
  { epoch, run, keys }: SweepHolder,
  context: Context,
): Promise<ClusterState> {
  const { cluster } = state
  const { facts, deleted } = record
  const keep = (message: string): void => context.emit({ type: 'warning', code: 'object-kept', message })
  // Nobody else needs its root, and nothing but its root makes it readable.
  const own = rootKey(cluster, facts.id)
  await storage.delete(own, context)
  const shared = (deleted?.objects ?? []).filter((key) => key !== own)
  if (shared.length > 0) {
    const repository = await openRepository(storage.location, storage, context.signal)
    const marks = await markLive(repository, { state, keys }, context)
    const [unopened] = marks.unopened
    if (unopened !== undefined) {
      keep(`objects of backup ${facts.id}, which was deleted, stay for now: ${unopened.key} cannot be opened, and may need them: ${unopened.why}`)
      return state
    }
    const { refused } = await removeUnmarked(storage, { cluster, objects: shared, marks }, context)
    for (const key of refused) keep(`${key} is not removed with backup ${facts.id}: it can be no object of a base backup of this cluster`)
  }
  return append(storage, state, { kind: 'purged', backup: facts.id, run }, context, { epoch })
}
