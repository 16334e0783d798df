import type { Context } from '../../kernel/context.ts'
import { Failure } from '../../kernel/failure.ts'
import { createBaseTarReader, type BaseTarReader, type TarEntry } from '../../pgdata/tar-reader.ts'
import { walSegmentName, walSegmentNumber, walSegmentStart } from '../../pgdata/wal-segment.ts'
import { runBaseBackup, type BaseBackup, type BaseBackupStart } from '../../postgres/replication/base-backup.ts'
import { createTemporarySlot } from '../../postgres/replication/replication-commands.ts'
import { receiveWal, WalSteering } from '../../postgres/replication/wal-receiver.ts'
import type { FileLane } from './file-lane.ts'
import type { BaseSource } from './open-base-source.ts'
import type { PageStore } from './page-store.ts'

/** What the server said of the backup that it sent. */
export interface StreamedCluster {
  readonly server: BaseBackup
  /** Of all files, WAL included. */
  readonly sizeBytes: number
}

/**
 * Reads a whole cluster over the replication protocol: every file through BASE_BACKUP, and beside it the WAL that the backup needs, from a slot that was made before it began. Resolves when every
 * byte was handed to the store and looked at.
 */
export async function streamCluster(source: BaseSource, store: PageStore, label: string, context: Context): Promise<StreamedCluster> {
  const { facts } = source
  const slot = await createTemporarySlot(source.wal, { major: facts.major, name: `tidemark_${label.replaceAll(/[^a-z0-9]/g, '_')}` })
  const steering = new WalSteering()
  const counted = countBytes(context)
  const walLane = store.lane()
  const walFiles = walWriter(walLane, { walSegmentBytes: facts.walSegmentBytes, timeline: facts.timeline })
  let receiving: Promise<void> | null = null
  let walFailure: { readonly error: unknown } | null = null

  const receive = async ({ startLsn, startTimeline }: BaseBackupStart): Promise<void> => {
    const from = walSegmentStart(walSegmentNumber(startLsn, facts.walSegmentBytes), facts.walSegmentBytes)
    const options = { slot: slot.name, startLsn: from, timeline: startTimeline, steering, clock: context.clock }
    const outcome = await receiveWal(source.wal, options, {
      wal: (lsn, bytes) => {
        counted.add(bytes.length)
        const waiting = walFiles.write(lsn, bytes)
        steering.flushedTo(lsn)
        return waiting
      },
    })
    if (outcome.kind === 'timeline-ended') throw promoted(startTimeline, outcome.nextTimeline)
  }
  const sink = tarSink(store.lane(), facts.major, counted)
  const server = await runBaseBackup(
    source.files,
    {
      major: facts.major,
      label,
      fastCheckpoint: true,
      manifest: true,
      manifestChecksums: 'CRC32C',
      verifyChecksums: true,
      incremental: false,
      progress: true,
    },
    {
      ...sink.archives,
      started: (start) => {
        if (start.startTimeline !== facts.timeline) throw promoted(facts.timeline, start.startTimeline)
        counted.begin(start.tablespaces.reduce((bytes, { sizeBytes }) => bytes + (sizeBytes ?? 0), 0))
        receiving = receive(start).catch((error: unknown) => {
          walFailure = { error }
        })
      },
      data: (bytes) => {
        // Without its WAL the rest of the backup is worth nothing.
        if (walFailure !== null) throw walFailure.error
        return sink.archives.data(bytes)
      },
    },
  )
  await sink.finish()
  if (server.stopTimeline !== server.startTimeline) throw promoted(server.startTimeline, server.stopTimeline)
  steering.stopAt(server.stopLsn)
  await receiving
  // TypeScript does not see that the callback above may have set it.
  const failed = walFailure as { readonly error: unknown } | null
  if (failed !== null) throw failed.error
  await walFiles.finish()
  await walLane.finish()
  counted.end()
  return { server, sizeBytes: counted.total() }
}

function promoted(from: number, to: number): Failure {
  return new Failure('connection-lost', `the server changed from timeline ${from} to ${to} while it was backed up: it was promoted`, {
    hints: ['take the backup again: tidemark backup'],
  })
}

/** Files out of the archives into a lane. */
function tarSink(lane: FileLane, major: number, counted: ByteCount) {
  let reader: BaseTarReader | null = null
  let prefix = ''
  let open: TarEntry | null = null
  /** The manifest's length is known at its end only. */
  const manifest: Buffer[] = []
  const directories = new Set<string>()
  const directory = (path: string, mode: number): void => {
    if (directories.has(path)) return
    directories.add(path)
    lane.directory(path, mode)
  }
  const begin = (): BaseTarReader =>
    createBaseTarReader(
      {
        entry: (header) => {
          open = header
          const path = `${prefix}${header.path}`
          if (header.kind === 'directory') directory(path, header.mode)
          else if (header.kind === 'symlink') throw foreignLink(path)
          else return lane.begin({ path, mode: header.mode, sizeBytes: header.sizeBytes })
          return undefined
        },
        body: (bytes) => lane.write(bytes),
        end: () => {
          if (open?.kind === 'file') lane.end()
        },
      },
      { endBlocks: major < 15 ? 'optional' : 'required' },
    )
  return {
    archives: {
      archive: (oid: number | null): void => {
        prefix = oid === null ? '' : `pg_tblspc/${oid}/`
        reader = begin()
      },
      data: (bytes: Buffer): void | Promise<void> => {
        counted.add(bytes.length)
        return reader?.write(bytes)
      },
      archiveEnd: (): void => {
        reader?.finish()
        reader = null
      },
      manifest: (bytes: Buffer): void => void manifest.push(Buffer.from(bytes)),
    },
    finish: async (): Promise<void> => {
      const bytes = Buffer.concat(manifest)
      await lane.begin({ path: 'backup_manifest', mode: 0o600, sizeBytes: bytes.length })
      await lane.write(bytes)
      lane.end()
      await lane.finish()
    },
  }
}

function foreignLink(path: string): Failure {
  return new Failure('integrity', `the server sent a link, ${path}, where it sends none`)
}

/** WAL as the files of pg_wal, each as long as a segment is: what the server did not fill is zeros. */
function walWriter(lane: FileLane, { walSegmentBytes, timeline }: { readonly walSegmentBytes: number; readonly timeline: number }) {
  let open = false
  /** Behind the last byte that came: the server may send more than the backup needs. */
  let end = 0n
  const write = (lsn: bigint, bytes: Uint8Array): void | Promise<void> => {
    end = lsn + BigInt(bytes.length)
    const offset = Number(lsn % BigInt(walSegmentBytes))
    const put = (): void | Promise<void> => {
      const waiting = lane.write(bytes)
      if (offset + bytes.length < walSegmentBytes) return waiting
      const close = (): void => {
        lane.end()
        open = false
      }
      return waiting instanceof Promise ? waiting.then(close) : close()
    }
    if (open) return put()
    open = true
    const number = walSegmentNumber(lsn, walSegmentBytes)
    const beginning = lane.begin({ path: `pg_wal/${walSegmentName({ timeline, number }, walSegmentBytes)}`, mode: 0o600, sizeBytes: walSegmentBytes })
    return beginning instanceof Promise ? beginning.then(put) : put()
  }
  return {
    write,
    finish: async (): Promise<void> => {
      const zeros = Buffer.alloc(64 << 10)
      while (open) await write(end, zeros.subarray(0, Math.min(zeros.length, walSegmentBytes - Number(end % BigInt(walSegmentBytes)))))
    },
  }
}

interface ByteCount {
  begin(expectedBytes: number): void
  add(bytes: number): void
  end(): void
  total(): number
}

/** Tells how far the reading is, a few times a second. */
function countBytes({ clock, emit }: Context): ByteCount {
  let expected: number | null = null
  let done = 0
  let told = 0
  const startedAt = clock.now()
  let toldAt = startedAt
  return {
    begin: (expectedBytes) => {
      expected = expectedBytes
      emit({ type: 'step-begun', step: 'base-backup', subject: 'cluster', expectedBytes })
    },
    add: (bytes) => {
      done += bytes
      // The clock is asked for every few megabytes only.
      if (done - told < 4 << 20) return
      told = done
      const now = clock.now()
      if (now.since(toldAt).total('milliseconds') < 250) return
      toldAt = now
      emit({ type: 'step-progress', step: 'base-backup', doneBytes: done, expectedBytes: expected })
    },
    end: () => {
      const durationSeconds = clock.now().since(startedAt).total('seconds')
      emit({ type: 'step-ended', step: 'base-backup', subject: 'cluster', durationSeconds, doneBytes: done })
    },
    total: () => done,
  }
}
