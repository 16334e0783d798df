import { hkdfSync } from 'node:crypto'

const noContext = new Uint8Array(0)

/** HKDF-SHA-256 (RFC 5869) to 32 bytes. */
export function hkdf(secret: Uint8Array, salt: Uint8Array, info: string): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, salt, info, 32))
}

/** What a key is derived for; docs/keys.md "From keys to bytes". */
export type Purpose =
  /** Frames of one pack, from the run key, or the metadata key for a pack of metadata; the context is the pack's id. */
  | 'pack'
  /** Objects outside of packs, from the metadata key: `sealed-object.ts`. */
  | 'object'

/** A 256-bit key for one purpose, from which neither `secret` nor the key of another purpose or context can be found. */
export function deriveKey(secret: Uint8Array, purpose: Purpose, context: Uint8Array = noContext): Buffer {
  return hkdf(secret, context, `tidemark/1 ${purpose}`)
}
