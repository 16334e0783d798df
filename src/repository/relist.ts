import type { Context } from '../kernel/context.ts'
import { isFailure, messageOf } from '../kernel/failure.ts'
import type { Storage } from '../storage/storage.ts'
import type { ClusterState } from './cluster-log.ts'
import { append } from './commit-log.ts'
import { byStart, judgeUnlisted, type JudgedOrphan } from './judge-unlisted.ts'
import { isContentKey } from './layout.ts'
import type { Relisted, SweepHolder } from './sweep.ts'
import { readUnlisted } from './unlisted-manifests.ts'

/**
 * Commits again what was whole and is not in the log: either the log lost its end (an older copy of it was put back), or a run died between its
 * manifest and its commit entry. A manifest is the last thing a run writes before it commits, after its dump was read back, so both are backups.
 * They are listed as `stored`, since nobody has read them now, or as damaged where files are missing. Only manifests of which nothing is left, and
 * those of runs that gave up, are removed; what cannot be listed stays, and is said.
 */
export async function relistBackups(storage: Storage, known: ClusterState, holder: SweepHolder, context: Context): Promise<Relisted> {
  const unlisted = await readUnlisted(storage, known, context)
  const { found, overwritten, settled, left } = await judgeUnlisted(storage, unlisted, known, context)
  let state = known
  // First: a crash before the other backup is listed must not leave this one called whole.
  for (const { backup, problem } of overwritten) {
    state = await append(storage, state, { kind: 'damaged', backup, problems: [problem], run: holder.run }, context, { epoch: holder.epoch })
    context.emit({ type: 'warning', code: 'backup-overwritten', message: `backup ${backup} is damaged: ${problem.object}: ${problem.message}` })
  }
  for (const orphan of found.toSorted(byStart)) state = await commitAgain(storage, state, { ...orphan, holder }, context)
  for (const key of unlisted.abandoned) await forget(storage, key, 'its run gave up', context)
  for (const { key, why } of settled) await forget(storage, key, why, context)

  for (const { key, why } of left) warn(context, `manifest ${key} is not in the commit log and is left as it is, with the files that it names: ${why}`)
  for (const { why } of unlisted.unreadable)
    warn(context, `a manifest that is not in the commit log is left as it is, and so are the files of interrupted runs: ${why}`)
  const named = left.flatMap(({ manifest }) => manifest.files.map(({ key }) => key)).filter(isContentKey)
  return { state, doubtful: unlisted.unreadable.length > 0, named: new Set(named) }
}

/** A manifest that the storage holds fast (a lock, a missing right) is a few kilobytes, and stops no backup. */
async function forget(storage: Storage, key: string, why: string, context: Context): Promise<void> {
  try {
    await storage.delete(key, context)
    context.emit({ type: 'note', message: `removed the manifest ${key}, which was not in the commit log: ${why}` })
  } catch (error) {
    if (!isFailure(error, 'storage-denied')) throw error
    warn(context, `the manifest of a backup that is gone could not be removed: ${messageOf(error)}`)
  }
}

/** Under our epoch: its own run is over, and whatever that run still sends is refused. */
async function commitAgain(
  storage: Storage,
  known: ClusterState,
  { key, manifest, sha256, problems, holder }: JudgedOrphan & { readonly holder: SweepHolder },
  context: Context,
): Promise<ClusterState> {
  const { epoch, run } = holder
  const backup = { ...manifest.backup, committedAs: 'stored' as const }
  let state = await append(storage, known, { kind: 'backup', epoch, backup, manifest: { key, sha256 }, run, relisted: true }, context, { epoch })
  if (problems.length > 0) state = await append(storage, state, { kind: 'damaged', backup: backup.id, problems: [...problems], run }, context, { epoch })
  context.emit({
    type: 'warning',
    code: 'backup-relisted',
    message:
      `backup ${backup.id} (${backup.fileName}) was in the repository and not in the commit log: the log lost its end, or a run died just before its commit. ` +
      (problems.length === 0
        ? `It is listed again; read it back with: tidemark verify ${backup.id}`
        : `It is listed again, as damaged: ${problems[0]?.object ?? ''}: ${problems[0]?.message ?? ''}`),
  })
  return state
}

function warn(context: Context, message: string): void {
  context.emit({ type: 'warning', code: 'manifest-unlisted', message })
}
