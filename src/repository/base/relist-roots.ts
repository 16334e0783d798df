import type { Context } from '../../kernel/context.ts'
import { isFailure, messageOf } from '../../kernel/failure.ts'
import type { Problem } from '../backup.ts'
import { uncommittedRecord, type ClusterState } from '../cluster-log.ts'
import { append } from '../commit-log.ts'
import type { Repository } from '../repository.ts'
import type { SweepHolder } from '../sweep.ts'
import { findUnlistedRoots, type UnlistedRoot } from './find-unlisted-roots.ts'
import { findLostObjects, type ExpectedObject } from './lost-objects.ts'
import { openBaseBackup } from './open-base-backup.ts'
import { listRunObjects } from './run-objects.ts'
import type { PackKeys } from './pack-keys.ts'

type WholeRoot = Extract<UnlistedRoot, { kind: 'whole' }>

/**
 * Commits again base backups whose root is there and not in the log: either the log lost its end, or a run died between its root and its commit entry. A root is the last thing that a
 * run writes before it commits. They are listed as `stored`, since nobody has read them now, or as damaged where objects are missing. What cannot be listed stays, and is said.
 */
export async function relistRoots(repository: Repository, known: ClusterState, holder: SweepHolder, context: Context): Promise<ClusterState> {
  const { keys } = holder
  const unlisted = await findUnlistedRoots(repository, known, keys, context)
  let state = known
  for (const root of unlisted.filter((each) => each.kind === 'whole').toSorted(byStart)) {
    const problems = await problemsOf(repository, state, { root, keys }, context)
    state = problems === null ? await forget(repository, state, root, context) : await commitAgain(repository, state, { root, problems, holder }, context)
  }
  for (const root of unlisted) {
    if (root.kind === 'whole') continue
    const what = root.kind === 'foreign' ? 'the root of a backup of something else' : 'a root that cannot be read'
    warn(context, `${root.key} is not in the commit log and is left as it is, ${what}: ${root.why}`)
  }
  return state
}

function byStart(a: WholeRoot, b: WholeRoot): number {
  return a.facts.startedAt < b.facts.startedAt ? -1 : a.facts.startedAt > b.facts.startedAt ? 1 : 0
}

/** What is not there of what it needs; null when nothing is left of what its own run stored, so that it is no backup any more. */
async function problemsOf(
  repository: Repository,
  state: ClusterState,
  { root, keys }: { readonly root: WholeRoot; readonly keys: PackKeys | null },
  context: Context,
): Promise<readonly Problem[] | null> {
  const { storage } = repository
  const own = await listRunObjects(storage, { cluster: state.cluster, run: root.run }, context)
  if (own.every(({ key }) => key === root.key)) return null
  try {
    const backup = await openBaseBackup(repository, uncommittedRecord(root.facts, root, state.moved), keys, context)
    const packs = backup.tables.packs.map((_use, number): ExpectedObject => ({ key: backup.pack(number).key, sizeBytes: backup.pack(number).objectBytes }))
    return await findLostObjects(storage, packs, context)
  } catch (error) {
    if (!isFailure(error, 'integrity', 'object-missing')) throw error
    const object = error.details['object']
    return [{ code: error.code, object: typeof object === 'string' ? object : root.key, message: error.message }]
  }
}

/** The root of a backup that was deleted, or of a run that was swept. One that the storage holds fast is a few kilobytes, and stops no backup. */
async function forget({ storage }: Repository, state: ClusterState, { key }: WholeRoot, context: Context): Promise<ClusterState> {
  try {
    await storage.delete(key, context)
    context.emit({ type: 'note', message: `removed the root ${key}, which was not in the commit log: nothing is left of what its run stored` })
  } catch (error) {
    if (!isFailure(error, 'storage-denied')) throw error
    warn(context, `the root of a backup that is gone could not be removed: ${messageOf(error)}`)
  }
  return state
}

/** Under our epoch: its own run is over, and whatever that run still sends is refused. */
async function commitAgain(
  { storage }: Repository,
  known: ClusterState,
  { root, problems, holder }: { readonly root: WholeRoot; readonly problems: readonly Problem[]; readonly holder: SweepHolder },
  context: Context,
): Promise<ClusterState> {
  const { epoch, run } = holder
  const { key, sha256, facts: backup } = root
  let state = await append(storage, known, { kind: 'backup', epoch, backup, manifest: { key, sha256 }, run, relisted: true }, context, { epoch })
  if (problems.length > 0) state = await append(storage, state, { kind: 'damaged', backup: backup.id, problems: [...problems], run }, context, { epoch })
  context.emit({
    type: 'warning',
    code: 'backup-relisted',
    message:
      `base backup ${backup.id} was in the repository and not in the commit log: the log lost its end, or a run died just before its commit. ` +
      (problems.length === 0
        ? `It is listed again; read it back with: tidemark verify ${backup.id}`
        : `It is listed again, as damaged: ${problems[0]?.object ?? ''}: ${problems[0]?.message ?? ''}`),
  })
  return state
}

function warn(context: Context, message: string): void {
  context.emit({ type: 'warning', code: 'root-unlisted', message })
}
