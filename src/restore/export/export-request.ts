import type { Manifest } from '../../repository/manifest.ts'
import type { OpenBaseBackup } from '../../repository/base/open-base-backup.ts'
import type { Repository } from '../../repository/repository.ts'

/** How archives are compressed; `level` as of `zstd` and `gzip`. */
export type ArchiveCompression = { readonly method: 'zstd' | 'gzip'; readonly level: number } | { readonly method: 'none' }

interface AnyExportRequest {
  readonly repository: Repository
  readonly spaceCheck: boolean
  readonly dryRun: boolean
}

/** A base backup that is to become what `pg_basebackup` leaves. */
export interface BaseExportRequest extends AnyExportRequest {
  readonly backup: OpenBaseBackup
  /** Absolute. */
  readonly directory: string
  readonly format: 'directory' | 'tar'
  /** Of the archives. */
  readonly compression: ArchiveCompression
  /** Where tablespaces go, by OID, or by the path that they had. */
  readonly tablespaceMap: Readonly<Record<string, string>>
  /** Threads that open frames, and compress. */
  readonly threads: number
}

/** A dump that is to become the files that pg_dump wrote. */
export interface DumpExportRequest extends AnyExportRequest {
  readonly manifest: Manifest
  /** Absolute: a directory, or the dump's own file. */
  readonly target: string
}

/** What the export does or would do. Plain data, for `--dry-run`, `--json` and the tests. */
export interface ExportPlan {
  readonly action: 'export'
  readonly backup: string
  readonly cluster: string
  /** Null for a base backup. */
  readonly database: string | null
  readonly takenAt: string
  /** Version of the server. */
  readonly postgresVersion: string | null
  /** Absolute path of the directory, or of a dump's file. */
  readonly target: string
  /** `directory` and `tar` as of `pg_basebackup`; `native`: the file or directory that pg_dump wrote. */
  readonly format: 'directory' | 'tar' | 'native'
  /** Of archives: `zstd:3`, `gzip:6`, `none`; null where nothing is compressed. */
  readonly compression: string | null
  /** Names that will be in the directory: the archives, or the files of the dump. Empty for a data directory. */
  readonly outputs: readonly string[]
  /** How many the backup has. */
  readonly files: number
  /** What they hold together. */
  readonly sizeBytes: number
  /** Room that is needed; of compressed archives an estimate. */
  readonly neededBytes: number
  readonly freeBytes: number | null
  readonly tablespaces: readonly { readonly oid: string; readonly from: string; readonly to: string }[]
  /** Who made `backup_manifest`: the server; the server, and its line of `tablespace_map` is left out as that file is; or, with SHA-256, we. Null for a dump. */
  readonly manifest: 'server' | 'server-without-tablespace-map' | 'written' | null
  readonly steps: readonly string[]
  readonly warnings: readonly string[]
  /** Why it would be refused; empty = may be done. */
  readonly refusals: readonly string[]
}

export interface ExportResult {
  readonly target: string
  /** The archives and the manifest, or the files of a dump, by their absolute paths. Empty for a data directory. */
  readonly outputs: readonly { readonly path: string; readonly sizeBytes: number }[]
  /** Bytes that were written. */
  readonly writtenBytes: number
  /** The words of the command that checks it without Tidemark; null where there is none. */
  readonly check: readonly string[] | null
  readonly warnings: readonly string[]
  readonly durationSeconds: number
}

export interface Exported {
  readonly plan: ExportPlan
  /** Null after a dry run. */
  readonly result: ExportResult | null
}
