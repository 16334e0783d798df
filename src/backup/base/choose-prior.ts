import type { Context } from '../../kernel/context.ts'
import { isFailure, messageOf } from '../../kernel/failure.ts'
import { openBaseBackup, type OpenBaseBackup } from '../../repository/base/open-base-backup.ts'
import type { PackKeys } from '../../repository/base/pack-keys.ts'
import { livingBackups, type ClusterState } from '../../repository/cluster-log.ts'
import type { Repository } from '../../repository/repository.ts'
import type { BaseBackupRequest } from './base-request.ts'
import type { BaseSourceFacts } from './open-base-source.ts'

export interface Prior {
  /** The newest backup that pages can be compared with; null where the backup is to be a full one. */
  readonly backup: OpenBaseBackup | null
  /** Why it is a full one, or why not a newer one was taken. */
  readonly why: readonly string[]
}

/** Which backup an incremental one is compared with: the newest of the same cluster that is not damaged and can be opened. */
export async function choosePrior(
  { type }: Pick<BaseBackupRequest, 'type'>,
  { repository, state, keys }: { readonly repository: Repository; readonly state: ClusterState; readonly keys: PackKeys | null },
  source: Pick<BaseSourceFacts, 'systemIdentifier' | 'pageBytes'>,
  context: Context,
): Promise<Prior> {
  if (type === 'full') return { backup: null, why: [] }
  const why: string[] = []
  for (const record of livingBackups(state)) {
    if (record.facts.type === 'dump') continue
    const { id } = record.facts
    if (record.state === 'damaged') why.push(`backup ${id} is damaged`)
    else {
      try {
        const backup = await openBaseBackup(repository, record, keys, context)
        const { systemIdentifier, pageBytes } = backup.root.server
        if (systemIdentifier !== source.systemIdentifier) why.push(`backup ${id} is of another cluster (system identifier ${systemIdentifier})`)
        else if (pageBytes !== source.pageBytes) why.push(`backup ${id} has pages of ${pageBytes} bytes`)
        else return { backup, why }
      } catch (error) {
        if (!isFailure(error, 'integrity', 'object-missing', 'key-missing')) throw error
        why.push(`backup ${id} cannot be opened: ${messageOf(error)}`)
      }
    }
  }
  return { backup: null, why: why.length > 0 ? why : ['there is no base backup of this cluster yet'] }
}
