import type { OpenBaseBackup } from '../../repository/base/open-base-backup.ts'
import type { BaseBackupRequest } from './base-request.ts'
import type { BaseSourceFacts } from './open-base-source.ts'

/** Whether the server can be asked what changed since a backup, by its WAL summaries. */
export type Changes = { readonly since: OpenBaseBackup } | { readonly why: string }

/**
 * Where the server's WAL summaries (17 and newer) may be believed, an incremental backup asks for what changed instead of reading everything: docs/base-backups.md "What is read, and what is
 * believed". Where not, the reason is said, and every page is read and compared.
 */
export function chooseChanges({ reader }: Pick<BaseBackupRequest, 'reader'>, facts: BaseSourceFacts, prior: OpenBaseBackup | null): Changes {
  const { major, timeline, version, dataChecksums, settings } = facts
  if (prior === null) return { why: 'there is no backup to compare with' }
  if (reader !== 'auto') return { why: `every page was to be read (--reader ${reader})` }
  if (major < 17) return { why: `PostgreSQL ${major} keeps no summaries of its WAL` }
  if (settings['summarize_wal'] !== 'on') return { why: 'summarize_wal is off' }
  const { server, backup } = prior.root
  if (server.timeline !== timeline) return { why: `the prior backup is of timeline ${server.timeline}, the server is on ${timeline}` }
  if (!dataChecksums && settings['wal_log_hints'] !== 'on')
    return { why: 'neither data checksums nor wal_log_hints are on, so changes may be missing in the WAL' }
  if (prior.root.server.dataChecksums !== dataChecksums) return { why: 'page checksums were switched on or off since the prior backup, which is in no WAL' }
  if (settings['wal_level'] === 'minimal') return { why: 'wal_level is minimal' }
  // Summaries that an older server wrote are not written anew by a corrected one.
  if (backup.postgresVersion !== version)
    return { why: `the prior backup was taken of PostgreSQL ${backup.postgresVersion ?? 'unknown'}; the server is ${version} now` }
  return { since: prior }
}
