import type { ByteCursor } from '../stream/byte-cursor.ts'
import { giveBack } from '../stream/chunks.ts'
import { decrypt, encryptInto, tagBytes } from './aead.ts'
import { sealDamaged } from './seal-failure.ts'

// STREAM (C2SP age.md, "Payload"): chunks of 64 KiB, each with its tag; the nonce counts them and marks the last one.

const chunkBytes = 64 * 1024
const sealedChunkBytes = chunkBytes + tagBytes
/** So many chunks are handed on at once: an await for every 64 KiB is felt. */
const batchChunks = 16

/** Bytes of the payload that holds `plainBytes`. */
export function payloadBytes(plainBytes: number): number {
  return plainBytes + Math.max(1, Math.ceil(plainBytes / chunkBytes)) * tagBytes
}

/** What a chunk is sealed with: the nonce is its number in 11 bytes, most significant first, of which six are more than any file needs, then 1 for the last chunk. */
function chunkKey(key: Uint8Array, number: number, isLast: boolean) {
  const nonce = Buffer.alloc(12)
  nonce.writeUIntBE(number, 5, 6)
  nonce[11] = isLast ? 1 : 0
  return { cipher: 'chacha20-poly1305', key, nonce } as const
}

/** Seals what comes, whatever its pieces; empty content is one empty chunk. Holds one chunk and one batch. */
export async function* encryptPayload(source: AsyncIterable<Uint8Array>, key: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  const held = Buffer.allocUnsafeSlow(chunkBytes)
  let heldBytes = 0
  let batch: Buffer | undefined
  let batchBytes = 0
  let number = 0
  const seal = (plain: Uint8Array): void => {
    batch ??= Buffer.allocUnsafeSlow(batchChunks * sealedChunkBytes)
    encryptInto(batch.subarray(batchBytes), chunkKey(key, number++, false), plain)
    batchBytes += sealedChunkBytes
  }

  for await (const piece of source) {
    for (let at = 0; at < piece.length;) {
      // Only when more comes is a full chunk known not to be the last.
      if (heldBytes === chunkBytes) {
        seal(held)
        heldBytes = 0
      }
      if (heldBytes === 0) for (; batchBytes !== batch?.length && piece.length - at > chunkBytes; at += chunkBytes) seal(piece.subarray(at, at + chunkBytes))
      if (batch !== undefined && batchBytes === batch.length) {
        yield batch
        batch = undefined
        batchBytes = 0
        continue
      }
      const count = Math.min(chunkBytes - heldBytes, piece.length - at)
      held.set(piece.subarray(at, at + count), heldBytes)
      heldBytes += count
      at += count
    }
  }
  if (batch !== undefined) yield batch.subarray(0, batchBytes)
  const last = Buffer.allocUnsafeSlow(heldBytes + tagBytes)
  encryptInto(last, chunkKey(key, number, true), held.subarray(0, heldBytes))
  yield last
}

/**
 * What was sealed, as far as it was found whole; the chunks yielded belong to the consumer. Throws `integrity` at a changed chunk, at a cut, and at
 * bytes behind the last chunk, after all before that was yielded.
 */
export async function* decryptPayload(cursor: ByteCursor, key: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  let number = 0
  let isLast = false
  /** Opens the next chunk. A short one is the last; a full one may be either. */
  const open = (sealed: Uint8Array): Buffer | null => {
    const plain = sealed.length < sealedChunkBytes ? null : decrypt(chunkKey(key, number, false), sealed)
    if (plain !== null) return plain
    isLast = true
    const isEmptyBehindOthers = sealed.length === tagBytes && number > 0
    return isEmptyBehindOthers ? null : decrypt(chunkKey(key, number, true), sealed)
  }

  while (!isLast) {
    await cursor.need(sealedChunkBytes)
    const batch = Buffer.allocUnsafeSlow(Math.min(batchChunks, Math.max(1, Math.floor(cursor.available / sealedChunkBytes))) * chunkBytes)
    let batchBytes = 0
    let isBroken = false
    while (!isLast && batchBytes < batch.length) {
      const sealed = cursor.peek(sealedChunkBytes)
      const plain = open(sealed)
      if (plain === null) {
        isBroken = true
        break
      }
      batch.set(plain, batchBytes)
      batchBytes += plain.length
      giveBack(plain)
      cursor.skip(sealed.length)
      number++
    }
    if (batchBytes > 0) yield batch.subarray(0, batchBytes)
    if (isBroken) throw sealDamaged('payload', `chunk ${number} is not what was written, or the file was cut there`)
  }
  if (await cursor.need(1)) throw sealDamaged('payload', 'something follows its last chunk')
}
