import type { Stats } from 'node:fs'
import { lstat } from 'node:fs/promises'
import type { Context } from '../../kernel/context.ts'
import { Failure, isFailure, systemCodeOf } from '../../kernel/failure.ts'
import { parseBackupLabel } from '../../pgdata/backup-label.ts'
import { controlFilePath } from '../../pgdata/control-file.ts'
import { pathBytes, readablePath } from '../../pgdata/file-path.ts'
import { parseTablespaceMap } from '../../pgdata/tablespace-map.ts'
import type { Session } from '../../postgres/session.ts'
import { collectBadPages } from './bad-pages.ts'
import { countBytes, type ByteCount } from './byte-count.ts'
import type { LocalCluster } from './choose-reader.ts'
import { promoted, type ClusterRead } from './cluster-read.ts'
import { readControlFile } from './control-bytes.ts'
import type { DirectLane } from './direct-lane.ts'
import { beginLowLevelBackup, endLowLevelBackup } from './low-level-backup.ts'
import type { BaseSource } from './open-base-source.ts'
import type { PageStore } from './page-store.ts'
import { reserveWal, type BackupWal } from './receive-wal.ts'
import { sourceUnreadable } from './source-unreadable.ts'
import { listTablespaces, walkCluster } from './walk-cluster.ts'

/**
 * Reads a whole cluster where its files lie, while the server runs: between pg_backup_start and pg_backup_stop the threads read the files, and beside them the WAL that the backup needs
 * is received, from a slot that was made before. What the server writes meanwhile may be torn or missing; WAL makes it right. Resolves when every byte was handed to the store and looked at.
 */
export async function readClusterDirectly(
  source: BaseSource,
  store: PageStore,
  { label, local }: { readonly label: string; readonly local: LocalCluster },
  context: Context,
): Promise<ClusterRead> {
  const { facts } = source
  const counted = countBytes(context)
  const badPages = collectBadPages()
  const wal = await reserveWal(source, { lane: store.lane(), label, counted }, context)
  counted.begin(null)
  const { startLsn, tablespaces } = await begin(source, { label, local })
  wal.begin({ startLsn, startTimeline: facts.timeline })
  const estimated = estimateBytes(source.session, counted)
  estimated.catch(() => undefined)

  await using lane = store.directLane({
    root: local.root,
    segmentPages: local.segmentPages,
    checksums: facts.dataChecksums,
    newerThan: startLsn,
    read: (_file, bytes) => counted.add(bytes),
    badPage: badPages.add,
  })
  const leftOut = await readFiles(lane, { local, tablespaces, wal }, context)
  await estimated

  // Last of all, when every other file was read: on a standby it says how far these are.
  const { bytes: controlBytes, control } = await readControlFile(local.root)
  if (control.systemIdentifier !== facts.systemIdentifier) throw replaced(local.root)
  const { mode } = await lstat(pathBytes(`${local.root}/${controlFilePath}`))
  const { stopLsn, backupLabel, tablespaceMap } = await endLowLevelBackup(source.files, facts)
  const { timeline } = parseBackupLabel(backupLabel)
  if (timeline !== facts.timeline) throw promoted(facts.timeline, timeline)
  const map = parseTablespaceMap(tablespaceMap, facts)
  const unread = map.find(({ oid }) => !tablespaces.has(String(oid)))
  if (unread !== undefined) throw new Failure('integrity', `the server names a tablespace ${unread.oid} that was not there when the backup began`)

  const rest = store.lane()
  for (const [path, bytes] of [
    [controlFilePath, controlBytes],
    ['backup_label', backupLabel],
    ['tablespace_map', tablespaceMap],
  ] as const) {
    await rest.begin({ path, mode: mode & 0o7777, sizeBytes: bytes.length })
    await rest.write(bytes)
    rest.end()
    counted.add(bytes.length)
  }
  await rest.finish()
  await wal.finish(stopLsn)
  counted.end()
  return {
    server: {
      startLsn,
      startTimeline: timeline,
      tablespaces: [...map.map(({ oid, path }) => ({ oid, path, sizeBytes: null })), { oid: null, path: null, sizeBytes: null }],
      stopLsn,
      stopTimeline: timeline,
      checksumFailures: badPages.failures(),
      warnings: [],
    },
    leftOut,
  }
}

const mostStarts = 5

/** The tablespaces that the server will name are known only at the end: it begins again where one came or went just then. */
async function begin(
  { files, facts }: BaseSource,
  { label, local }: { readonly label: string; readonly local: LocalCluster },
): Promise<{ readonly startLsn: bigint; readonly tablespaces: ReadonlySet<string> }> {
  for (let start = 1; start <= mostStarts; start += 1) {
    const before = await listTablespaces(local.root)
    const startLsn = await beginLowLevelBackup(files, { major: facts.major, label })
    const tablespaces = await listTablespaces(local.root)
    if (before.symmetricDifference(tablespaces).size === 0) return { startLsn, tablespaces }
    await endLowLevelBackup(files, facts)
  }
  throw new Failure('source-unreadable', `tablespaces came or went each of ${mostStarts} times that the backup was begun`, {
    hints: ['take the backup again: tidemark backup'],
  })
}

/** Hands every file to the threads. Resolves when they have read them all. */
async function readFiles(
  lane: DirectLane,
  { local, tablespaces, wal }: { readonly local: LocalCluster; readonly tablespaces: ReadonlySet<string>; readonly wal: BackupWal },
  { signal }: Context,
): Promise<ClusterRead['leftOut']> {
  const leftOut: ClusterRead['leftOut'][number][] = []
  for await (const found of walkCluster(local.root, { ...local, tablespaces })) {
    wal.requireComing()
    signal.throwIfAborted()
    if (found.kind === 'directory') lane.directory(found.path, found.mode)
    else if (found.kind === 'left-out') leftOut.push({ what: readablePath(found.path), why: found.why })
    else if (found.path !== controlFilePath) {
      const waiting = lane.file(found, 'exact')
      if (waiting !== undefined) await waiting
    }
  }
  let missed = await lane.settle()
  // A file that took the place of another is read whole, one that grows all the time as far as it was seen. What is gone, WAL removes.
  for (const size of ['exact', 'any'] as const) {
    for (const { path } of missed) {
      const stat = await statIfThere(local.root, path)
      if (stat !== null) await lane.file({ path, mode: stat.mode & 0o7777, sizeBytes: stat.size }, size)
    }
    missed = await lane.settle()
  }
  return leftOut
}

async function statIfThere(root: string, path: string): Promise<Stats | null> {
  try {
    const stat = await lstat(pathBytes(`${root}/${path}`))
    if (!stat.isFile()) throw new Error('it is no file any more')
    return stat
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return null
    throw sourceUnreadable(path, error)
  }
}

/** For those who wait only: without the right to know it (pg_read_all_stats), nobody is told how much there is to do. */
async function estimateBytes(session: Session, counted: ByteCount): Promise<void> {
  try {
    const [row] = await session.query<{ bytes: number | null }>('SELECT sum(pg_catalog.pg_tablespace_size(oid))::float8 AS bytes FROM pg_catalog.pg_tablespace')
    if (row?.bytes != null) counted.expect(row.bytes)
  } catch (error) {
    if (!isFailure(error, 'permission-denied', 'query-failed')) throw error
  }
}

function replaced(root: string): Failure {
  return new Failure('integrity', `${readablePath(root)} is the directory of another server than when the backup began`)
}
