import { createHash } from 'node:crypto'
import type { AgeRecipient } from '../../seal/age-keys.ts'
import { clusterSegment, number10 } from '../layout.ts'

/** Where keys lie in a repository: docs/keys.md "Objects". All functions are pure. */

export const ringsPrefix = '.tidemark/keys/rings/'
export const ringKey = (number: number) => `${ringsPrefix}${number10(number)}.age`
export const ringCopyKey = (number: number) => `${ringsPrefix}${number10(number)}.copy.age`

/** Of a ring or its copy. */
export function ringNumberOf(key: string): number | undefined {
  const match = /^(\d{10})(?:\.copy)?\.age$/.exec(key.slice(ringsPrefix.length))
  return match === null ? undefined : Number(match[1])
}

export const runKeysPrefix = '.tidemark/keys/runs/'
export const runKeyKey = (cluster: string, run: string) => `${runKeysPrefix}${clusterSegment(cluster)}/${run}.age`

export const passphrasesPrefix = '.tidemark/keys/passphrases/'

/** `ring` is the first that may name this identity. */
export function passphraseKey(ring: number, recipient: AgeRecipient): string {
  return `${passphrasesPrefix}${number10(ring)}-${passphraseTag(recipient)}.age`
}

export function passphraseTag(recipient: AgeRecipient): string {
  return createHash('sha256').update(recipient.text).digest('hex').slice(0, 16)
}

export function passphraseOf(key: string): { readonly ring: number; readonly tag: string } | undefined {
  const match = /^(\d{10})-([0-9a-f]{16})\.age$/.exec(key.slice(passphrasesPrefix.length))
  return match === null ? undefined : { ring: Number(match[1]), tag: match[2] ?? '' }
}
