import { randomBytes } from 'node:crypto'
import { SecretBytes, type Secret } from '../kernel/secret.ts'
import { ByteCursor } from '../stream/byte-cursor.ts'
import { formatAgeHeader, readAgeHeader, requireHeaderMac, type AgeHeader } from './age-header.ts'
import type { AgeIdentity, AgeRecipient } from './age-keys.ts'
import { decryptPayload, encryptPayload, payloadBytes } from './age-payload.ts'
import { fileKeyBytes, unwrapWithIdentity, unwrapWithPassphrase, wrapForPassphrase, wrapForRecipient } from './age-stanzas.ts'
import { hkdf } from './derive-key.ts'
import { noKeyFits, sealDamaged } from './seal-failure.ts'

/** To whom a file is sealed: some recipients, or one passphrase (age allows no mixture). */
export type SealedTo = { readonly recipients: readonly AgeRecipient[] } | { readonly passphrase: Secret; readonly logN?: number }

/** What may open a file. */
export interface OpeningKeys {
  readonly identities?: readonly AgeIdentity[]
  readonly passphrases?: readonly Secret[]
  /** The most work (2^n) that a passphrase entry may ask for: it takes 2^n KiB. Default 22: 4 GiB, as in age. */
  readonly mostLogN?: number
  /** The key of this very file, from whoever sealed it in the same run. Instead of all others: a file with another key is not the one that was sealed. */
  readonly fileKey?: SecretBytes
}

const nonceBytes = 16

/** A file that is about to be sealed. */
export interface AgeSealing {
  /** Opens the file again, also for who is not among its recipients. Never to be stored, and to be forgotten by whoever began this. */
  readonly fileKey: SecretBytes
  /** Bytes of the whole file for so many plain bytes: known before the first of them is. */
  sealedBytes(plainBytes: number): number
  /** The whole file. Once only: a second content under the same keys would show what both have in common. */
  seal(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined>
}

/** Prepares an age file (C2SP age.md, `age-encryption.org/v1`), which any age program opens. */
export async function beginAge(to: SealedTo): Promise<AgeSealing> {
  const fileKey = randomBytes(fileKeyBytes)
  const stanzas = 'passphrase' in to ? [await wrapForPassphrase(fileKey, to.passphrase, to.logN)] : to.recipients.map((one) => wrapForRecipient(fileKey, one))
  if (stanzas.length === 0) throw new Error('a file that is sealed to nobody can never be opened')
  const nonce = randomBytes(nonceBytes)
  const head = Buffer.concat([formatAgeHeader(stanzas, fileKey), nonce])
  const key = payloadKey(fileKey, nonce)
  let isUsed = false
  return {
    fileKey: new SecretBytes(fileKey),
    sealedBytes: (plainBytes) => head.length + payloadBytes(plainBytes),
    seal: async function* (source) {
      if (isUsed) throw new Error('a sealing can be used for one file only')
      isUsed = true
      yield head
      yield* encryptPayload(source, key)
    },
  }
}

/** The age file with the bytes of `source`. */
export async function* encryptAge(source: AsyncIterable<Uint8Array>, to: SealedTo): AsyncGenerator<Uint8Array, void, undefined> {
  const sealing = await beginAge(to)
  yield* sealing.seal(source)
}

/**
 * What was sealed. Throws `key-missing` before the first byte when no key fits, `integrity` when anything was changed, cut or appended; what can only
 * be noticed at the end is thrown at the end, so nothing counts before the stream has ended well.
 */
export async function* decryptAge(source: AsyncIterable<Uint8Array>, keys: OpeningKeys): AsyncGenerator<Uint8Array, void, undefined> {
  const cursor = new ByteCursor(source)
  try {
    const fileKey = await readFileKey(cursor, keys)
    if (!(await cursor.need(nonceBytes))) throw sealDamaged('header', 'the file ends before its payload')
    yield* decryptPayload(cursor, payloadKey(fileKey, cursor.take(nonceBytes)))
  } finally {
    await cursor.close()
  }
}

async function readFileKey(cursor: ByteCursor, keys: OpeningKeys): Promise<Uint8Array> {
  const header = await readAgeHeader(cursor)
  const fileKey = keys.fileKey?.reveal() ?? (await findFileKey(header, keys))
  requireHeaderMac(header, fileKey)
  return fileKey
}

async function findFileKey({ stanzas }: AgeHeader, { identities = [], passphrases = [], mostLogN = 22 }: OpeningKeys): Promise<Uint8Array> {
  const [first] = stanzas
  if (first !== undefined && stanzas.some(({ type }) => type === 'scrypt')) {
    if (stanzas.length > 1) throw sealDamaged('header', 'a passphrase stands beside other recipients')
    for (const passphrase of passphrases) {
      const fileKey = await unwrapWithPassphrase(first, passphrase, mostLogN)
      if (fileKey !== null) return fileKey
    }
  } else {
    for (const stanza of stanzas) {
      for (const identity of identities) {
        const fileKey = unwrapWithIdentity(stanza, identity)
        if (fileKey !== null) return fileKey
      }
    }
  }
  throw noKeyFits(stanzas.map(({ type }) => type))
}

function payloadKey(fileKey: Uint8Array, nonce: Uint8Array): Buffer {
  return hkdf(fileKey, nonce, 'payload')
}
