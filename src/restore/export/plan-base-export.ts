import type { Context } from '../../kernel/context.ts'
import { judgeTablespaces, mapTablespaces } from '../base/map-tablespaces.ts'
import { freeBytesAt } from '../base/target-directory.ts'
import { whyNotEmpty } from './claim-directory.ts'
import type { ArchiveCompression, BaseExportRequest, ExportPlan } from './export-request.ts'
import { chooseManifest, manifestName, surveyCluster, type ClusterSurvey, type ManifestChoice } from './survey-cluster.ts'

export interface PlannedBaseExport {
  readonly plan: ExportPlan
  readonly survey: ClusterSurvey
  readonly manifest: ManifestChoice
}

/** Finds out what the export would write, and what stands in its way. Reads the leaves and the stored manifest, and writes nothing. Rejects with `integrity` where the backup is not whole. */
export async function planBaseExport(request: BaseExportRequest, context: Context): Promise<PlannedBaseExport> {
  const { repository, backup, directory, format } = request
  const { root } = backup
  const tablespaces = mapTablespaces(request)
  const survey = await surveyCluster(backup, context)
  const manifest = await chooseManifest({ repository, backup, survey, hasLinks: format === 'directory' && tablespaces.length > 0 }, context)
  const refusals = await judge(request, { tablespaces, survey })
  const neededBytes = Math.ceil(format === 'directory' ? survey.sizeBytes : survey.tarBytes * shrinkage(request))
  const freeBytes = await freeBytesAt(directory)
  if (request.spaceCheck && freeBytes !== null && freeBytes < neededBytes) {
    const need = request.compression.method === 'none' ? 'it needs' : 'it is likely to need'
    refusals.push(`${need} ${neededBytes} bytes, and ${freeBytes} are free (--no-space-check goes on all the same)`)
  }
  const isTar = format === 'tar'
  const plan: ExportPlan = {
    action: 'export',
    backup: root.backup.id,
    cluster: root.cluster,
    database: null,
    takenAt: root.backup.endedAt,
    postgresVersion: root.backup.postgresVersion,
    target: directory,
    format,
    compression: isTar ? labelOf(request.compression) : null,
    outputs: isTar ? [...archiveNames(tablespaces, request.compression), manifestName] : [],
    files: survey.files,
    sizeBytes: survey.sizeBytes,
    neededBytes,
    freeBytes,
    tablespaces,
    manifest: manifest.kind,
    steps: describeSteps(request, manifest, tablespaces.length),
    warnings: describeWarnings(request),
    refusals,
  }
  return { plan, survey, manifest }
}

async function judge(
  request: BaseExportRequest,
  { tablespaces, survey }: { readonly tablespaces: ExportPlan['tablespaces']; readonly survey: ClusterSurvey },
): Promise<string[]> {
  const refusals: string[] = []
  const notEmpty = await whyNotEmpty(request.directory)
  if (notEmpty !== null) refusals.push(notEmpty)
  if (request.format === 'directory') refusals.push(...(await judgeTablespaces(request, { tablespaces, isNew: true })))
  else if (survey.longPath !== null) refusals.push(`tar has no room for the path ${survey.longPath}; use --format directory`)
  return refusals
}

/** What zstd made of these pages in the packs, for a start. */
function shrinkage({ backup, compression }: BaseExportRequest): number {
  if (compression.method === 'none') return 1
  let stored = 0
  let content = 0
  for (const number of backup.tables.packs.keys()) {
    for (const frame of backup.pack(number).frames) {
      stored += frame.stored
      content += frame.content
    }
  }
  return content === 0 ? 1 : Math.min(1, stored / content)
}

/** The archives of `pg_basebackup --format=tar`, the data directory's first and that of WAL last. */
export function archiveNames(tablespaces: ExportPlan['tablespaces'], compression: ArchiveCompression): readonly string[] {
  const extension = { zstd: '.tar.zst', gzip: '.tar.gz', none: '.tar' }[compression.method]
  return ['base', ...tablespaces.map(({ oid }) => oid), 'pg_wal'].map((name) => `${name}${extension}`)
}

function labelOf(compression: ArchiveCompression): string {
  return compression.method === 'none' ? 'none' : `${compression.method}:${compression.level}`
}

function describeSteps({ format, backup }: BaseExportRequest, { kind }: ManifestChoice, tablespaces: number): readonly string[] {
  const { startLsn, stopLsn, major } = backup.root.server
  const manifest = {
    server: 'write the backup_manifest that the server made, not a byte of it changed',
    'server-without-tablespace-map': 'write the backup_manifest that the server made, without tablespace_map, which links take the place of',
    written: 'write a backup_manifest with the SHA-256 of every file',
  }[kind]
  const links = tablespaces > 0 ? [`put ${tablespaces} tablespaces where the map says, and link them`] : []
  return [
    'make the directory, and mark it as not complete',
    'fetch every page, and check it',
    ...(format === 'tar'
      ? ['write the archives under temporary names: the data directory, each tablespace, and WAL']
      : ['write every file as it was backed up', ...links]),
    manifest,
    'wait until everything is durable, then give the files their names, the manifest last',
    `PostgreSQL ${major} recovers it from ${startLsn} to ${stopLsn} when it is started`,
  ]
}

function describeWarnings({ backup }: BaseExportRequest): readonly string[] {
  const { root } = backup
  return [
    ...root.warnings,
    ...root.leftOut.map(({ what, why }) => `${what} is not in the backup: ${why}`),
    ...root.outside.map(
      ({ path }) => `${path} lay outside of the data directory, so pg_basebackup would not have it either; "tidemark restore --into" brings it`,
    ),
  ]
}
