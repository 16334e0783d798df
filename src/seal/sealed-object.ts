import { randomBytes } from 'node:crypto'
import { decrypt, encryptInto, tagBytes } from './aead.ts'
import { hkdf } from './derive-key.ts'

const saltBytes = 32
/** A sealed object is so much longer than its content. */
export const objectOverheadBytes = saltBytes + tagBytes

/**
 * Seals an object of any kind with a key that seals many: `salt ‖ ciphertext ‖ tag`, AES-256-GCM under a key of its own, derived by the random salt.
 * Each derived key is used once, so the nonce is zero and there is no number of objects after which a key is used up.
 */
export function sealObject(key: Uint8Array, associatedData: Uint8Array, content: Uint8Array): Buffer<ArrayBuffer> {
  const sealed = Buffer.allocUnsafeSlow(content.length + objectOverheadBytes)
  const salt = randomBytes(saltBytes)
  sealed.set(salt)
  encryptInto(sealed.subarray(saltBytes), { ...objectKey(key, salt), associatedData }, content)
  return sealed
}

/** The content in memory of its own, or null when key or associated data are others, or a byte was changed. */
export function openObject(key: Uint8Array, associatedData: Uint8Array, sealed: Uint8Array): Buffer | null {
  if (sealed.length < objectOverheadBytes) return null
  return decrypt({ ...objectKey(key, sealed.subarray(0, saltBytes)), associatedData }, sealed.subarray(saltBytes))
}

function objectKey(key: Uint8Array, salt: Uint8Array) {
  return { cipher: 'aes-256-gcm', key: hkdf(key, salt, 'tidemark/1 object-seal'), nonce: Buffer.alloc(12) } as const
}
