import { Failure } from '../kernel/failure.ts'
import { isKey } from '../storage/key.ts'

/** Where things lie in a repository: docs/design.md "Repository format 1". All functions are pure. */

export type Layout = 'flat' | 'tiered' | 'dated'

export const repositoryKey = '.tidemark/repository.json'

/** Whether a file of a backup may lie here: a key (or, ending in `/`, everything below one) outside our own folder, on storages that know no case, too. */
export function isContentKey(key: string): boolean {
  return isKey(key.replace(/\/$/, '')) && key.split('/')[0]?.toLowerCase() !== '.tidemark'
}

/** A cluster's name as one path segment: everything outside `A–Z a–z 0–9 _ -` as `%XX` of its UTF-8 bytes. */
export function clusterSegment(cluster: string): string {
  if (cluster === '') throw new Failure('usage-invalid', 'a cluster cannot have an empty name')
  const segment = [...new TextEncoder().encode(cluster)]
    .map((byte) => (/[A-Za-z0-9_-]/.test(String.fromCharCode(byte)) ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`))
    .join('')
  if (segment.length > 200)
    throw new Failure('usage-invalid', `the cluster name "${cluster}" is too long to be a folder; give it a shorter one in the configuration`)
  return segment
}

/** The inverse of `clusterSegment`; undefined for a segment that it never makes. */
export function clusterOfSegment(segment: string): string | undefined {
  if (!/^(?:[A-Za-z0-9_-]|%[0-9A-F]{2})+$/.test(segment)) return undefined
  try {
    return decodeURIComponent(segment)
  } catch {
    // Not UTF-8: no cluster name of ours looks like that.
    return undefined
  }
}

/** So that names sort as their numbers do. */
export const number10 = (n: number) => String(n).padStart(10, '0')

export const commitsRoot = '.tidemark/commits/'
export const commitsPrefix = (cluster: string) => `.tidemark/commits/${clusterSegment(cluster)}/`
export const commitKey = (cluster: string, entry: number) => `${commitsPrefix(cluster)}${number10(entry)}.json`
export const leasesPrefix = (cluster: string) => `.tidemark/leases/${clusterSegment(cluster)}/`
export const leaseKey = (cluster: string, epoch: number) => `${leasesPrefix(cluster)}${number10(epoch)}.json`
export const manifestsPrefix = (cluster: string) => `.tidemark/manifests/${clusterSegment(cluster)}/`
export const manifestKey = (cluster: string, backup: string) => `${manifestsPrefix(cluster)}${backup}.json`
export const proofKey = (cluster: string, run: string) => `.tidemark/proofs/${clusterSegment(cluster)}/${run}.json`
export const runKey = (cluster: string, run: string) => `.tidemark/runs/${clusterSegment(cluster)}/${run}.json`

/** Of base backups: docs/base-backups.md "Objects". */
export const packsPrefix = (cluster: string) => `.tidemark/packs/${clusterSegment(cluster)}/`
export const runPacksPrefix = (cluster: string, run: string) => `${packsPrefix(cluster)}${run}/`
export const packObjectKey = (cluster: string, run: string, id: Buffer) => `${runPacksPrefix(cluster, run)}${id.toString('hex')}.pack`
export const leavesPrefix = (cluster: string) => `.tidemark/leaves/${clusterSegment(cluster)}/`
export const leavesKey = (cluster: string, run: string) => `${leavesPrefix(cluster)}${run}.pack`
export const indexesPrefix = (cluster: string) => `.tidemark/indexes/${clusterSegment(cluster)}/`
export const indexKey = (cluster: string, run: string) => `${indexesPrefix(cluster)}${run}.pack`
export const rootsPrefix = (cluster: string) => `.tidemark/roots/${clusterSegment(cluster)}/`
export const rootKey = (cluster: string, backup: string) => `${rootsPrefix(cluster)}${backup}.pack`
export const repacksPrefix = (cluster: string) => `.tidemark/repacks/${clusterSegment(cluster)}/`
export const repackKey = (cluster: string, number: number, run: string) => `${repacksPrefix(cluster)}${number10(number)}-${run}.pack`

/** What the name of a repack's index says; undefined for what is none. */
export function repackOf(cluster: string, key: string): { readonly number: number; readonly run: string } | undefined {
  const prefix = repacksPrefix(cluster)
  const match = key.startsWith(prefix) ? /^(\d{10})-([A-Za-z0-9_-]{1,64})\.pack$/.exec(key.slice(prefix.length)) : null
  return match === null ? undefined : { number: Number(match[1]), run: match[2] ?? '' }
}

export function commitNumberOf(key: string): number | undefined {
  const match = /\/(\d{10})\.json$/.exec(key)
  return match === null ? undefined : Number(match[1])
}

const two = (n: number) => String(n).padStart(2, '0')

/** `%U` of strftime: weeks begin on Sunday; days before the first Sunday are week 00. */
export function weekOfYear(day: Temporal.PlainDate): number {
  const sundayBased = day.dayOfWeek % 7
  return Math.floor((day.dayOfYear + 6 - sundayBased) / 7)
}

/** The folder, with trailing slash, of a backup taken on `day` (calendar day in the cluster's zone). */
export function folderOf(layout: Layout, day: Temporal.PlainDate): string {
  const date = `${day.year}/${two(day.month)}/${two(day.day)}/`
  if (layout === 'tiered') return `daily/${date}`
  return layout === 'dated' ? date : ''
}

export function weeklyFolder(day: Temporal.PlainDate): string {
  return `weekly/${day.year}/week-${two(weekOfYear(day))}/`
}

export function monthlyFolder(day: Temporal.PlainDate): string {
  return `monthly/${day.year}/${two(day.month)}/`
}

/** Category by calendar day: the 1st is monthly, a Sunday weekly, else daily. */
export function categoryOf(day: Temporal.PlainDate): 'daily' | 'weekly' | 'monthly' {
  if (day.day === 1) return 'monthly'
  return day.dayOfWeek === 7 ? 'weekly' : 'daily'
}

/** The alias of the newest verified complete dump: `latest_backup` and the whole extension (`.dump.zst`); with the cluster's name where there are several. */
export function latestAlias(extension: string, cluster: string | null): string {
  return `latest_backup${cluster === null ? '' : `_${clusterSegment(cluster)}`}${extension}`
}

/** Every extension that a dump can have, without that of its seal. */
const dumpExtensions = ['.sql', '.sql.gz', '.sql.zst', '.dump', '.dump.zst'] as const
/** A directory dump is a folder; the files in it are sealed one by one. */
const directoryExtension = '.d'

/** A sealed file is an age file, and its name ends so. */
const sealExtension = '.age'
export const sealedName = (name: string) => `${name}${sealExtension}`
export const isSealedName = (name: string) => name.endsWith(sealExtension)
/** The name of what is inside. */
export const openedName = (name: string) => (isSealedName(name) ? name.slice(0, -sealExtension.length) : name)

/** Every extension of a dump, sealed or not. */
export const extensions: readonly string[] = [...dumpExtensions, ...dumpExtensions.map(sealedName), directoryExtension]

/** A dump's extension, with everything after the stem: `.sql.gz`, `.dump.zst`, `.dump.zst.age`, `.d`; '' for anything else. */
export function extensionOf(fileName: string): string {
  return extensions.find((extension) => fileName.endsWith(extension)) ?? ''
}

/** The file name without its dump extension. */
export function stemOf(fileName: string): string {
  return fileName.slice(0, fileName.length - extensionOf(fileName).length)
}

/** Names that files beside a dump of this stem may have. A dump that was taken in may be sealed and they not, or the other way round. */
export function companionsOf(stem: string): { readonly info: readonly string[]; readonly globals: readonly string[] } {
  const both = (name: string) => [name, sealedName(name)]
  return { info: both(`${stem}.info`), globals: both(`${stem}.globals.sql`) }
}

export const isInfoKey = (key: string) => openedName(key).endsWith('.info')
export const isGlobalsKey = (key: string) => openedName(key).endsWith('.globals.sql')
