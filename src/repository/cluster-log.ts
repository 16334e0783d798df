import { Failure } from '../kernel/failure.ts'
import { familyOf, type BackupFacts, type BackupFamily, type BackupState, type Problem } from './backup.ts'
import type { CommitEntry, Holder, ObjectRef } from './commit-entry.ts'
import { repackOf } from './layout.ts'

/** What a cluster's commit log says: a pure fold over its entries, in order. */
export interface ClusterState {
  readonly cluster: string
  /** Number of the last entry, 0 when there is none. */
  readonly head: number
  readonly headDigest: string | null
  /** The newest epoch; an append under any other is refused. 0 before the first `begin`. */
  readonly epoch: number
  /** The run that holds the lease, if one does. */
  readonly open: OpenRun | null
  /** Runs that were taken over, whose objects may be orphans until they are swept. */
  readonly interrupted: readonly OpenRun[]
  /** Every key that a run which was taken over may still be writing; never used again, so that a stale writer can hurt nothing. */
  readonly burntKeys: ReadonlySet<string>
  /** Those of them that were not removed, since they may be of a backup that the log has lost: whoever wants them takes them in with `repo adopt`. */
  readonly sparedKeys: ReadonlySet<string>
  /** Runs that are over and committed nothing, so that nothing which they left can ever count. Those of which something was spared are not among them. */
  readonly fruitless: ReadonlySet<string>
  readonly backups: ReadonlyMap<string, BackupRecord>
  /** The index of the newest repack: where frames lie that were moved. */
  readonly moved: ObjectRef | null
  /** Runs of which a repack counts or counted: what they stored is not theirs to remove. */
  readonly repackRuns: ReadonlySet<string>
  /** Objects that nothing needs any more and that are not removed yet. */
  readonly garbage: readonly Garbage[]
}

/** A tombstone of objects that no backup is named for. */
export interface Garbage {
  /** Number of its entry. */
  readonly entry: number
  readonly objects: readonly string[]
  /** They stay for so long after the entry: somebody may be reading them. */
  readonly graceSeconds: number
}

export interface OpenRun {
  readonly epoch: number
  readonly run: string
  readonly verb: string
  readonly holder: Holder
  readonly objects: readonly string[]
  readonly at: string
  /** What it committed, if it did: a backup's id, or the key of a repack's index. */
  readonly committed: string | null
  /** It gave up: nothing it wrote will be committed any more, even by a request that is still on its way. */
  readonly abandoned: boolean
}

export interface BackupRecord {
  readonly facts: BackupFacts
  /** Of a dump its manifest, of a base backup its root. */
  readonly manifest: ObjectRef
  /** Of a base backup: the index of frames that were moved since it was taken. */
  readonly moved: ObjectRef | null
  readonly epoch: number
  /** Number of its commit entry. */
  readonly entry: number
  /** Where it stands among the backups that we took: its entry's number, or, listed again later, just before the first that began after it. */
  readonly order: number
  readonly state: BackupState
  readonly problems: readonly Problem[]
  readonly verifiedAt: string | null
  readonly provenAt: string | null
  /** Seconds the last successful drill's restore took. */
  readonly restoreSeconds: number | null
  readonly pinned: boolean
  readonly pinReason: string | null
  /** Set by the tombstone: the backup is gone for every reader; `purged` when its objects are too. */
  readonly deleted: { readonly at: string; readonly reason: string; readonly objects: readonly string[]; readonly purged: boolean } | null
}

export function emptyState(cluster: string): ClusterState {
  return {
    cluster,
    head: 0,
    headDigest: null,
    epoch: 0,
    open: null,
    interrupted: [],
    burntKeys: new Set(),
    sparedKeys: new Set(),
    fruitless: new Set(),
    backups: new Map(),
    moved: null,
    repackRuns: new Set(),
    garbage: [],
  }
}

/** A backup before its commit: what it is, and that nothing was said of it yet. */
export function uncommittedRecord(facts: BackupFacts, manifest: ObjectRef, moved: ObjectRef | null = null): BackupRecord {
  return {
    facts,
    manifest,
    moved,
    epoch: 0,
    entry: 0,
    order: 0,
    state: facts.committedAs,
    problems: [],
    verifiedAt: null,
    provenAt: null,
    restoreSeconds: null,
    pinned: false,
    pinReason: null,
    deleted: null,
  }
}

/** Applies one entry. Throws `integrity` for an entry that cannot follow: wrong number, broken chain, unknown backup. */
export function applyEntry(state: ClusterState, entry: CommitEntry, digest: string): ClusterState {
  const broken = (why: string) =>
    new Failure('integrity', `the commit log of cluster "${state.cluster}" is broken at entry ${entry.number}: ${why}`, { details: { entry: entry.number } })
  if (entry.cluster !== state.cluster) throw broken(`it belongs to cluster "${entry.cluster}"`)
  if (entry.number !== state.head + 1) throw broken(`expected number ${state.head + 1}`)
  if (entry.previous !== state.headDigest) throw broken(`it names ${entry.previous ?? 'nothing'} as its predecessor, which is ${state.headDigest ?? 'nothing'}`)

  const next = { ...state, head: entry.number, headDigest: digest }
  const withBackup = (id: string, change: (record: BackupRecord) => BackupRecord): ClusterState => {
    const record = state.backups.get(id)
    if (record === undefined) throw broken(`it speaks of backup ${id}, which was never committed`)
    return { ...next, backups: new Map(state.backups).set(id, change(record)) }
  }

  switch (entry.kind) {
    case 'begin': {
      if (entry.epoch !== entry.number) throw broken(`its epoch is ${entry.epoch}`)
      if (state.open !== null && entry.takesOver !== state.open.epoch) throw broken(`run ${state.open.run} still holds the lease and is not taken over`)
      const { epoch, run, verb, holder, objects, at } = entry
      const interrupted = state.open === null ? state.interrupted : [...state.interrupted, state.open]
      const burntKeys = state.open === null ? state.burntKeys : new Set([...state.burntKeys, ...state.open.objects])
      return { ...next, epoch, open: { epoch, run, verb, holder, objects, at, committed: null, abandoned: false }, interrupted, burntKeys }
    }
    case 'swept': {
      if (state.open === null || entry.epoch !== state.open.epoch) throw broken(`epoch ${entry.epoch} does not hold the lease`)
      const interrupted = state.interrupted.filter((run) => run.epoch !== entry.interrupted)
      if (entry.spared !== undefined) return { ...next, interrupted, sparedKeys: new Set([...state.sparedKeys, ...entry.spared]) }
      const over = state.interrupted.filter((run) => run.epoch === entry.interrupted && run.committed === null)
      return { ...next, interrupted, fruitless: new Set([...state.fruitless, ...over.map(({ run }) => run)]) }
    }
    case 'backup': {
      if (state.open === null || entry.epoch !== state.open.epoch) throw broken(`epoch ${entry.epoch} does not hold the lease`)
      if (state.open.abandoned) throw broken('its run had given up')
      if (state.backups.has(entry.backup.id)) throw broken(`backup ${entry.backup.id} exists already`)
      const record: BackupRecord = {
        ...uncommittedRecord(entry.backup, entry.manifest, familyOf(entry.backup) === 'base' ? state.moved : null),
        epoch: entry.epoch,
        entry: entry.number,
        order: entry.relisted === true ? orderByTime(state, entry.backup, entry.number) : entry.number,
        verifiedAt: entry.backup.committedAs === 'verified' ? entry.at : null,
      }
      const committed = entry.relisted === true ? state.open.committed : entry.backup.id
      return { ...next, backups: new Map(state.backups).set(entry.backup.id, record), open: { ...state.open, committed } }
    }
    case 'abandon': {
      if (state.open === null || entry.epoch !== state.open.epoch) throw broken(`epoch ${entry.epoch} does not hold the lease`)
      if (state.open.committed !== null) throw broken('its run had committed')
      return { ...next, open: { ...state.open, abandoned: true } }
    }
    case 'end': {
      if (state.open === null || entry.epoch !== state.open.epoch) throw broken(`epoch ${entry.epoch} does not hold the lease`)
      const { run, committed } = state.open
      return { ...next, open: null, fruitless: committed === null ? new Set([...state.fruitless, run]) : state.fruitless }
    }
    case 'repack': {
      if (state.open === null || entry.epoch !== state.open.epoch) throw broken(`epoch ${entry.epoch} does not hold the lease`)
      if (state.open.abandoned) throw broken('its run had given up')
      return { ...next, ...repacked(state, state.open, entry) }
    }
    case 'garbage': {
      if (state.open === null || entry.epoch !== state.open.epoch) throw broken(`epoch ${entry.epoch} does not hold the lease`)
      return { ...next, garbage: [...state.garbage, { entry: entry.number, objects: entry.objects, graceSeconds: entry.graceSeconds }] }
    }
    case 'cleared': {
      if (state.open === null || entry.epoch !== state.open.epoch) throw broken(`epoch ${entry.epoch} does not hold the lease`)
      if (!state.garbage.some((each) => each.entry === entry.garbage)) throw broken(`it speaks of garbage ${entry.garbage}, which is not waiting`)
      return { ...next, garbage: state.garbage.filter((each) => each.entry !== entry.garbage) }
    }
    case 'verified':
      return withBackup(entry.backup, (record) => ({ ...record, state: record.state === 'proven' ? 'proven' : 'verified', problems: [], verifiedAt: entry.at }))
    case 'damaged':
      return withBackup(entry.backup, (record) => ({ ...record, state: 'damaged', problems: entry.problems, provenAt: null }))
    case 'proven':
      return withBackup(entry.backup, (record) => ({
        ...record,
        state: 'proven',
        problems: [],
        verifiedAt: entry.at,
        provenAt: entry.at,
        restoreSeconds: entry.restoreSeconds,
      }))
    case 'disproven':
      return withBackup(entry.backup, (record) => ({
        ...record,
        state: 'damaged',
        provenAt: null,
        problems: [{ code: 'drill-failed', object: entry.proof.key, message: 'a drill restored this backup and its content differed' }],
      }))
    case 'pin':
      return withBackup(entry.backup, (record) => ({ ...record, pinned: true, pinReason: entry.reason }))
    case 'unpin':
      return withBackup(entry.backup, (record) => ({ ...record, pinned: false, pinReason: null }))
    case 'delete':
      return withBackup(entry.backup, (record) => ({ ...record, deleted: { at: entry.at, reason: entry.reason, objects: entry.objects, purged: false } }))
    case 'purged':
      return withBackup(entry.backup, (record) => {
        if (record.deleted === null) throw broken(`backup ${entry.backup} was purged without a tombstone`)
        return { ...record, deleted: { ...record.deleted, purged: true } }
      })
    default:
      throw broken(`its kind "${(entry satisfies never as CommitEntry).kind}" is unknown`)
  }
}

/** From here every base backup, deleted ones too, finds what was moved by this index, and by no earlier one. */
function repacked(
  state: ClusterState,
  open: OpenRun,
  { index, relisted }: { readonly index: ObjectRef | null; readonly relisted?: boolean | undefined },
): Pick<ClusterState, 'moved' | 'repackRuns' | 'open' | 'backups'> {
  const run = index === null ? undefined : repackOf(state.cluster, index.key)?.run
  return {
    moved: index,
    repackRuns: run === undefined ? state.repackRuns : new Set([...state.repackRuns, run]),
    open: relisted === true || index === null ? open : { ...open, committed: index.key },
    backups: new Map([...state.backups].map(([id, record]) => [id, familyOf(record.facts) === 'base' ? { ...record, moved: index } : record])),
  }
}

/**
 * The backups that exist, newest first. Those we took stand in the order of the log: a clock that was wrong for a day must not make an old backup the newest,
 * or hide a new one. Files that were taken in come after them, by their own times.
 */
export function livingBackups(state: ClusterState): readonly BackupRecord[] {
  return [...state.backups.values()].filter((record) => record.deleted === null).toSorted(newestFirst)
}

function newestFirst(a: BackupRecord, b: BackupRecord): number {
  if (a.facts.adopted !== b.facts.adopted) return a.facts.adopted ? 1 : -1
  if (!a.facts.adopted && a.order !== b.order) return b.order - a.order
  return a.facts.endedAt < b.facts.endedAt ? 1 : a.facts.endedAt > b.facts.endedAt ? -1 : b.entry - a.entry
}

/** The newest complete backup (of a family) that is not known to be damaged: what `latest` means. Safety backups of replaced databases are not meant. */
export function latestGood(state: ClusterState, family?: BackupFamily): BackupRecord | undefined {
  return livingBackups(state).find(
    ({ state: found, facts }) => found !== 'damaged' && !facts.partial && !facts.safety && (family === undefined || familyOf(facts) === family),
  )
}

/** The log lost its place; so its time, between those that the log has in their places, must do. */
function orderByTime(state: ClusterState, { startedAt }: BackupFacts, entry: number): number {
  const later = [...state.backups.values()].filter(({ facts }) => !facts.adopted && facts.startedAt > startedAt).map(({ order }) => order)
  return Math.min(entry, ...later.map((order) => Math.ceil(order) - 0.5))
}
