import type { Context } from '../kernel/context.ts'
import { utc } from '../kernel/clock.ts'
import { asFailure, Failure, isFailure, messageOf } from '../kernel/failure.ts'
import { quoteIdentifier } from '../postgres/identifiers.ts'
import type { Backup } from '../repository/backup.ts'
import { packKeysOf } from '../repository/base/pack-keys.ts'
import { describeBackup, findBackup } from '../repository/find-backup.ts'
import { categoryOf } from '../repository/layout.ts'
import { takeLease } from '../repository/lease.ts'
import { updateLatestAlias } from '../repository/latest-alias.ts'
import type { Repository } from '../repository/repository.ts'
import { toolVersion } from '../kernel/version.ts'
import { chooseNames } from './choose-names.ts'
import { commitDump, type CommonFacts } from './commit-dump.ts'
import type { DumpRequest } from './dump-request.ts'
import { compressionLabel, plannedObjects } from './file-names.ts'
import { findLeftOut, isPartial } from './left-out.ts'
import { openSource } from './open-source.ts'
import { effectiveCompression } from './pg-dump-arguments.ts'
import { readBackStored } from './read-back-stored.ts'
import type { DumpWork } from './run-pg-dump.ts'
import { storeDump } from './store-dump.ts'
import { storeGlobals } from './store-globals.ts'
import { createTargets, type StoreTarget } from './store-target.ts'
import type { StoredDump } from './stored-dump.ts'

export interface DumpOutcome {
  readonly backup: Backup
  readonly warnings: readonly string[]
  /** Something was left out that should be there, or a repository failed: exit code 3. */
  readonly partial: boolean
}

/**
 * Dumps one database into one or more repositories: the whole story. Rejects without leaving anything when no repository
 * could be written; when some could, the backup exists there and the outcome is partial.
 */
export async function takeDump(request: DumpRequest, repositories: readonly Repository[], context: Context): Promise<DumpOutcome> {
  const startedAt = context.clock.now()
  const day = startedAt.toZonedDateTimeISO(request.timeZone).toPlainDate()
  const warnings: string[] = []

  // A session of ours holds the snapshot that pg_dump reads, so that what the dump lacks can be named.
  await using source = await openSource(request, context)
  if (source.isUnfinished) {
    const database = source.facts.database
    warnings.push(
      `"${database}" is a copy that a restore has not finished, so this backup counts as a part of a database and is never latest; if that restore was killed and the database is right all the same: COMMENT ON DATABASE ${quoteIdentifier(database)} IS NULL`,
    )
  }
  const compression = effectiveCompression(request.format, request.compression, source.dumpTool.major)
  const names = await chooseNames(request, repositories, { format: request.format, compression, day }, context)

  await using targets = createTargets(context)
  for (const repository of repositories) {
    await targets.open(repository, async (sealer) => {
      const keys = names.keysIn(repository)
      const lease = await takeLease(
        repository.storage,
        {
          cluster: request.cluster,
          run: request.run,
          verb: 'backup',
          objects: (state) => plannedObjects(names.requireFree(keys, state), request.format),
          keys: packKeysOf(repository.keyring, context),
        },
        request.whereabouts,
        context,
      )
      return { repository, keys, lease, sealer, written: new Set(), companions: [] }
    })
  }

  const work: DumpWork = { request, source, compression }
  const stored = await storeDump(work, targets, context)
  warnings.push(...stored.warnings)
  const { named, missing } = findLeftOut(source.tables, stored.dumpedTables, request.selection)
  for (const table of missing) warnings.push(`table ${table} exists in the snapshot and is not in the dump`)
  const globals = request.globals
    ? await storeGlobals(request, source, targets, context)
    : { warnings: [], leftOut: [{ what: 'roles and tablespaces', why: 'not wanted (--no-globals)' }] }
  warnings.push(...globals.warnings)

  // Read back before the commit: what cannot be read again never exists as a backup.
  if (request.verify) await readBackStored(stored, request.format, targets, context)
  for (const { sealer } of targets.requireLiving()) sealer?.forget()

  const facts = describeDump(work, stored, { startedAt, endedAt: context.clock.now(), day })
  const leftOut = [...named, ...globals.leftOut]
  const committed = await targets.each((target) =>
    commitDump(target, { facts, source: source.facts, stored, leftOut, warnings, timeZone: request.timeZone, selection: request.selection }, context),
  )

  // From here the backup exists. What follows only tidies, and says so where it fails.
  let isListed = true
  for (const target of committed) isListed = (await tidy(target, context, warnings)) && isListed
  const [first] = committed
  if (first === undefined) throw new Failure('bug', 'no repository committed the backup and none failed')
  return {
    backup: describeBackup(
      findBackup(first.lease.state(), request.run),
      committed.map((target) => target.repository),
      leftOut,
    ),
    warnings: [...warnings, ...targets.failures().map(({ name, error }) => `repository "${name}" failed: ${messageOf(error)}`)],
    partial: source.isUnfinished || !isListed || missing.length > 0 || globals.warnings.length > 0 || targets.failures().length > 0,
  }
}

/** The facts of the backup, as all repositories are to have them. */
function describeDump(
  { request, source, compression }: DumpWork,
  stored: StoredDump,
  { startedAt, endedAt, day }: { startedAt: Temporal.Instant; endedAt: Temporal.Instant; day: Temporal.PlainDate },
): CommonFacts {
  return {
    id: request.run,
    cluster: request.cluster,
    database: source.facts.database,
    type: 'dump',
    name: request.name,
    startedAt: utc(startedAt),
    endedAt: utc(endedAt),
    sizeBytes: stored.plainBytes,
    format: request.format,
    compression: compressionLabel(compression),
    postgresVersion: source.facts.serverVersion,
    startLsn: source.snapshotLsn,
    stopLsn: source.snapshotLsn,
    timeline: null,
    tables: request.selection.schemaOnly ? definedTables(stored) : stored.tables,
    category: categoryOf(day),
    container: source.containerName,
    user: request.target.user,
    hostname: request.hostName,
    toolVersion,
    partial: isPartial(request.selection) || source.isUnfinished,
    safety: request.safety,
    committedAs: request.verify ? 'verified' : 'stored',
    adopted: false,
  }
}

/** What a dump without rows defines, as its own table of contents names it. Without a fingerprint nobody kept that. */
function definedTables({ fingerprint }: StoredDump): { schema: string; name: string; rows: null }[] {
  return (fingerprint?.derived ?? []).filter(({ desc }) => desc === 'TABLE').map(({ schema, tag }) => ({ schema, name: tag, rows: null }))
}

/** False when the log was changed right after the commit, so that the backup may not be in it any more. */
async function tidy(target: StoreTarget, context: Context, warnings: string[]): Promise<boolean> {
  try {
    await updateLatestAlias(target.repository.storage, target.lease.state(), context)
    await target.lease.end('ok')
    await forgetUploads(target, context)
    return true
  } catch (error) {
    warnings.push(`the backup is committed in "${target.repository.name}", but tidying up failed: ${asFailure(error).message}`)
    context.emit({ type: 'warning', code: 'tidy-failed', message: `the backup is committed, but tidying up failed: ${messageOf(error)}` })
    return !isFailure(error, 'integrity')
  }
}

/** Older than any pause in a living run. */
const staleUploadMs = 24 * 3_600_000

/** Removes what the uploads of killed runs left in the storage, half-written and unlisted. Not every role may look for them: then that is only noted. */
async function forgetUploads({ repository }: StoreTarget, context: Context): Promise<void> {
  try {
    const removed = (await repository.storage.abortStaleUploads?.(staleUploadMs)) ?? 0
    if (removed > 0) context.emit({ type: 'note', message: `removed ${removed} unfinished uploads of earlier runs from "${repository.name}"` })
  } catch (error) {
    if (!isFailure(error)) throw error
    context.emit({ type: 'note', message: `unfinished uploads of earlier runs in "${repository.name}" were not looked for: ${error.message}` })
  }
}
