import type { Context } from '../kernel/context.ts'
import { Failure } from '../kernel/failure.ts'
import { executeUndo, planUndo, type UndoPlan } from '../restore/undo-restore.ts'
import { readRunRecord, undoableRuns, writeRunRecord, type RestoreRecord } from '../restore/run-record.ts'
import type { Repository } from '../repository/repository.ts'
import { openAdminServer, restoreTarget, type AdminServer } from './admin-server.ts'
import { protectedOn } from './restore-server.ts'
import { chooseClusters, openRepositories, repositoryNames, requireOneCluster, type Workspace } from './workspace.ts'

export interface UndoOptions {
  readonly run?: string
  readonly cluster?: string
  readonly repositories?: readonly string[]
  readonly dryRun?: boolean
  /** The server it was restored on, when it is not the configured one. */
  readonly server?: string
  readonly approve?: (plan: UndoPlan) => Promise<void>
}

/** Puts back what a restore replaced, or drops what it created; by default the newest that replaced something. */
export async function undoRestore(workspace: Workspace, options: UndoOptions = {}): Promise<{ plan: UndoPlan; done: boolean; warnings: readonly string[] }> {
  const { context } = workspace
  const newestOnly = options.run === undefined
  if (newestOnly) requireOneCluster(workspace, options.cluster, 'latest')
  const configured = options.cluster === undefined ? undefined : workspace.settings.clusters[options.cluster]
  // The newest replacement may be recorded in the one that does not answer; a run that is named is that run.
  await using open = await openRepositories(workspace, repositoryNames(workspace, configured, options.repositories), { tolerant: !newestOnly })
  const clusters = await chooseClusters(workspace, open, options.cluster, newestOnly ? 'latest' : undefined)
  const found = await findRuns(workspace, open.repositories, clusters, options.run)
  const [newest] = found
  const cluster = workspace.settings.clusters[newest.record.cluster] ?? Object.values(workspace.settings.clusters)[0] ?? null
  await using server = await openAdminServer(workspace, restoreTarget(cluster, options.server, workspace.machine.env), 'undo')
  const isProtected = async (database: string) => (await protectedOn(workspace, server, database)).size > 0
  const { repository, record, plan } = await choosePlan(server, found, { newestOnly, isProtected, context })
  if (options.dryRun === true) return { plan, done: false, warnings: [] }
  if (plan.refusals.length > 0)
    throw new Failure('target-unsafe', `run ${record.run} cannot be undone: ${plan.refusals[0] ?? ''}`, { hints: plan.refusals.slice(1) })
  if (plan.kind === 'nothing') throw new Failure('already-done', plan.lines.join('; '))
  await options.approve?.(plan)
  await using terminator = await server.connections.fresh()
  const warnings = await executeUndo(server.reached.session, terminator, { plan, record, save: (next) => writeRunRecord(repository.storage, next) }, context)
  return { plan, done: true, warnings }
}

type FoundRun = { readonly repository: Repository; readonly record: RestoreRecord }

/** The newest run that did something: one that was killed before its swap must not hide the one before it. */
async function choosePlan(
  server: AdminServer,
  found: readonly [FoundRun, ...FoundRun[]],
  {
    newestOnly,
    isProtected,
    context,
  }: { readonly newestOnly: boolean; readonly isProtected: (database: string) => Promise<boolean>; readonly context: Context },
): Promise<FoundRun & { plan: UndoPlan }> {
  const stamp = context.clock.now().toString({ smallestUnit: 'second' }).replaceAll(/[-:Z]/g, '').replace('T', '_')
  const planned: (FoundRun & { plan: UndoPlan })[] = []
  requireItsServer(server, found[0].record)
  for (const run of found) {
    if (!isItsServer(server, run.record)) continue
    // Undoing twice must not step back two replacements: an older one has to be named.
    if (newestOnly && run.record.phase === 'dropped') throw nothingKept(run.record)
    if (run.record.phase === 'undone')
      throw new Failure(
        'already-done',
        newestOnly ? `the newest replacement (${run.record.run}) is undone already` : `run ${run.record.run} is undone already`,
        {
          hints: newestOnly ? ['to undo an older one as well, name its run'] : [],
        },
      )
    planned.push({ ...run, plan: await planUndo(server.reached.session, run.record, { stamp, isProtected }) })
    if (planned.at(-1)?.plan.kind !== 'nothing') break
  }
  const chosen = planned.find(({ plan }) => plan.kind !== 'nothing') ?? planned[0]
  if (chosen === undefined) throw new Error('an undo without a run')
  return chosen
}

/** After `--replace=drop` an older replacement must not be undone in its place. */
function nothingKept({ run, database, safetyBackup }: RestoreRecord): Failure {
  return new Failure('already-done', `the newest replacement (${run}) dropped the old "${database}" (--replace=drop), so there is nothing to swap back`, {
    hints: [
      safetyBackup === null ? 'it was told to take no safety backup' : `to bring back what it dropped: tidemark restore ${safetyBackup} --replace`,
      'to undo an older one, name its run',
    ],
  })
}

function isItsServer(server: AdminServer, { server: there }: RestoreRecord): boolean {
  return server.target.host === there.host && server.target.port === there.port
}

function requireItsServer(server: AdminServer, record: RestoreRecord): void {
  if (isItsServer(server, record)) return
  const { run, server: there } = record
  throw new Failure(
    'target-unsafe',
    `run ${run} restored on ${there.host ?? 'the local socket'}:${there.port}, and this configuration leads to ${server.name}`,
    { hints: ['name that server: --server URL (or env:NAME)'] },
  )
}

/** The run that was named, or all that replaced something, newest first. */
async function findRuns(
  workspace: Workspace,
  repositories: readonly Repository[],
  clusters: readonly string[],
  run: string | undefined,
): Promise<readonly [FoundRun, ...FoundRun[]]> {
  const candidates: FoundRun[] = []
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
  const [first, ...others] =
    run === undefined
      ? candidates
          .filter(({ record }) => record.oldOid !== null || record.phase === 'dropped')
          .toSorted((a, b) => (a.record.startedAt < b.record.startedAt ? 1 : -1))
      : candidates.slice(0, 1)
  if (first !== undefined) return [first, ...others]
  throw new Failure('already-done', run === undefined ? 'there is no replaced database to put back' : `there is no restore ${run}`, {
    hints: otherWays(workspace, candidates),
  })
}

/** What somebody may have meant who said `undo` where nothing can be swapped back: only what really can be done. */
function otherWays({ settings }: Workspace, candidates: readonly FoundRun[]): readonly string[] {
  const records = candidates.map(({ record }) => record).toSorted((a, b) => (a.startedAt < b.startedAt ? 1 : -1))
  const configured = new Set(Object.values(settings.clusters).flatMap((cluster) => [cluster.target.database, ...cluster.dump.databases]))
  const created = records.find(({ phase, newOid, newName }) => phase === 'created' && newOid !== null && newName !== null && !configured.has(newName))
  return created === undefined ? [] : [`to drop the copy "${created.newName ?? ''}": tidemark undo ${created.run}`]
}
