import { chown } from 'node:fs/promises'
import { join } from 'node:path'
import type { Context } from '../../kernel/context.ts'
import { Failure } from '../../kernel/failure.ts'
import type { BaseRestored, BaseRestorePlan, BaseRestoreRequest } from './base-restore-request.ts'
import { makeDurable } from './make-durable.ts'
import { planBaseRestore } from './plan-base-restore.ts'
import { putControlFile, settleDirectory } from './settle-directory.ts'
import { beginIn, markerName } from './target-directory.ts'
import { writeCluster } from './write-cluster.ts'

/** Files that make a server follow another one. */
const followers = new Set(['standby.signal', 'recovery.signal'])

/**
 * Restores a base backup to a directory: the whole story. Where it is interrupted, the directory keeps its marker and has no `pg_control`, so no server starts in it, and the same call goes on.
 */
export async function restoreBase(request: BaseRestoreRequest, approve: (plan: BaseRestorePlan) => Promise<void>, context: Context): Promise<BaseRestored> {
  const begunMs = context.clock.monotonicMs()
  const { directory, backup, owner } = request
  const plan = await planBaseRestore(request, context)
  if (request.dryRun) return { plan, result: null }
  if (plan.refusals.length > 0) {
    throw new Failure('target-unsafe', `backup ${plan.backup} is not restored to ${directory}: ${plan.refusals.join('; ')}`, {
      hints: ['see the whole plan: the same command with --dry-run'],
    })
  }
  await approve(plan)

  await beginIn(directory, { format: 'tidemark-restore/1', backup: plan.backup, repository: backup.root.repository, run: request.run }, owner)
  if (owner !== null) for (const path of [directory, join(directory, markerName)]) await chown(path, owner.uid, owner.gid)
  const writtenBytes = await writeCluster({ ...plan, ...request, step: 'restore', nameOf: (path) => (followers.has(path) ? null : path) }, context)
  const warnings = await settleDirectory(request, plan)
  await makeDurable([directory, ...plan.tablespaces.map(({ to }) => to)], context)
  await putControlFile(request)
  const durationSeconds = (context.clock.monotonicMs() - begunMs) / 1_000
  return { plan, result: { writtenBytes, durationSeconds, warnings: [...plan.warnings, ...warnings] } }
}
