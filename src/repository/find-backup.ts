import { Failure } from '../kernel/failure.ts'
import type { Backup, BackupFamily } from './backup.ts'
import { latestGood, livingBackups, type BackupRecord, type ClusterState } from './cluster-log.ts'
import type { Repository } from './repository.ts'

/** A backup as people see it: its facts, its state now, and where it is. What was left out is in its manifest, which the caller may have read. */
export function describeBackup(record: BackupRecord, repositories: readonly Repository[], leftOut: Backup['leftOut'] = null): Backup {
  const first = repositories[0]
  return {
    ...record.facts,
    state: record.state,
    path: first?.storage.localPath?.(record.facts.key) ?? null,
    keptUntil: null,
    keptBecause: record.pinned ? `pinned: ${record.pinReason ?? ''}` : null,
    pinned: record.pinned,
    pinReason: record.pinReason,
    provenAt: record.provenAt,
    verifiedAt: record.verifiedAt,
    problems: record.problems,
    leftOut,
    repositories: repositories.map((repository) => repository.name),
  }
}

/**
 * Finds the backup that `wanted` means: `latest` (newest complete one not known to be damaged), an id, a name,
 * a file name, or a unique prefix of an id. `family` says of which family the latest is wanted. Rejects with `backup-missing` or, for two meanings, `usage-invalid`.
 */
export function findBackup(state: ClusterState, wanted: string, family?: BackupFamily): BackupRecord {
  const living = livingBackups(state)
  if (wanted === 'latest') {
    const found = latestGood(state, family)
    if (found === undefined) throw none(state, living.length === 0 ? 'it has none yet' : noneGood(family))
    return found
  }
  const exact = living.filter(({ facts }) => facts.id === wanted || facts.name === wanted || facts.fileName === wanted || facts.key === wanted)
  const matches = exact.length > 0 ? exact : living.filter(({ facts }) => facts.id.startsWith(wanted))
  const [only, other] = matches
  if (only === undefined) throw none(state, `nothing is called "${wanted}"`)
  if (other !== undefined) {
    throw new Failure('usage-invalid', `"${wanted}" means more than one backup of cluster "${state.cluster}"`, {
      hints: [
        ...matches.slice(0, 5).map(({ facts }) => `${facts.id}  ${facts.fileName}`),
        ...(matches.length > 5 ? [`… and ${matches.length - 5} more: tidemark list`] : []),
      ],
    })
  }
  return only
}

function noneGood(family: BackupFamily | undefined): string {
  if (family === undefined) return 'all of them are partial or damaged'
  return `it has no ${family === 'dump' ? 'dump' : 'base backup'} that is complete and not damaged`
}

function none(state: ClusterState, why: string): Failure {
  return new Failure('backup-missing', `cluster "${state.cluster}" has no such backup: ${why}`, {
    hints: ['see what there is: tidemark list', 'make one: tidemark backup'],
  })
}

/** The newest intact backup of the same database beside a damaged one, to be named in the failure. */
export function newestIntactBeside(state: ClusterState, damaged: BackupRecord): BackupRecord | undefined {
  return livingBackups(state).find(
    (record) =>
      record.facts.id !== damaged.facts.id &&
      record.state !== 'damaged' &&
      !record.facts.partial &&
      !record.facts.safety &&
      record.facts.database === damaged.facts.database,
  )
}
