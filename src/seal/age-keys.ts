import type { KeyObject } from 'node:crypto'
import { Failure } from '../kernel/failure.ts'
import { Secret } from '../kernel/secret.ts'
import { decodeBech32, encodeBech32 } from './bech32.ts'
import { generatePrivateKey, importPrivateKey, keyBytes, publicBytesOf, secretBytesOf } from './curve25519.ts'

const recipientPrefix = 'age'
const identityPrefix = 'age-secret-key-'

/** Whom a file is sealed to: an X25519 public key, `age1…`. */
export interface AgeRecipient {
  readonly text: string
  readonly publicKey: Uint8Array
}

/** What opens a file: the key of which `AGE-SECRET-KEY-1…` is the text. */
export interface AgeIdentity {
  readonly recipient: AgeRecipient
  readonly privateKey: KeyObject
}

/** Throws `config-invalid`. */
export function parseAgeRecipient(text: string): AgeRecipient {
  const decoded = decodeBech32(text.trim())
  if (decoded?.prefix === recipientPrefix && decoded.bytes.length === keyBytes) return recipientOf(decoded.bytes)
  // Whatever may be a secret is not repeated.
  if (/^\s*age-secret-key-/i.test(text)) {
    throw new Failure('config-invalid', 'cannot seal to a secret key: a recipient is its public part', { hints: ['age-keygen -y FILE prints it: age1…'] })
  }
  throw new Failure('config-invalid', `this is no age recipient: ${JSON.stringify(text.slice(0, 80))}`, {
    hints: ['it looks like age1… (age-keygen prints it)'],
  })
}

/** Throws `key-missing`, without the text. */
export function parseAgeIdentity(secret: Secret): AgeIdentity {
  const decoded = decodeBech32(secret.reveal().trim())
  if (decoded?.prefix === identityPrefix && decoded.bytes.length === keyBytes) return identityOf(importPrivateKey('x25519', decoded.bytes))
  throw new Failure('key-missing', 'cannot read an age secret key: it is no text of the form AGE-SECRET-KEY-1…, or was mistyped')
}

export function generateAgeIdentity(): AgeIdentity {
  return identityOf(generatePrivateKey('x25519'))
}

/** `AGE-SECRET-KEY-1…`, as `age-keygen` writes it. */
export function formatAgeIdentity({ privateKey }: AgeIdentity): Secret {
  return new Secret(encodeBech32(identityPrefix, secretBytesOf(privateKey)).toUpperCase())
}

function identityOf(privateKey: KeyObject): AgeIdentity {
  return { privateKey, recipient: recipientOf(publicBytesOf(privateKey)) }
}

function recipientOf(publicKey: Uint8Array): AgeRecipient {
  return { text: encodeBech32(recipientPrefix, publicKey), publicKey }
}
