import type { Context } from '../../kernel/context.ts'
import { encodeWholePack, storeWholePack } from '../../packs/whole-pack.ts'
import { formatLsn } from '../../pgdata/lsn.ts'
import type { BaseBackup } from '../../postgres/replication/base-backup.ts'
import type { BackupFacts } from '../../repository/backup.ts'
import { encodeBaseRoot, type BaseRoot } from '../../repository/base/base-root.ts'
import type { OpenBaseBackup } from '../../repository/base/open-base-backup.ts'
import { uncommittedRecord, type BackupRecord } from '../../repository/cluster-log.ts'
import { digestOf } from '../../repository/commit-entry.ts'
import { rootKey } from '../../repository/layout.ts'
import type { Repository } from '../../repository/repository.ts'
import type { BaseSourceFacts } from './open-base-source.ts'
import type { RunKeys, StoredPages } from './page-store.ts'

export interface RootRequest {
  readonly facts: BackupFacts
  readonly source: BaseSourceFacts
  readonly server: BaseBackup
  readonly pages: StoredPages
  readonly prior: OpenBaseBackup | null
  readonly how: BaseRoot['read']['how']
  /** Why it was read in no better way. */
  readonly why: readonly string[]
  readonly summaries: readonly string[]
  readonly warnings: readonly string[]
  readonly keys: RunKeys | null
}

export interface StoredRoot {
  /** With the checksum of the root. */
  readonly facts: BackupFacts
  readonly manifest: BackupRecord['manifest']
  /** As the log will have it, so that the backup can be opened before it is there. */
  readonly record: BackupRecord
}

/** Stores the root: the last object before the commit. */
export async function storeRoot(repository: Repository, request: RootRequest, context: Context): Promise<StoredRoot> {
  const { facts, pages, keys } = request
  const bytes = encodeWholePack(repository.id, keys?.metadata ?? null, encodeBaseRoot(describeRoot(repository, request), pages.tables, pages.packs))
  const key = rootKey(facts.cluster, facts.id)
  await storeWholePack(repository.storage, key, bytes, { signal: context.signal })
  const sha256 = digestOf(bytes)
  const complete = { ...facts, checksum: sha256, storedBytes: facts.storedBytes + bytes.length }
  return { facts: complete, manifest: { key, sha256 }, record: uncommittedRecord(complete, { key, sha256 }, request.prior?.record.moved ?? null) }
}

function describeRoot(repository: Repository, { facts, source, server, pages, prior, how, why, summaries, warnings }: RootRequest): BaseRoot {
  return {
    format: 'tidemark-root/1',
    repository: repository.id,
    cluster: facts.cluster,
    backup: facts,
    server: {
      systemIdentifier: source.systemIdentifier,
      major: source.major,
      timeline: server.startTimeline,
      startLsn: formatLsn(server.startLsn),
      stopLsn: formatLsn(server.stopLsn),
      pageBytes: source.pageBytes,
      walSegmentBytes: source.walSegmentBytes,
      dataChecksums: source.dataChecksums,
    },
    tablespaces: server.tablespaces.flatMap(({ oid, path }) => (oid === null || path === null ? [] : [{ oid: String(oid), path }])),
    indexes: [...pages.indexes],
    hashKey: pages.hashKey,
    read: { how, why: [...why] },
    prior: prior?.record.facts.id ?? null,
    summaries: [...summaries],
    settings: { ...source.settings },
    outside: [...source.outside],
    leftOut: [...source.leftOut],
    warnings: [...warnings],
  }
}
