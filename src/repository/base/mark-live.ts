import type { Context } from '../../kernel/context.ts'
import { Failure, isFailure, messageOf } from '../../kernel/failure.ts'
import type { FrameLengths } from '../../packs/pack-format.ts'
import type { IndexedPack } from '../../packs/pack-index.ts'
import { familyOf } from '../backup.ts'
import { uncommittedRecord, type BackupRecord, type ClusterState } from '../cluster-log.ts'
import type { ObjectRef } from '../commit-entry.ts'
import { runKeyKey } from '../keys/key-layout.ts'
import type { Repository } from '../repository.ts'
import { findUnlistedRoots } from './find-unlisted-roots.ts'
import type { PackKeys } from './pack-keys.ts'
import { readIndex, readRoot, type DecodedRoot } from './read-base-objects.ts'

/** What the base backups of a cluster need: whatever is about to be removed is held against this first. */
export interface LiveMarks {
  /** Every object that some root needs, with one backup that does. */
  readonly objects: ReadonlyMap<string, string>
  /** Where packs lay before a repack moved what is live of them: restores that began before it may be reading there. */
  readonly left: ReadonlySet<string>
  /** By id in hexadecimal. */
  readonly packs: ReadonlyMap<string, LivePack>
  /** Roots that could not be opened. While there are any, nobody knows what can be removed. */
  readonly unopened: readonly UnopenedRoot[]
}

export interface UnopenedRoot {
  readonly key: string
  /** The backup that it is of; null for a root that is not in the log. */
  readonly backup: string | null
  readonly why: string
}

export interface LivePack {
  /** The run that made it. */
  readonly run: string
  readonly place: Omit<IndexedPack, 'frames'>
  /** Stored bytes of the frames that are live. */
  readonly liveBytes: number
  /** For each frame 1 where some backup needs it. */
  readonly live: Buffer
  /** Of a pack of which little is live, and of one that was moved: the lengths of its frames. Of others they are not kept, for there are millions. */
  readonly frames: readonly FrameLengths[] | null
  readonly isMoved: boolean
}

/** Below this share of an object its live frames are worth to be moved. */
export const sparseBelow = 0.25

export interface MarkRequest {
  readonly state: ClusterState
  readonly keys: PackKeys | null
  /** Backups and runs that do not count: they are to be deleted, or never will exist. */
  readonly except?: ReadonlySet<string>
  /** Only these backups, whatever else there is. */
  readonly only?: readonly BackupRecord[]
}

/** Opens every root of the cluster, those too that are there and not in the log, and every index that they name. */
export async function markLive(repository: Repository, { state, keys, except = new Set(), only }: MarkRequest, context: Context): Promise<LiveMarks> {
  const marker = createMarker(state.cluster)
  for (const record of only ?? livingBase(state)) {
    if (except.has(record.facts.id)) continue
    // The root itself is needed even where nobody can read it now.
    marker.object(record.manifest.key, record.facts.id)
    await marker.root(record, () => readRoot(repository, record, keys, context))
  }
  if (only === undefined) {
    for (const unlisted of await findUnlistedRoots(repository, state, keys, context)) {
      if (except.has(unlisted.run)) continue
      marker.object(unlisted.key, unlisted.run)
      if (unlisted.kind === 'unreadable') marker.unopened({ key: unlisted.key, backup: null, why: unlisted.why })
      else if (unlisted.kind === 'whole') await marker.root(uncommittedRecord(unlisted.facts, unlisted, state.moved), async () => unlisted.decoded)
    }
  }
  await marker.indexes((index) => readIndex(repository, { ...index, cluster: state.cluster, namedBy: index.backups[0] ?? '' }, keys, context))
  if (state.moved !== null) {
    const { key, sha256 } = state.moved
    await marker.moved(state.moved, () => readIndex(repository, { key, sha256, run: key, cluster: state.cluster, namedBy: 'that was repacked' }, keys, context))
  }
  return marker.marks()
}

/** Base backups that are not deleted. */
function livingBase(state: ClusterState): readonly BackupRecord[] {
  return [...state.backups.values()].filter(({ facts, deleted }) => familyOf(facts) === 'base' && deleted === null)
}

interface NeededIndex extends ObjectRef {
  readonly run: string
  readonly backups: string[]
  /** The frames that are live in the packs that are needed of it, by pack. */
  readonly live: Map<string, Buffer>
}

function createMarker(cluster: string) {
  const objects = new Map<string, string>()
  const left = new Set<string>()
  const packs = new Map<string, LivePack>()
  const unopened: UnopenedRoot[] = []
  const indexes = new Map<string, NeededIndex>()
  const roots = new Map<string, string>()

  const object = (key: string, backup: string): void => {
    if (!objects.has(key)) objects.set(key, backup)
  }
  const need = (backup: string, { root, tables }: DecodedRoot): void => {
    const named = root.indexes.map((index): NeededIndex => {
      const name = `${index.key} ${index.sha256}`
      const known = indexes.get(name) ?? { ...index, backups: [], live: new Map<string, Buffer>() }
      indexes.set(name, known)
      known.backups.push(backup)
      object(index.key, backup)
      return known
    })
    for (const { id, index, live } of tables.packs) {
      const of = named[index]
      if (of === undefined) throw new Failure('integrity', `it names no index for pack ${id.toString('hex')}`)
      of.live.set(id.toString('hex'), union(of.live.get(id.toString('hex')), live))
    }
  }
  const tell = (backup: string, why: string): void => void unopened.push({ key: roots.get(backup) ?? backup, backup, why })

  return {
    object,
    unopened: (root: UnopenedRoot): void => void unopened.push(root),
    root: async ({ facts, manifest }: BackupRecord, read: () => Promise<DecodedRoot>): Promise<void> => {
      roots.set(facts.id, manifest.key)
      try {
        need(facts.id, await read())
      } catch (error) {
        tell(facts.id, requireUnreadable(error))
      }
    },
    indexes: async (read: (index: NeededIndex) => Promise<readonly IndexedPack[]>): Promise<void> => {
      for (const index of indexes.values()) {
        try {
          place(index, await read(index))
        } catch (error) {
          for (const backup of index.backups) tell(backup, requireUnreadable(error))
        }
      }
    },
    moved: async (ref: ObjectRef, read: () => Promise<readonly IndexedPack[]>): Promise<void> => {
      object(ref.key, 'of every base backup')
      try {
        for (const pack of await read()) move(pack)
      } catch (error) {
        unopened.push({ key: ref.key, backup: null, why: requireUnreadable(error) })
      }
    },
    marks: (): LiveMarks => {
      for (const { run, place: at } of packs.values()) {
        object(at.key, backupOf(run))
        if (at.keyKind === 'run') object(runKeyKey(cluster, run), backupOf(run))
      }
      for (const key of objects.keys()) left.delete(key)
      return { objects, left, packs, unopened }
    },
  }

  function place({ key, run, live, backups }: NeededIndex, found: readonly IndexedPack[]): void {
    const waiting = new Set(live.keys())
    for (const pack of found) {
      const name = pack.id.toString('hex')
      const mask = live.get(name)
      if (mask === undefined) continue
      waiting.delete(name)
      packs.set(name, livePack(pack, { run, live: mask, isMoved: false }))
    }
    const [lost] = waiting
    if (lost !== undefined) throw new Failure('integrity', `${key} does not know pack ${lost}, which backup ${backups[0] ?? ''} needs`)
  }

  function move(pack: IndexedPack): void {
    const name = pack.id.toString('hex')
    const born = packs.get(name)
    if (born === undefined) return
    left.add(born.place.key)
    packs.set(name, livePack(pack, { run: born.run, live: born.live, isMoved: true }))
  }

  function backupOf(run: string): string {
    for (const index of indexes.values()) if (index.run === run) return index.backups[0] ?? run
    return run
  }
}

function livePack({ frames, ...place }: IndexedPack, { run, live, isMoved }: Pick<LivePack, 'run' | 'live' | 'isMoved'>): LivePack {
  let liveBytes = 0
  for (const [frame, share] of live.entries()) if (share > 0) liveBytes += frames[frame]?.stored ?? 0
  return { run, place, live, liveBytes, isMoved, frames: isMoved || liveBytes < place.objectBytes * sparseBelow ? frames : null }
}

/** What is live in one or the other. */
function union(known: Buffer | undefined, live: Buffer): Buffer {
  const all = Buffer.alloc(Math.max(known?.length ?? 0, live.length))
  for (let frame = 0; frame < all.length; frame += 1) all[frame] = (known?.[frame] ?? 0) > 0 || (live[frame] ?? 0) > 0 ? 1 : 0
  return all
}

/** Why a root cannot be opened; anything else is thrown: a storage that fails says nothing about a root. */
function requireUnreadable(error: unknown): string {
  if (!isFailure(error, 'integrity', 'object-missing', 'key-missing')) throw error
  return messageOf(error)
}
