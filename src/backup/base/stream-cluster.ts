import type { Context } from '../../kernel/context.ts'
import { isFailure, messageOf } from '../../kernel/failure.ts'
import { runBaseBackup, uploadManifest, type BaseBackup, type BaseBackupOptions } from '../../postgres/replication/base-backup.ts'
import type { OpenBaseBackup } from '../../repository/base/open-base-backup.ts'
import { countBytes } from './byte-count.ts'
import { createChangedFiles } from './changed-files.ts'
import { promoted, type ClusterRead } from './cluster-read.ts'
import type { FileLane } from './file-lane.ts'
import type { BaseSource } from './open-base-source.ts'
import type { PageStore } from './page-store.ts'
import { leftOutOf } from './left-out.ts'
import { priorOf } from './prior-backup.ts'
import { priorManifest } from './prior-manifest.ts'
import { createArchiveReader, type ArchiveReader } from './read-archives.ts'
import { reserveWal } from './receive-wal.ts'

/**
 * Reads a whole cluster over the replication protocol: every file through BASE_BACKUP, and beside it the WAL that the backup needs, from a slot that was made before it began. Resolves when every
 * byte was handed to the store and looked at.
 */
export async function streamCluster(source: BaseSource, store: PageStore, label: string, context: Context): Promise<ClusterRead> {
  const lane = store.lane()
  const counted = countBytes(context)
  const archives = createArchiveReader(lane, { major: source.facts.major, received: counted.add })
  const finish = async (manifest: Buffer): Promise<void> => {
    await storeFile(lane, 'backup_manifest', manifest)
    await lane.finish()
  }
  const wal = await reserveWal(source, { lane: store.lane(), label, counted }, context)
  const server = await receive(source, { archives, wal, counted, label, incremental: false })
  await finish(archives.manifest())
  await wal.finish(server.stopLsn)
  counted.end()
  return { server, leftOut: leftOutOf(server.warnings) }
}

/**
 * Reads what changed since the prior backup, by the server's summaries of its WAL. Null where the server refuses before it sent anything (`why` is told): then everything is to be read.
 */
export async function streamChanges(
  source: BaseSource,
  store: PageStore,
  { label, since, refused }: { readonly label: string; readonly since: OpenBaseBackup; readonly refused: (why: string) => void },
  context: Context,
): Promise<ClusterRead | null> {
  const { pageBytes, segmentPages, major } = source.facts
  const whole = store.lane()
  const counted = countBytes(context)
  const files = createChangedFiles({ whole, changed: store.changedLane(), prior: priorOf(since, context), pageBytes, segmentPages })
  const archives = createArchiveReader(files, { major, received: counted.add })
  const wal = await reserveWal(source, { lane: store.lane(), label: `${label}_changes`, counted }, context)
  let hasStarted = false
  let server: BaseBackup
  try {
    await uploadManifest(source.files, priorManifest(since, context))
    server = await receive(source, { archives, wal, counted, label, incremental: true, started: () => (hasStarted = true) })
  } catch (error) {
    if (hasStarted || !isFailure(error, 'query-failed', 'permission-denied')) throw error
    refused(messageOf(error))
    return null
  }
  await files.finish()
  await wal.finish(server.stopLsn)
  counted.end()
  return { server, leftOut: leftOutOf(server.warnings) }
}

interface Reception {
  readonly archives: ArchiveReader
  readonly wal: Awaited<ReturnType<typeof reserveWal>>
  readonly counted: ReturnType<typeof countBytes>
  readonly label: string
  readonly incremental: boolean
  readonly started?: () => void
}

async function receive(source: BaseSource, { archives, wal, counted, label, incremental, started }: Reception): Promise<BaseBackup> {
  const options: BaseBackupOptions = {
    major: source.facts.major,
    label,
    fastCheckpoint: true,
    manifest: true,
    manifestChecksums: 'CRC32C',
    verifyChecksums: true,
    incremental,
    progress: true,
  }
  const server = await runBaseBackup(source.files, options, {
    ...archives.sink,
    started: (start) => {
      started?.()
      counted.begin(start.tablespaces.reduce((bytes, { sizeBytes }) => bytes + (sizeBytes ?? 0), 0))
      wal.begin(start)
    },
    data: (bytes) => {
      wal.requireComing()
      return archives.sink.data(bytes)
    },
  })
  if (server.stopTimeline !== server.startTimeline) throw promoted(server.startTimeline, server.stopTimeline)
  return server
}

async function storeFile(lane: FileLane, path: string, bytes: Buffer): Promise<void> {
  await lane.begin({ path, mode: 0o600, sizeBytes: bytes.length })
  await lane.write(bytes)
  lane.end()
}
