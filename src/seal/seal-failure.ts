import { Failure } from '../kernel/failure.ts'

/** What part of a sealed file was found wrong. */
export type SealedPart = 'armor' | 'header' | 'mac' | 'payload'

const names: Readonly<Record<SealedPart, string>> = { armor: 'text armor', header: 'header', mac: 'header', payload: 'payload' }

/** An `integrity` failure: the bytes are damaged or were changed. Nothing that came out before it counts. */
export function sealDamaged(part: SealedPart, why: string): Failure {
  return new Failure('integrity', `the sealed file is damaged in its ${names[part]}: ${why}`, { details: { part } })
}

/** A `key-missing` failure: none of the keys at hand opens the file. `kinds` are the types of its recipients. */
export function noKeyFits(kinds: readonly string[]): Failure {
  const to = kinds[0] === 'scrypt' ? 'a passphrase' : `${kinds.length} recipient${kinds.length === 1 ? '' : 's'}`
  return new Failure('key-missing', `none of the keys at hand opens the sealed file, which is sealed to ${to}`)
}
