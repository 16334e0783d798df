import { isFailure } from '../../kernel/failure.ts'
import { baseBackupCommand, type BaseBackupOptions } from './base-backup-command.ts'
import { ArchiveSequence, type ArchiveSink, type BackupTablespace, numberedStreams, typedMessages } from './base-backup-streams.ts'
import { type ChecksumFailures, checksumFailuresOf } from './checksum-failures.ts'
import type { CommandSink } from './command-sink.ts'
import { protocolFailure, type ResultRows, type ServerNotice } from './message-fields.ts'
import type { ReplicationConnection } from './replication-connection.ts'
import { firstRow, lsnOf, numberOf } from './replication-commands.ts'

export type { BaseBackupOptions } from './base-backup-command.ts'
export type { ArchiveSink, BackupTablespace } from './base-backup-streams.ts'
export type { ChecksumFailures } from './checksum-failures.ts'

export interface BaseBackupStart {
  /** WAL is needed from here on: the redo pointer of the backup's checkpoint. */
  readonly startLsn: bigint
  readonly startTimeline: number
  /** In the order of their archives; the data directory is the last. */
  readonly tablespaces: readonly BackupTablespace[]
}

export interface BaseBackup extends BaseBackupStart {
  /** WAL is needed up to here, exclusive. */
  readonly stopLsn: bigint
  readonly stopTimeline: number
  /** Null when the server found none, or was not asked to look. Otherwise all data is here, but these pages are bad. */
  readonly checksumFailures: ChecksumFailures | null
  /** What else the server warned of, in its own words. */
  readonly warnings: readonly string[]
}

export interface BaseBackupSink extends ArchiveSink {
  /** The checkpoint is done and the archives follow. */
  started(start: BaseBackupStart): void | Promise<void>
}

/** BASE_BACKUP to its end. Fails as `ReplicationConnection.run` does; it never returns before every archive and the manifest came whole. */
export async function runBaseBackup(connection: ReplicationConnection, options: BaseBackupOptions, sink: BaseBackupSink): Promise<BaseBackup> {
  const reception = new BaseBackupReception(options, sink)
  try {
    await connection.run(baseBackupCommand(options), reception)
    return reception.finish(false)
  } catch (error) {
    // "checksum verification failure during base backup" comes after everything else, the place where the backup ends included.
    if (reception.complete && isFailure(error) && error.details['sqlState'] === 'XX001') return reception.finish(true)
    throw error
  }
}

/** 17 and newer: gives the server the manifest of the backup that the next incremental one on this connection is based on. */
export async function uploadManifest(connection: ReplicationConnection, manifest: AsyncIterable<Uint8Array>): Promise<void> {
  await connection.run('UPLOAD_MANIFEST', { copyIn: manifest })
}

/** Follows the answer: a result with the start, one with the tablespaces, the streams, a result with the end. */
class BaseBackupReception implements CommandSink {
  readonly #options: BaseBackupOptions
  readonly #sink: BaseBackupSink
  readonly #warnings: ServerNotice[] = []
  #begin: { readonly lsn: bigint; readonly timeline: number } | null = null
  #start: BaseBackupStart | null = null
  #sequence: ArchiveSequence | null = null
  #streams: ReturnType<typeof typedMessages> | null = null
  #stop: { readonly lsn: bigint; readonly timeline: number } | null = null

  constructor(options: BaseBackupOptions, sink: BaseBackupSink) {
    this.#options = options
    this.#sink = sink
  }

  get complete(): boolean {
    return this.#stop !== null && this.#sequence?.complete === true
  }

  async result(rows: ResultRows): Promise<void> {
    if (this.#begin === null) this.#begin = placeOf(rows)
    else if (this.#start === null) {
      this.#start = { startLsn: this.#begin.lsn, startTimeline: this.#begin.timeline, tablespaces: tablespacesOf(rows) }
      this.#sequence = new ArchiveSequence(this.#start.tablespaces, this.#options.manifest, this.#sink)
      this.#streams = this.#options.major < 15 ? numberedStreams(this.#sequence) : typedMessages(this.#sequence)
      await this.#sink.started(this.#start)
    } else if (this.#stop === null) this.#stop = placeOf(rows)
    else throw protocolFailure('one more result than a base backup has')
  }

  copyOut(): void | Promise<void> {
    if (this.#streams === null) throw protocolFailure('archives before it said where the backup starts')
    return this.#streams.copyOut()
  }

  readonly copyData = (piece: Buffer, first: boolean, last: boolean): void | Promise<void> => this.#streams?.copyData(piece, first, last)

  copyDone(): void | Promise<void> {
    return this.#streams?.copyDone()
  }

  notice(notice: ServerNotice): void {
    if (notice.severity === 'WARNING') this.#warnings.push(notice)
  }

  finish(pagesAreBad: boolean): BaseBackup {
    if (this.#start === null || this.#stop === null || !this.complete) throw protocolFailure('an end of the backup before all of it')
    return {
      ...this.#start,
      stopLsn: this.#stop.lsn,
      stopTimeline: this.#stop.timeline,
      checksumFailures: pagesAreBad ? checksumFailuresOf(this.#warnings) : null,
      // Of bad pages all are said already.
      warnings: pagesAreBad ? [] : this.#warnings.map(({ message }) => message),
    }
  }
}

function placeOf(rows: ResultRows): { readonly lsn: bigint; readonly timeline: number } {
  const row = firstRow(rows)
  return { lsn: lsnOf(row, 'recptr'), timeline: numberOf(row, 'tli') }
}

function tablespacesOf(rows: ResultRows): readonly BackupTablespace[] {
  const tablespaces = rows.map((row) => ({
    oid: row['spcoid'] == null ? null : numberOf(row, 'spcoid'),
    path: row['spclocation'] ?? null,
    sizeBytes: row['size'] == null ? null : numberOf(row, 'size') * 1024,
  }))
  if (tablespaces.findIndex(({ oid }) => oid === null) !== tablespaces.length - 1) throw protocolFailure('tablespaces without the data directory as the last')
  return tablespaces
}
