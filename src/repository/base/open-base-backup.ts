import { Failure, isFailure } from '../../kernel/failure.ts'
import { createFrameCodec, type FrameCodec } from '../../packs/frame.ts'
import { decodeLeaf, type LeafEntry } from '../../packs/leaf.ts'
import { repositoryBytes } from '../../packs/pack-format.ts'
import { decodeIndex, type IndexedPack } from '../../packs/pack-index.ts'
import type { PackTable } from '../../packs/pack-table.ts'
import { readFrames } from '../../packs/read-frames.ts'
import type { LeafPlace, RootTables } from '../../packs/root-tables.ts'
import { decodeWholePack } from '../../packs/whole-pack.ts'
import type { CallOptions } from '../../storage/storage.ts'
import { readObject } from '../bytes.ts'
import type { BackupRecord } from '../cluster-log.ts'
import { digestOf } from '../commit-entry.ts'
import type { Repository } from '../repository.ts'
import { decodeBaseRoot, type BaseRoot } from './base-root.ts'
import { keyOfPack, type PackKeys } from './pack-keys.ts'

/** A base backup that can be read: its root, and where everything lies. */
export interface OpenBaseBackup {
  readonly record: BackupRecord
  readonly root: BaseRoot
  readonly tables: RootTables
  readonly packs: PackTable
  /** Where the frames of a pack lie, by its number. */
  pack(number: number): IndexedPack
  /** Opens the frames of a pack. Rejects with `key-missing` where the key of its run cannot be had. */
  codec(number: number): Promise<FrameCodec>
  /** The key of a pack, for a thread that opens its frames. */
  key(number: number): Promise<Uint8Array | null>
  leaf(place: LeafPlace, options: CallOptions): Promise<readonly LeafEntry[]>
  /** What page hashes are made with. */
  readonly hashKey: Uint8Array
  /** The entries of all leaves, leaf by leaf, in the order of the root. */
  leaves(options: CallOptions): AsyncGenerator<readonly LeafEntry[], void, undefined>
}

/** 10 TB are some 5 MB of root and 60 MB of index. */
const rootLimitBytes = 256 << 20
const indexLimitBytes = 512 << 20

export async function openBaseBackup(repository: Repository, record: BackupRecord, keys: PackKeys | null, options: CallOptions): Promise<OpenBaseBackup> {
  const { storage } = repository
  const { cluster, id } = record.facts
  const { root, tables, packs } = await readRoot(repository, record, keys, options)
  const found: (IndexedPack & { readonly run: string })[] = []
  for (const { run, key, sha256 } of root.indexes) {
    const bytes = Buffer.from(await readNamed(repository, { key, sha256, backup: id, limitBytes: indexLimitBytes }, options))
    const content = await decodeWholePack(bytes, key, (header) => keyOfPack(header, { cluster, run }, keys), indexLimitBytes)
    // Later indexes say where frames lie that were copied together.
    for (const pack of decodeIndex(content, key)) found[packs.numberOf(pack.id)] = { ...pack, run }
  }
  const pack = (number: number): IndexedPack & { readonly run: string } => {
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
  const leavesIn = async function* (places: readonly LeafPlace[], call: CallOptions): AsyncGenerator<readonly LeafEntry[], void, undefined> {
    for (let at = 0; at < places.length;) {
      const first = places[at]
      if (first === undefined) return
      // Leaves that lie one after the other are read by one request.
      let end = at + 1
      while (places[end]?.pack === first.pack && (places[end]?.frame ?? 0) > (places[end - 1]?.frame ?? 0)) end += 1
      const place = pack(first.pack)
      const opener = await codec(first.pack)
      const frames = places.slice(at, end).map(({ frame }) => frame)
      for await (const { frame, stored, contentBytes } of readFrames(storage, place, frames, call)) {
        yield decodeLeaf(opener.open(frame, stored, { contentBytes }), packs, `leaf ${frame} of ${place.key}`)
      }
      at = end
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
      for await (const entries of leavesIn([place], call)) return entries
      return []
    },
    leaves: (call) => leavesIn(tables.leaves, call),
  }
}

async function readRoot(
  repository: Repository,
  { facts, manifest }: BackupRecord,
  keys: PackKeys | null,
  options: CallOptions,
): Promise<ReturnType<typeof decodeBaseRoot>> {
  const bytes = Buffer.from(await readNamed(repository, { ...manifest, backup: facts.id, limitBytes: rootLimitBytes }, options))
  const content = await decodeWholePack(bytes, manifest.key, (header) => keyOfPack(header, { cluster: facts.cluster, run: facts.id }, keys), rootLimitBytes)
  const decoded = decodeBaseRoot(content, manifest.key)
  const { root } = decoded
  if (root.repository !== repository.id || root.cluster !== facts.cluster || root.backup.id !== facts.id) {
    throw new Failure('integrity', `${manifest.key} is the root of backup ${root.backup.id} of cluster "${root.cluster}" in another place`, {
      details: { object: manifest.key, backup: facts.id },
    })
  }
  return decoded
}

/** An object that something else names with its digest. */
async function readNamed(
  repository: Repository,
  { key, sha256, backup, limitBytes }: { readonly key: string; readonly sha256: string; readonly backup: string; readonly limitBytes: number },
  options: CallOptions,
): Promise<Uint8Array> {
  try {
    const bytes = await readObject(repository.storage, key, limitBytes, options.signal)
    if (digestOf(bytes) === sha256) return bytes
  } catch (error) {
    if (!isFailure(error, 'object-missing')) throw error
    throw new Failure('object-missing', `backup ${backup} cannot be read: ${key} is gone`, { cause: error, details: { object: key, backup } })
  }
  throw new Failure('integrity', `backup ${backup} cannot be read: ${key} was changed`, { details: { object: key, backup } })
}
