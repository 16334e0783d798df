import { resolve } from 'node:path'
import { parseCompression } from '../config/compression.ts'
import { Failure } from '../kernel/failure.ts'
import { isDump } from '../repository/backup.ts'
import { openBaseBackup } from '../repository/base/open-base-backup.ts'
import { packKeysOf, requirePageKeys } from '../repository/base/pack-keys.ts'
import { readManifest } from '../repository/manifest.ts'
import { exportBase } from '../restore/export/export-base.ts'
import { exportDump } from '../restore/export/export-dump.ts'
import type { Exported } from '../restore/export/export-request.ts'
import { locateBackup, type FoundBackup } from './list-backups.ts'
import { requireFreePlace } from './require-free-place.ts'
import { chooseBackup, type BackupWords } from './subjects.ts'
import { chooseClusters, openRepositories, repositoryNames, type Workspace } from './workspace.ts'

export interface ExportOptions extends BackupWords {
  readonly repositories?: readonly string[]
  /** Directory, or for a dump in one file the file itself. */
  readonly to: string
  /** Of a base backup; default `directory`. */
  readonly format?: 'directory' | 'tar'
  /** Of archives: `zstd:1-19`, `gzip:1-9`, `none`, which is the default. */
  readonly compress?: string
  /** Where a tablespace goes, by its OID or path; default: beside the directory. */
  readonly tablespaceMap?: Readonly<Record<string, string>>
  /** Threads. */
  readonly jobs?: number
  /** Default true. */
  readonly spaceCheck?: boolean
  readonly dryRun?: boolean
}

/** Writes a backup in PostgreSQL's own formats, so that nobody needs Tidemark to use it: a data directory or archives with a `backup_manifest`, or the files that pg_dump wrote. */
export async function exportBackup(workspace: Workspace, options: ExportOptions): Promise<Exported> {
  const { context, machine } = workspace
  const chosen = await chooseBackup(workspace, 'export', options, { clusters: true })
  const target = resolve(machine.cwd, options.to)
  await requireFreePlace(workspace, target)
  const configured = chosen.cluster === undefined ? undefined : workspace.settings.clusters[chosen.cluster]
  await using open = await openRepositories(workspace, repositoryNames(workspace, configured, options.repositories), { tolerant: true })
  const found = await locateBackup(open, await chooseClusters(workspace, open, chosen.cluster, chosen.text), chosen, context)
  const { repository, record } = found
  const common = { repository, spaceCheck: options.spaceCheck ?? true, dryRun: options.dryRun === true }
  if (isDump(record.facts)) {
    requireNothingOfBase(found, options)
    return await exportDump({ ...common, target, manifest: await readManifest(repository.storage, record, context.signal) }, context)
  }
  const format = options.format ?? 'directory'
  const { compress, tablespaceMap = {} } = options
  if (format === 'directory' && compress !== undefined)
    throw new Failure('usage-invalid', '--compress is for archives', { hints: ['add --format tar, or leave it out'] })
  if (format === 'tar' && Object.keys(tablespaceMap).length > 0)
    throw new Failure('usage-invalid', '--tablespace-map is for directories; archives name the places of the original in tablespace_map', {
      hints: ['change that file after unpacking base.tar, before the server is started'],
    })
  if (/\.(tar|tgz|zst|gz)$/.test(target))
    throw new Failure('usage-invalid', `a base backup is several files, so it is exported to a directory, not to ${target}`, {
      hints: ['name a directory that is not there yet'],
    })
  const backup = await openBaseBackup(repository, record, packKeysOf(repository.keyring, context), context)
  await requirePageKeys(backup)
  return await exportBase(
    {
      ...common,
      backup,
      directory: target,
      format,
      compression: parseCompression(compress ?? 'none'),
      tablespaceMap,
      threads: options.jobs ?? Math.min(machine.cpus, 8),
    },
    context,
  )
}

function requireNothingOfBase({ record: { facts } }: FoundBackup, { format, compress, tablespaceMap }: ExportOptions): void {
  const flag = format !== undefined ? '--format' : compress !== undefined ? '--compress' : tablespaceMap !== undefined ? '--tablespace-map' : null
  if (flag === null) return
  throw new Failure('usage-invalid', `${flag} is for base backups; ${facts.id} is a dump, which is copied as pg_dump wrote it`, {
    hints: [`leave ${flag} out`],
  })
}
