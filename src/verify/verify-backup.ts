import type { Context } from '../kernel/context.ts'
import { Failure, isFailure } from '../kernel/failure.ts'
import { requireDump, type BackupState, type Problem } from '../repository/backup.ts'
import { checkStoredDump, objectOf } from '../repository/check-stored.ts'
import type { BackupRecord, ClusterState } from '../repository/cluster-log.ts'
import type { NewEntry } from '../repository/commit-entry.ts'
import { append } from '../repository/commit-log.ts'
import { updateLatestAlias } from '../repository/latest-alias.ts'
import { readManifest } from '../repository/manifest.ts'
import type { Repository } from '../repository/repository.ts'
import { warnOfReach } from './warn-of-reach.ts'

export interface VerifiedBackup {
  readonly id: string
  readonly valid: boolean
  readonly state: BackupState
  readonly problems: readonly Problem[]
  readonly checksum: string
  readonly readBytes: number
  readonly tables: readonly { schema: string; name: string; rows: number | null }[]
}

/**
 * Reads one backup back from its repository and records in the log what was found: `verified`, or `damaged` with the problem. A storage that
 * does not answer proves nothing either way: that is thrown and nothing is recorded.
 */
export async function verifyBackup(repository: Repository, state: ClusterState, record: BackupRecord, run: string, context: Context): Promise<VerifiedBackup> {
  const { facts } = record
  const begunMs = context.clock.monotonicMs()
  context.emit({ type: 'step-begun', step: 'read-back', subject: facts.id, expectedBytes: facts.storedBytes })
  const { readBytes, problem } = await readWhole(repository, record, context)
  const entry: NewEntry = problem === null ? { kind: 'verified', backup: facts.id, run } : { kind: 'damaged', backup: facts.id, problems: [problem], run }
  const after = await noted(repository, state, entry, context)
  if (problem !== null) return { id: facts.id, valid: false, state: 'damaged', problems: [problem], checksum: facts.checksum, readBytes, tables: facts.tables }
  context.emit({
    type: 'step-ended',
    step: 'read-back',
    subject: facts.id,
    durationSeconds: (context.clock.monotonicMs() - begunMs) / 1000,
    doneBytes: readBytes,
  })
  return {
    id: facts.id,
    valid: true,
    state: after.backups.get(facts.id)?.state ?? 'verified',
    problems: [],
    checksum: facts.checksum,
    readBytes,
    tables: facts.tables,
  }
}

async function readWhole(repository: Repository, record: BackupRecord, context: Context): Promise<{ readBytes: number; problem: Problem | null }> {
  const facts = requireDump(record.facts, 'read it back as a dump')
  try {
    const manifest = await readManifest(repository.storage, record, context.signal)
    const { readBytes, content } = await checkStoredDump(
      repository.storage,
      { format: facts.format, fileName: facts.fileName, files: manifest.files, plainBytes: manifest.plainBytes, fingerprint: manifest.fingerprint },
      context,
    )
    warnOfReach(content, facts.id, context)
    return { readBytes, problem: null }
  } catch (error) {
    if (!isFailure(error, 'integrity', 'object-missing', 'dump-empty', 'repository-format')) throw error
    return { readBytes: 0, problem: { code: error.code, object: objectOf(error) ?? facts.key, message: error.message } }
  }
}

/** Appends the finding. A repository that can only be read (a mounted copy, a reader's credentials) is no less whole for it: then it is said and not recorded. */
async function noted(repository: Repository, state: ClusterState, entry: NewEntry & { backup: string }, context: Context): Promise<ClusterState> {
  try {
    const after = await append(repository.storage, state, entry, context, { check: requireLiving(entry.backup) })
    await updateLatestAlias(repository.storage, after, context)
    return after
  } catch (error) {
    if (!isFailure(error, 'storage-denied')) throw error
    context.emit({ type: 'warning', code: 'not-recorded', message: `what was found could not be recorded in "${repository.name}": ${error.message}` })
    return state
  }
}

function requireLiving(id: string): (state: ClusterState) => void {
  return (state) => {
    if (state.backups.get(id)?.deleted !== null) throw new Failure('backup-missing', `backup ${id} was deleted while it was read`)
  }
}
