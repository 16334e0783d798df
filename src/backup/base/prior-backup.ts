import type { LeafEntry } from '../../packs/leaf.ts'
import type { LeafPlace } from '../../packs/root-tables.ts'
import type { OpenBaseBackup } from '../../repository/base/open-base-backup.ts'
import type { CallOptions } from '../../storage/storage.ts'

/** What the backup before this one knows of the files: so that what did not change need not be stored again. */
export interface PriorBackup {
  /** The entry that describes this page of a file; undefined where there is none. */
  entry(path: string, page: number): LeafEntry | undefined | Promise<LeafEntry | undefined>
  /** A leaf with this content that is stored already. */
  leaf(digest: Buffer): LeafPlace | undefined
  /** Whether so little of a frame is live that what is live should be written again. */
  isSparse(pack: number, frame: number): boolean
}

/** For a full backup: nothing is known. */
export const noPrior: PriorBackup = { entry: () => undefined, leaf: () => undefined, isSparse: () => false }

/** Below this, in 1/255, a frame is read for less than half of what it holds. */
const sparseBelow = 128
/** Some 256 entries of 200 bytes each. */
const cachedLeaves = 256

export function priorOf(backup: OpenBaseBackup, options: CallOptions): PriorBackup {
  const groups: LeafPlace[] = []
  const parts = new Map<string, LeafPlace[]>()
  const stored = new Map<string, LeafPlace>()
  for (const place of backup.tables.leaves) {
    stored.set(place.digest.toString('latin1'), place)
    if (place.firstPage === null) groups.push(place)
    else parts.set(place.path, [...(parts.get(place.path) ?? []), place])
  }
  const live = backup.tables.packs.map((use) => use.live)
  const cache = new Map<LeafPlace, ReadonlyMap<string, LeafEntry>>()

  const read = async (place: LeafPlace): Promise<ReadonlyMap<string, LeafEntry>> => {
    const entries = new Map((await backup.leaf(place, options)).map((entry) => [entry.path, entry]))
    cache.set(place, entries)
    const [oldest] = cache.keys()
    if (cache.size > cachedLeaves && oldest !== undefined) cache.delete(oldest)
    return entries
  }
  return {
    entry: (path, page) => {
      const place = lastAtOrBefore(parts.get(path), page) ?? groups[lastIndex(groups, (group) => group.path <= path)]
      if (place === undefined) return undefined
      const entries = cache.get(place)
      if (entries === undefined) return read(place).then((found) => found.get(path))
      // What was used last is forgotten last.
      cache.delete(place)
      cache.set(place, entries)
      return entries.get(path)
    },
    leaf: (digest) => stored.get(digest.toString('latin1')),
    isSparse: (pack, frame) => (live[pack]?.[frame] ?? 0) < sparseBelow,
  }
}

function lastAtOrBefore(places: readonly LeafPlace[] | undefined, page: number): LeafPlace | undefined {
  return places?.findLast(({ firstPage }) => firstPage !== null && firstPage <= page)
}

/** The last index for which `test` holds, in a row where it holds for all before it; -1 when for none. */
function lastIndex<T>(row: readonly T[], test: (item: T) => boolean): number {
  let low = 0
  let high = row.length
  while (low < high) {
    const middle = (low + high) >> 1
    const item = row[middle]
    if (item !== undefined && test(item)) low = middle + 1
    else high = middle
  }
  return low - 1
}
