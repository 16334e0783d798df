import { createCipheriv, createDecipheriv, timingSafeEqual } from 'node:crypto'
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { Blake3Hasher } from '@napi-rs/blake-hash'
import { Failure, messageOf } from '../kernel/failure.ts'
import { packKey, type PackIdentity } from './pack-format.ts'

/** Compresses and seals the frames of one pack, and opens them: docs/base-backups.md "Pack". Used in worker threads: nothing here waits. */
export interface FrameCodec {
  /** The stored bytes of a frame. `content` may lie in shared memory, and must not change meanwhile. */
  seal(number: number, content: Uint8Array, options: { readonly level: number; readonly isLast?: boolean }): Buffer
  /** The content, which has exactly `contentBytes`. Throws `integrity` for anything that was not sealed as this frame of this pack. */
  open(number: number, stored: Uint8Array, options: { readonly contentBytes: number; readonly isLast?: boolean }): Buffer
}

/** What sealing adds: the tag of AES-GCM, or of BLAKE3 where nothing is sealed. */
export const tagBytes = 16
/** Room for what zstd adds to content that cannot be compressed. */
const compressionRoom = 64 << 10
const label = Buffer.from('tidemark-frame/1', 'latin1')

/** `key` is the run's or the metadata key; null for a pack that is not sealed. */
export function createFrameCodec(pack: PackIdentity, key: Uint8Array | null): FrameCodec {
  const secret = key === null ? null : packKey(key, pack.id)
  const bound = Buffer.concat([label, pack.repository, pack.id, Buffer.alloc(5)])
  const bind = (number: number, isLast: boolean): Buffer => {
    bound.writeUInt32LE(number, bound.length - 5)
    bound.writeUInt8(isLast ? 1 : 0, bound.length - 1)
    return bound
  }
  return {
    seal: (number, content, { level, isLast = false }) => {
      const packed = zstdCompressSync(content, {
        chunkSize: content.length + compressionRoom,
        params: { [constants.ZSTD_c_compressionLevel]: level },
      })
      const binding = bind(number, isLast)
      if (secret === null) return Buffer.concat([packed, digestOf(binding, packed)])
      const cipher = createCipheriv('aes-256-gcm', secret, nonceOf(number), { authTagLength: tagBytes })
      cipher.setAAD(binding)
      return Buffer.concat([cipher.update(packed), cipher.final(), cipher.getAuthTag()])
    },
    open: (number, stored, { contentBytes, isLast = false }) => {
      if (stored.length < tagBytes) throw notThisFrame(pack, number)
      const body = stored.subarray(0, stored.length - tagBytes)
      const tag = stored.subarray(stored.length - tagBytes)
      const binding = bind(number, isLast)
      if (secret !== null) return inflate(pack, number, { packed: decipher({ secret, number, binding, tag }, body, pack), contentBytes })
      if (!timingSafeEqual(digestOf(binding, body), tag)) throw notThisFrame(pack, number)
      return inflate(pack, number, { packed: body, contentBytes })
    },
  }
}

function decipher(
  { secret, number, binding, tag }: { readonly secret: Buffer; readonly number: number; readonly binding: Buffer; readonly tag: Uint8Array },
  body: Uint8Array,
  pack: PackIdentity,
): Buffer {
  const opening = createDecipheriv('aes-256-gcm', secret, nonceOf(number), { authTagLength: tagBytes })
  opening.setAAD(binding)
  opening.setAuthTag(tag)
  try {
    return Buffer.concat([opening.update(body), opening.final()])
  } catch (error) {
    throw notThisFrame(pack, number, error)
  }
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

/** Each key seals one pack only, so the frame's number is a nonce that never comes again. */
function nonceOf(number: number): Buffer {
  const nonce = Buffer.alloc(12)
  nonce.writeUInt32LE(number)
  return nonce
}

function digestOf(binding: Buffer, body: Uint8Array): Buffer {
  return new Blake3Hasher().update(binding).update(body).digestBuffer().subarray(0, tagBytes)
}

function notThisFrame({ id }: PackIdentity, number: number, cause?: unknown): Failure {
  const name = `frame ${number} of pack ${id.toString('hex')}`
  return new Failure('integrity', `${name} is not what was stored${cause === undefined ? '' : `: ${messageOf(cause)}`}`, {
    cause,
    details: { object: `pack ${id.toString('hex')}`, frame: number },
  })
}
