import type { Manifest } from '../../repository/manifest.ts'
import type { OpenBaseBackup } from '../../repository/base/open-base-backup.ts'
import type { Repository } from '../../repository/repository.ts'
import type { BaseRestorePlan } from '../base/base-restore-request.ts'

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
  /** Of the backup. */
  readonly files: number
  /** Of these files. */
  readonly sizeBytes: number
  /** Room that is needed; of compressed archives an estimate. */
  readonly neededBytes: number
  readonly freeBytes: number | null
  readonly tablespaces: BaseRestorePlan['tablespaces']
  /**
   * Where `backup_manifest` comes from. `server`: the server wrote it, and not a byte is changed; `server-without-tablespace-map`: the same without that file, which a directory with links has not;
   * `written`: by us, with SHA-256, since the server was not asked for one, or it is of other files. Null for a dump.
   */
  readonly manifest: 'server' | 'server-without-tablespace-map' | 'written' | null
  readonly steps: readonly string[]
  readonly warnings: readonly string[]
  /** Why it would be refused; empty = may be done. */
  readonly refusals: readonly string[]
}

export interface ExportResult {
  readonly target: string
  /** The archives, the manifest and the files of a dump, with what they have become. Empty for a data directory. */
  readonly outputs: readonly ExportedFile[]
  /** Bytes that were written. */
  readonly writtenBytes: number
  /** The command that checks it without Tidemark; null where there is none. */
  readonly check: string | null
  readonly warnings: readonly string[]
  readonly durationSeconds: number
}

export interface ExportedFile {
  /** Absolute. */
  readonly path: string
  readonly sizeBytes: number
}

export interface Exported {
  readonly plan: ExportPlan
  /** Null after a dry run. */
  readonly result: ExportResult | null
}
