/** What will be done, where, with what, and what speaks against it. Plain data: `--dry-run`, the question and the tests look at it. */
export interface RestorePlan {
  readonly backup: string | null
  readonly file: string | null
  readonly takenAt: string | null
  readonly sizeBytes: number | null
  /** `host:port`, no credentials. */
  readonly server: string
  readonly database: string
  readonly action: 'create' | 'replace-own-test' | 'drop-and-create' | 'use-empty' | 'into-existing' | 'swap' | 'drop-and-restore'
  /** The database that is there now, if one is. */
  readonly existing: { readonly oid: number; readonly name: string; readonly sizeBytes: number | null; readonly madeByUs: boolean } | null
  /** Where the existing one is kept, for a swap. */
  readonly keptAs: string | null
  readonly safetyBackup: boolean
  /** How the copy is looked at before it is handed over. */
  readonly validation: 'content' | 'rows' | 'none'
  /** Room for the restored database where the server keeps it; a null is not known, and `unknown` says why. */
  readonly serverSpace: PlannedSpace
  /** Room for the unpacked dump in the work directory. */
  readonly stagingSpace: PlannedSpace
  readonly steps: readonly string[]
  /** Reasons not to; not empty = exit 15 and nothing is done. */
  readonly refusals: readonly string[]
  readonly warnings: readonly string[]
}

/** Room for something. What is null is not known, and `unknown` says why. */
export interface PlannedSpace {
  /** of a database: what its source took */
  readonly neededBytes: number | null
  /** null where it cannot be known from here */
  readonly freeBytes: number | null
  /** what dropping a database first gives back in the same place */
  readonly freedBytes: number | null
  /** where it was looked */
  readonly path: string | null
  /** why something is null */
  readonly unknown: string | null
}
