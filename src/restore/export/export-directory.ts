import { createHash } from 'node:crypto'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import type { Context } from '../../kernel/context.ts'
import { controlFilePath } from '../../pgdata/control-file.ts'
import { pathBelow } from '../../pgdata/file-path.ts'
import { waitingControlFile, writeCluster } from '../base/write-cluster.ts'
import { partialSuffix } from './claimed-place.ts'
import type { BaseExportRequest, ExportResult } from './export-request.ts'
import type { PlannedBaseExport } from './plan-base-export.ts'
import { manifestName, tablespaceMapName, type ClusterSurvey } from './survey-cluster.ts'
import { frameOf, listHashed, writeManifest, type HashedFile } from './write-manifest.ts'

/** What was written, and the names that are still to be given, in their order. */
export interface WrittenExport {
  readonly names: readonly { readonly from: string; readonly to: string }[]
  readonly outputs: ExportResult['outputs']
  readonly writtenBytes: number
}

/** Writes what `pg_basebackup --format=plain --wal-method=stream` leaves; `pg_control` and the manifest under temporary names. Nothing is durable yet. */
export async function exportDirectory(request: BaseExportRequest, { plan, survey, manifest }: PlannedBaseExport, context: Context): Promise<WrittenExport> {
  const { repository, backup, directory, threads } = request
  const hasLinks = plan.tablespaces.length > 0
  const nameOf = (path: string): string | null => {
    if (path === manifestName) return manifest.kind === 'server' ? `${manifestName}${partialSuffix}` : null
    return hasLinks && path === tablespaceMapName ? null : path
  }
  const writing = { repository, backup, directory, threads, owner: null, nameOf, step: 'export' as const }
  let writtenBytes = await writeCluster({ ...writing, mode: 'new', sizeBytes: plan.sizeBytes, tablespaces: plan.tablespaces }, context)
  await markArchived(directory, survey)
  const path = join(directory, `${manifestName}${partialSuffix}`)
  if (manifest.kind === 'server-without-tablespace-map') writtenBytes += await writeManifest(path, manifest.frame, manifest.files)
  if (manifest.kind === 'written') {
    const names = [...survey.listed.keys()].filter((name) => nameOf(name) !== null)
    writtenBytes += await writeManifest(path, frameOf(backup.root), listHashed(backup.root, await hashFiles(directory, names, context)))
  }
  const names = [
    { from: waitingControlFile, to: controlFilePath },
    { from: `${manifestName}${partialSuffix}`, to: manifestName },
  ]
  return { names, outputs: [], writtenBytes }
}

/** As pg_basebackup does: a server that is promoted there must not archive again what the original has archived. */
async function markArchived(directory: string, { segments }: ClusterSurvey): Promise<void> {
  for (const name of segments) {
    if (!/^[0-9A-F]{24}$/.test(name)) continue
    await using _file = await open(join(directory, 'pg_wal/archive_status', `${name}.done`), 'w', 0o600)
  }
}

/** Reads what was written: the manifest says what is there, not what was meant. */
async function hashFiles(directory: string, names: readonly string[], context: Context): Promise<readonly HashedFile[]> {
  const hashed: HashedFile[] = []
  const buffer = Buffer.allocUnsafeSlow(readBytes)
  for (const path of names.toSorted()) {
    context.signal.throwIfAborted()
    const hash = createHash('sha256')
    let sizeBytes = 0
    const place = path === controlFilePath ? waitingControlFile : path
    await using file = await open(pathBelow(directory, place), 'r')
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length)
      if (bytesRead === 0) break
      hash.update(buffer.subarray(0, bytesRead))
      sizeBytes += bytesRead
      context.signal.throwIfAborted()
    }
    hashed.push({ path, sizeBytes, sha256: hash.digest('hex') })
  }
  return hashed
}

const readBytes = 1 << 20
