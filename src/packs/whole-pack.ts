import { Failure } from '../kernel/failure.ts'
import type { CallOptions, Storage, StoredObject } from '../storage/storage.ts'
import { createFrameCodec } from './frame.ts'
import { createPackBuilder } from './pack-builder.ts'
import {
  decodeFooter,
  decodeHeader,
  decodeTrailer,
  footerBytes,
  headerBytes,
  largestFrameBytes,
  newPackId,
  repositoryBytes,
  type PackHeader,
} from './pack-format.ts'

/** Indexes and roots: packs that are written and read as a whole. */

/** Much content hardly shrinks, for most of it is hashes and ids. */
const level = 3

/** The metadata key of an epoch: it seals leaves, indexes and roots. */
export interface MetadataSeal {
  readonly epoch: number
  readonly key: Uint8Array
}

/** The header of a new pack of metadata; `repository` is the id as it is written, `seal` null where nothing is sealed. */
export function newMetadataPack(repository: string, seal: MetadataSeal | null): PackHeader {
  const identity = { repository: repositoryBytes(repository), id: newPackId() }
  return seal === null ? { ...identity, keyKind: 'none', epoch: 0 } : { ...identity, keyKind: 'metadata', epoch: seal.epoch }
}

/** The bytes of a new pack with this content, in as many frames as it takes. */
export function encodeWholePack(repository: string, seal: MetadataSeal | null, content: Uint8Array): Buffer {
  const builder = createPackBuilder(newMetadataPack(repository, seal), seal?.key ?? null, level)
  const parts = [builder.begin()]
  for (let at = 0; at < content.length; at += largestFrameBytes) parts.push(builder.frame(content.subarray(at, at + largestFrameBytes)))
  parts.push(builder.end())
  return Buffer.concat(parts)
}

/** The content of such a pack. `keyOf` is asked for the key of the header; `limitBytes` bounds what is held. Anything that is not what was written is `integrity`. */
export async function decodeWholePack(
  bytes: Buffer,
  object: string,
  keyOf: (header: PackHeader) => Promise<Uint8Array | null>,
  limitBytes: number,
): Promise<Buffer> {
  const broken = (why: string) => new Failure('integrity', `${object} cannot be read: ${why}`, { details: { object } })
  if (bytes.length < headerBytes + footerBytes) throw broken('it was cut')
  const header = decodeHeader(bytes, object)
  const { trailerBytes, frames } = decodeFooter(bytes.subarray(bytes.length - footerBytes), object)
  const trailerAt = bytes.length - footerBytes - trailerBytes
  if (trailerAt < headerBytes || frames * largestFrameBytes > limitBytes + largestFrameBytes) throw broken('its end states sizes that cannot be')
  const codec = createFrameCodec(header, await keyOf(header))
  const lengths = decodeTrailer(codec.open(frames, bytes.subarray(trailerAt, bytes.length - footerBytes), { contentBytes: frames * 8, isLast: true }))
  const parts: Buffer[] = []
  let at = headerBytes
  for (const [number, { stored, content }] of lengths.entries()) {
    if (content > largestFrameBytes || at + stored > trailerAt) throw broken('a frame has a size that cannot be')
    parts.push(codec.open(number, bytes.subarray(at, at + stored), { contentBytes: content }))
    at += stored
  }
  if (at !== trailerAt) throw broken('it has bytes between its frames')
  return Buffer.concat(parts)
}

/** Stores it under a name that nobody has. */
export function storeWholePack(storage: Storage, key: string, bytes: Buffer, options: CallOptions): Promise<StoredObject> {
  return storage.put(key, bytes, { ...options, ifAbsent: true, sizeBytes: bytes.length })
}
