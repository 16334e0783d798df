import { Failure } from '../../kernel/failure.ts'
import type { PackHeader } from '../../packs/pack-format.ts'

/** Gives the keys of sealed packs. */
export interface PackKeys {
  /** Opens what a host must know to make incrementals and lists: leaves, indexes, roots. */
  metadata(epoch: number): Promise<Uint8Array>
  /** Opens the pages that a run stored. Rejects with `key-missing` where no identity at hand may read them. */
  run(cluster: string, run: string): Promise<Uint8Array>
}

/** The key of a pack, whatever seals it. `keys` is null where no key is at hand: then only what is not sealed can be opened. */
export async function keyOfPack(
  { keyKind, epoch }: Pick<PackHeader, 'keyKind' | 'epoch'>,
  { cluster, run }: { readonly cluster: string; readonly run: string },
  keys: PackKeys | null,
): Promise<Uint8Array | null> {
  if (keyKind === 'none') return null
  if (keys === null)
    throw new Failure('key-missing', `what run ${run} stored is sealed, and no key is at hand`, {
      hints: ['name a key: --identity FILE, or the recovery kit: --kit FILE'],
    })
  return keyKind === 'metadata' ? keys.metadata(epoch) : keys.run(cluster, run)
}
