import { sign, verify, type KeyObject } from 'node:crypto'
import { Secret } from '../kernel/secret.ts'
import { decodeBech32, encodeBech32 } from './bech32.ts'
import { generatePrivateKey, importPrivateKey, importPublicKey, keyBytes, publicBytesOf, secretBytesOf } from './curve25519.ts'

/** Bytes of an Ed25519 signature (RFC 8032). */
export const signatureBytes = 64
const signaturePrefix = 'tidemark-signature'

/** Whose signatures: the repository's root, or a host. A key of one kind is never taken for the other. */
export type SignerKind = 'root' | 'host'

/** Who is believed: `tidemark-root1…` or `tidemark-host1…`. */
export interface VerifyKey {
  readonly kind: SignerKind
  readonly text: string
  readonly publicKey: Uint8Array
}

export interface SigningKey {
  readonly verifyKey: VerifyKey
  readonly privateKey: KeyObject
}

/** What is signed, and what for: a signature for one purpose or repository is none for another. */
export interface Signed {
  /** Words of `a–z` and `-`. */
  readonly purpose: string
  /** The repository's id. */
  readonly repository: string
  readonly message: Uint8Array
}

export function generateSigningKey(kind: SignerKind): SigningKey {
  return signingKeyOf(kind, generatePrivateKey('ed25519'))
}

/** Null when it is no public key of this kind. */
export function parseVerifyKey(kind: SignerKind, text: string): VerifyKey | null {
  const decoded = decodeBech32(text)
  return decoded?.prefix === `tidemark-${kind}` && decoded.bytes.length === keyBytes ? verifyKeyOf(kind, decoded.bytes) : null
}

/** Null when it is no secret of this kind, or was mistyped. */
export function parseSigningKey(kind: SignerKind, secret: Secret): SigningKey | null {
  const decoded = decodeBech32(secret.reveal().trim())
  if (decoded?.prefix !== `tidemark-${kind}-key-` || decoded.bytes.length !== keyBytes) return null
  return signingKeyOf(kind, importPrivateKey('ed25519', decoded.bytes))
}

/** `TIDEMARK-ROOT-KEY-1…` or `TIDEMARK-HOST-KEY-1…`. */
export function formatSigningKey({ verifyKey, privateKey }: SigningKey): Secret {
  return new Secret(encodeBech32(`tidemark-${verifyKey.kind}-key-`, secretBytesOf(privateKey)).toUpperCase())
}

export function signMessage({ privateKey }: SigningKey, signed: Signed): Buffer {
  return sign(null, framed(signed), privateKey)
}

export function isSignedBy({ publicKey }: VerifyKey, signed: Signed, signature: Uint8Array): boolean {
  return signature.length === signatureBytes && verify(null, framed(signed), importPublicKey('ed25519', publicKey), signature)
}

/** `tidemark-signature1…` */
export function formatSignature(signature: Uint8Array): string {
  return encodeBech32(signaturePrefix, signature)
}

export function parseSignature(text: string): Uint8Array | null {
  const decoded = decodeBech32(text)
  return decoded?.prefix === signaturePrefix && decoded.bytes.length === signatureBytes ? decoded.bytes : null
}

/** The bytes under the signature: docs/keys.md "What is signed". */
function framed({ purpose, repository, message }: Signed): Buffer {
  if (!/^[a-z-]+$/.test(purpose) || !/^[0-9a-f]{32}$/.test(repository)) throw new Error('what is signed needs a purpose and a repository')
  return Buffer.concat([Buffer.from(`tidemark-signature/1\n${purpose}\n${repository}\n`), message])
}

function signingKeyOf(kind: SignerKind, privateKey: KeyObject): SigningKey {
  return { privateKey, verifyKey: verifyKeyOf(kind, publicBytesOf(privateKey)) }
}

function verifyKeyOf(kind: SignerKind, publicKey: Uint8Array): VerifyKey {
  return { kind, publicKey, text: encodeBech32(`tidemark-${kind}`, publicKey) }
}
