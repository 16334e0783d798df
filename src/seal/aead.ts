import { createCipheriv, createDecipheriv } from 'node:crypto'
import { giveBack } from '../stream/chunks.ts'

/** Both take a key of 32 bytes and a nonce of 12, and make a tag of 16. */
export type AeadCipher = 'aes-256-gcm' | 'chacha20-poly1305'

export const tagBytes = 16
/** Stated in every call: versions of Node before 24 take a tag of 4 bytes else. */
const options = { authTagLength: tagBytes }

export interface AeadKey {
  readonly cipher: AeadCipher
  readonly key: Uint8Array
  /** Never twice with one key. */
  readonly nonce: Uint8Array
  readonly associatedData?: Uint8Array
}

/** Writes ciphertext and tag, `plain.length + tagBytes` bytes, to the beginning of `target`. */
export function encryptInto(target: Uint8Array, { cipher, key, nonce, associatedData }: AeadKey, plain: Uint8Array): void {
  // The types differ by name only; what is called is the same for both.
  const encryption = createCipheriv(cipher as 'aes-256-gcm', key, nonce, options)
  if (associatedData !== undefined) encryption.setAAD(associatedData)
  const sealed = encryption.update(plain)
  target.set(sealed)
  giveBack(sealed)
  encryption.final()
  target.set(encryption.getAuthTag(), plain.length)
}

/** The plain bytes, in memory of their own; null unless key, nonce, associated data, ciphertext and tag are those of one sealing. */
export function decrypt({ cipher, key, nonce, associatedData }: AeadKey, sealed: Uint8Array): Buffer | null {
  const plainBytes = sealed.length - tagBytes
  if (plainBytes < 0) return null
  const decryption = createDecipheriv(cipher as 'aes-256-gcm', key, nonce, options)
  if (associatedData !== undefined) decryption.setAAD(associatedData)
  decryption.setAuthTag(sealed.subarray(plainBytes))
  const plain = decryption.update(sealed.subarray(0, plainBytes))
  try {
    decryption.final()
  } catch {
    // All that `final` can say of such a cipher is that the tag does not fit.
    return null
  }
  return plain
}
