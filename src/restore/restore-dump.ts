import { utc } from '../kernel/clock.ts'
import type { Context } from '../kernel/context.ts'
import { asFailure, Failure, messageOf } from '../kernel/failure.ts'
import { derivedName } from '../postgres/identifiers.ts'
import { readSystemIdentifier } from '../postgres/system-identifier.ts'
import { makeStage, sweepStages } from '../repository/stage.ts'
import { readProperties, type DatabaseProperties } from './database-properties.ts'
import { sweepExpiredCopies } from './expired-copies.ts'
import { afterBefore, runHook, runHooksAfterFailure, waitForHealth } from './hooks.ts'
import { judgePlain } from './fit-plain.ts'
import { findReplacedRoles, mapStagedRoles } from './map-roles.ts'
import { dropByOid, dropOwnedDatabase, findDatabase } from './owned-database.ts'
import { planRestore } from './plan-restore.ts'
import { announceRun } from './living-runs.ts'
import { requireLoadable } from './loadable.ts'
import { judgeSpace } from './plan-space.ts'
import { loadsBeside } from './plan-steps.ts'
import { replaceBySwap, saveAfterwards } from './replace-database.ts'
import { restoreCopy, type CopyRequest, type RestoredCopy } from './restore-copy.ts'
import { describeOutcome, type Restored, type RestoreOutcome } from './restore-outcome.ts'
import type { RestorePlan } from './restore-plan.ts'
import type { CopyAnswers, RestoreDoors, RestoreRequest, RestoreServer, RestoreWork } from './restore-request.ts'
import { newRunRecord, type RestoreRecord } from './run-record.ts'
import { selectForTarget } from './select-for-target.ts'
import type { StagedDump } from './staged-dump.ts'
import { takeName } from './take-name.ts'

/**
 * Restores one dump on a server: the whole story. Plan → agreement → safety backup → read everything → make room → load and validate →
 * swap or hand over. Nothing is changed before the plan was agreed to, and nothing that is there before the backup was read to its end.
 */
export async function restoreDump(request: RestoreRequest, server: RestoreServer, doors: RestoreDoors, context: Context): Promise<RestoreOutcome> {
  // What killed runs left takes room that this one may need.
  await sweepStages(request.workDirectory, context)
  if (request.dryRun === null) await sweepExpiredCopies(server.reached.session, context)
  const plan = await planRestore(server, request)
  if (request.dryRun !== null) {
    const canRead = request.dryRun === 'read' && judgeSpace(plan.stagingSpace).kind !== 'missing'
    const found = canRead ? await readOnly({ request, server, doors, plan, context }) : { refusals: [], warnings: [] }
    const refusals = [...new Set([...plan.refusals, ...found.refusals])]
    return { plan: { ...plan, refusals, warnings: [...plan.warnings, ...found.warnings] }, result: null, partial: false }
  }
  refuseUnsafe(plan)
  await doors.approve(plan)

  const work: RestoreWork = { request, server, doors, plan, context }
  const done = await afterBefore(request.hooks, context, () => carryOut(work))
  const outcome = describeOutcome(work, done)
  await handOver(work, outcome)
  return outcome
}

async function carryOut(work: RestoreWork): Promise<Restored> {
  const { request, server, doors, plan, context } = work
  const safetyBackup = plan.safetyBackup ? await takeSafetyBackup(work) : null

  // Nothing is touched before the backup was read to its end.
  await using stage = await makeStage(request.workDirectory, request.run, context)
  await using staged = await doors.stage(stage.path)
  const unmapped = await mapRoles(request, staged, context)

  await requireLoadable(server.reached, staged, request, context)

  const record = await beginRecord(work, safetyBackup)
  await announceRun(server.reached.session, request.run)
  const dropped = await makeRoom(work, record)
  const copy = await loadAndValidate(work, staged, { stage: stage.path, warnings: unmapped }).catch((error: unknown) => {
    throw plan.action === 'drop-and-restore' || plan.action === 'into-existing' ? withWayBack(error, plan, safetyBackup) : error
  })
  if (plan.action === 'swap') return await swapIn(work, copy, record)
  return await keep(work, loadsBeside(request, plan.action) ? await takeName(work, copy, dropped) : copy, record)
}

/** What a dry run does of the story: the backup is read and decoded, and nothing is changed. */
async function readOnly({ request, server, doors, plan, context }: RestoreWork): Promise<Pick<RestorePlan, 'refusals' | 'warnings'>> {
  await using stage = await makeStage(request.workDirectory, request.run, context)
  await using staged = await doors.stage(stage.path)
  const unmapped = await mapRoles(request, staged, context)
  const { refusals, warnings } = judgePlain(staged)
  // What a database that is not there lacks is said by the plan.
  if (plan.action === 'into-existing' && plan.existing === null) return { refusals, warnings: [...warnings, ...unmapped] }
  const selection = await selectForTarget(staged, { ...request, place: placeOf(plan) }, () => server.connections.inside(plan.database))
  const leftOut = selection.leftOut.map(({ what, why }) => `${what} is left out: ${why}`)
  return { refusals: [...refusals, ...selection.refusals], warnings: [...warnings, ...unmapped, ...leftOut] }
}

/** Puts other roles into the staged dump. Returns warnings. */
async function mapRoles({ roleMap }: RestoreRequest, staged: StagedDump, context: Context): Promise<readonly string[]> {
  if (roleMap.size === 0) return []
  const unused = await mapStagedRoles(staged, roleMap, context)
  return unused.map((name) => `role "${name}" of --role-map does not occur in the dump`)
}

function placeOf({ action }: RestorePlan): CopyRequest['place'] {
  return action === 'use-empty' || action === 'into-existing' ? 'existing' : 'create'
}

function refuseUnsafe(plan: RestorePlan): void {
  const [first, ...others] = plan.refusals
  if (first !== undefined)
    throw new Failure('target-unsafe', `this restore is refused: ${first}`, { hints: others, details: { result: { plan, result: null } } })
}

async function takeSafetyBackup({ request, doors, plan, context }: RestoreWork): Promise<string> {
  context.emit({ type: 'step-begun', step: 'safety-backup', subject: plan.database, expectedBytes: null })
  try {
    return await doors.backUp(plan.database, `before_restore_${plan.database}_${request.run}`)
  } catch (error) {
    context.signal.throwIfAborted()
    throw new Failure('target-unsafe', `"${plan.database}" was not touched: its safety backup failed (${messageOf(error)})`, {
      cause: error,
      hints: ['if the server is too damaged to be dumped, go on without: --no-safety-backup (the old database is then kept by rename)'],
    })
  }
}

async function beginRecord({ request, server, plan, context }: RestoreWork, safetyBackup: string | null): Promise<RestoreRecord> {
  const { run, cluster, file } = request
  const { host, port } = server.target
  const systemIdentifier = await readSystemIdentifier(server.reached.session)
  return newRunRecord({ run, cluster, backup: plan.backup, file, server: { host, port, systemIdentifier }, database: plan.database, safetyBackup }, context)
}

/** Drops what the plan drops first, by its OID. Returns what the dropped one had that a dump does not hold, when the copy is to be production in its place. */
async function makeRoom({ request, server, doors, plan }: RestoreWork, record: RestoreRecord): Promise<DatabaseProperties | null> {
  const admin = server.reached.session
  if (plan.existing === null) return null
  if (plan.action === 'replace-own-test') await dropOwnedDatabase(admin, plan.existing.oid, 'it is replaced by this test restore')
  if (plan.action !== 'drop-and-create' && plan.action !== 'drop-and-restore') return null
  const existing = await findDatabase(admin, plan.existing.name)
  if (existing !== undefined && existing.oid !== plan.existing.oid)
    throw new Failure('target-unsafe', `"${existing.name}" was replaced by somebody else since the plan was made; nothing was dropped`)
  await doors.saveRecord({ ...record, phase: 'dropping', oldOid: plan.existing.oid, oldName: plan.existing.name, newName: nameWhileLoaded(request, plan) })
  if (existing === undefined) return null
  const properties = plan.action === 'drop-and-restore' ? await readProperties(admin, existing) : null
  await dropByOid(admin, existing)
  return properties
}

/** The swap or the rename takes the mark off; only a copy whose run was killed still has it then. No restore takes so long. */
const unfinishedCopyHours = 7 * 24

/** Nothing that is not whole ever stands under a name that production has or had: the next backup would take it for production. */
function nameWhileLoaded(request: RestoreRequest, { action, database }: RestorePlan): string {
  return loadsBeside(request, action) ? derivedName(database, `_restoring_${request.run.slice(-4)}`) : database
}

async function loadAndValidate(
  { request, server, plan, context }: RestoreWork,
  staged: StagedDump,
  { stage, warnings }: { stage: string; warnings: readonly string[] },
): Promise<RestoredCopy> {
  const { run, manifest, jobs, noOwner, noPrivileges, tables, dataOnly, truncate, clean } = request
  const copy: CopyRequest = {
    run,
    backup: manifest?.backup.id ?? null,
    source: manifest?.source ?? null,
    fingerprint: manifest?.fingerprint ?? null,
    knownTables: manifest?.backup.tables ?? [],
    database: nameWhileLoaded(request, plan),
    place: placeOf(plan),
    mark: request.goal.kind === 'test' ? 'test' : 'restore',
    jobs,
    noOwner,
    noPrivileges,
    tables,
    dataOnly,
    truncate,
    clean,
    validate: plan.validation,
    sql: request.sql?.text ?? null,
    stage,
    // It has a name nobody was given: when this run is killed, a later one removes it.
    expires: loadsBeside(request, plan.action) ? utc(context.clock.now().add({ hours: unfinishedCopyHours })) : null,
  }
  const restored = await restoreCopy(server, staged, copy, context)
  return { ...restored, warnings: [...warnings, ...restored.warnings, ...(await leftOfRoles({ request, server }, copy))] }
}

async function leftOfRoles({ request, server }: Pick<RestoreWork, 'request' | 'server'>, copy: CopyRequest): Promise<readonly string[]> {
  // What an existing database holds besides may well be theirs.
  if (request.roleMap.size === 0 || copy.place === 'existing') return []
  await using session = await server.connections.inside(copy.database)
  return await findReplacedRoles(session, request.roleMap)
}

/** What was there is gone or half changed: the only thing that matters now is how to get it back. */
function withWayBack(error: unknown, plan: RestorePlan, safetyBackup: string | null): Failure {
  const failure = asFailure(error)
  if (failure.details['untouched'] === true)
    return new Failure(failure.code, `"${plan.database}" was not changed: ${failure.message}`, { cause: error, hints: failure.hints, details: failure.details })
  const what = plan.action === 'into-existing' ? 'was changed as far as the load came' : 'was dropped and could not be restored'
  const way =
    safetyBackup === null
      ? 'no safety backup was taken; choose a backup: tidemark list'
      : `bring back what was there: tidemark restore ${safetyBackup} --replace`
  return new Failure(failure.code, `"${plan.database}" ${what}: ${failure.message}`, { cause: error, hints: [way, ...failure.hints], details: failure.details })
}

/** Puts a copy that is right in the place of the live database, if that is still the one that was planned for. */
async function swapIn(work: RestoreWork, copy: RestoredCopy, record: RestoreRecord): Promise<Restored> {
  const { server, doors, plan, context } = work
  await requireGood(work, copy)
  const live = await findDatabase(server.reached.session, plan.database)
  if (live === undefined || live.oid !== plan.existing?.oid || plan.keptAs === null)
    throw new Failure('target-unsafe', `"${plan.database}" was changed by somebody else while the copy was restored; nothing was swapped`, {
      hints: [`the copy is "${copy.database}"`],
    })
  const request = { live, copy, keptAs: plan.keptAs, record, save: doors.saveRecord }
  const { warnings, recorded } = await replaceBySwap(server, request, context)
  const { keptAs, database } = plan
  return { copy: { ...copy, database }, keptAs, safetyBackup: record.safetyBackup, dropped: false, warnings, answers: unasked, recorded }
}

/**
 * A copy that differs from what was dumped never takes the place of production; it is dropped again. After --replace=drop there is no old one
 * to fall back to: there a copy with differences is better than none, and they are said.
 */
async function requireGood({ server, plan, context }: RestoreWork, copy: RestoredCopy): Promise<void> {
  const problems = [...copy.errors.map((error) => error.message), ...copy.validation.problems.map((problem) => `${problem.object}: ${problem.message}`)]
  if (problems.length === 0) return
  await dropOwnedDatabase(server.reached.session, copy.oid, 'its content was not right').catch((error: unknown) =>
    context.emit({ type: 'warning', code: 'clean-up-failed', message: messageOf(error) }),
  )
  throw new Failure('check-failed', `"${plan.database}" was not replaced: the restored copy is not what was dumped (${problems.length} differences)`, {
    hints: [...problems.slice(0, 5), 'restore it beside the original to look at it: tidemark restore --as NAME'],
  })
}

/** The copy is where it was wanted: it is recorded, and a test copy is asked what a drill would ask. */
async function keep(work: RestoreWork, copy: RestoredCopy, record: RestoreRecord): Promise<Restored> {
  const { request, server, doors, plan, context } = work
  const finished: RestoreRecord = {
    ...record,
    phase: plan.action === 'drop-and-restore' ? 'dropped' : 'created',
    endedAt: utc(context.clock.now()),
    newOid: plan.action === 'use-empty' || plan.action === 'into-existing' ? null : copy.oid,
    newName: copy.database,
  }
  const unrecorded = await saveAfterwards(doors.saveRecord, finished, context)
  const { problems, ...answers } = request.goal.kind === 'test' ? await askCopy(work, copy) : unasked
  const dropped = request.dropAfterwards && copy.validation.outcome !== 'different'
  if (dropped) await dropOwnedDatabase(server.reached.session, copy.oid, 'the test is over')
  const warnings = [...unrecorded, ...problems]
  return { copy, keptAs: null, safetyBackup: record.safetyBackup, dropped, warnings, answers, recorded: unrecorded.length === 0 }
}

const unasked: CopyAnswers = { checks: [], newest: [], problems: [] }

async function askCopy({ server, doors }: RestoreWork, copy: RestoredCopy): Promise<CopyAnswers> {
  if (doors.ask === null) return unasked
  await using session = await server.connections.inside(copy.database)
  return await doors.ask(session)
}

/** What follows a finished restore. When it fails the restore stands all the same, and its result goes with the failure. */
async function handOver({ request, context }: RestoreWork, { plan, result }: RestoreOutcome): Promise<void> {
  const { hooks, health } = request
  try {
    if (hooks.after !== null) await runHook('after', hooks.after, hooks.environment, context)
    if (health !== null) await waitForHealth(health.url, health.timeoutSeconds, context)
  } catch (error) {
    await runHooksAfterFailure(hooks, ['onFailure'], context)
    const failure = asFailure(error)
    const undo = result?.keptAs == null ? [] : [`put the old database back: tidemark undo ${request.run}`]
    throw new Failure(failure.code, `the restore is done, but ${failure.message}`, {
      cause: error,
      hints: [...failure.hints, ...undo],
      details: { ...failure.details, result: { plan, result } },
    })
  }
}
