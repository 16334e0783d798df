import type { Context } from '../../kernel/context.ts'
import { isFailure, messageOf } from '../../kernel/failure.ts'
import type { IndexedPack } from '../../packs/pack-index.ts'
import type { ClusterState } from '../cluster-log.ts'
import { append } from '../commit-log.ts'
import { repackOf, repacksPrefix } from '../layout.ts'
import type { Repository } from '../repository.ts'
import type { SweepHolder } from '../sweep.ts'
import { baseObjectOf } from './base-objects.ts'
import { isSettled } from './find-unlisted-roots.ts'
import { findLostObjects } from './lost-objects.ts'
import { readUnnamedIndex } from './read-base-objects.ts'

/**
 * Lets a repack count whose index is there and not in the log: either the log lost its end, and the places that it tells may be the only ones that are left, or its run died
 * between the index and the entry. What it says of frames is true in either case, for they were copied as they are. The newest counts, if all that it speaks of is there.
 */
export async function relistRepack(repository: Repository, known: ClusterState, holder: SweepHolder, context: Context): Promise<ClusterState> {
  const { keys } = holder
  for (const { key, run } of await findUnlisted(repository, known, context)) {
    try {
      const { packs, sha256 } = await readUnnamedIndex(repository, { key, cluster: known.cluster, run }, keys, context)
      const why = await refusalOf(repository, known.cluster, packs, context)
      if (why !== undefined) warn(context, key, why)
      else {
        const entry = { kind: 'repack', epoch: holder.epoch, index: { key, sha256 }, run: holder.run, relisted: true } as const
        const state = await append(repository.storage, known, entry, context, { epoch: holder.epoch })
        context.emit({
          type: 'warning',
          code: 'repack-relisted',
          message: `${key} tells where pages of base backups lie and was not in the commit log; it counts again`,
        })
        return state
      }
    } catch (error) {
      if (!isFailure(error, 'integrity', 'object-missing', 'key-missing')) throw error
      warn(context, key, messageOf(error))
    }
  }
  return known
}

/** Newer than the one that counts, and not of a run that can never have let it count; the newest first. */
async function findUnlisted(
  { storage }: Repository,
  state: ClusterState,
  context: Context,
): Promise<readonly { readonly key: string; readonly run: string }[]> {
  const current = state.moved === null ? 0 : (repackOf(state.cluster, state.moved.key)?.number ?? 0)
  const found: { readonly key: string; readonly run: string; readonly number: number }[] = []
  for await (const { key } of storage.list(repacksPrefix(state.cluster), context)) {
    const repack = repackOf(state.cluster, key)
    if (repack === undefined || repack.number <= current || state.repackRuns.has(repack.run) || isSettled(state, repack.run)) continue
    found.push({ key, ...repack })
  }
  return found.toSorted((a, b) => b.number - a.number)
}

/** Why it must not count. */
async function refusalOf({ storage }: Repository, cluster: string, packs: readonly IndexedPack[], context: Context): Promise<string | undefined> {
  const foreign = packs.find(({ key }) => baseObjectOf(cluster, key)?.kind !== 'pack')
  if (foreign !== undefined) return `no pack of this cluster can lie in ${foreign.key}`
  const [lost] = await findLostObjects(
    storage,
    packs.map(({ key, objectBytes }) => ({ key, sizeBytes: objectBytes })),
    context,
  )
  return lost === undefined ? undefined : `${lost.object}: ${lost.message}`
}

function warn(context: Context, key: string, why: string): void {
  context.emit({ type: 'warning', code: 'repack-unlisted', message: `${key} is not in the commit log, does not count, and is left as it is: ${why}` })
}
