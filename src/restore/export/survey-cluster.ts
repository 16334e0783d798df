import type { Context } from '../../kernel/context.ts'
import type { LeafEntry } from '../../packs/leaf.ts'
import { pathBytes, readablePath } from '../../pgdata/file-path.ts'
import { createServerManifestReader, type ManifestFile, type ManifestFrame } from '../../pgdata/server-manifest.ts'
import { startFrameWorkers } from '../../repository/base/frame-workers.ts'
import type { OpenBaseBackup } from '../../repository/base/open-base-backup.ts'
import { readFiles } from '../../repository/base/read-files.ts'
import { requireWholeCluster, type ClusterShape } from '../../repository/base/whole-cluster.ts'
import type { Repository } from '../../repository/repository.ts'
import { isTarPath, tarBlockBytes, tarPadding } from '../../stream/tar-header.ts'

export const manifestName = 'backup_manifest'
export const tablespaceMapName = 'tablespace_map'

/** What a backup holds, as far as an export must know it beforehand. */
export interface ClusterSurvey extends ClusterShape {
  /** Sizes of the files that a `backup_manifest` lists: all but WAL and itself. */
  readonly listed: ReadonlyMap<string, number>
  /** The names of the WAL segments. */
  readonly segments: readonly string[]
  /** As archives, not compressed. */
  readonly tarBytes: number
  /** A path for which tar has no room. */
  readonly longPath: string | null
  /** Entries of the stored manifest; none where the server was not asked for one. */
  readonly manifest: readonly LeafEntry[]
}

/** Reads all leaves. Rejects with `integrity` where the backup is not whole. */
export async function surveyCluster(backup: OpenBaseBackup, context: Context): Promise<ClusterSurvey> {
  const listed = new Map<string, number>()
  const segments: string[] = []
  const manifest: LeafEntry[] = []
  let tarBytes = 0
  let longPath: string | null = null
  const shape = await requireWholeCluster(backup, context, (entry) => {
    if (entry.path === manifestName) manifest.push(entry)
    if (entry.firstPage > 0) return
    tarBytes += tarBlockBytes + entry.sizeBytes + tarPadding(entry.sizeBytes)
    if (!isTarPath(pathBytes(`${entry.path}/`))) longPath ??= readablePath(entry.path)
    if (entry.kind === 'directory') return
    if (entry.path.startsWith('pg_wal/')) segments.push(entry.path.slice('pg_wal/'.length))
    else if (entry.path !== manifestName) listed.set(entry.path, entry.sizeBytes)
  })
  return { ...shape, listed, segments, manifest, tarBytes, longPath }
}

/** Where an export's `backup_manifest` comes from: see `ExportPlan.manifest`. */
export type ManifestChoice =
  | { readonly kind: 'server' | 'written' }
  | { readonly kind: 'server-without-tablespace-map'; readonly frame: ManifestFrame; readonly files: readonly ManifestFile[] }

export interface ManifestQuestion {
  readonly repository: Repository
  readonly backup: OpenBaseBackup
  readonly survey: ClusterSurvey
  /** Whether the export has no `tablespace_map`, but links. */
  readonly hasLinks: boolean
}

/** Reads the stored manifest, if there is one, and holds the list of its files against those of the backup. Rejects with `integrity` where it cannot be read. */
export async function chooseManifest({ repository, backup, survey, hasLinks }: ManifestQuestion, context: Context): Promise<ManifestChoice> {
  if (survey.manifest.length === 0) return { kind: 'written' }
  const files: ManifestFile[] = []
  const unseen = new Map(survey.listed)
  let isSame = true
  const reader = createServerManifestReader((file) => {
    if (unseen.get(file.path) !== file.sizeBytes) isSame = false
    unseen.delete(file.path)
    if (hasLinks && file.path !== tablespaceMapName) files.push(file)
  })
  await using workers = startFrameWorkers({ repository, backup, threads: 1, directory: null, signal: context.signal })
  for await (const { bytes } of readFiles(backup, workers, { entries: survey.manifest, context })) reader.write(bytes)
  const frame = reader.finish()
  if (!isSame || unseen.size > 0) return { kind: 'written' }
  return hasLinks ? { kind: 'server-without-tablespace-map', frame, files } : { kind: 'server' }
}
