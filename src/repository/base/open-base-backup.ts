import { Failure, isFailure } from '../../kernel/failure.ts'
import { createFrameCodec, type FrameCodec } from '../../packs/frame.ts'
import { decodeLeaf, type LeafEntry } from '../../packs/leaf.ts'
import { repositoryBytes } from '../../packs/pack-format.ts'
import type { IndexedPack } from '../../packs/pack-index.ts'
import type { PackTable } from '../../packs/pack-table.ts'
import { readFrames } from '../../packs/read-frames.ts'
import type { LeafPlace, RootTables } from '../../packs/root-tables.ts'
import type { CallOptions } from '../../storage/storage.ts'
import type { BackupRecord } from '../cluster-log.ts'
import type { Repository } from '../repository.ts'
import type { BaseRoot } from './base-root.ts'
import { keyOfPack, type PackKeys } from './pack-keys.ts'
import { readIndex, readRoot } from './read-base-objects.ts'

/** A base backup that can be read: its root, and where everything lies. */
export interface OpenBaseBackup {
  readonly record: BackupRecord
  readonly root: BaseRoot
  readonly tables: RootTables
  readonly packs: PackTable
  /** Where the frames of a pack lie, by its number. */
  pack(number: number): PlacedPack
  /** Opens the frames of a pack. Rejects with `key-missing` where the key of its run cannot be had. */
  codec(number: number): Promise<FrameCodec>
  /** The key of a pack, for a thread that opens its frames. */
  key(number: number): Promise<Uint8Array | null>
  leaf(place: LeafPlace, options: CallOptions): Promise<readonly LeafEntry[]>
  /** What page hashes are made with. */
  readonly hashKey: Uint8Array
  /** The entries of all leaves (or of these), leaf by leaf, in the order of the root. A leaf that cannot be read is told to `broken`, if given, and passed over; else it rejects. */
  leaves(options: CallOptions, broken?: (failure: Failure) => void, places?: readonly LeafPlace[]): AsyncGenerator<readonly LeafEntry[], void, undefined>
}

export interface PlacedPack extends IndexedPack {
  /** The run that made it, and under whose key it is sealed. */
  readonly run: string
  /** Whether its frames were moved by a repack: then the object is a row of frames, without header and trailer, and those that nobody needed have no bytes. */
  readonly isMoved: boolean
}

export async function openBaseBackup(repository: Repository, record: BackupRecord, keys: PackKeys | null, options: CallOptions): Promise<OpenBaseBackup> {
  const { storage } = repository
  const { cluster, id } = record.facts
  const { root, tables, packs } = await readRoot(repository, record, keys, options)
  const found: PlacedPack[] = []
  for (const { run, key, sha256 } of root.indexes) {
    for (const pack of await readIndex(repository, { run, key, sha256, cluster, namedBy: id }, keys, options)) {
      found[packs.numberOf(pack.id)] = { ...pack, run, isMoved: false }
    }
  }
  // Frames that were moved since are those of their birth but for their place.
  const { moved } = record
  for (const pack of moved === null ? [] : await readIndex(repository, { ...moved, run: moved.key, cluster, namedBy: id }, keys, options)) {
    const number = packs.numberOf(pack.id)
    const born = found[number]
    if (born !== undefined) found[number] = { ...pack, run: born.run, isMoved: true }
  }
  const pack = (number: number): PlacedPack => {
    const there = found[number]
    if (there === undefined) {
      throw new Failure('integrity', `backup ${id} refers to pack ${packs.idOf(number).toString('hex')}, which none of its indexes knows`, {
        details: { object: record.manifest.key, backup: id },
      })
    }
    return there
  }
  const key = (number: number): Promise<Uint8Array | null> => {
    const { keyKind, epoch, run } = pack(number)
    return keyOfPack({ keyKind, epoch }, { cluster, run }, keys)
  }
  const codecs = new Map<number, FrameCodec>()
  const codec = async (number: number): Promise<FrameCodec> => {
    const known = codecs.get(number)
    if (known !== undefined) return known
    const made = createFrameCodec({ repository: repositoryBytes(repository.id), id: packs.idOf(number) }, await key(number))
    codecs.set(number, made)
    return made
  }
  const leavesIn = async function* (
    places: readonly LeafPlace[],
    call: CallOptions,
    broken: (failure: Failure) => void,
  ): AsyncGenerator<readonly LeafEntry[], void, undefined> {
    for (const { pack: number, frames } of together(places)) {
      try {
        const place = pack(number)
        const opener = await codec(number)
        for await (const { frame, stored, contentBytes } of readFrames(storage, place, frames, call)) {
          const decode = (): readonly LeafEntry[] => decodeLeaf(opener.open(frame, stored, { contentBytes }), packs, `leaf ${frame} of ${place.key}`)
          const entries = decodeStoredLeaf(decode, { object: place.key, pack: place.id.toString('hex'), frame }, broken)
          if (entries !== null) yield entries
        }
      } catch (error) {
        if (!isFailure(error, 'integrity', 'object-missing')) throw error
        broken(error)
      }
    }
  }
  return {
    record,
    root,
    tables,
    packs,
    pack,
    codec,
    key,
    hashKey: Buffer.from(root.hashKey, 'hex'),
    leaf: async (place, call) => {
      for await (const entries of leavesIn([place], call, rethrow)) return entries
      return []
    },
    leaves: (call, broken = rethrow, places = tables.leaves) => leavesIn(places, call, broken),
  }
}

/** Leaves that lie one after the other in a pack are read by one request. */
function* together(places: readonly LeafPlace[]): Generator<{ readonly pack: number; readonly frames: readonly number[] }, void, undefined> {
  for (let at = 0; at < places.length;) {
    const pack = places[at]?.pack ?? 0
    let end = at + 1
    while (places[end]?.pack === pack && (places[end]?.frame ?? 0) > (places[end - 1]?.frame ?? 0)) end += 1
    yield { pack, frames: places.slice(at, end).map(({ frame }) => frame) }
    at = end
  }
}

/** Null for a leaf that is broken, after `broken` was told, with the object in which it lies. */
function decodeStoredLeaf(
  decode: () => readonly LeafEntry[],
  place: { readonly object: string; readonly pack: string; readonly frame: number },
  broken: (failure: Failure) => void,
): readonly LeafEntry[] | null {
  try {
    return decode()
  } catch (error) {
    if (!isFailure(error, 'integrity')) throw error
    broken(new Failure('integrity', `a leaf in ${place.object} cannot be read: ${error.message}`, { cause: error, details: place }))
    return null
  }
}

function rethrow(failure: Failure): never {
  throw failure
}
