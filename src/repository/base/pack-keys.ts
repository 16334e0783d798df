import type { Context } from '../../kernel/context.ts'
import { Failure } from '../../kernel/failure.ts'
import type { SecretBytes } from '../../kernel/secret.ts'
import type { PackHeader } from '../../packs/pack-format.ts'
import type { Keyring } from '../keys/keyring.ts'
import type { RunName } from '../keys/run-key.ts'
import type { OpenBaseBackup } from './open-base-backup.ts'

/** Gives the keys of sealed packs. */
export interface PackKeys {
  /** Opens what a host must know to make incrementals and lists: leaves, indexes, roots. */
  metadata(epoch: number): Promise<Uint8Array>
  /** Opens the pages that a run stored. Rejects with `key-missing` where no identity at hand may read them. */
  run(cluster: string, run: string): Promise<Uint8Array>
}

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

/**
 * The key of a pack, whatever seals it. `keys` is null in a repository that is not sealed. In one that is, a pack in clear is nothing that was stored there: whoever can write, and has no key, could
 * plant a root that is listed again, and every page below it.
 */
export async function keyOfPack(
  { keyKind, epoch }: Pick<PackHeader, 'keyKind' | 'epoch'>,
  { cluster, run }: RunName,
  keys: PackKeys | null,
): Promise<Uint8Array | null> {
  if (keyKind === 'none') {
    if (keys === null) return null
    throw new Failure('integrity', `what run ${run} is said to have stored is not sealed, in a repository that is: it is not what was stored`)
  }
  if (keys === null)
    throw new Failure('key-missing', `what run ${run} stored is sealed, and no key is at hand`, {
      hints: ['name a key: --identity FILE, or the recovery kit: --kit FILE'],
    })
  return keyKind === 'metadata' ? keys.metadata(epoch) : keys.run(cluster, run)
}

/**
 * Rejects with `key-missing`, `integrity` or `object-missing` unless the key of every page can be had that the backup has, before anything is done with it: a write-only host opens what describes a
 * backup, and no page.
 */
export async function requirePageKeys(backup: OpenBaseBackup): Promise<void> {
  const runs = new Map<string, number>()
  for (const number of backup.tables.packs.keys()) {
    const { run, keyKind } = backup.pack(number)
    if (keyKind === 'run') runs.set(run, number)
  }
  for (const number of runs.values()) await backup.key(number)
}
