import type { Context } from '../../kernel/context.ts'
import type { SecretBytes } from '../../kernel/secret.ts'
import type { Keyring } from '../keys/keyring.ts'
import type { PackKeys } from './pack-keys.ts'

/** What opens the packs of a repository; null where it is not sealed. The key of a run is fetched once, for it has many packs. */
export function packKeysOf(keyring: Keyring | null, context: Context): PackKeys | null {
  if (keyring === null) return null
  const runs = new Map<string, Promise<SecretBytes>>()
  return {
    metadata: async (epoch) => keyring.metadataKey(epoch).key.reveal(),
    run: async (cluster, run) => {
      const name = `${cluster}\n${run}`
      const opening = runs.get(name) ?? keyring.openRunKey({ cluster, run }, context)
      runs.set(name, opening)
      try {
        return (await opening).reveal()
      } catch (error) {
        runs.delete(name)
        throw error
      }
    },
  }
}
