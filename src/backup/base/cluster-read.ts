import { Failure } from '../../kernel/failure.ts'
import type { BaseBackup } from '../../postgres/replication/base-backup.ts'

/** A cluster that was read, whichever way. */
export interface ClusterRead {
  /** What the server said of the backup; checksum failures by whoever looked for them. */
  readonly server: BaseBackup
  /** What lies in the data directory and is in no backup, this one or the server's own, and is no mere leftover of the running server. */
  readonly leftOut: readonly { readonly what: string; readonly why: string }[]
}

/** A backup is of one timeline: the WAL that it needs lies on it. */
export function promoted(from: number, to: number): Failure {
  return new Failure('connection-lost', `the server changed from timeline ${from} to ${to} while it was backed up: it was promoted`, {
    hints: ['take the backup again: tidemark backup'],
  })
}
