import type { Context } from '../../kernel/context.ts'
import { isFailure, messageOf } from '../../kernel/failure.ts'
import { familyOf } from '../backup.ts'
import { livingBackups, type BackupRecord, type ClusterState } from '../cluster-log.ts'
import type { Repository } from '../repository.ts'
import { openBaseBackup, type OpenBaseBackup } from './open-base-backup.ts'
import type { PackKeys } from './pack-keys.ts'
import { readRoot } from './read-base-objects.ts'

/** Something that is broken: an object, or one frame of a pack in it. */
export interface BrokenPlace {
  readonly object: string
  /** In hexadecimal; null where it is not of a pack that several backups can share, or nobody knows which. */
  readonly pack: string | null
  /** Null where the whole object is concerned. */
  readonly frame: number | null
}

export interface OtherBackup {
  readonly id: string
  /** Whether it needs this place; null where it could not be opened to see. */
  needs(place: BrokenPlace): boolean | null
}

/** The other living base backups of a cluster, as far as is needed to say which of them share what is broken in one of them. */
export async function openOthers(
  repository: Repository,
  { state, except }: { readonly state: ClusterState; readonly except: string },
  keys: PackKeys | null,
  context: Context,
): Promise<readonly OtherBackup[]> {
  const others: OtherBackup[] = []
  for (const record of livingBackups(state)) {
    if (familyOf(record.facts) !== 'base' || record.facts.id === except) continue
    others.push({ id: record.facts.id, needs: await needsOf(repository, record, keys, context) })
  }
  return others
}

async function needsOf(repository: Repository, record: BackupRecord, keys: PackKeys | null, context: Context): Promise<OtherBackup['needs']> {
  let named: ReadonlySet<string> = new Set()
  try {
    const { root } = await readRoot(repository, record, keys, context)
    named = new Set([record.manifest.key, record.moved?.key ?? '', ...root.indexes.map(({ key }) => key)])
    const packs = packsOf(await openBaseBackup(repository, record, keys, context))
    return ({ object, pack, frame }) =>
      named.has(object) ||
      packs.some((each) => each.object === object && (pack === null || each.id === pack) && (frame === null || (each.live[frame] ?? 0) > 0))
  } catch (error) {
    if (!isFailure(error, 'integrity', 'object-missing', 'key-missing')) throw error
    context.emit({ type: 'note', message: `whether backup ${record.facts.id} is affected is not known: ${messageOf(error)}` })
    return ({ object }) => (named.has(object) ? true : null)
  }
}

function packsOf(backup: OpenBaseBackup): readonly { readonly id: string; readonly object: string; readonly live: Buffer }[] {
  return backup.tables.packs.map(({ id, live }, number) => ({ id: id.toString('hex'), object: backup.pack(number).key, live }))
}
