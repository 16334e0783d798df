import type { Context } from '../../kernel/context.ts'
import { Failure, isFailure } from '../../kernel/failure.ts'
import { Secret } from '../../kernel/secret.ts'
import { formatAgeIdentity, generateAgeIdentity, parseAgeIdentity, type AgeIdentity } from '../../seal/age-keys.ts'
import type { Storage } from '../../storage/storage.ts'
import { readObject } from '../bytes.ts'
import { passphraseKey, passphraseOf, passphrasesPrefix } from './key-layout.ts'
import { openBytes, sealBytes, type SmallObject } from './stored-secret.ts'

const passphraseFileLimitBytes = 4096
const mostPassphraseFiles = 64
/** 1 GiB; our own files ask for a quarter of it. */
const mostLogN = 20
const leastPassphraseCharacters = 12

/** The identities of this repository that these passphrases open; each takes about a second for every file that is tried. */
export async function openPassphraseFiles(storage: Storage, passphrases: readonly Secret[], context: Context): Promise<readonly AgeIdentity[]> {
  const opened: AgeIdentity[] = []
  let tried = 0
  for await (const { key } of storage.list(passphrasesPrefix, context)) {
    if (passphraseOf(key) === undefined) continue
    tried += 1
    if (tried > mostPassphraseFiles) {
      context.emit({ type: 'warning', code: 'key-damaged', message: `only ${mostPassphraseFiles} files below ${passphrasesPrefix} were tried` })
      break
    }
    try {
      const text = await openBytes(key, await readObject(storage, key, passphraseFileLimitBytes, context.signal), { passphrases, mostLogN })
      opened.push(parseAgeIdentity(new Secret(Buffer.from(text).toString('latin1'))))
    } catch (error) {
      // It may be another person's, and a damaged one must not shut out the others.
      if (isFailure(error, 'integrity')) context.emit({ type: 'warning', code: 'key-damaged', message: error.message })
      else if (!isFailure(error, 'key-missing', 'object-missing')) throw error
    }
  }
  return opened
}

/** A new identity under a passphrase, and the object that ring `ring` will count on. Throws `usage-invalid` for a passphrase that could be guessed. */
export async function sealPassphrase(
  { passphrase, logN }: { readonly passphrase: Secret; readonly logN?: number },
  ring: number,
): Promise<{ readonly identity: AgeIdentity; readonly file: SmallObject }> {
  if (Array.from(passphrase.reveal()).length < leastPassphraseCharacters) {
    throw new Failure('usage-invalid', `a passphrase needs ${leastPassphraseCharacters} characters or more: whoever has the repository can try without limit`, {
      hints: ['six random words are easy to keep and hard to guess'],
    })
  }
  const identity = generateAgeIdentity()
  const bytes = await sealBytes(Buffer.from(`${formatAgeIdentity(identity).reveal()}\n`), { passphrase, ...(logN === undefined ? {} : { logN }) })
  return { identity, file: { key: passphraseKey(ring, identity.recipient), bytes } }
}
