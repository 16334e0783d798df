import type { OpenBaseBackup } from '../../repository/base/open-base-backup.ts'
import type { Repository } from '../../repository/repository.ts'

/** A base backup that is to become a data directory. */
export interface BaseRestoreRequest {
  readonly run: string
  readonly repository: Repository
  readonly backup: OpenBaseBackup
  /** Absolute. */
  readonly directory: string
  /** Go on with what is in the directory, by content: only pages that differ are fetched, and what does not belong there is removed. */
  readonly delta: boolean
  /** Where tablespaces go: by OID, or by the path that they had. */
  readonly tablespaceMap: Readonly<Record<string, string>>
  /** Whose the files are to be; null: ours. */
  readonly owner: FileOwner | null
  /** Threads that open frames and write. */
  readonly threads: number
  readonly spaceCheck: boolean
  readonly dryRun: boolean
}

export interface FileOwner {
  readonly name: string
  readonly uid: number
  readonly gid: number
}

/** What the restore would do. Plain data, for `--dry-run`, the question and the tests. */
export interface BaseRestorePlan {
  readonly action: 'restore-directory'
  readonly backup: string
  readonly cluster: string
  readonly takenAt: string
  readonly postgresVersion: string | null
  readonly directory: string
  /** `new`: made by us, or found empty; `resume`: an interrupted restore of the same backup; `delta`: a data directory that is brought to the backup's state. */
  readonly mode: 'new' | 'resume' | 'delta'
  readonly files: number
  readonly sizeBytes: number
  readonly freeBytes: number | null
  readonly owner: string | null
  readonly tablespaces: readonly { readonly oid: string; readonly from: string; readonly to: string }[]
  readonly steps: readonly string[]
  readonly warnings: readonly string[]
  /** Why it would be refused; empty = may be done. */
  readonly refusals: readonly string[]
}

export interface BaseRestored {
  readonly plan: BaseRestorePlan
  /** Null after a dry run. */
  readonly result: { readonly writtenBytes: number; readonly durationSeconds: number; readonly warnings: readonly string[] } | null
}
