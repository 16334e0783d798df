import { createWriteStream } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { utc } from '../kernel/clock.ts'
import type { Context } from '../kernel/context.ts'
import { asFailure, Failure, isFailure, messageOf } from '../kernel/failure.ts'
import { toolVersion } from '../kernel/version.ts'
import { derivedName, qualifiedName } from '../postgres/identifiers.ts'
import { readOwnRights } from '../postgres/own-rights.ts'
import { requireDump } from '../repository/backup.ts'
import type { BackupRecord, ClusterState } from '../repository/cluster-log.ts'
import { objectOf } from '../repository/check-stored.ts'
import { append } from '../repository/commit-log.ts'
import { readManifest, type Manifest } from '../repository/manifest.ts'
import type { Repository } from '../repository/repository.ts'
import { makeStage } from '../repository/stage.ts'
import { filesOf, readOpened, requireOpenable } from '../repository/stored-files.ts'
import { sweepExpiredCopies } from '../restore/expired-copies.ts'
import { dropOwnedDatabase } from '../restore/owned-database.ts'
import { restoreCopy, type CopyPlace, type RestoredCopy } from '../restore/restore-copy.ts'
import { holdsDefinitions } from '../restore/select-for-target.ts'
import { stageBackup } from '../restore/staged-dump.ts'
import { applyGlobals } from './drill-server.ts'
import { saveProof, type Proof } from './proof.ts'
import { readNewest, runChecks, type Check, type NewestRows } from './run-checks.ts'

export interface DrillRequest {
  readonly run: string
  readonly repository: Repository
  readonly state: ClusterState
  readonly record: BackupRecord
  readonly jobs: number
  readonly checks: readonly Check[]
  readonly newest: readonly NewestRows[]
  readonly keep: boolean
  readonly hostName: string
  readonly workDirectory: string
}

/** Where the drill restores. */
export interface DrillPlace extends CopyPlace {
  /** The server is ours alone, and is thrown away whole. */
  readonly isPrivate: boolean
  /** For the proof: `embedded PostgreSQL 15.18`. */
  readonly description: string
}

export interface DrillOutcome {
  readonly proof: Proof
  /** Name of the copy, when it was kept. */
  readonly keptDatabase: string | null
}

/** A kept or forgotten copy may be swept after this. */
const lifetimeHours = 24

/**
 * Rehearses a restore: read the backup, restore it into a scratch database, read its content back and compare, ask the checks, record
 * the proof, clean up. `open` provides the server only after the backup was found readable. Unreadable bytes are recorded as damage and thrown (exit 13).
 */
export async function drillDump(request: DrillRequest, open: (manifest: Manifest) => Promise<DrillPlace>, context: Context): Promise<DrillOutcome> {
  const { repository, record } = request
  const facts = requireDump(record.facts, 'drill it')
  await using stage = await makeStage(request.workDirectory, request.run, context)
  const manifest = await readManifest(repository.storage, record, context.signal)
  if (!holdsDefinitions(manifest))
    throw new Failure('target-unsafe', `backup ${record.facts.id} holds rows without definitions, so it cannot be restored and proven by itself`, {
      hints: [`its bytes can be checked: tidemark verify ${record.facts.id}`, 'drill a complete backup: tidemark drill'],
    })
  await using staged = await readOrCondemn(request, manifest, stage.path, context)
  const place = await open(manifest)
  await sweepExpiredCopies(place.reached.session, context)
  if (place.isPrivate) await bringGlobals(request, manifest, place, stage.path, context)

  const begunMs = context.clock.monotonicMs()
  const { isSuperuser } = await readOwnRights(place.reached.session)
  let copy: RestoredCopy | undefined
  let problems: string[] = []
  try {
    copy = await restoreCopy(
      place,
      staged,
      {
        run: request.run,
        backup: record.facts.id,
        source: manifest.source,
        fingerprint: manifest.fingerprint,
        knownTables: record.facts.tables,
        database: derivedName(facts.database, `_drill_${request.run.slice(-4)}`),
        place: 'create',
        mark: 'drill',
        jobs: request.jobs,
        // Reading everything back needs ownership; only a superuser may leave it to others.
        noOwner: !isSuperuser,
        noPrivileges: !isSuperuser,
        tables: [],
        dataOnly: false,
        truncate: false,
        clean: false,
        validate: 'content',
        sql: null,
        stage: stage.path,
        expires: utc(context.clock.now().add({ hours: lifetimeHours })),
      },
      context,
    )
  } catch (error) {
    context.signal.throwIfAborted()
    // The server failing under us says nothing about the backup; a dump that cannot be loaded does.
    if (!isFailure(error, 'tool-failed', 'query-failed', 'permission-denied', 'target-unsafe', 'usage-invalid')) throw error
    problems = [`it could not be restored: ${error.message}`, ...error.hints]
  }
  const restoreSeconds = (context.clock.monotonicMs() - begunMs) / 1000
  try {
    const proof = await judge(request, place, { manifest, copy, problems, restoreSeconds }, context)
    await recordProof(request, proof, copy, context)
    return { proof, keptDatabase: request.keep ? (copy?.database ?? null) : null }
  } finally {
    if (copy !== undefined && !request.keep) await dropCopy(place, copy.oid, context)
  }
}

async function readOrCondemn(request: DrillRequest, manifest: Manifest, stage: string, context: Context) {
  const { repository, record, run } = request
  try {
    await requireOpenable(repository, manifest, context.signal)
    return await stageBackup(repository, manifest, stage, context)
  } catch (error) {
    if (!isFailure(error, 'integrity', 'object-missing', 'dump-empty')) throw error
    await append(
      repository.storage,
      request.state,
      { kind: 'damaged', backup: record.facts.id, problems: [{ code: error.code, object: objectOf(error) ?? record.facts.key, message: error.message }], run },
      context,
    )
    throw new Failure('integrity', `backup ${record.facts.id} cannot be proven, for it cannot be read: ${error.message}`, {
      cause: error,
      hints: ['take a new backup now: tidemark backup'],
      details: error.details,
    })
  }
}

async function bringGlobals(request: DrillRequest, manifest: Manifest, place: DrillPlace, stage: string, context: Context): Promise<void> {
  const globals = manifest.files.find((file) => file.role === 'globals')
  if (globals === undefined) return
  const path = join(stage, 'globals.sql')
  await pipeline(
    Readable.from(readOpened(filesOf(request.repository), globals, context.signal), { objectMode: false }),
    createWriteStream(path, { mode: 0o600 }),
  )
  await applyGlobals(place.reached, path, context)
}

async function judge(
  request: DrillRequest,
  place: DrillPlace,
  found: { manifest: Manifest; copy: RestoredCopy | undefined; problems: readonly string[]; restoreSeconds: number },
  context: Context,
): Promise<Proof> {
  const { record, run } = request
  const { copy, manifest } = found
  const validation = copy?.validation
  const content = validation?.verdict ?? null
  const answers = copy === undefined ? { checks: [], newest: [], problems: [] } : await askCopy(request, place, copy.database, context)
  const restoreErrors = copy?.errors.map((error) => `restore error: ${error.message}`) ?? []
  const differences = validation?.problems.map((problem) => `${problem.object}: ${problem.message}`) ?? []
  const failed = copy === undefined || differences.length > 0 || answers.checks.some((check) => !check.ok)
  const notCompared = [
    ...(validation?.notCompared ?? []),
    ...(record.facts.partial ? [{ what: 'the rest of the database', why: `the backup holds only a part of it: ${partOf(manifest)}` }] : []),
    ...(manifest.fingerprint === null ? [{ what: 'the content of rows', why: 'this backup was taken without a fingerprint' }] : []),
  ]
  const isPartial = restoreErrors.length > 0 || notCompared.length > 0 || record.facts.partial || answers.problems.length > 0
  return {
    format: 'tidemark-proof/1',
    run,
    cluster: record.facts.cluster,
    backup: record.facts.id,
    database: requireDump(record.facts, 'drill it').database,
    outcome: failed ? 'failed' : isPartial ? 'partial' : 'proven',
    at: utc(context.clock.now()),
    host: request.hostName,
    tool: `tidemark ${toolVersion}`,
    server: place.description,
    tables: (validation?.tables ?? []).map(({ schema, name, rows, restoredRows, match }) => ({ name: qualifiedName(schema, name), rows, restoredRows, match })),
    largeObjects: content?.largeObjects ?? null,
    sequences: content?.sequences ?? null,
    derived: content?.derived ?? null,
    notCompared,
    checks: answers.checks,
    newest: answers.newest,
    restoreSeconds: found.restoreSeconds,
    recoverySeconds: null,
    problems: [
      ...found.problems,
      ...differences,
      ...restoreErrors,
      ...answers.checks.filter((check) => !check.ok).map((check) => `check failed: ${check.sql} gave ${check.actual ?? 'nothing'}, expected ${check.expected}`),
      ...answers.problems,
    ],
  }
}

function partOf({ selection }: Manifest): string {
  if (selection === null) return 'definitions or rows alone'
  const { schemaOnly, tables, schemas, excludeTables } = selection
  const parts = [
    schemaOnly ? 'definitions without rows' : '',
    tables.length > 0 ? `tables ${tables.join(', ')}` : '',
    schemas.length > 0 ? `schemas ${schemas.join(', ')}` : '',
    excludeTables.length > 0 ? `all but tables ${excludeTables.join(', ')}` : '',
  ]
  return parts.filter((part) => part !== '').join('; ')
}

async function askCopy(
  request: DrillRequest,
  place: DrillPlace,
  database: string,
  context: Context,
): Promise<{ checks: Proof['checks']; newest: Proof['newest']; problems: readonly string[] }> {
  if (request.checks.length === 0 && request.newest.length === 0) return { checks: [], newest: [], problems: [] }
  await using session = await place.connections.inside(database)
  const checks = await runChecks(session, request.checks, context)
  return { checks, ...(await readNewest(session, request.newest, context)) }
}

/**
 * The proof is stored first; the log entry that names it is what makes a backup proven. Only rows that differ after a restore without a single
 * error condemn a backup: a failed check condemns the data, and a missing extension or role the place where it was tried.
 */
async function recordProof(request: DrillRequest, proof: Proof, copy: RestoredCopy | undefined, context: Context): Promise<void> {
  const { repository, record, run } = request
  const reference = await saveProof(repository.storage, proof)
  const requireLiving = (state: ClusterState) => {
    if (state.backups.get(record.facts.id)?.deleted !== null) throw new Failure('backup-missing', `backup ${record.facts.id} was deleted during the drill`)
  }
  if (proof.outcome === 'proven') {
    await append(
      repository.storage,
      request.state,
      { kind: 'proven', backup: record.facts.id, proof: reference, restoreSeconds: proof.restoreSeconds, run },
      context,
      { check: requireLiving },
    )
  } else if (proof.outcome === 'failed' && copy?.errors.length === 0 && proof.tables.some((table) => !table.match && table.restoredRows !== null)) {
    await append(repository.storage, request.state, { kind: 'disproven', backup: record.facts.id, proof: reference, run }, context, { check: requireLiving })
  }
}

async function dropCopy(place: DrillPlace, oid: number, context: Context): Promise<void> {
  // A private server is thrown away whole.
  if (place.isPrivate) return
  try {
    await using session = await place.connections.fresh()
    await dropOwnedDatabase(session, oid, 'the drill is over')
  } catch (error) {
    context.emit({
      type: 'warning',
      code: 'clean-up-failed',
      message: `the drill's database could not be dropped (${messageOf(asFailure(error))}); a later drill removes it`,
    })
  }
}
