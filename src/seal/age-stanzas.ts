import { randomBytes, scrypt, type ScryptOptions } from 'node:crypto'
import { promisify } from 'node:util'
import { Failure } from '../kernel/failure.ts'
import type { Secret } from '../kernel/secret.ts'
import { decrypt, encryptInto, tagBytes } from './aead.ts'
import type { Stanza } from './age-header.ts'
import type { AgeIdentity, AgeRecipient } from './age-keys.ts'
import { decodeBase64, encodeBase64 } from './base64.ts'
import { generatePrivateKey, keyBytes, publicBytesOf, sharedSecret } from './curve25519.ts'
import { hkdf } from './derive-key.ts'
import { sealDamaged } from './seal-failure.ts'

// The ways to the file key of an age file: C2SP age.md, "The X25519 recipient type" and "The scrypt recipient type".

export const fileKeyBytes = 16
const wrappedBytes = fileKeyBytes + tagBytes
const x25519Label = 'age-encryption.org/v1/X25519'
const scryptLabel = 'age-encryption.org/v1/scrypt'
const scryptSaltBytes = 16
/** Twice this is 256 MiB and takes about a second: what age itself writes. */
const usualLogN = 18

const derive = promisify<string, Buffer, number, ScryptOptions, Buffer>(scrypt)

/** Wraps a file key to one recipient. Throws `config-invalid` for a recipient of low order, to whom nothing can be sealed. */
export function wrapForRecipient(fileKey: Uint8Array, recipient: AgeRecipient): Stanza {
  const ephemeral = generatePrivateKey('x25519')
  const share = publicBytesOf(ephemeral)
  const shared = sharedSecret(ephemeral, recipient.publicKey)
  if (shared === null) throw new Failure('config-invalid', `cannot seal to ${recipient.text}: it is a key of low order, which everybody can open`)
  return { type: 'X25519', args: [encodeBase64(share)], body: wrap(wrappingKey(shared, share, recipient.publicKey), fileKey) }
}

/** Wraps a file key to a passphrase: the only stanza of its file. The work is 2^`logN`, and takes a thread of libuv's pool. */
export async function wrapForPassphrase(fileKey: Uint8Array, passphrase: Secret, logN = usualLogN): Promise<Stanza> {
  const salt = randomBytes(scryptSaltBytes)
  return { type: 'scrypt', args: [encodeBase64(salt), String(logN)], body: wrap(await passphraseKey(passphrase, salt, logN), fileKey) }
}

/** The file key if this identity opens the stanza; null when it is for somebody else. Throws `integrity` when it is malformed. */
export function unwrapWithIdentity({ type, args, body }: Stanza, identity: AgeIdentity): Uint8Array | null {
  if (type !== 'X25519') return null
  const share = args.length === 1 ? decodeBase64(args[0] ?? '') : null
  if (share?.length !== keyBytes) throw sealDamaged('header', 'a recipient of type X25519 has no valid share')
  if (body.length !== wrappedBytes) throw sealDamaged('header', 'a recipient of type X25519 has a file key of the wrong size')
  const shared = sharedSecret(identity.privateKey, share)
  if (shared === null) throw sealDamaged('header', 'a recipient of type X25519 has a share of low order')
  return decrypt(wrapping(wrappingKey(shared, share, identity.recipient.publicKey)), body)
}

/** The file key if the passphrase is right, else null. Throws `integrity` when the stanza is malformed, or asks for more work than 2^`mostLogN`. */
export async function unwrapWithPassphrase({ args, body }: Stanza, passphrase: Secret, mostLogN: number): Promise<Uint8Array | null> {
  const [saltText = '', logText = ''] = args
  const salt = decodeBase64(saltText)
  if (args.length !== 2 || salt?.length !== scryptSaltBytes || !/^[1-9]\d?$/.test(logText)) throw sealDamaged('header', 'its passphrase entry is malformed')
  if (body.length !== wrappedBytes) throw sealDamaged('header', 'its passphrase entry has a file key of the wrong size')
  const logN = Number(logText)
  if (logN > mostLogN) throw sealDamaged('header', `its passphrase entry asks for more work (2^${logN}) than a file may (2^${mostLogN})`)
  return decrypt(wrapping(await passphraseKey(passphrase, salt, logN)), body)
}

function wrappingKey(shared: Uint8Array, share: Uint8Array, recipient: Uint8Array): Buffer {
  return hkdf(shared, Buffer.concat([share, recipient]), x25519Label)
}

function passphraseKey(passphrase: Secret, salt: Uint8Array, logN: number): Promise<Buffer> {
  const N = 2 ** logN
  const r = 8
  return derive(passphrase.reveal(), Buffer.concat([Buffer.from(scryptLabel), salt]), 32, { N, r, p: 1, maxmem: 128 * r * (N + 64) })
}

/** Each wrapping key is used once, so its nonce may be zero. */
function wrapping(key: Uint8Array) {
  return { cipher: 'chacha20-poly1305', key, nonce: Buffer.alloc(12) } as const
}

function wrap(key: Uint8Array, fileKey: Uint8Array): Buffer {
  const body = Buffer.alloc(wrappedBytes)
  encryptInto(body, wrapping(key), fileKey)
  return body
}
