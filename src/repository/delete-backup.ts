import type { Context } from '../kernel/context.ts'
import { Failure } from '../kernel/failure.ts'
import { familyOf, isAtLeast } from './backup.ts'
import type { PackKeys } from './base/pack-keys.ts'
import { planBaseDelete } from './base/plan-base-delete.ts'
import { livingBackups, type BackupRecord, type ClusterState } from './cluster-log.ts'
import type { Lease } from './lease.ts'
import { updateLatestAlias } from './latest-alias.ts'
import { readManifest } from './manifest.ts'
import type { Repository } from './repository.ts'

/** What deleting a backup would do, and why it may be refused. Plain data: `--dry-run` and the question show it. */
export interface DeletePlan {
  readonly backup: string
  readonly database: string | null
  readonly fileName: string
  /** One that ends in `/` means everything below it. */
  readonly objects: readonly string[]
  /** What really goes: base backups share packs. */
  readonly freedBytes: number
  /** Reasons not to; empty = may be done. */
  readonly refusals: readonly string[]
  readonly warnings: readonly string[]
}

/** Plans the deletion of one backup. The last good backup of a database, the last good base backup of a cluster, and a pinned one, are refused. */
export async function planDelete(
  repository: Repository,
  { state, record, keys }: { readonly state: ClusterState; readonly record: BackupRecord; readonly keys: PackKeys | null },
  context: Context,
): Promise<DeletePlan> {
  const { facts } = record
  const { refusals, warnings } = judge(state, record)
  const going =
    familyOf(facts) === 'base'
      ? await planBaseDelete(repository, { state, record, keys }, context)
      : { objects: await objectsOf(repository, record, context), freedBytes: facts.storedBytes, warnings: [] }
  return { backup: facts.id, database: facts.database, fileName: facts.fileName, ...going, refusals, warnings: [...warnings, ...going.warnings] }
}

/** Pins and verdicts need no lease, so they are looked at again in the moment of the deletion. */
function judge(state: ClusterState, record: BackupRecord): Pick<DeletePlan, 'refusals' | 'warnings'> {
  const others = livingBackups(state).filter(
    (other) => other.facts.id !== record.facts.id && other.facts.database === record.facts.database && !other.facts.partial && !other.facts.safety,
  )
  const refusals: string[] = []
  if (record.pinned) refusals.push(`it is pinned (${record.pinReason ?? 'no reason given'}); unpin it first: tidemark unpin ${record.facts.id}`)
  const good = record.state !== 'damaged' && !record.facts.partial
  if (good && !others.some((other) => isAtLeast(other.state, 'verified') || other.state === record.state)) {
    const { database, cluster } = record.facts
    refusals.push(
      `it is the last good ${database === null ? `base backup of cluster "${cluster}"` : `backup of database "${database}"`}; take another first: tidemark backup`,
    )
  }
  const warnings = good && record.state === 'proven' && !others.some((other) => other.state === 'proven') ? ['it is the only proven backup'] : []
  return { refusals, warnings }
}

/** Every key of a dump outside `.tidemark/`. Of a backup that was found damaged the manifest need not be readable: the commit entry names the dump itself. */
async function objectsOf(repository: Repository, record: BackupRecord, context: Context): Promise<readonly string[]> {
  try {
    const manifest = await readManifest(repository.storage, record, context.signal)
    return manifest.files.map((file) => file.key)
  } catch (error) {
    if (!(error instanceof Failure) || record.state !== 'damaged') throw error
    return [record.facts.format === 'directory' ? `${record.facts.key}/` : record.facts.key]
  }
}

/** Carries a plan out: tombstone → alias → objects → purged. The tombstone is the deletion; what a crash after it left is removed by whoever takes the lease next. */
export async function executeDelete(
  repository: Repository,
  lease: Lease,
  { plan, reason, run }: { readonly plan: DeletePlan; readonly reason: string; readonly run: string },
  context: Context,
): Promise<void> {
  requireAllowed(plan.backup, plan.refusals)
  await lease.append((now) => {
    const record = now.backups.get(plan.backup)
    if (record === undefined || record.deleted !== null) throw new Failure('backup-missing', `backup ${plan.backup} is not there any more`)
    requireAllowed(plan.backup, judge(now, record).refusals)
    return { kind: 'delete', backup: plan.backup, reason, objects: [...plan.objects], run }
  })
  await updateLatestAlias(repository.storage, lease.state(), context)
  await lease.purge()
}

function requireAllowed(backup: string, refusals: readonly string[]): void {
  if (refusals.length > 0) throw new Failure('target-unsafe', `backup ${backup} is not deleted: ${refusals.join('; ')}`)
}
