import { Blake3Hasher } from '@napi-rs/blake-hash'
import type { Context } from '../../kernel/context.ts'
import { Failure, isFailure } from '../../kernel/failure.ts'
import { createFrameCodec, type FrameCodec } from '../../packs/frame.ts'
import { newPackId, packBytes, repositoryBytes, type FrameLengths } from '../../packs/pack-format.ts'
import { encodeIndex, type IndexedPack } from '../../packs/pack-index.ts'
import { readFrames } from '../../packs/read-frames.ts'
import { beginUpload, type Upload } from '../../packs/upload.ts'
import { encodeWholePack, storeWholePack, type MetadataSeal } from '../../packs/whole-pack.ts'
import { digestOf, type ObjectRef } from '../commit-entry.ts'
import { packObjectKey, repackKey } from '../layout.ts'
import type { Repository } from '../repository.ts'
import type { LivePack } from './mark-live.ts'
import { keyOfPack, type PackKeys } from './pack-keys.ts'

/** Bytes that may wait for the storage. */
const waitingBytes = 8 << 20

/** Copies the live frames of packs as they are into new objects of a run, and reads those back. What can be opened is opened first, so that nothing broken is handed on as whole. Answers with where they lie now; frames that nobody needs have no bytes there. */
export async function moveFrames(
  repository: Repository,
  { cluster, run, packs, keys }: { readonly cluster: string; readonly run: string; readonly packs: readonly LivePack[]; readonly keys: PackKeys | null },
  context: Context,
): Promise<readonly IndexedPack[]> {
  const moved: IndexedPack[] = []
  for (const group of inObjects(packs)) {
    const withCodecs = await Promise.all(group.map(async (pack) => ({ ...pack, codec: await codecOf(repository, { cluster, pack, keys }) })))
    moved.push(...(await moveGroup(repository, { key: packObjectKey(cluster, run, newPackId()), packs: withCodecs }, context)))
  }
  return moved
}

type MovablePack = LivePack & { readonly codec: FrameCodec | null }

/** Null where the key is not at hand: a host that may not read data can still collect garbage. */
async function codecOf(
  { id }: Repository,
  { cluster, pack, keys }: { readonly cluster: string; readonly pack: LivePack; readonly keys: PackKeys | null },
): Promise<FrameCodec | null> {
  const { place, run } = pack
  try {
    return createFrameCodec({ repository: repositoryBytes(id), id: place.id }, await keyOfPack(place, { cluster, run }, keys))
  } catch (error) {
    if (!isFailure(error, 'key-missing')) throw error
    return null
  }
}

/** As many packs together as make an object of the usual size. */
function* inObjects(packs: readonly LivePack[]): Generator<readonly LivePack[], void, undefined> {
  let group: LivePack[] = []
  let bytes = 0
  for (const pack of packs) {
    if (group.length > 0 && bytes + pack.liveBytes > packBytes) {
      yield group
      group = []
      bytes = 0
    }
    group.push(pack)
    bytes += pack.liveBytes
  }
  if (group.length > 0) yield group
}

async function moveGroup(
  repository: Repository,
  { key, packs }: { readonly key: string; readonly packs: readonly MovablePack[] },
  context: Context,
): Promise<readonly IndexedPack[]> {
  const upload = beginUpload(repository.storage, key, { signal: context.signal })
  try {
    const hasher = new Blake3Hasher()
    const places: Omit<IndexedPack, 'objectBytes'>[] = []
    let offset = 0
    for (const pack of packs) {
      const frames = await copyFrames(repository, { pack, upload, hasher }, context)
      places.push({ ...pack.place, key, offset, frames })
      offset += pack.liveBytes
    }
    const { sizeBytes } = await upload.end()
    // The frames' old object will be removed: what was stored is read again before anything leans on it.
    if (sizeBytes !== offset || !(await digestOfObject(repository, key, context)).equals(hasher.digestBuffer()))
      throw new Failure('integrity', `what was copied to ${key} cannot be read back as it was`, { details: { object: key } })
    return places.map((place) => ({ ...place, objectBytes: sizeBytes }))
  } catch (error) {
    await upload.abandon(error)
    throw error
  }
}

async function copyFrames(
  { storage }: Repository,
  { pack, upload, hasher }: { readonly pack: MovablePack; readonly upload: Upload; readonly hasher: Blake3Hasher },
  { signal }: Context,
): Promise<readonly FrameLengths[]> {
  const { place, live, codec } = pack
  if (pack.frames === null) throw new Error(`the frames of ${place.key} are not known`)
  const frames = pack.frames.map((lengths, frame) => ((live[frame] ?? 0) > 0 ? lengths : { stored: 0, content: 0 }))
  const wanted = [...frames.keys()].filter((frame) => (frames[frame]?.stored ?? 0) > 0)
  for await (const { frame, stored, contentBytes } of readFrames(storage, { ...place, frames: pack.frames }, wanted, { signal })) {
    codec?.open(frame, stored, { contentBytes })
    await upload.room(waitingBytes)
    hasher.update(stored)
    upload.push(stored)
  }
  return frames
}

async function digestOfObject({ storage }: Repository, key: string, { signal }: Context): Promise<Buffer> {
  const hasher = new Blake3Hasher()
  for await (const bytes of storage.read(key, { signal })) hasher.update(bytes)
  return hasher.digestBuffer()
}

/** Stores the index of a repack: the last object before its entry. */
export async function storeRepackIndex(
  repository: Repository,
  {
    cluster,
    run,
    number,
    packs,
    seal,
  }: { readonly cluster: string; readonly run: string; readonly number: number; readonly packs: readonly IndexedPack[]; readonly seal: MetadataSeal | null },
  { signal }: Context,
): Promise<ObjectRef> {
  const bytes = encodeWholePack(repository.id, seal, encodeIndex(packs))
  const key = repackKey(cluster, number, run)
  await storeWholePack(repository.storage, key, bytes, { signal })
  return { key, sha256: digestOf(bytes) }
}
