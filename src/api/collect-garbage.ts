import { Failure } from '../kernel/failure.ts'
import { packKeysOf } from '../repository/base/pack-keys.ts'
import { collectGarbage, requireCollectable } from '../repository/base/collect-garbage.ts'
import { giveUpRun } from '../repository/base/give-up-run.ts'
import { planGarbage, viewGarbage, type GarbagePlan } from '../repository/base/plan-garbage.ts'
import { readClusterLog } from '../repository/commit-log.ts'
import { requireFreeLease, takeLease } from '../repository/lease.ts'
import type { Repository } from '../repository/repository.ts'
import { newRunId } from './run-id.ts'
import { chooseClusters, openRepositories, repositoryNames, type Workspace } from './workspace.ts'

export interface CollectOptions {
  readonly cluster?: string
  readonly repositories?: readonly string[]
  readonly dryRun?: boolean
  /** How long objects stay of which what is needed was moved elsewhere, since a restore may be reading them. Default a day. */
  readonly graceSeconds?: number
}

/** What collecting garbage did, or would do, for one cluster in one repository. */
export interface CollectedCluster {
  readonly repository: string
  readonly cluster: string
  /** What was found before anything was done. */
  readonly plan: GarbagePlan
  readonly removedObjects: number
  readonly movedObjects: number
  readonly movedBytes: number
  readonly waitingObjects: number
  /** Why nothing was done; null where nothing stood in the way. */
  readonly failure: Failure | null
}

const graceOfADay = 86_400

/** Removes what no base backup needs, cluster by cluster; where that is refused, the others go on. */
export async function collectGarbageOf(workspace: Workspace, options: CollectOptions = {}): Promise<readonly CollectedCluster[]> {
  const { context } = workspace
  const configured = options.cluster === undefined ? undefined : workspace.settings.clusters[options.cluster]
  await using open = await openRepositories(workspace, repositoryNames(workspace, configured, options.repositories))
  const clusters = await chooseClusters(workspace, open, options.cluster)
  const collected: CollectedCluster[] = []
  for (const repository of open.repositories) {
    for (const cluster of clusters) {
      context.signal.throwIfAborted()
      collected.push(await collectOne(workspace, { repository, cluster }, options))
    }
  }
  return collected
}

interface Place {
  readonly repository: Repository
  readonly cluster: string
}

async function collectOne(workspace: Workspace, { repository, cluster }: Place, options: CollectOptions): Promise<CollectedCluster> {
  const { context, machine } = workspace
  const state = await readClusterLog(repository.storage, cluster, context)
  const view = await viewGarbage(repository, { state, keys: packKeysOf(repository.keyring, context) }, context)
  const plan = await planGarbage(repository, { state, view, now: context.clock.now() }, context)
  const nothing = {
    repository: repository.name,
    cluster,
    plan,
    removedObjects: 0,
    movedObjects: 0,
    movedBytes: 0,
    waitingObjects: plan.waiting.length,
    failure: null,
  }
  try {
    requireCollectable(plan)
    // A cluster of which there is nothing to collect need not wait for its lease.
    if (isClean(plan)) return nothing
    if (options.dryRun === true) {
      await requireFreeLease(repository.storage, state, { cluster, whereabouts: machine.whereabouts }, context)
      return nothing
    }
    return { ...nothing, ...(await collectUnderLease(workspace, { repository, cluster }, options)) }
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    context.signal.throwIfAborted()
    return { ...nothing, failure: error }
  }
}

function isClean({ unnamed, left, sparse, waiting, isIndexIdle }: GarbagePlan): boolean {
  return unnamed.count === 0 && left.count === 0 && sparse.length === 0 && !isIndexIdle && waiting.every(({ dueInSeconds }) => dueInSeconds > 0)
}

async function collectUnderLease(workspace: Workspace, { repository, cluster }: Place, { graceSeconds = graceOfADay }: CollectOptions) {
  const { context, machine } = workspace
  const { keyring, storage } = repository
  const run = newRunId(context)
  const keys = packKeysOf(keyring, context)
  const current = keyring?.metadataKey()
  const seal = current === undefined ? null : { epoch: current.epoch, key: current.key.reveal() }
  await using lease = await takeLease(storage, { cluster, run, verb: 'gc', objects: () => [], keys }, machine.whereabouts, context)
  try {
    const { removedObjects, movedObjects, movedBytes, waitingObjects } = await collectGarbage(repository, lease, { run, keys, seal, graceSeconds }, context)
    await lease.end('ok')
    return { removedObjects, movedObjects, movedBytes, waitingObjects }
  } catch (error) {
    await giveUpRun(repository, lease, run, context)
    throw error
  }
}
