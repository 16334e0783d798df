import { runKeysPrefix } from '../keys/key-layout.ts'
import { clusterSegment, indexesPrefix, leavesPrefix, packsPrefix, repackOf, repacksPrefix, rootsPrefix } from '../layout.ts'

/** What an object of a base backup is, by the exact name that a run gives it: docs/base-backups.md "Objects". All functions are pure. */
export interface BaseObject {
  readonly kind: 'pack' | 'leaves' | 'index' | 'root' | 'repack' | 'run-key'
  /** The run that stored it. */
  readonly run: string
}

const runPattern = '([A-Za-z0-9_-]{1,64})'
const packName = new RegExp(`^${runPattern}/[0-9a-f]{32}\\.pack$`)
const wholeRun = new RegExp(`^${runPattern}/$`)
const inPack = new RegExp(`^${runPattern}\\.pack$`)
const inAge = new RegExp(`^${runPattern}\\.age$`)

/** The folders of a cluster in which objects of base backups lie. */
export function baseFolders(cluster: string): readonly string[] {
  return [packsPrefix(cluster), leavesPrefix(cluster), indexesPrefix(cluster), rootsPrefix(cluster), repacksPrefix(cluster), runKeysFolder(cluster)]
}

const runKeysFolder = (cluster: string) => `${runKeysPrefix}${clusterSegment(cluster)}/`

/** Undefined for a key that no base backup of this cluster has: whatever names it, it is not removed as one. */
export function baseObjectOf(cluster: string, key: string): BaseObject | undefined {
  const run = (prefix: string, pattern: RegExp): string | undefined => (key.startsWith(prefix) ? pattern.exec(key.slice(prefix.length))?.[1] : undefined)
  const found = (kind: BaseObject['kind'], of: string | undefined): BaseObject | undefined => (of === undefined ? undefined : { kind, run: of })
  return (
    found('pack', run(packsPrefix(cluster), packName)) ??
    found('leaves', run(leavesPrefix(cluster), inPack)) ??
    found('index', run(indexesPrefix(cluster), inPack)) ??
    found('root', run(rootsPrefix(cluster), inPack)) ??
    found('repack', repackOf(cluster, key)?.run) ??
    found('run-key', run(runKeysFolder(cluster), inAge))
  )
}

/** Whether a key stands for all packs that lie in a run's folder. */
export const isPacksFolder = (cluster: string, key: string): boolean =>
  key.startsWith(packsPrefix(cluster)) && wholeRun.test(key.slice(packsPrefix(cluster).length))

/** Names as few keys as possible: a run's folder where all of `present` that lies in it goes. */
export function compactKeys(cluster: string, going: readonly string[], present: readonly string[]): readonly string[] {
  const staying = new Set(present)
  for (const key of going) staying.delete(key)
  const folderOf = (key: string): string | undefined => (baseObjectOf(cluster, key)?.kind === 'pack' ? key.slice(0, key.lastIndexOf('/') + 1) : undefined)
  const partial = new Set([...staying].map(folderOf))
  return [
    ...new Set(
      going.map((key) => {
        const folder = folderOf(key)
        return folder === undefined || partial.has(folder) ? key : folder
      }),
    ),
  ]
}

const removal = ['root', 'repack', 'index', 'leaves', 'pack', 'run-key'] as const

/** Roots first, keys last. */
export function inOrderOfRemoval(cluster: string, keys: readonly string[]): readonly string[] {
  const rank = (key: string): number => removal.indexOf(baseObjectOf(cluster, key)?.kind ?? 'pack')
  return keys.toSorted((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1))
}
