import { relationFileOf } from './relation-path.ts'

export interface ExclusionOptions {
  readonly major: number
  /** `stats_temp_directory` of 13 and 14, relative to the data directory, where it is not `pg_stat_tmp`. */
  readonly statsTempDirectory?: string
}

/**
 * Why the server's own base backup leaves out what lies at this path (relative to the data directory), or null when it is taken: the rules of
 * `basebackup.c`, the same in 13 to 18 but for what is marked. A directory whose contents are left out is itself taken. `global/pg_control`
 * is taken, last of all. Unlogged relations cannot be told by their path: `isUnlogged`.
 */
export function whyLeftOut(path: string, { major, statsTempDirectory }: ExclusionOptions): string | null {
  const segments = path.split('/')
  for (const [depth, name] of segments.entries()) {
    const isInside = depth < segments.length - 1
    const reason = whyNotNamed(name) ?? (isInside ? emptiedDirectories.get(name) : undefined)
    if (reason !== undefined) return reason
  }
  if (major < 15 && statsTempDirectory !== undefined && path.startsWith(`${statsTempDirectory}/`)) return statistics
  if (segments[0] === 'pg_wal') return whyNotOfWal(segments.slice(1), major)
  if (segments[0] === 'pg_tblspc' && segments[2] !== undefined && !new RegExp(String.raw`^PG_${major}_\d+$`).test(segments[2])) {
    return 'belongs to another server that uses the same tablespace directory'
  }
  return relationFileOf(path)?.isTemporary === true ? 'a temporary table, which ends with its session' : null
}

const statistics = 'temporary statistics, which the server writes anew'

/** Anywhere in the tree. Only the first two are prefixes. */
function whyNotNamed(name: string): string | undefined {
  if (name.startsWith('pgsql_tmp')) return 'temporary files of queries'
  if (name.startsWith('pg_internal.init')) return 'a cache of the catalogs, which the server makes anew'
  return leftOutNames.get(name)
}

const leftOutNames: ReadonlyMap<string, string> = new Map([
  ['postgresql.auto.conf.tmp', 'settings being written'],
  ['current_logfiles.tmp', 'a list of log files being written'],
  ['backup_label', 'the label of another backup'],
  ['tablespace_map', 'the tablespace map of another backup'],
  ['backup_manifest', 'the manifest of another backup'],
  ['postmaster.pid', 'belongs to the running server'],
  ['postmaster.opts', 'belongs to the running server'],
  ['.DS_Store', 'belongs to macOS'],
])

/** Anywhere in the tree too: what the server removes or zeroes when it starts. */
const emptiedDirectories: ReadonlyMap<string, string> = new Map([
  ['pg_stat_tmp', statistics],
  ['pg_replslot', 'replication slots, which must not live on in a copy'],
  ['pg_dynshmem', 'shared memory of the running server'],
  ['pg_notify', 'messages of LISTEN and NOTIFY, which end with the server'],
  ['pg_serial', 'serializable transactions, which end with the server'],
  ['pg_snapshots', 'exported snapshots, which end with the server'],
  ['pg_subtrans', 'running subtransactions, which end with the server'],
])

/** The server sends these directories empty, so that they are there. */
function whyNotOfWal(behind: readonly string[], major: number): string | null {
  const kept = major >= 17 ? ['archive_status', 'summaries'] : ['archive_status']
  const isKept = behind.length === 0 || (behind.length === 1 && kept.includes(behind[0] ?? ''))
  return isKept ? null : 'WAL, which is stored on its own'
}
