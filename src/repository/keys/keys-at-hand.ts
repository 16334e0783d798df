import type { Context } from '../../kernel/context.ts'
import { Failure } from '../../kernel/failure.ts'
import type { Secret } from '../../kernel/secret.ts'
import type { AgeIdentity } from '../../seal/age-keys.ts'
import type { VerifyKey } from '../../seal/signing.ts'
import type { Storage } from '../../storage/storage.ts'
import type { HostKey, RecoveryKit } from './key-file.ts'
import type { KeyMemory } from './key-memory.ts'
import { openPassphraseFiles } from './passphrases.ts'

/** The keys that somebody brought. */
export interface KeysAtHand {
  readonly host?: HostKey | undefined
  readonly kit?: RecoveryKit | undefined
  readonly identities?: readonly AgeIdentity[]
  readonly passphrases?: readonly Secret[]
  /** Trusted where neither host key nor kit names a root. */
  readonly root?: VerifyKey | undefined
  readonly memory?: KeyMemory | undefined
}

export function hasKeys({ host, kit, identities = [], passphrases = [] }: KeysAtHand): boolean {
  return host !== undefined || kit !== undefined || identities.length > 0 || passphrases.length > 0
}

/** The root that is believed; null when nothing at hand names one. Throws `key-missing` when they name different ones. */
export function trustedRoot({ host, kit, root }: KeysAtHand): VerifyKey | null {
  const named = [host?.root, kit?.rootKey.verifyKey, root].filter((one) => one !== undefined)
  const [first = null, ...others] = named
  if (others.some((one) => one.text !== first?.text)) {
    throw new Failure('key-missing', 'the keys at hand belong to different keyrings', {
      hints: [`root keys: ${named.map(({ text }) => text).join(', ')}`, 'use the host key and the recovery kit that were made together'],
    })
  }
  return first
}

/** All identities at hand, with those that the passphrases open. A passphrase that opens none is `key-missing`. */
export async function identitiesOf(keys: KeysAtHand, storage: Storage, context: Context): Promise<readonly AgeIdentity[]> {
  const { host, kit, identities = [], passphrases = [] } = keys
  const found = [...(kit === undefined ? [] : [kit.identity]), ...(host === undefined ? [] : [host.identity]), ...identities]
  if (passphrases.length === 0) return found
  const opened = await openPassphraseFiles(storage, passphrases, context)
  if (opened.length === 0) {
    throw new Failure('key-missing', 'the passphrase opens no identity of this repository', { hints: ['is it the right one, and typed as it was then?'] })
  }
  return [...found, ...opened]
}
