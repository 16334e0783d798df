import type { Context } from '../kernel/context.ts'
import { utc } from '../kernel/clock.ts'
import { Failure, isFailure } from '../kernel/failure.ts'
import { toolVersion } from '../kernel/version.ts'
import type { Storage } from '../storage/storage.ts'
import { readObject, readObjectIfThere } from './bytes.ts'
import { applyEntry, emptyState, type ClusterState } from './cluster-log.ts'
import { decodeEntry, digestOf, encodeEntry, type CommitEntry, type NewEntry } from './commit-entry.ts'
import { clusterOfSegment, commitKey, commitNumberOf, commitsPrefix, commitsRoot } from './layout.ts'

/** Entries with many tables are large; anything beyond this is not ours. */
const entryLimitBytes = 64 * 1024 * 1024
const readsAtOnce = 16

/** Reads a cluster's whole log. The listing only says where to begin: entries are then probed until one is absent, so a stale list hides nothing. */
export async function readClusterLog(storage: Storage, cluster: string, context: Pick<Context, 'signal'>): Promise<ClusterState> {
  let listed = 0
  for await (const object of storage.list(commitsPrefix(cluster), { signal: context.signal })) {
    listed = Math.max(listed, commitNumberOf(object.key) ?? 0)
  }
  let state = emptyState(cluster)
  for (let first = 1; first <= listed; first += readsAtOnce) {
    const numbers = Array.from({ length: Math.min(readsAtOnce, listed - first + 1) }, (_, offset) => first + offset)
    const batch = await Promise.all(
      numbers.map((number) => readObject(storage, commitKey(cluster, number), entryLimitBytes, context.signal).catch(entryMissing(cluster, number))),
    )
    for (const [offset, bytes] of batch.entries()) state = applyEntry(state, decodeEntry(commitKey(cluster, first + offset), bytes), digestOf(bytes))
  }
  return followLog(storage, state, context)
}

/** Continues a fold with the entries written since. */
export async function followLog(storage: Storage, state: ClusterState, context: Pick<Context, 'signal'>): Promise<ClusterState> {
  let current = state
  for (;;) {
    const key = commitKey(current.cluster, current.head + 1)
    const bytes = await readObjectIfThere(storage, key, entryLimitBytes, context.signal)
    if (bytes === undefined) return current
    current = applyEntry(current, decodeEntry(key, bytes), digestOf(bytes))
  }
}

function entryMissing(cluster: string, number: number): (error: unknown) => never {
  return (error) => {
    if (!isFailure(error, 'object-missing')) throw error
    throw new Failure('integrity', `the commit log of cluster "${cluster}" has no entry ${number}, though later ones exist`, {
      cause: error,
      hints: ['somebody removed files under .tidemark/commits; bring them back from a copy of the repository'],
    })
  }
}

export interface AppendOptions {
  /** Refuse with `locked` unless this epoch is the newest. */
  readonly epoch?: number
  /** Looks at the state right before the entry would be written and may throw to refuse it. */
  readonly check?: (state: ClusterState) => void
}

/**
 * Appends one entry after `state` (or whatever has been written since). Exactly one writer wins each number;
 * the others fold the winner's entry and try the next. Rejects with `locked` when `options.epoch` is stale, and with `integrity`
 * when the log that was read is not there any more: an entry behind a hole would make the whole log unreadable.
 */
export async function append(
  storage: Storage,
  known: ClusterState,
  make: NewEntry | ((state: ClusterState) => NewEntry),
  context: Context,
  options: AppendOptions = {},
): Promise<ClusterState> {
  let state = known
  for (;;) {
    state = await followLog(storage, state, context)
    if (options.epoch !== undefined && (state.epoch !== options.epoch || state.open?.epoch !== options.epoch)) throw fenced(state, options.epoch)
    options.check?.(state)
    const entry = {
      format: 'tidemark-commit/1',
      number: state.head + 1,
      previous: state.headDigest,
      cluster: state.cluster,
      at: utc(context.clock.now()),
      tool: toolVersion,
      ...(typeof make === 'function' ? make(state) : make),
    } as CommitEntry
    // Folding first: an entry that could not follow is a bug here, not in the repository.
    const bytes = encodeEntry(entry)
    const next = applyEntry(state, entry, digestOf(bytes))
    await requireLastEntry(storage, state, context)
    if (!(await isCreated(storage, commitKey(state.cluster, entry.number), bytes, context))) continue
    if (entry.kind === 'backup') {
      // The log may have been put back in that moment. The entry is written, so no signal ends this look.
      const unstoppable = { ...context, signal: new AbortController().signal }
      for (const each of [state, next]) await requireLastEntry(storage, each, unstoppable)
    }
    return next
  }
}

/** False when somebody else was faster. */
async function isCreated(storage: Storage, key: string, bytes: Uint8Array, context: Context): Promise<boolean> {
  try {
    await storage.put(key, bytes, { ifAbsent: true, sizeBytes: bytes.byteLength, contentType: 'application/json', signal: context.signal })
    return true
  } catch (error) {
    if (isFailure(error, 'object-exists')) return isOurs(storage, key, bytes)
    // The answer may be lost though the entry was written; only the object itself can tell.
    if (context.signal.aborted || !(await isOurs(storage, key, bytes))) throw error
    return true
  }
}

/** Storages promise that what was written is read; where one answers late all the same, a good backup must not fail for it. */
const looksForMissing = 4
const betweenLooksMs = 500

/** Holds the entry that this state ends with against what lies there. It differs, or is gone, when somebody put an older copy of the log back while we worked. */
async function requireLastEntry(storage: Storage, { cluster, head, headDigest }: ClusterState, context: Context): Promise<void> {
  if (head === 0) return
  for (let look = 1; ; look += 1) {
    const bytes = await readObjectIfThere(storage, commitKey(cluster, head), entryLimitBytes, context.signal)
    if (bytes !== undefined && digestOf(bytes) === headDigest) return
    if (bytes === undefined && look < looksForMissing) {
      await context.clock.sleep(betweenLooksMs, context.signal)
      continue
    }
    const what = bytes === undefined ? `lost its entry ${head}` : `has another entry ${head}`
    throw new Failure('integrity', `the commit log of cluster "${cluster}" ${what} while this run was at work`, {
      hints: [
        'somebody put an older copy of .tidemark/commits back, or removed files from it',
        'what this run stored stays where it is, and the next backup lists what is whole',
      ],
      details: { entry: head },
    })
  }
}

async function isOurs(storage: Storage, key: string, bytes: Uint8Array): Promise<boolean> {
  const found = await readObjectIfThere(storage, key, entryLimitBytes)
  return found !== undefined && Buffer.compare(found, bytes) === 0
}

function fenced(state: ClusterState, epoch: number): Failure {
  const by = state.open === null ? 'it was ended by another run' : `run ${state.open.run} on ${state.open.holder.host} took it over at ${state.open.at}`
  return new Failure('locked', `this run lost the lease of cluster "${state.cluster}" (epoch ${epoch}): ${by}`, {
    hints: ['this run committed nothing; see what there is with: tidemark list'],
    details: { epoch, newest: state.epoch },
  })
}

/** Names of the clusters that have a log in this repository. */
export async function listClusters(storage: Storage, signal?: AbortSignal): Promise<readonly string[]> {
  const names = new Set<string>()
  for await (const object of storage.list(commitsRoot, signal === undefined ? {} : { signal })) {
    const name = clusterOfSegment(object.key.slice(commitsRoot.length).split('/')[0] ?? '')
    if (name !== undefined) names.add(name)
  }
  return [...names]
}
