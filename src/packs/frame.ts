import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { Blake3Hasher } from '@napi-rs/blake-hash'
import { Failure, messageOf } from '../kernel/failure.ts'
import { deriveKey } from '../seal/derive-key.ts'
import { openFrame, sealFrame, type FramePlace } from '../seal/sealed-frame.ts'
import type { PackIdentity } from './pack-format.ts'

/** Compresses and seals the frames of one pack, and opens them: docs/base-backups.md "Pack". Used in worker threads: nothing here waits. */
export interface FrameCodec {
  /** The stored bytes of a frame. `content` may lie in shared memory, and must not change meanwhile. */
  seal(number: number, content: Uint8Array, options: { readonly level: number; readonly isLast?: boolean }): Buffer
  /** The content, which has exactly `contentBytes`. Throws `integrity` for anything that was not sealed as this frame of this pack. */
  open(number: number, stored: Uint8Array, options: { readonly contentBytes: number; readonly isLast?: boolean }): Buffer
}

/** What stands behind the content where nothing is sealed: as much as a tag would be. */
const digestBytes = 16
/** Room for what zstd adds to content that cannot be compressed. */
const compressionRoom = 64 << 10
const label = Buffer.from('tidemark-frame/1', 'latin1')

/** `key` is the run's or the metadata key; null for a pack that is not sealed. */
export function createFrameCodec(pack: PackIdentity, key: Uint8Array | null): FrameCodec {
  // Each pack has a key of its own, so a frame's number is a nonce that never comes again.
  const secret = key === null ? null : deriveKey(key, 'pack', pack.id)
  const bound = Buffer.concat([label, pack.repository, pack.id, Buffer.alloc(5)])
  const placeOf = (frameNumber: number, isLast: boolean): FramePlace => {
    bound.writeUInt32LE(frameNumber, bound.length - 5)
    bound.writeUInt8(isLast ? 1 : 0, bound.length - 1)
    return { frameNumber, associatedData: bound }
  }
  return {
    seal: (number, content, { level, isLast = false }) => {
      const packed = zstdCompressSync(content, {
        chunkSize: content.length + compressionRoom,
        params: { [constants.ZSTD_c_compressionLevel]: level },
      })
      const place = placeOf(number, isLast)
      return secret === null ? Buffer.concat([packed, digestOf(place.associatedData, packed)]) : sealFrame(secret, place, packed)
    },
    open: (number, stored, { contentBytes, isLast = false }) => {
      const place = placeOf(number, isLast)
      const packed = secret === null ? withoutDigest(place.associatedData, stored) : openFrame(secret, place, stored)
      if (packed === null) throw notThisFrame(pack, number)
      return inflate(pack, number, { packed, contentBytes })
    },
  }
}

/** Null unless the digest at the end is that of these bytes in this place. */
function withoutDigest(binding: Uint8Array, stored: Uint8Array): Uint8Array | null {
  if (stored.length < digestBytes) return null
  const packed = stored.subarray(0, stored.length - digestBytes)
  return digestOf(binding, packed).equals(stored.subarray(stored.length - digestBytes)) ? packed : null
}

function inflate(pack: PackIdentity, number: number, { packed, contentBytes }: { readonly packed: Uint8Array; readonly contentBytes: number }): Buffer {
  let content: Buffer
  try {
    // One byte more than it may have: room to see that it has more.
    content = zstdDecompressSync(packed, { chunkSize: Math.max(contentBytes + 1, 64), maxOutputLength: contentBytes + 1 })
  } catch (error) {
    throw notThisFrame(pack, number, error)
  }
  if (content.length !== contentBytes) throw notThisFrame(pack, number)
  return content
}

function digestOf(binding: Uint8Array, body: Uint8Array): Buffer {
  return new Blake3Hasher().update(binding).update(body).digestBuffer().subarray(0, digestBytes)
}

function notThisFrame({ id }: PackIdentity, number: number, cause?: unknown): Failure {
  const name = `frame ${number} of pack ${id.toString('hex')}`
  return new Failure('integrity', `${name} is not what was stored${cause === undefined ? '' : `: ${messageOf(cause)}`}`, {
    cause,
    details: { object: `pack ${id.toString('hex')}`, frame: number },
  })
}
