import type { Context } from '../kernel/context.ts'
import { Failure, isFailure } from '../kernel/failure.ts'
import { isDump, type BackupState, type DumpFacts, type Problem } from '../repository/backup.ts'
import { openOthers, type BrokenPlace, type OtherBackup } from '../repository/base/affected-backups.ts'
import type { PackKeys } from '../repository/base/pack-keys.ts'
import { checkStoredBytes, checkStoredDump, objectOf } from '../repository/check-stored.ts'
import type { BackupRecord, ClusterState } from '../repository/cluster-log.ts'
import type { NewEntry } from '../repository/commit-entry.ts'
import { append } from '../repository/commit-log.ts'
import { updateLatestAlias } from '../repository/latest-alias.ts'
import { readManifest, type Manifest } from '../repository/manifest.ts'
import type { Repository } from '../repository/repository.ts'
import { filesOf, isSealed } from '../repository/stored-files.ts'
import type { PagesLookedAt } from './pages-looked-at.ts'
import { readWholeBase } from './read-whole-base.ts'
import { warnOfReach } from './warn-of-reach.ts'

export interface VerifiedBackup {
  readonly id: string
  readonly valid: boolean
  /** False where no key at hand opens it, so that only its stored bytes were compared: then its state stays as it was. */
  readonly opened: boolean
  readonly state: BackupState
  readonly problems: readonly Problem[]
  readonly checksum: string
  readonly readBytes: number
  readonly tables: readonly { schema: string; name: string; rows: number | null }[]
}

export interface VerifyRequest {
  readonly run: string
  readonly threads: number
  readonly keys: PackKeys | null
  /** What the same run has read of base backups, which share packs. */
  readonly looked: PagesLookedAt
}

/**
 * Reads one backup back from its repository and records in the log what was found: `verified`, or `damaged` with the problems. A storage that
 * does not answer proves nothing either way: that is thrown and nothing is recorded. Base backups share packs: others that need what is broken in this one are recorded as damaged with it.
 */
export async function verifyBackup(
  repository: Repository,
  { state, record }: { readonly state: ClusterState; readonly record: BackupRecord },
  request: VerifyRequest,
  context: Context,
): Promise<VerifiedBackup> {
  const { facts } = record
  const { run } = request
  const begunMs = context.clock.monotonicMs()
  const expectedBytes = isDump(facts) ? facts.storedBytes : null
  context.emit({ type: 'step-begun', step: 'read-back', subject: facts.id, expectedBytes })
  const {
    readBytes,
    problems,
    opened,
    affected = [],
  } = isDump(facts) ? await readWholeDump(repository, { record, facts }, context) : await readBase(repository, { state, record }, request, context)
  const found = { id: facts.id, opened, checksum: facts.checksum, readBytes, tables: facts.tables }
  const durationSeconds = (context.clock.monotonicMs() - begunMs) / 1000
  if (problems.length === 0) context.emit({ type: 'step-ended', step: 'read-back', subject: facts.id, durationSeconds, doneBytes: readBytes })
  if (problems.length === 0 && !opened) return { ...found, valid: true, state: record.state, problems }
  const entry: NewEntry = problems.length === 0 ? { kind: 'verified', backup: facts.id, run } : { kind: 'damaged', backup: facts.id, problems, run }
  let after = await noted(repository, state, entry, context)
  // They share what is broken: nobody must be offered them as good until they were read themselves.
  for (const other of affected) after = await noted(repository, after, { kind: 'damaged', ...other, run }, context)
  if (problems.length > 0) return { ...found, valid: false, state: 'damaged', problems }
  return { ...found, valid: true, state: after.backups.get(facts.id)?.state ?? 'verified', problems: [] }
}

interface WholeRead {
  readonly readBytes: number
  readonly opened: boolean
  readonly problems: Problem[]
  /** Other backups that need what is broken, and are not known to be damaged. */
  readonly affected?: readonly { readonly backup: string; readonly problems: Problem[] }[]
}

type DumpRecord = { readonly record: BackupRecord; readonly facts: DumpFacts }

async function readWholeDump(repository: Repository, dump: DumpRecord, context: Context): Promise<WholeRead> {
  const { record, facts } = dump
  try {
    const manifest = await readManifest(repository.storage, record, context.signal)
    if (isSealed(manifest) && repository.keyring?.readsData !== true) return await readSealedBytes(repository, manifest, context)
    return await readContent(repository, manifest, dump, context)
  } catch (error) {
    if (!isFailure(error, 'integrity', 'object-missing', 'dump-empty', 'repository-format')) throw error
    return { readBytes: 0, opened: false, problems: [{ code: error.code, object: objectOf(error) ?? facts.key, message: error.message }] }
  }
}

async function readContent(repository: Repository, manifest: Manifest, { facts }: DumpRecord, context: Context): Promise<WholeRead> {
  const { files, plainBytes, fingerprint } = manifest
  try {
    const { readBytes, content } = await checkStoredDump(
      filesOf(repository),
      { format: facts.format, fileName: facts.fileName, files, plainBytes, fingerprint },
      context,
    )
    warnOfReach(content, facts.id, context)
    return { readBytes, opened: true, problems: [] }
  } catch (error) {
    // It was sealed before the member whose key this is came.
    if (!isFailure(error, 'key-missing')) throw error
    return readSealedBytes(repository, manifest, context)
  }
}

/** What can be said without a key: that every file is, to the byte, the one that was stored. Nothing is known of its content by that, so it raises no state. */
async function readSealedBytes({ storage }: Repository, { backup, files }: Manifest, context: Context): Promise<WholeRead> {
  const readBytes = await checkStoredBytes(storage, files, context)
  const message = `${backup.id} is sealed, and no key here opens it: its stored bytes are those that were stored, and its state stays as it was; use --kit FILE or --identity FILE to read what is in it`
  context.emit({ type: 'warning', code: 'not-opened', message })
  return { readBytes, opened: false, problems: [] }
}

async function readBase(
  repository: Repository,
  { state, record }: { readonly state: ClusterState; readonly record: BackupRecord },
  request: VerifyRequest,
  context: Context,
): Promise<WholeRead> {
  const { readBytes, damage, opened } = await readWholeBase(repository, record, request, context)
  if (!opened) {
    const message = `the pages of ${record.facts.id} are sealed, and no key here opens them: every pack is there with its size, and its state stays as it was; use --kit FILE or --identity FILE to read what is in it`
    if (damage.length === 0) context.emit({ type: 'warning', code: 'not-opened', message })
  }
  if (damage.length === 0) return { readBytes, opened, problems: [] }
  const others = await openOthers(repository, { state, except: record.facts.id }, request.keys, context)
  return {
    readBytes,
    opened,
    problems: damage.map(({ code, object, message, pack, frame }) => ({ code, object, message: `${message}${sharedWith(others, { object, pack, frame })}` })),
    affected: others.flatMap((other) => {
      const theirs = damage.filter((each) => other.needs(each) === true).map(({ code, object, message }) => ({ code, object, message }))
      return theirs.length === 0 || state.backups.get(other.id)?.state === 'damaged' ? [] : [{ backup: other.id, problems: theirs }]
    }),
  }
}

/** Packs are shared: which other backups miss what is broken here. */
function sharedWith(others: readonly OtherBackup[], place: BrokenPlace): string {
  const named = (answer: boolean | null): readonly string[] => others.filter((other) => other.needs(place) === answer).map(({ id }) => id)
  const certain = named(true)
  const unknown = named(null)
  return `${certain.length > 0 ? `; needed by ${certain.join(', ')}, too` : ''}${unknown.length > 0 ? `; perhaps needed by ${unknown.join(', ')}, too` : ''}`
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
