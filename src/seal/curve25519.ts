import { createPrivateKey, createPublicKey, diffieHellman, generateKeyPairSync, type KeyObject } from 'node:crypto'

export const keyBytes = 32

export type Curve = 'x25519' | 'ed25519'

/** DER before the 32 bytes of a key (RFC 8410). */
const publicDer: Readonly<Record<Curve, Buffer>> = {
  x25519: Buffer.from('302a300506032b656e032100', 'hex'),
  ed25519: Buffer.from('302a300506032b6570032100', 'hex'),
}
const privateDer: Readonly<Record<Curve, Buffer>> = {
  x25519: Buffer.from('302e020100300506032b656e04220420', 'hex'),
  ed25519: Buffer.from('302e020100300506032b657004220420', 'hex'),
}

/** A new private key. A `KeyObject` shows nothing of itself when it is printed or serialised. */
export function generatePrivateKey(curve: Curve): KeyObject {
  return curve === 'x25519' ? generateKeyPairSync('x25519').privateKey : generateKeyPairSync('ed25519').privateKey
}

export function importPrivateKey(curve: Curve, secret: Uint8Array): KeyObject {
  return createPrivateKey({ key: Buffer.concat([privateDer[curve], secret]), format: 'der', type: 'pkcs8' })
}

export function importPublicKey(curve: Curve, bytes: Uint8Array): KeyObject {
  return createPublicKey({ key: Buffer.concat([publicDer[curve], bytes]), format: 'der', type: 'spki' })
}

/** The 32 secret bytes: the scalar of RFC 7748, the seed of RFC 8032. */
export function secretBytesOf(privateKey: KeyObject): Buffer {
  return privateKey.export({ format: 'der', type: 'pkcs8' }).subarray(-keyBytes)
}

/** The 32 public bytes that belong to a private key. */
export function publicBytesOf(privateKey: KeyObject): Buffer {
  return createPublicKey(privateKey).export({ format: 'der', type: 'spki' }).subarray(-keyBytes)
}

/** What two X25519 keys share; null for a public key of low order, which shares the same with everybody. */
export function sharedSecret(privateKey: KeyObject, publicKey: Uint8Array): Buffer | null {
  try {
    const shared = diffieHellman({ privateKey, publicKey: importPublicKey('x25519', publicKey) })
    return shared.every((byte) => byte === 0) ? null : shared
  } catch (error) {
    // OpenSSL refuses them itself, with a code of its own in every version.
    if (error instanceof Error && 'code' in error) return null
    throw error
  }
}
