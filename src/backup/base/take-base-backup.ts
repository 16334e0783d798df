import { utc } from '../../kernel/clock.ts'
import type { Context } from '../../kernel/context.ts'
import { asFailure, isFailure, messageOf } from '../../kernel/failure.ts'
import { toolVersion } from '../../kernel/version.ts'
import { formatLsn } from '../../pgdata/lsn.ts'
import type { Backup, BackupFacts } from '../../repository/backup.ts'
import type { BaseRoot } from '../../repository/base/base-root.ts'
import { giveUpRun } from '../../repository/base/give-up-run.ts'
import { openBaseBackup, type OpenBaseBackup } from '../../repository/base/open-base-backup.ts'
import type { PackKeys } from '../../repository/base/pack-keys.ts'
import { describeBackup, findBackup } from '../../repository/find-backup.ts'
import { categoryOf, rootKey } from '../../repository/layout.ts'
import { takeLease, type Lease } from '../../repository/lease.ts'
import type { Repository } from '../../repository/repository.ts'
import type { BaseBackupRequest } from './base-request.ts'
import { chooseChanges } from './choose-changes.ts'
import { choosePrior, type Prior } from './choose-prior.ts'
import { chooseReader, type Reader } from './choose-reader.ts'
import type { ClusterRead } from './cluster-read.ts'
import { readClusterDirectly } from './direct-cluster.ts'
import { openBaseSource, type BaseSource } from './open-base-source.ts'
import { createPageStore, type RunKeys, type StoredPages } from './page-store.ts'
import { lacksRows } from './left-out.ts'
import { readBackBase } from './read-back-base.ts'
import { sealRun } from './run-sealing.ts'
import { rememberSummaries, whyOtherHistory } from './same-history.ts'
import { storeRoot, type StoredRoot } from './store-root.ts'
import { streamChanges, streamCluster } from './stream-cluster.ts'

export interface BaseOutcome {
  readonly backup: Backup
  readonly warnings: readonly string[]
  /** Pages of the source are bad, or the log changed right after the commit: exit code 3. */
  readonly partial: boolean
}

/** Takes a base backup of a cluster into one repository, sealed where it has a keyring: the whole story. Rejects without leaving anything that counts. */
export async function takeBaseBackup(request: BaseBackupRequest, repository: Repository, context: Context): Promise<BaseOutcome> {
  const startedAt = context.clock.now()
  using keys = sealRun(repository, request, context)
  await using source = await openBaseSource(request, context)
  const reader = await chooseReader(request, source)
  await using lease = await takeLease(
    repository.storage,
    { cluster: request.cluster, run: request.run, verb: 'backup', objects: () => [], keys: keys?.open ?? null },
    request.whereabouts,
    context,
  )
  try {
    await keys?.store()
    const prior = await choosePrior(request, { repository, state: lease.state(), keys: keys?.open ?? null }, source.facts, context)
    for (const why of prior.why) context.emit({ type: 'note', message: why })

    const { read, pages, how, why: whyNot } = await readCluster(request, { source, reader, repository, prior: prior.backup, keys: keys?.seal ?? null }, context)
    const leftOut = [...source.facts.leftOut, ...read.leftOut]
    const { warnings, partial } = judgeSource(read)
    const facts = describeBase(request, { source, read, pages, prior: prior.backup, sealed: keys !== null }, { startedAt, endedAt: context.clock.now() })
    const why = [...prior.why, ...whyNot]
    const summaries = await rememberSummaries(source.session, { timeline: read.server.startTimeline, startLsn: read.server.startLsn })
    const described = { facts, source: { ...source.facts, leftOut }, server: read.server, pages, prior: prior.backup, how, why, summaries, warnings }
    const stored = await storeRoot(repository, { ...described, keys: keys?.seal ?? null }, context)

    // Read back before the commit: what cannot be read again never exists as a backup.
    const state = request.verify ? await stateAfterReadBack(request, { repository, stored, prior, keys: keys?.open ?? null }, context) : 'stored'
    const committed: BackupFacts = { ...stored.facts, committedAs: state }
    await lease.append({ kind: 'backup', epoch: lease.epoch, backup: committed, manifest: stored.manifest, run: request.run })
    const isTidy = await endLease(lease, context, warnings)
    return {
      backup: describeBackup(findBackup(lease.state(), request.run), [repository], leftOut),
      warnings,
      partial: partial || !isTidy,
    }
  } catch (error) {
    await giveUpRun(repository, lease, request.run, context)
    throw error
  }
}

interface ReadCluster {
  readonly read: ClusterRead
  readonly pages: StoredPages
  readonly how: BaseRoot['read']['how']
  /** Why it was read in no better way. */
  readonly why: readonly string[]
}

/** By the server's summaries of what changed, where they can be believed; else every page: directly, where the files lie on this machine, or as the server sends them. */
async function readCluster(
  request: BaseBackupRequest,
  {
    source,
    reader,
    repository,
    prior,
    keys,
  }: {
    readonly source: BaseSource
    readonly reader: Reader
    readonly repository: Repository
    readonly prior: OpenBaseBackup | null
    readonly keys: RunKeys | null
  },
  context: Context,
): Promise<ReadCluster> {
  const { cluster, run, threads, level } = request
  await using store = createPageStore({ repository, cluster, run, keys, pageBytes: source.facts.pageBytes, threads, level, prior }, context)
  const why: string[] = []
  const say = (message: string): void => {
    why.push(message)
    context.emit({ type: 'note', message })
  }
  const changes = chooseChanges(request, source.facts, prior)
  if ('since' in changes) {
    const refused = (reason: string): void => say(`the server's summaries cannot be used: ${reason}`)
    const { since } = changes
    const whyOther = await whyOtherHistory(source.session, since.root, context)
    if (whyOther !== null) refused(whyOther)
    const read = whyOther === null ? await streamChanges(source, store, { label: run, since, refused }, context) : null
    if (read !== null) return { read, pages: await store.finish(), how: 'summaries', why }
  } else if (prior !== null) say(`every page is read and compared: ${changes.why}`)
  if (reader.how === 'direct') {
    const read = await readClusterDirectly(source, store, { label: run, local: reader.local }, context)
    return { read, pages: await store.finish(), how: 'direct', why }
  }
  say(`the server reads its files and sends them: ${reader.why}`)
  const read = await streamCluster(source, store, run, context)
  return { read, pages: await store.finish(), how: 'stream', why }
}

/** Bad pages of the source do not stop a backup, which may be the last one there will be, nor does a part of it that lies where no base backup reads; both are said, every time. */
function judgeSource({ server: { checksumFailures }, leftOut }: ClusterRead): { readonly warnings: string[]; readonly partial: boolean } {
  const warnings: string[] = []
  const isPartial = lacksRows(leftOut)
  if (isPartial)
    warnings.push('a part of the cluster is not in the backup, which cannot be restored whole: move what lies behind a link back, or to a tablespace')
  if (checksumFailures !== null)
    warnings.push('the source has pages that fail their checksum; keep older backups until it is mended', ...checksumFailures.warnings)
  return { warnings, partial: isPartial || checksumFailures !== null }
}

interface TakenBase {
  readonly source: BaseSource
  readonly read: ClusterRead
  readonly pages: StoredPages
  readonly prior: OpenBaseBackup | null
  readonly sealed: boolean
}

function describeBase(
  request: BaseBackupRequest,
  { source, read, pages, prior, sealed }: TakenBase,
  { startedAt, endedAt }: { readonly startedAt: Temporal.Instant; readonly endedAt: Temporal.Instant },
): BackupFacts {
  const { server } = read
  return {
    id: request.run,
    cluster: request.cluster,
    database: null,
    type: prior === null ? 'full' : 'incr',
    name: request.name,
    startedAt: utc(startedAt),
    endedAt: utc(endedAt),
    sizeBytes: pages.sizeBytes,
    storedBytes: pages.storedBytes,
    checksum: '',
    format: 'packs',
    compression: `zstd:${request.level}`,
    encryption: sealed ? 'age+aes-256-gcm' : null,
    key: rootKey(request.cluster, request.run),
    fileName: `${request.run}.pack`,
    postgresVersion: source.facts.version,
    startLsn: formatLsn(server.startLsn),
    stopLsn: formatLsn(server.stopLsn),
    timeline: server.startTimeline,
    tables: [],
    category: categoryOf(startedAt.toZonedDateTimeISO(request.timeZone).toPlainDate()),
    container: null,
    user: request.target.user,
    hostname: request.hostName,
    toolVersion,
    partial: lacksRows(read.leftOut),
    safety: false,
    committedAs: 'stored',
    adopted: false,
  }
}

/** `verified` only where every page was read back, by this run or by an earlier one. */
async function stateAfterReadBack(
  request: BaseBackupRequest,
  { repository, stored, prior, keys }: { readonly repository: Repository; readonly stored: StoredRoot; readonly prior: Prior; readonly keys: PackKeys | null },
  context: Context,
): Promise<BackupFacts['committedAs']> {
  const backup = await openBaseBackup(repository, stored.record, keys, context)
  await readBackBase(repository, backup, { run: request.run, threads: request.threads }, context)
  if (prior.backup === null || prior.backup.record.state !== 'stored') return 'verified'
  const { id } = prior.backup.record.facts
  context.emit({
    type: 'note',
    message: `the backup shares pages with ${id}, which nobody has read back yet, so it is stored, not verified: tidemark verify ${request.run}`,
  })
  return 'stored'
}

/** False when the log was changed right after the commit, so that the backup may not be in it any more. */
async function endLease(lease: Lease, context: Context, warnings: string[]): Promise<boolean> {
  try {
    await lease.end('ok')
    return true
  } catch (error) {
    warnings.push(`the backup is committed, but tidying up failed: ${asFailure(error).message}`)
    context.emit({ type: 'warning', code: 'tidy-failed', message: `the backup is committed, but tidying up failed: ${messageOf(error)}` })
    return !isFailure(error, 'integrity')
  }
}
