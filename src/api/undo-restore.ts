import { Failure } from '../kernel/failure.ts'
import { executeUndo, planUndo, type UndoPlan } from '../restore/undo-restore.ts'
import { readRunRecord, undoableRuns, writeRunRecord, type RestoreRecord } from '../restore/run-record.ts'
import type { Repository } from '../repository/repository.ts'
import { openAdminServer, restoreTarget } from './admin-server.ts'
import { knownClusters, openRepositories, repositoryNames, type Workspace } from './workspace.ts'

export interface UndoOptions {
  readonly run?: string
  readonly cluster?: string
  readonly repositories?: readonly string[]
  readonly dryRun?: boolean
  readonly approve?: (plan: UndoPlan) => Promise<void>
}

/** Puts back what a restore replaced, or drops what it created; by default the newest that replaced something. */
export async function undoRestore(workspace: Workspace, options: UndoOptions = {}): Promise<{ plan: UndoPlan; done: boolean }> {
  const { context } = workspace
  const configured = options.cluster === undefined ? undefined : workspace.settings.clusters[options.cluster]
  await using open = await openRepositories(workspace, repositoryNames(workspace, configured, options.repositories))
  const clusters = options.cluster === undefined ? await knownClusters(workspace, open.repositories) : [options.cluster]
  const { repository, record } = await findRun(workspace, open.repositories, clusters, options.run)
  const cluster = workspace.settings.clusters[record.cluster] ?? Object.values(workspace.settings.clusters)[0] ?? null
  await using server = await openAdminServer(workspace, restoreTarget(cluster, undefined), 'undo')
  if (server.target.host !== record.server.host || server.target.port !== record.server.port) {
    throw new Failure('target-unsafe', `run ${record.run} restored on ${record.server.host ?? 'the local socket'}:${record.server.port}, and this configuration leads to ${server.name}`, { hints: ['use the configuration of that server'] })
  }
  const stamp = context.clock.now().toString({ smallestUnit: 'second' }).replaceAll(/[-:Z]/g, '').replace('T', '_')
  const plan = await planUndo(server.reached.session, record, stamp)
  if (options.dryRun === true) return { plan, done: false }
  if (plan.refusals.length > 0) throw new Failure('target-unsafe', `run ${record.run} cannot be undone: ${plan.refusals[0] ?? ''}`, { hints: plan.refusals.slice(1) })
  if (plan.kind === 'nothing') throw new Failure('already-done', plan.lines.join('; '))
  await options.approve?.(plan)
  await using terminator = await server.connections.fresh()
  await executeUndo(server.reached.session, terminator, { plan, record, save: (next) => writeRunRecord(repository.storage, next) }, context)
  return { plan, done: true }
}

async function findRun(workspace: Workspace, repositories: readonly Repository[], clusters: readonly string[], run: string | undefined): Promise<{ repository: Repository; record: RestoreRecord }> {
  const candidates: { repository: Repository; record: RestoreRecord }[] = []
  for (const repository of repositories) {
    for (const cluster of clusters) {
      if (run !== undefined) {
        const record = await readRunRecord(repository.storage, cluster, run, workspace.context.signal)
        if (record !== undefined) candidates.push({ repository, record })
        continue
      }
      for (const record of await undoableRuns(repository.storage, cluster, workspace.context.signal)) candidates.push({ repository, record })
    }
  }
  // Without a name only a replacement is meant: dropping a copy that somebody may be looking at needs its run to be named.
  const chosen = run === undefined ? candidates.filter(({ record }) => record.oldOid !== null).toSorted((a, b) => (a.record.startedAt < b.record.startedAt ? 1 : -1))[0] : candidates[0]
  if (chosen !== undefined) return chosen
  const created = candidates[0]
  throw new Failure('already-done', run === undefined ? 'there is no replaced database to put back' : `there is no restore ${run}`, {
    hints: created === undefined ? [] : [`to drop the copy "${created.record.newName ?? ''}": tidemark undo ${created.record.run}`],
  })
}
