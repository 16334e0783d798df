import type { BackupFacts } from '../repository/backup.ts'
import type { DumpSource } from '../repository/manifest.ts'

/** `2.3M`, `84K`, `512`: how `du -h` and `ls -h` write sizes, which the seeds' `.info` files carry. */
export function humanSize(bytes: number): string {
  let value = bytes
  for (const unit of ['', 'K', 'M', 'G', 'T', 'P']) {
    if (value < 1024 || unit === 'P') return unit === '' ? String(value) : `${value < 10 ? (Math.ceil(value * 10) / 10).toFixed(1) : Math.ceil(value)}${unit}`
    value /= 1024
  }
  return String(bytes)
}

/** `2026-01-20T14:30:00-08:00` */
export function localWithOffset(instant: Temporal.Instant, timeZone: string): string {
  return instant.toZonedDateTimeISO(timeZone).toString({ timeZoneName: 'never', smallestUnit: 'second' })
}

export interface InfoFacts {
  readonly backup: BackupFacts
  readonly source: DumpSource | null
  /** As in the file name. */
  readonly timestamp: string
  readonly timeZone: string
  readonly compressionLevel: string
  readonly durationSeconds: number
  readonly snapshotLsn: string | null
}

/** The JSON beside a dump: the seed's keys with their type and form first, ours after them. For people and scripts; only `repo adopt` reads it, and may count a dump for less by it, never for more. */
export function renderInfo(facts: InfoFacts): string {
  const { backup, source } = facts
  const info = {
    timestamp: facts.timestamp,
    database: backup.database,
    container: backup.container ?? '',
    user: backup.user ?? '',
    backup_file: backup.fileName,
    size: humanSize(backup.storedBytes),
    compression: facts.compressionLevel,
    created_at: localWithOffset(Temporal.Instant.from(backup.startedAt), facts.timeZone),
    hostname: backup.hostname ?? '',
    postgres_version: source === null ? '' : `PostgreSQL ${source.serverVersion.split(' ')[0] ?? ''}`,
    id: backup.id,
    cluster: backup.cluster,
    name: backup.name,
    format: backup.format,
    compression_method: backup.compression,
    size_bytes: backup.storedBytes,
    dump_bytes: backup.sizeBytes,
    checksum: backup.checksum,
    partial: backup.partial,
    safety: backup.safety,
    snapshot_lsn: facts.snapshotLsn,
    started_at: backup.startedAt,
    ended_at: backup.endedAt,
    duration_seconds: Math.round(facts.durationSeconds * 1000) / 1000,
    tables: backup.tables,
    tool: `tidemark ${backup.toolVersion}`,
  }
  return `${JSON.stringify(info, null, 2)}\n`
}
