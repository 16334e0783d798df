import type { Context } from '../../kernel/context.ts'
import type { Keyring } from '../keys/keyring.ts'
import type { PackKeys } from './pack-keys.ts'

/** What opens the packs of a repository; null where it is not sealed. */
export function packKeysOf(keyring: Keyring | null, context: Context): PackKeys | null {
  if (keyring === null) return null
  return {
    metadata: async (epoch) => keyring.metadataKey(epoch).key.reveal(),
    run: async (cluster, run) => (await keyring.openRunKey({ cluster, run }, context)).reveal(),
  }
}
