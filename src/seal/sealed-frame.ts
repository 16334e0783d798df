import { decrypt, encryptInto, tagBytes, type AeadKey } from './aead.ts'

/** A sealed frame is so much longer than its content. */
export const frameOverheadBytes = tagBytes

/** Where a frame belongs. */
export interface FramePlace {
  /** Counts the frames sealed with one key, from 0. It is the nonce: two frames of one number under one key would give both away. */
  readonly frameNumber: number
  /** What the frame must be found as: format, repository, pack, number, whether it is the last. */
  readonly associatedData: Uint8Array
}

/**
 * Seals one frame: AES-256-GCM, ciphertext and then the tag. Plain bytes in and out, for worker threads; `content` may lie in shared memory, but
 * nobody may write to it meanwhile.
 */
export function sealFrame(key: Uint8Array, place: FramePlace, content: Uint8Array): Buffer<ArrayBuffer> {
  const sealed = Buffer.allocUnsafeSlow(content.length + frameOverheadBytes)
  encryptInto(sealed, frameKey(key, place), content)
  return sealed
}

/** The content in memory of its own, or null when it is not the frame that was sealed for this place with this key: its caller knows which object to name. */
export function openFrame(key: Uint8Array, place: FramePlace, sealed: Uint8Array): Buffer | null {
  return decrypt(frameKey(key, place), sealed)
}

function frameKey(key: Uint8Array, { frameNumber, associatedData }: FramePlace): AeadKey {
  if (!Number.isSafeInteger(frameNumber) || frameNumber < 0) throw new RangeError(`${frameNumber} is no frame number`)
  const nonce = Buffer.alloc(12)
  nonce.writeBigUInt64BE(BigInt(frameNumber), 4)
  return { cipher: 'aes-256-gcm', key, nonce, associatedData }
}
