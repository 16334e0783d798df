import type { Context } from '../../kernel/context.ts'
import { Failure } from '../../kernel/failure.ts'
import { createBaseTarReader, type BaseTarReader, type TarEntry } from '../../pgdata/tar-reader.ts'
import { runBaseBackup } from '../../postgres/replication/base-backup.ts'
import { countBytes, type ByteCount } from './byte-count.ts'
import { promoted, type ClusterRead } from './cluster-read.ts'
import type { FileLane } from './file-lane.ts'
import type { BaseSource } from './open-base-source.ts'
import type { PageStore } from './page-store.ts'
import { reserveWal } from './receive-wal.ts'

/**
 * Reads a whole cluster over the replication protocol: every file through BASE_BACKUP, and beside it the WAL that the backup needs, from a slot that was made before it began. Resolves when every
 * byte was handed to the store and looked at.
 */
export async function streamCluster(source: BaseSource, store: PageStore, label: string, context: Context): Promise<ClusterRead> {
  const { facts } = source
  const counted = countBytes(context)
  const wal = await reserveWal(source, { lane: store.lane(), label, counted }, context)
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
        counted.begin(start.tablespaces.reduce((bytes, { sizeBytes }) => bytes + (sizeBytes ?? 0), 0))
        wal.begin(start)
      },
      data: (bytes) => {
        wal.requireComing()
        return sink.archives.data(bytes)
      },
    },
  )
  await sink.finish()
  if (server.stopTimeline !== server.startTimeline) throw promoted(server.startTimeline, server.stopTimeline)
  await wal.finish(server.stopLsn)
  counted.end()
  return { server, sizeBytes: counted.total(), leftOut: [] }
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
