import type { DeletePlan } from '../repository/delete-backup.ts'
import { executeDelete, planDelete } from '../repository/delete-backup.ts'
import type { Backup } from '../repository/backup.ts'
import { append, readClusterLog } from '../repository/commit-log.ts'
import { describeBackup, findBackup } from '../repository/find-backup.ts'
import { takeLease } from '../repository/lease.ts'
import { Failure, messageOf } from '../kernel/failure.ts'
import { locateBackup } from './list-backups.ts'
import { newRunId } from './run-id.ts'
import { knownClusters, openRepositories, repositoryNames, type Workspace } from './workspace.ts'

export interface ChangeOptions {
  readonly backup: string
  readonly cluster?: string
  readonly repositories?: readonly string[]
  readonly reason: string
}

/** Pins or unpins a backup in every repository that holds it. */
export async function pinBackup(workspace: Workspace, kind: 'pin' | 'unpin', options: ChangeOptions): Promise<Backup> {
  const { context } = workspace
  await using open = await openFor(workspace, options)
  const found = await locateBackup(open.repositories, open.clusters, options.backup, context)
  const id = found.record.facts.id
  const run = newRunId(context)
  let changed: Backup | undefined
  for (const repository of open.repositories) {
    const state = await readClusterLog(repository.storage, found.state.cluster, context)
    if (state.backups.get(id)?.deleted !== null) continue
    const after = await append(repository.storage, state, { kind, backup: id, reason: options.reason, run }, context)
    changed ??= describeBackup(findBackup(after, id), [repository])
  }
  if (changed === undefined) throw new Failure('backup-missing', `backup ${id} is in none of these repositories any more`)
  return changed
}

export interface DeleteOutcome {
  readonly plans: readonly { readonly repository: string; readonly plan: DeletePlan }[]
  readonly deleted: boolean
}

/** Plans the deletion of one backup in every repository that holds it and, unless `dryRun`, asks and carries it out. */
export async function deleteBackup(workspace: Workspace, options: ChangeOptions & { dryRun: boolean; approve: (plans: DeleteOutcome['plans']) => Promise<void> }): Promise<DeleteOutcome> {
  const { context } = workspace
  await using open = await openFor(workspace, options)
  const found = await locateBackup(open.repositories, open.clusters, options.backup, context)
  const id = found.record.facts.id
  const holders = []
  for (const repository of open.repositories) {
    const state = await readClusterLog(repository.storage, found.state.cluster, context)
    const record = state.backups.get(id)
    if (record === undefined || record.deleted !== null) continue
    holders.push({ repository, plan: await planDelete(repository, state, record, context) })
  }
  const plans = holders.map(({ repository, plan }) => ({ repository: repository.name, plan }))
  if (options.dryRun) return { plans, deleted: false }
  const refusals = plans.flatMap(({ plan }) => plan.refusals)
  if (refusals.length > 0) throw new Failure('target-unsafe', `backup ${id} is not deleted: ${refusals.join('; ')}`)
  await options.approve(plans)

  const run = newRunId(context)
  for (const { repository } of holders) {
    await using lease = await takeLease(repository.storage, { cluster: found.state.cluster, run, verb: 'delete', objects: () => [] }, workspace.machine.whereabouts, context)
    try {
      // Planned again under the lease: what was asked about may have changed while somebody read the question.
      const record = lease.state().backups.get(id)
      if (record !== undefined && record.deleted === null) {
        const plan = await planDelete(repository, lease.state(), record, context)
        await executeDelete(repository, lease, plan, options.reason, run)
      }
      await lease.end('ok')
    } catch (error) {
      // A failing end must not hide why: the lease is then free when it is stale, and the next run carries the deletion on.
      await lease.end('failed').catch((ending: unknown) => context.emit({ type: 'note', message: `the lease could not be given back: ${messageOf(ending)}` }))
      throw error
    }
  }
  return { plans, deleted: true }
}

async function openFor(workspace: Workspace, options: ChangeOptions) {
  const configured = options.cluster === undefined ? undefined : workspace.settings.clusters[options.cluster]
  const open = await openRepositories(workspace, repositoryNames(workspace, configured, options.repositories))
  const clusters = options.cluster === undefined ? await knownClusters(workspace, open.repositories) : [options.cluster]
  return { ...open, clusters }
}
