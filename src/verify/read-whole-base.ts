import type { Context } from '../kernel/context.ts'
import { isFailure, type Failure } from '../kernel/failure.ts'
import type { Problem } from '../repository/backup.ts'
import type { BrokenPlace } from '../repository/base/affected-backups.ts'
import { checkPackEnds } from '../repository/base/check-pack-ends.ts'
import { checkPages, type PageProblem } from '../repository/base/check-pages.ts'
import { openBaseBackup, type OpenBaseBackup } from '../repository/base/open-base-backup.ts'
import type { PackKeys } from '../repository/base/pack-keys.ts'
import { requireWholeCluster } from '../repository/base/whole-cluster.ts'
import { objectOf } from '../repository/check-stored.ts'
import type { BackupRecord } from '../repository/cluster-log.ts'
import type { Repository } from '../repository/repository.ts'
import type { PagesLookedAt } from './pages-looked-at.ts'

/** A problem, and where it is. */
export type Damage = Readonly<Problem> & BrokenPlace

export interface ReadBase {
  /** Pages that were read now, in bytes: of a cluster of which an earlier backup was read by this run, only what that one had not. */
  readonly readBytes: number
  readonly damage: readonly Damage[]
  /** False where no key at hand opens its pages, so that only what can be known without was looked at. */
  readonly opened: boolean
}

export interface ReadBaseOptions {
  readonly threads: number
  readonly keys: PackKeys | null
  readonly looked: PagesLookedAt
}

/** Reads everything that a base backup needs: root, indexes, leaves, every page, and the ends of every pack. What is wrong is said; what the storage refuses is thrown. */
export async function readWholeBase(repository: Repository, record: BackupRecord, options: ReadBaseOptions, context: Context): Promise<ReadBase> {
  let backup: OpenBaseBackup
  try {
    backup = await openBaseBackup(repository, record, options.keys, context)
  } catch (error) {
    return { readBytes: 0, damage: [damageOf(requireDamage(error), record)], opened: true }
  }
  try {
    return await readPages(repository, backup, options, context)
  } catch (error) {
    if (isFailure(error, 'key-missing')) return readUnopened(repository, backup, context)
    return { readBytes: 0, damage: [damageOf(requireDamage(error), record)], opened: true }
  }
}

/** On a host that may not read data: every file has its pages, and every pack is there with its size and its header. Nothing is known of the pages by that, so it raises no state. */
async function readUnopened(repository: Repository, backup: OpenBaseBackup, context: Context): Promise<ReadBase> {
  const ends = await checkPackEnds(repository, backup, () => true, context)
  const names = backup.tables.packs.map(({ id }) => id.toString('hex'))
  const damage = [...(await wholenessOf(backup, context)), ...ends.map((problem) => damageIn(problem, (pack) => names[pack] ?? ''))]
  return { readBytes: 0, damage: withoutRepetition(damage), opened: false }
}

async function readPages(repository: Repository, backup: OpenBaseBackup, { threads, looked }: ReadBaseOptions, context: Context): Promise<ReadBase> {
  const { record } = backup
  const names = backup.tables.packs.map(({ id }) => id.toString('hex'))
  const nameOf = (pack: number): string => names[pack] ?? ''
  const leaves: Failure[] = []
  const wants = (pack: number, frame: number): boolean => !looked.has(nameOf(pack), frame)
  const pages = await checkPages(repository, backup, { threads, wants, brokenLeaf: (failure) => void leaves.push(failure) }, context)
  const hasNoEnds = (pack: number): boolean => !looked.hasEnds(nameOf(pack)) && pages.broken.get(pack) !== null
  const ends = await checkPackEnds(repository, backup, hasNoEnds, context)
  const before = looked.known(backup)
  // Where a leaf cannot be read, nobody knows which frames its files have.
  looked.add(backup, { problems: [...pages.problems, ...ends], broken: pages.broken, isAll: leaves.length === 0 })

  const inPacks = [...before, ...pages.problems, ...ends].map((problem) => damageIn(problem, nameOf))
  const inLeaves = leaves.map((failure) => damageOf(failure, record))
  // Without its leaves nobody knows which files it has.
  const whole = leaves.length === 0 ? await wholenessOf(backup, context) : []
  return { readBytes: pages.contentBytes, damage: withoutRepetition([...inLeaves, ...whole, ...inPacks]), opened: true }
}

async function wholenessOf(backup: OpenBaseBackup, context: Context): Promise<readonly Damage[]> {
  try {
    await requireWholeCluster(backup, context)
    return []
  } catch (error) {
    return [damageOf(requireDamage(error), backup.record)]
  }
}

/** What says something about the backup; anything else says something about the storage, the keys or us. */
function requireDamage(error: unknown): Failure {
  if (!isFailure(error, 'integrity', 'object-missing')) throw error
  return error
}

function damageOf(failure: Failure, { manifest }: BackupRecord): Damage {
  const { pack, frame } = failure.details
  return {
    code: failure.code,
    object: objectOf(failure) ?? manifest.key,
    message: failure.message,
    pack: typeof pack === 'string' ? pack : null,
    frame: typeof frame === 'number' ? frame : null,
  }
}

function damageIn({ code, object, message, pack, frame }: PageProblem, nameOf: (pack: number) => string): Damage {
  return { code, object, message, pack: nameOf(pack), frame }
}

function withoutRepetition(damage: readonly Damage[]): readonly Damage[] {
  return [...new Map(damage.map((each) => [`${each.object}\0${each.frame ?? ''}\0${each.message}`, each])).values()]
}
