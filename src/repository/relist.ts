import type { Context } from '../kernel/context.ts'
import { isFailure, messageOf } from '../kernel/failure.ts'
import type { Storage } from '../storage/storage.ts'
import type { Problem } from './backup.ts'
import { readObjectIfThere } from './bytes.ts'
import type { ClusterState } from './cluster-log.ts'
import { append } from './commit-log.ts'
import { digestOf } from './commit-entry.ts'
import { manifestKey, manifestsPrefix } from './layout.ts'
import { decodeManifest, manifestLimitBytes, type Manifest } from './manifest.ts'
import { keysInUse, type Relisted, type SweepHolder } from './sweep.ts'

/**
 * Commits again what was whole and is not in the log: either the log lost its end (an older copy of it was put back), or a run died between its
 * manifest and its commit entry. A manifest is the last thing a run writes before it commits, after its dump was read back, so both are backups.
 * They are listed as `stored`, since nobody has read them now, or as damaged where files are missing. Only manifests of which nothing is left, and
 * those of runs that gave up, are removed.
 */
export async function relistBackups(storage: Storage, known: ClusterState, holder: SweepHolder, context: Context): Promise<Relisted> {
  const keys = await unnamedManifests(storage, known, context)
  if (keys.length === 0) return { state: known, doubtful: false }
  const { orphans, hasUnreadable } = await readOrphans(storage, keys, known, context)
  const { found, hasForeign } = await judgeOrphans(storage, orphans, known, context)
  let state = known
  for (const orphan of found.toSorted(byStart)) state = await commitAgain(storage, state, { ...orphan, holder }, context)
  return { state, doubtful: hasUnreadable || hasForeign }
}

/** Reads those that may have been committed. Runs that gave up never can have: their manifests are removed. */
async function readOrphans(
  storage: Storage,
  keys: readonly string[],
  known: ClusterState,
  context: Context,
): Promise<{ orphans: readonly Orphan[]; hasUnreadable: boolean }> {
  const abandoned = new Set(known.interrupted.filter((dead) => dead.abandoned).map(({ run }) => manifestKey(known.cluster, run)))
  const orphans: Orphan[] = []
  let hasUnreadable = false
  for (const key of keys) {
    const orphan = abandoned.has(key) ? 'abandoned' : await readOrphan(storage, key, known.cluster, context)
    if (orphan === 'abandoned') await forget(storage, key, context)
    else if (orphan === 'unreadable') hasUnreadable = true
    else if (orphan !== 'gone') orphans.push(orphan)
  }
  return { orphans, hasUnreadable }
}

/** Which of them are backups, and what is wrong with each. The manifests of those that are none any more are removed. */
async function judgeOrphans(
  storage: Storage,
  orphans: readonly Orphan[],
  known: ClusterState,
  context: Context,
): Promise<{ found: readonly JudgedOrphan[]; hasForeign: boolean }> {
  const isUsed = orphans.length === 0 ? () => false : await keysInUse(storage, known, context)
  const claimed = new Set<string>()
  const found: JudgedOrphan[] = []
  let hasForeign = false
  // Of two that speak of one key the later one wrote what lies there.
  for (const orphan of orphans.toSorted((a, b) => byStart(b, a))) {
    const own = contentKeys(orphan.manifest)
    if (own.some((key) => isUsed(key))) {
      warn(context, `manifest ${orphan.key} is not in the commit log, and its files belong to another backup; it is left as it is`)
      hasForeign = true
      continue
    }
    const problems = await problemsOf(storage, orphan.manifest, context)
    if (problems === 'nothing left' || own.some((key) => claimed.has(key))) {
      await forget(storage, orphan.key, context)
      continue
    }
    for (const key of own) claimed.add(key)
    found.push({ ...orphan, problems })
  }
  return { found, hasForeign }
}

/** A manifest that the storage holds fast (a lock, a missing right) is a few kilobytes, and stops no backup. */
async function forget(storage: Storage, key: string, context: Context): Promise<void> {
  await storage.delete(key, context).catch((error: unknown) => {
    if (!isFailure(error, 'storage-denied')) throw error
    warn(context, `the manifest of a backup that is gone could not be removed: ${messageOf(error)}`)
  })
}

/** A manifest that the log does not name. */
interface Orphan {
  readonly key: string
  readonly manifest: Manifest
  readonly sha256: string
}

interface JudgedOrphan extends Orphan {
  /** Of its files; empty where all of them are there. */
  readonly problems: readonly Problem[]
}

const byStart = (a: Orphan, b: Orphan) =>
  Temporal.Instant.compare(Temporal.Instant.from(a.manifest.backup.startedAt), Temporal.Instant.from(b.manifest.backup.startedAt))

/** Those of dead runs are asked for by name, too: a listing may be stale. */
async function unnamedManifests(storage: Storage, state: ClusterState, context: Context): Promise<readonly string[]> {
  const named = new Set([...state.backups.values()].map((record) => record.manifest.key))
  const found = new Set<string>()
  for await (const { key } of storage.list(manifestsPrefix(state.cluster), context)) if (!named.has(key)) found.add(key)
  for (const { run } of state.interrupted) {
    const key = manifestKey(state.cluster, run)
    if (!named.has(key) && !found.has(key) && (await storage.stat(key, context)) !== undefined) found.add(key)
  }
  return [...found]
}

async function readOrphan(storage: Storage, key: string, cluster: string, context: Context): Promise<Orphan | 'gone' | 'unreadable'> {
  try {
    const bytes = await readObjectIfThere(storage, key, manifestLimitBytes, context.signal)
    if (bytes === undefined) return 'gone'
    const manifest = decodeManifest(key, bytes)
    if (manifest.cluster === cluster && manifest.backup.cluster === cluster && manifestKey(cluster, manifest.backup.id) === key)
      return { key, manifest, sha256: digestOf(bytes) }
    warn(context, `manifest ${key} is not in the commit log and speaks of backup ${manifest.backup.id} of cluster "${manifest.cluster}"; it is left as it is`)
  } catch (error) {
    if (!isFailure(error, 'integrity')) throw error
    warn(context, `a manifest that is not in the commit log is left as it is, and so are the files of interrupted runs: ${messageOf(error)}`)
  }
  return 'unreadable'
}

/** The files that a restore reads. */
function contentKeys(manifest: Manifest): readonly string[] {
  return manifest.files.filter(({ role }) => role === 'dump' || role === 'part').map(({ key }) => key)
}

/** What is missing or of another size; the `.info` is for people and may be. */
async function problemsOf(storage: Storage, manifest: Manifest, context: Context): Promise<readonly Problem[] | 'nothing left'> {
  const problems: Problem[] = []
  let contents = 0
  for (const { key, role, sizeBytes } of manifest.files) {
    if (role === 'info') continue
    const found = await storage.stat(key, context)
    if (found !== undefined && role !== 'globals') contents += 1
    if (found === undefined) problems.push({ code: 'object-missing', object: key, message: 'it is gone' })
    else if (found.sizeBytes !== sizeBytes)
      problems.push({ code: 'integrity', object: key, message: `it has ${found.sizeBytes} bytes; ${sizeBytes} were stored` })
  }
  return contents === 0 ? 'nothing left' : problems
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
