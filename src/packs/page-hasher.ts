import { Blake3Hasher } from '@napi-rs/blake-hash'
import { hashBytes } from './leaf.ts'

/** Writes the hash of one page, 8 bytes of keyed BLAKE3, to `into` at `at`. */
export type PageHasher = (page: Uint8Array, into: Buffer, at: number) => void

/** `key` has 32 bytes. One hasher for all pages: making one costs more than hashing a page. */
export function createPageHasher(key: Uint8Array): PageHasher {
  const hasher = Blake3Hasher.newKeyed(Buffer.from(key))
  return (page, into, at) => {
    hasher.reset()
    hasher.update(page)
    hasher.digestBuffer().copy(into, at, 0, hashBytes)
  }
}

/** 16 bytes that are equal for equal leaves, and say nothing to whoever has not the key. */
export function leafDigest(content: Uint8Array, key: Uint8Array): Buffer {
  return Blake3Hasher.newKeyed(Buffer.from(key)).update(content).digestBuffer().subarray(0, 16)
}
