import { createHash } from 'node:crypto'
import { inflateSync } from 'node:zlib'
import * as exported from 'cctv-age'
import { expect, it } from 'vitest'
import { chunked } from '../../test/support/streams.ts'
import { isFailure } from '../kernel/failure.ts'
import { Secret } from '../kernel/secret.ts'
import { unarmored } from './age-armor.ts'
import { decryptAge } from './age.ts'
import { parseAgeIdentity } from './age-keys.ts'

/** The published vectors of C2SP/CCTV: a text header, an empty line, the file. */
const vectors = Object.entries(exported as unknown as Record<string, Uint8Array>).map(([name, bytes]) => {
  const raw = Buffer.from(bytes)
  const cut = raw.indexOf('\n\n')
  const lines = raw.toString('utf8', 0, cut).split('\n')
  const all = (key: string) => lines.filter((line) => line.startsWith(`${key}: `)).map((line) => line.slice(key.length + 2))
  const body = raw.subarray(cut + 2)
  return {
    name,
    file: all('compressed')[0] === 'zlib' ? inflateSync(body) : body,
    expected: all('expect')[0],
    payload: all('payload')[0],
    identities: all('identity'),
    passphrases: all('passphrase'),
    isArmored: all('armored')[0] === 'yes',
  }
})
/** Identities for a hybrid with ML-KEM are another type of recipient, which we neither write nor read. */
const ours = vectors.filter(({ identities }) => identities.every((identity) => identity.startsWith('AGE-SECRET-KEY-1')))

const outcomes: Readonly<Record<string, string>> = { armor: 'armor failure', header: 'header failure', mac: 'HMAC failure', payload: 'payload failure' }

it('knows all published vectors but those of the hybrid recipient', () => {
  expect(vectors.length).toBe(143)
  expect(ours.length).toBe(124)
  expect(new Set(ours.map(({ expected }) => expected))).toEqual(new Set(['success', 'no match', ...Object.values(outcomes)]))
})

it.each(ours)(
  'decides about $name as the format says, and hands on no other bytes',
  async ({ file, expected, payload, identities, passphrases, isArmored }) => {
    const keys = { identities: identities.map((text) => parseAgeIdentity(new Secret(text))), passphrases: passphrases.map((text) => new Secret(text)) }
    for (const sizes of [[1 << 20], [1000, 1, 70_000]]) {
      const digest = createHash('sha256')
      let outcome = 'success'
      try {
        const source = chunked(file, ...sizes)
        for await (const chunk of decryptAge(isArmored ? unarmored(source) : source, keys)) digest.update(chunk)
      } catch (error) {
        if (!isFailure(error)) throw error
        outcome = error.code === 'key-missing' ? 'no match' : (outcomes[String(error.details['part'])] ?? error.message)
      }
      expect(outcome).toBe(expected)
      if (payload !== undefined) expect(digest.digest('hex')).toBe(payload)
    }
  },
)
