import { packKeysOf } from '../repository/base/pack-keys.ts'
import type { DeletePlan } from '../repository/delete-backup.ts'
import { executeDelete, planDelete } from '../repository/delete-backup.ts'
import type { Backup } from '../repository/backup.ts'
import type { BackupRecord, ClusterState } from '../repository/cluster-log.ts'
import { append, readClusterLog } from '../repository/commit-log.ts'
import { describeBackup, findBackup } from '../repository/find-backup.ts'
import { takeLease } from '../repository/lease.ts'
import type { Repository } from '../repository/repository.ts'
import { Failure, messageOf } from '../kernel/failure.ts'
import { locateBackup } from './list-backups.ts'
import { newRunId } from './run-id.ts'
import { chooseBackup, type BackupWords } from './subjects.ts'
import { chooseClusters, openRepositories, readStates, repositoryNames, type Workspace } from './workspace.ts'

/** Which backup: `wanted` as typed, or `backup` whatever it is called. One of them must be given: nothing is deleted or pinned by leaving a word out. */
export interface ChangeOptions extends BackupWords {
  readonly repositories?: readonly string[]
  readonly reason: string
}

/** Pins or unpins a backup in every repository that holds it. */
export async function pinBackup(workspace: Workspace, kind: 'pin' | 'unpin', options: ChangeOptions): Promise<Backup> {
  const { context } = workspace
  await using open = await openFor(workspace, kind, options)
  const found = await locateBackup(open, open.clusters, open.wanted, context)
  const id = found.record.facts.id
  const run = newRunId(context)
  const holders: Repository[] = []
  let record: BackupRecord | undefined
  for (const repository of open.repositories) {
    const state = await readClusterLog(repository.storage, found.state.cluster, context)
    if (state.backups.get(id)?.deleted !== null) continue
    // A deletion may have come first since; a pin behind it would hold nothing.
    let gone = false
    try {
      const check = (now: ClusterState) => {
        gone = now.backups.get(id)?.deleted !== null
        if (gone) throw new Failure('backup-missing', `backup ${id} was deleted from ${repository.name} in this moment`)
      }
      const after = await append(repository.storage, state, { kind, backup: id, reason: options.reason, run }, context, { check })
      record ??= findBackup(after, id)
      holders.push(repository)
    } catch (error) {
      if (!gone) throw error
      context.emit({ type: 'warning', code: 'backup-missing', message: messageOf(error) })
    }
  }
  if (record === undefined) throw new Failure('backup-missing', `backup ${id} is in none of these repositories any more`)
  return describeBackup(record, holders)
}

/** What pinning would change: for `--dry-run`. */
export interface PinPlan {
  readonly action: 'pin' | 'unpin'
  readonly backup: string
  readonly database: string | null
  readonly fileName: string
  readonly reason: string
  /** Those that hold it. */
  readonly repositories: readonly string[]
  readonly lines: readonly string[]
}

export async function planPin(workspace: Workspace, kind: 'pin' | 'unpin', options: ChangeOptions): Promise<PinPlan> {
  const { context } = workspace
  await using open = await openFor(workspace, kind, options)
  const { record, state } = await locateBackup(open, open.clusters, open.wanted, context)
  const { id, database, fileName } = record.facts
  const states = await readStates(open, state.cluster, context)
  const repositories = states.filter((each) => each.state.backups.get(id)?.deleted === null).map(({ repository }) => repository.name)
  const already = record.pinned === (kind === 'pin') ? `; it is ${kind === 'pin' ? 'pinned' : 'not pinned'} already` : ''
  const lines = [
    `would ${kind} ${id} of ${database === null ? `cluster "${state.cluster}"` : `database "${database}"`} (${fileName}) in ${repositories.join(' and ')}: ${options.reason}${already}`,
  ]
  return { action: kind, backup: id, database, fileName, reason: options.reason, repositories, lines }
}

export interface DeleteOutcome {
  readonly plans: readonly { readonly repository: string; readonly plan: DeletePlan }[]
  readonly deleted: boolean
}

/** Plans the deletion of one backup in every repository that holds it and, unless `dryRun`, asks and carries it out. */
export async function deleteBackup(
  workspace: Workspace,
  options: ChangeOptions & { dryRun: boolean; approve: (plans: DeleteOutcome['plans']) => Promise<void> },
): Promise<DeleteOutcome> {
  const { context } = workspace
  await using open = await openFor(workspace, 'delete', options)
  const found = await locateBackup(open, open.clusters, open.wanted, context)
  const id = found.record.facts.id
  const holders = []
  for (const repository of open.repositories) {
    const state = await readClusterLog(repository.storage, found.state.cluster, context)
    const record = state.backups.get(id)
    if (record === undefined || record.deleted !== null) continue
    holders.push({ repository, plan: await planDelete(repository, { state, record, keys: packKeysOf(repository.keyring, context) }, context) })
  }
  const plans = holders.map(({ repository, plan }) => ({ repository: repository.name, plan }))
  if (options.dryRun) return { plans, deleted: false }
  const refusals = plans.flatMap(({ plan }) => plan.refusals)
  if (refusals.length > 0) throw new Failure('target-unsafe', `backup ${id} is not deleted: ${refusals.join('; ')}`)
  await options.approve(plans)

  const run = newRunId(context)
  for (const { repository } of holders) {
    await using lease = await takeLease(
      repository.storage,
      { cluster: found.state.cluster, run, verb: 'delete', objects: () => [], keys: packKeysOf(repository.keyring, context) },
      workspace.machine.whereabouts,
      context,
    )
    try {
      // Planned again under the lease: what was asked about may have changed while somebody read the question.
      const record = lease.state().backups.get(id)
      if (record !== undefined && record.deleted === null) {
        const plan = await planDelete(repository, { state: lease.state(), record, keys: packKeysOf(repository.keyring, context) }, context)
        await executeDelete(repository, lease, { plan, reason: options.reason, run }, context)
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

async function openFor(workspace: Workspace, verb: string, options: ChangeOptions) {
  if (options.wanted === undefined && options.backup === undefined)
    throw new Failure('usage-invalid', `which backup? ${verb} needs it named`, { hints: ['see what there is: tidemark list'] })
  const { cluster, ...wanted } = await chooseBackup(workspace, verb, options, { clusters: false })
  const configured = cluster === undefined ? undefined : workspace.settings.clusters[cluster]
  await using stack = new AsyncDisposableStack()
  const { repositories, ask } = stack.use(await openRepositories(workspace, repositoryNames(workspace, configured, options.repositories)))
  const clusters = await chooseClusters(workspace, { ask }, cluster, wanted.text)
  const owned = stack.move()
  return { repositories, ask, wanted, clusters, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}
