import { Failure } from '../../kernel/failure.ts'
import { parseLsn } from '../../pgdata/lsn.ts'
import { quoteLiteral } from '../../postgres/identifiers.ts'
import { firstRow, textOf } from '../../postgres/replication/replication-commands.ts'
import type { ReplicationConnection } from '../../postgres/replication/replication-connection.ts'

/** What the server says at the end of a backup that others copied. */
export interface BackupEnd {
  /** WAL is needed up to here, exclusive. */
  readonly stopLsn: bigint
  /** The contents of these files, byte for byte. */
  readonly backupLabel: Buffer
  readonly tablespaceMap: Buffer
}

/** The functions that these call, by their names and arguments: whoever is to begin and end a backup needs the right to them. */
export const backupFunctions = (major: number) =>
  major < 15
    ? ({ begin: 'pg_start_backup(text, boolean, boolean)', end: 'pg_stop_backup(boolean, boolean)' } as const)
    : ({ begin: 'pg_backup_start(text, boolean)', end: 'pg_backup_stop(boolean)' } as const)

/**
 * Begins a backup that we copy ourselves (documentation, "Making a Base Backup Using the Low Level API"), with a checkpoint at once, and resolves with where it starts. It lasts as long as the connection does:
 * that in replication mode, since no pooler ever shares it.
 */
export async function beginLowLevelBackup(
  connection: ReplicationConnection,
  { major, label }: { readonly major: number; readonly label: string },
): Promise<bigint> {
  // The checkpoint may take long, and so may the copying, while nothing is asked here.
  await connection.run('SET statement_timeout = 0')
  if (major >= 14) await connection.run('SET idle_session_timeout = 0')
  const text = quoteLiteral(label)
  const call = major < 15 ? `pg_catalog.pg_start_backup(${text}, true, false)` : `pg_catalog.pg_backup_start(${text}, true)`
  return parseLsn(await only(connection, `SELECT ${call}::text AS lsn`, 'lsn'))
}

/** Ends it without waiting for the archive: its WAL is received beside it. */
export async function endLowLevelBackup(connection: ReplicationConnection, { major }: { readonly major: number }): Promise<BackupEnd> {
  const call = major < 15 ? 'pg_catalog.pg_stop_backup(false, false)' : 'pg_catalog.pg_backup_stop(false)'
  // In the encoding that the server has them in: paths of tablespaces are bytes.
  const hex = (column: string) => `pg_catalog.encode(pg_catalog.convert_to(coalesce(${column}, ''), pg_catalog.getdatabaseencoding()), 'hex')`
  const [rows = []] = await connection.run(`SELECT lsn::text AS lsn, ${hex('labelfile')} AS label, ${hex('spcmapfile')} AS map FROM ${call}`)
  const row = firstRow(rows)
  const backupLabel = Buffer.from(textOf(row, 'label'), 'hex')
  if (backupLabel.length === 0) throw new Failure('query-failed', 'the server ended the backup without a backup_label')
  return { stopLsn: parseLsn(textOf(row, 'lsn')), backupLabel, tablespaceMap: Buffer.from(textOf(row, 'map'), 'hex') }
}

async function only(connection: ReplicationConnection, sql: string, column: string): Promise<string> {
  const [rows = []] = await connection.run(sql)
  return textOf(firstRow(rows), column)
}
