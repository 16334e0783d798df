import type { Context } from '../../kernel/context.ts'
import { isFailure, messageOf } from '../../kernel/failure.ts'
import type { Storage } from '../../storage/storage.ts'
import type { ClusterState } from '../cluster-log.ts'
import { readManifest } from '../manifest.ts'

/**
 * By backup, the `sha256:<hex>` of the file that it was before it was sealed: of what was copied in from elsewhere. By it the same file is known again,
 * which sealed twice is never the same bytes. Of deleted backups, too.
 */
export async function knownOriginals(storage: Storage, state: ClusterState, context: Context): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>()
  for (const record of state.backups.values()) {
    const { id, adopted, encryption } = record.facts
    if (!adopted || encryption === null) continue
    try {
      const { originalSha256 } = await readManifest(storage, record, context.signal)
      if (originalSha256 !== undefined) found.set(id, `sha256:${originalSha256}`)
    } catch (error) {
      // The worst that follows is that a file is taken in twice.
      if (!isFailure(error, 'integrity', 'object-missing')) throw error
      context.emit({ type: 'note', message: `which file backup ${id} was made of is not known any more: ${messageOf(error)}` })
    }
  }
  return found
}
