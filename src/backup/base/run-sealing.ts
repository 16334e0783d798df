import type { Context } from '../../kernel/context.ts'
import { packKeysOf } from '../../repository/base/pack-keys.ts'
import type { PackKeys } from '../../repository/base/pack-keys.ts'
import type { RunName } from '../../repository/keys/run-key.ts'
import type { Repository } from '../../repository/repository.ts'
import type { RunKeys } from './page-store.ts'

/** What a run seals with, and opens. */
export interface RunSealing extends Disposable {
  readonly seal: RunKeys
  /** Its own key is opened from memory: a host that may only write reads back what it wrote, and nothing else. */
  readonly open: PackKeys
  /** Stores the key of the run, sealed to those who read: before the first pack, so that no pack is ever without. */
  store(): Promise<void>
}

/** A new key for a run; null where the repository is not sealed. Disposing it overwrites the key: from then on only readers have it. */
export function sealRun({ keyring }: Repository, name: RunName, context: Context): RunSealing | null {
  const open = packKeysOf(keyring, context)
  if (keyring === null || open === null) return null
  const { epoch, key } = keyring.metadataKey()
  const run = keyring.newRunKey(name)
  return {
    seal: { run: run.key.reveal(), metadata: { epoch, key: key.reveal() } },
    open: {
      metadata: open.metadata,
      run: async (cluster, wanted) => (cluster === name.cluster && wanted === name.run ? run.key.reveal() : open.run(cluster, wanted)),
    },
    store: () => run.store(),
    [Symbol.dispose]: () => run.key.forget(),
  }
}
