import { z } from 'zod'
import { Failure } from '../kernel/failure.ts'

/** stored: durable; verified: read back and equal to its fingerprint; proven: restored, and the content was equal. `damaged` is none of them. */
export type BackupState = 'stored' | 'verified' | 'proven' | 'damaged'

export const tableRowsSchema = z.object({ schema: z.string(), name: z.string(), rows: z.number().int().nonnegative().nullable() })

/**
 * What a commit entry says of a backup: the facts that never change. Times are RFC 3339 UTC.
 * `sizeBytes`: bytes out of pg_dump, or of the cluster; `storedBytes`: bytes that it added to the storage; `checksum`: `sha256:<hex>` of the stored file
 * (directory format: of its sorted `sha256sum` list; base backup: of its root).
 */
export const backupFactsSchema = z.object({
  id: z.string().min(1).max(64),
  cluster: z.string(),
  /** Null for a base backup, which is of a whole cluster. */
  database: z.string().nullable(),
  type: z.enum(['dump', 'full', 'incr']),
  name: z.string().nullable(),
  startedAt: z.string(),
  endedAt: z.string(),
  sizeBytes: z.number().int().nonnegative(),
  storedBytes: z.number().int().nonnegative(),
  checksum: z.string(),
  /** Of a dump: pg_dump's. A base backup lies in packs. */
  format: z.enum(['custom', 'plain', 'directory', 'packs']),
  compression: z.string(),
  encryption: z.string().nullable(),
  key: z.string(),
  fileName: z.string(),
  postgresVersion: z.string().nullable(),
  startLsn: z.string().nullable(),
  stopLsn: z.string().nullable(),
  timeline: z.number().int().nullable(),
  tables: z.array(tableRowsSchema),
  category: z.enum(['daily', 'weekly', 'monthly']),
  container: z.string().nullable(),
  user: z.string().nullable(),
  hostname: z.string().nullable(),
  toolVersion: z.string(),
  /** Schema-only, data-only or selected tables: never `latest`, never the last good one. */
  partial: z.boolean(),
  /** Taken by `restore --replace` of what it replaced: complete, but never `latest`, for it may hold the accident. */
  safety: z.boolean(),
  /** The state at the commit: `verified` when the read-back came before it. */
  committedAs: z.enum(['stored', 'verified']),
  /** True for a file that `repo adopt` took in. */
  adopted: z.boolean(),
})

export type BackupFacts = z.infer<typeof backupFactsSchema>

/** The facts of a dump, which is of one database. */
export type DumpFacts = BackupFacts & { readonly type: 'dump'; readonly database: string; readonly format: 'custom' | 'plain' | 'directory' }

export function isDump(facts: BackupFacts): facts is DumpFacts {
  return facts.type === 'dump' && facts.database !== null && facts.format !== 'packs'
}

/** Rejects a base backup where only a dump will do; `work` says for what, as an infinitive. */
export function requireDump(facts: BackupFacts, work: string): DumpFacts {
  if (isDump(facts)) return facts
  throw new Failure('usage-invalid', `cannot ${work}: ${facts.id} is a base backup, of the whole cluster "${facts.cluster}"`, {
    hints: [`restore it to a directory: tidemark restore ${facts.id} --into DIR`, 'see which backups are dumps: tidemark list'],
  })
}

/** What `latest` is asked for. */
export type BackupFamily = 'dump' | 'base'

export const familyOf = ({ type }: Pick<BackupFacts, 'type'>): BackupFamily => (type === 'dump' ? 'dump' : 'base')

/** A backup as `list --json` shows it: its facts, and what the log and the repositories say of it now. */
export interface Backup extends BackupFacts {
  readonly state: BackupState
  /** Absolute path of the file, where the storage has files. */
  readonly path: string | null
  readonly keptUntil: string | null
  readonly keptBecause: string | null
  readonly pinned: boolean
  readonly pinReason: string | null
  readonly provenAt: string | null
  readonly verifiedAt: string | null
  readonly problems: readonly Problem[]
  /** What the source has and the file has not, and why. Null where nobody looked: `list`, `latest`, `pin` and `unpin` do not, `show` does. */
  readonly leftOut: readonly { readonly what: string; readonly why: string }[] | null
  /** Names of the repositories that hold it. */
  readonly repositories: readonly string[]
}

export const problemSchema = z.object({ code: z.string(), object: z.string(), message: z.string() })
/** Something wrong with a backup: what, in which object. */
export type Problem = z.infer<typeof problemSchema>

const alphabet = '0123456789abcdefghjkmnpqrstvwxyz'

/** `20261121-110412-7f3k`: UTC second and four random characters; sorts by time. */
export function newBackupId(now: Temporal.Instant, random: Uint8Array): string {
  const at = now.toZonedDateTimeISO('UTC')
  const two = (n: number) => String(n).padStart(2, '0')
  const suffix = [...random.subarray(0, 4)].map((byte) => alphabet[byte % 32]).join('')
  return `${at.year}${two(at.month)}${two(at.day)}-${two(at.hour)}${two(at.minute)}${two(at.second)}-${suffix}`
}

const order = { damaged: -1, stored: 0, verified: 1, proven: 2 } as const

/** Whether `state` is at least as good as `wanted`; damaged is never enough. */
export function isAtLeast(state: BackupState, wanted: 'stored' | 'verified' | 'proven'): boolean {
  return order[state] >= order[wanted]
}
