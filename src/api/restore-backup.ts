import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { utc } from '../kernel/clock.ts'
import { asFailure, Failure, messageOf } from '../kernel/failure.ts'
import { formatConnectionUrl } from '../postgres/connection-url.ts'
import { derivedName } from '../postgres/identifiers.ts'
import { readNewest, runChecks } from '../drill/run-checks.ts'
import { makeStage } from '../repository/stage.ts'
import { runHook, waitForHealth } from '../restore/hooks.ts'
import { sweepExpiredCopies } from '../restore/expired-copies.ts'
import { commentDatabase, dropByOid, dropOwnedDatabase, findDatabase } from '../restore/owned-database.ts'
import { planRestore, type RestoreGoal, type RestorePlan } from '../restore/plan-restore.ts'
import { replaceBySwap, saveAfterwards } from '../restore/replace-database.ts'
import { restoreCopy, type CopyRequest, type RestoredCopy } from '../restore/restore-dump.ts'
import { writeRunRecord, type RestoreRecord } from '../restore/run-record.ts'
import { openAdminServer, restoreTarget, type AdminServer } from './admin-server.ts'
import { chooseGoal, requireConsistent } from './restore-goal.ts'
import type { RestoreOptions, RestoreOutcome, RestoreResult } from './restore-options.ts'
import { hookEnvironment, hooksOf, runHooksAfterFailure, type RestoreHooks } from './restore-hooks.ts'
import { findOrigin, stageOrigin, type Origin } from './restore-origin.ts'
import { isSameServer, protectedOn } from './restore-server.ts'
import { newRunId } from './run-id.ts'
import { takeBackups } from './take-backups.ts'
import type { Workspace } from './workspace.ts'

/** Restores a dump: the whole story, from a word on the command line to a database that can be used. */
export async function restoreBackup(workspace: Workspace, options: RestoreOptions = {}): Promise<RestoreOutcome> {
  const { context, machine } = workspace
  requireConsistent(options)
  const begunMs = context.clock.monotonicMs()
  const run = newRunId(context)
  await using stack = new AsyncDisposableStack()
  const origin = await findOrigin(workspace, options, stack)
  const server = stack.use(await openAdminServer(workspace, restoreTarget(origin.cluster, options.server, machine.env), 'restore'))
  const stamp = stampOf(context.clock.now(), origin.cluster?.timeZone ?? context.clock.timeZone())
  const goal = chooseGoal(origin, options, stamp)
  const sql = await readSql(options, machine.cwd)
  const settings = {
    jobs: options.jobs ?? origin.cluster?.dump.jobs ?? machine.cpus,
    validate: options.validate ?? (goal.kind === 'replace' ? ('content' as const) : ('rows' as const)),
    safety: options.safetyBackup ?? true,
    hooks: hooksOf(options, origin.cluster),
  }
  const plan = await planRestore(
    server.reached.session,
    {
      goal,
      backup: origin.manifest?.backup ?? null,
      source: origin.manifest?.source ?? null,
      file: origin.file,
      server: server.name,
      sameServer: await isSameServer(server, origin),
      protectedDatabases: await protectedOn(workspace, server, goal.name),
      keptAs: derivedName(goal.name, `_before_${stamp}`),
      safetyBackup: settings.safety,
      validate: settings.validate,
      jobs: settings.jobs,
      selected: options.tables ?? [],
      usesRoles: options.noOwner !== true || options.noPrivileges !== true,
      hooks: {
        before: settings.hooks.before !== null,
        after: settings.hooks.after !== null,
        healthUrl: options.healthUrl ?? null,
        sqlFile: options.runSql ?? null,
      },
    },
    server.connections.inside,
  )
  if (options.dryRun === true) {
    if (options.verify !== false) {
      await using stage = await makeStage(machine.workDirectory, run, context)
      await using _staged = await stageOrigin(origin, stage.path, workspace)
    }
    return { plan, result: null, partial: false }
  }
  if (plan.refusals.length > 0)
    throw new Failure('target-unsafe', `this restore is refused: ${plan.refusals[0] ?? ''}`, {
      hints: plan.refusals.slice(1),
      details: { result: { plan, result: null } },
    })
  await options.approve?.(plan)

  const work = { workspace, options, origin, server, goal, plan, run, sql, ...settings }
  let done: Done
  try {
    if (settings.hooks.before !== null) await runHook('before', settings.hooks.before, hookEnvironment(workspace), context)
    done = await carryOut(work)
  } catch (error) {
    // The application is started again after a failure, too.
    await runHooksAfterFailure([settings.hooks.after, settings.hooks.onFailure], workspace)
    throw error
  }
  const outcome = describeOutcome(work, done, (context.clock.monotonicMs() - begunMs) / 1000)
  await handOver(work, outcome)
  return outcome
}

/** What follows a finished restore. When it fails the restore stands all the same, and its result goes with the failure. */
async function handOver({ workspace, options, hooks, run }: Work, outcome: RestoreOutcome): Promise<void> {
  try {
    if (hooks.after !== null) await runHook('after', hooks.after, hookEnvironment(workspace), workspace.context)
    if (options.healthUrl !== undefined) await waitForHealth(options.healthUrl, options.healthTimeoutSeconds ?? 120, workspace.context)
  } catch (error) {
    await runHooksAfterFailure([hooks.onFailure], workspace)
    const failure = asFailure(error)
    const undo = outcome.result?.keptAs === null || outcome.result === null ? [] : [`put the old database back: tidemark undo ${run}`]
    throw new Failure(failure.code, `the restore is done, but ${failure.message}`, {
      cause: error,
      hints: [...failure.hints, ...undo],
      details: { ...failure.details, result: { plan: outcome.plan, result: outcome.result } },
    })
  }
}

interface Work {
  readonly workspace: Workspace
  readonly options: RestoreOptions
  readonly origin: Origin
  readonly server: AdminServer
  readonly goal: RestoreGoal
  readonly plan: RestorePlan
  readonly run: string
  readonly jobs: number
  readonly validate: 'content' | 'rows' | 'none'
  /** Read before anything is touched: a missing file must not be found out after a drop. */
  readonly sql: string | null
  readonly hooks: RestoreHooks
}

interface Done {
  readonly copy: RestoredCopy
  readonly keptAs: string | null
  readonly safetyBackup: string | null
  readonly dropped: boolean
  readonly warnings: readonly string[]
  readonly answers: Pick<RestoreResult, 'checks' | 'newest'>
  /** False when the restore is done and its record could not be written. */
  readonly recorded: boolean
}

/** Safety backup → read the whole backup → make room → load and validate → swap. Nothing is touched before the backup was read to its end. */
async function carryOut(work: Work): Promise<Done> {
  const { workspace, origin, server, plan, run, goal } = work
  const { context, machine } = workspace
  const admin = server.reached.session
  await sweepExpiredCopies(admin, context)
  const safetyBackup = plan.safetyBackup ? await takeSafetyBackup(work) : null
  await using stage = await makeStage(machine.workDirectory, run, context)
  await using staged = await stageOrigin(origin, stage.path, workspace)

  const record = newRecord(work, safetyBackup)
  const save = async (next: RestoreRecord) => {
    if (origin.repository !== null) await writeRunRecord(origin.repository.storage, next)
  }
  let replacedComment: string | null = null
  const copyName = plan.action === 'swap' ? derivedName(goal.name, `_restoring_${run.slice(-4)}`) : goal.name
  if (plan.action === 'replace-own-test' && plan.existing !== null) await dropOwnedDatabase(admin, plan.existing.oid, 'it is replaced by this test restore')
  if ((plan.action === 'drop-and-create' || plan.action === 'drop-and-restore') && plan.existing !== null) {
    const existing = await findDatabase(admin, plan.existing.name)
    replacedComment = existing?.comment ?? null
    await save({ ...record, phase: 'dropping', oldOid: plan.existing.oid, oldName: plan.existing.name })
    if (existing?.oid === plan.existing.oid) await dropByOid(admin, existing)
  }
  const request = copyRequest(work, copyName, stage.path)
  const copy = await restoreCopy(server.reached, staged, request, server.connections, context).catch((error: unknown) => {
    throw plan.action === 'drop-and-restore' || plan.action === 'into-existing' ? withWayBack(error, plan, safetyBackup) : error
  })
  // After --replace=drop there is no old one to fall back to: a copy with differences is better than none, and they are said.
  if (plan.action === 'swap') await requireGood(work, copy)
  if (plan.action === 'drop-and-restore') await commentDatabase(admin, goal.name, replacedComment)

  if (plan.action === 'swap' && plan.existing !== null && plan.keptAs !== null) {
    const live = await findDatabase(admin, goal.name)
    if (live === undefined || live.oid !== plan.existing.oid)
      throw new Failure('target-unsafe', `"${goal.name}" was changed by somebody else while the copy was restored; nothing was swapped`, {
        hints: [`the copy is "${copyName}"`],
      })
    const { warnings, recorded } = await replaceBySwap(server.reached, { live, copy, keptAs: plan.keptAs, record, save }, server.connections, context)
    return { copy: { ...copy, database: goal.name }, keptAs: plan.keptAs, safetyBackup, dropped: false, warnings, answers: unasked, recorded }
  }
  const unrecorded = await saveAfterwards(
    save,
    {
      ...record,
      phase: plan.action === 'drop-and-restore' ? 'dropped' : 'created',
      endedAt: utc(context.clock.now()),
      newOid: plan.action === 'use-empty' || plan.action === 'into-existing' ? null : copy.oid,
      newName: copy.database,
    },
    context,
  )
  const { problems, ...answers } = goal.kind === 'test' ? await askCopy(work, copy) : { ...unasked, problems: [] }
  const drop = work.options.test === true && work.options.drop === true && copy.validation.outcome !== 'different'
  if (drop) await dropOwnedDatabase(admin, copy.oid, 'the test is over')
  return { copy, keptAs: null, safetyBackup, dropped: drop, warnings: [...unrecorded, ...problems], answers, recorded: unrecorded.length === 0 }
}

const unasked = { checks: [], newest: [] } as const

/** A test restore is asked what a drill would ask: the configured checks, and the newest rows for a person to recognise. */
async function askCopy(
  { workspace, origin, server }: Work,
  copy: RestoredCopy,
): Promise<Pick<RestoreResult, 'checks' | 'newest'> & { readonly problems: readonly string[] }> {
  const checks = origin.cluster?.checks ?? []
  const newest = origin.cluster?.drill.newest ?? []
  if (checks.length === 0 && newest.length === 0) return { ...unasked, problems: [] }
  await using session = await server.connections.inside(copy.database)
  const answered = await runChecks(session, checks, workspace.context)
  return { checks: answered, ...(await readNewest(session, newest, workspace.context)) }
}

/** What was there is gone or half changed: the only thing that matters now is how to get it back. */
function withWayBack(error: unknown, plan: RestorePlan, safetyBackup: string | null): Failure {
  const failure = asFailure(error)
  const what = plan.action === 'into-existing' ? 'was changed as far as the load came' : 'was dropped and could not be restored'
  const way =
    safetyBackup === null
      ? 'no safety backup was taken; choose a backup: tidemark list'
      : `bring back what was there: tidemark restore ${safetyBackup} --replace`
  return new Failure(failure.code, `"${plan.database}" ${what}: ${failure.message}`, { cause: error, hints: [way, ...failure.hints], details: failure.details })
}

/** A copy that differs from what was dumped never takes the place of production; it is dropped again. */
async function requireGood(work: Work, copy: RestoredCopy): Promise<void> {
  const problems = [...copy.errors.map((error) => error.message), ...copy.validation.problems.map((problem) => `${problem.object}: ${problem.message}`)]
  if (problems.length === 0) return
  await dropOwnedDatabase(work.server.reached.session, copy.oid, 'its content was not right').catch((error: unknown) =>
    work.workspace.context.emit({ type: 'warning', code: 'clean-up-failed', message: messageOf(error) }),
  )
  throw new Failure('check-failed', `"${work.goal.name}" was not replaced: the restored copy is not what was dumped (${problems.length} differences)`, {
    hints: [...problems.slice(0, 5), 'restore it beside the original to look at it: tidemark restore --as NAME'],
  })
}

async function takeSafetyBackup(work: Work): Promise<string> {
  const { workspace, goal, origin } = work
  workspace.context.emit({ type: 'step-begun', step: 'safety-backup', subject: goal.name, expectedBytes: null })
  try {
    const result = await takeBackups(workspace, {
      type: 'dump',
      // Of the server that is about to be changed, which need not be the one the configuration backs up.
      target: work.server.target,
      databases: [goal.name],
      name: `before_restore_${goal.name}_${work.run}`,
      nameUnique: true,
      safety: true,
      verify: true,
      ...(origin.cluster === null ? {} : { cluster: origin.cluster.name }),
      ...(work.options.repositories === undefined ? {} : { repositories: work.options.repositories }),
    })
    const backup = result.kind === 'done' ? result.backups[0] : undefined
    if (backup === undefined) throw new Failure('bug', 'the safety backup gave no backup')
    if (backup.state !== 'verified' || (result.kind === 'done' && result.partial))
      throw new Failure('partial', `it is incomplete: ${result.kind === 'done' ? result.warnings.join('; ') : ''}`)
    return backup.id
  } catch (error) {
    workspace.context.signal.throwIfAborted()
    throw new Failure('target-unsafe', `"${goal.name}" was not touched: its safety backup failed (${messageOf(error)})`, {
      cause: error,
      hints: ['if the server is too damaged to be dumped, go on without: --no-safety-backup (the old database is then kept by rename)'],
    })
  }
}

/** The swap takes the mark off; only a copy whose run was killed still has it then. No restore takes so long. */
const unfinishedCopyHours = 7 * 24

function copyRequest(work: Work, database: string, stage: string): CopyRequest {
  const { options, origin, plan, goal } = work
  const place = plan.action === 'use-empty' || plan.action === 'into-existing' ? 'existing' : 'create'
  return {
    run: work.run,
    backup: origin.manifest?.backup.id ?? null,
    source: origin.manifest?.source ?? null,
    fingerprint: origin.manifest?.fingerprint ?? null,
    database,
    place,
    mark: goal.kind === 'test' ? 'test' : 'restore',
    jobs: work.jobs,
    noOwner: options.noOwner === true,
    noPrivileges: options.noPrivileges === true,
    tables: options.tables ?? [],
    dataOnly: options.dataOnly === true,
    truncate: options.truncate === true,
    clean: options.clean === true,
    validate: work.validate,
    sql: work.sql,
    stage,
    // A copy that is to be swapped in has a name nobody was given: when this run is killed, a later one removes it.
    expires: plan.action === 'swap' ? utc(work.workspace.context.clock.now().add({ hours: unfinishedCopyHours })) : null,
  }
}

async function readSql({ runSql }: RestoreOptions, cwd: string): Promise<string | null> {
  if (runSql === undefined) return null
  try {
    return await readFile(resolve(cwd, runSql), 'utf8')
  } catch (error) {
    throw new Failure('usage-invalid', `the file of --run-sql cannot be read: ${messageOf(error)}`, { cause: error })
  }
}

function stampOf(now: Temporal.Instant, timeZone: string): string {
  const at = now.toZonedDateTimeISO(timeZone)
  return `${at.toPlainDate().toString().replaceAll('-', '')}_${at.toPlainTime().toString({ smallestUnit: 'second' }).replaceAll(':', '')}`
}

function newRecord(work: Work, safetyBackup: string | null): RestoreRecord {
  const { origin, server, run, goal } = work
  return {
    format: 'tidemark-run/1',
    run,
    cluster: origin.clusterName,
    verb: 'restore',
    startedAt: utc(work.workspace.context.clock.now()),
    endedAt: null,
    backup: origin.manifest?.backup.id ?? null,
    file: origin.file,
    phase: 'failed',
    server: { host: server.target.host, port: server.target.port, systemIdentifier: null },
    database: goal.name,
    newOid: null,
    newName: null,
    oldOid: null,
    oldName: null,
    safetyBackup,
  }
}

function describeOutcome(work: Work, done: Done, durationSeconds: number): RestoreOutcome {
  const { server, plan, origin } = work
  const { copy } = done
  const target = { ...server.target, database: copy.database }
  const validation = copy.validation
  const warnings = [...plan.warnings, ...copy.warnings, ...done.warnings]
  const result: RestoreResult = {
    run: work.run,
    connection: formatConnectionUrl(target),
    database: copy.database,
    directory: null,
    host: target.host,
    port: target.port,
    user: target.user,
    socketDirectory: target.host?.startsWith('/') === true ? target.host : null,
    reachedLsn: origin.manifest?.backup.startLsn ?? null,
    reachedTime: origin.manifest?.backup.startedAt ?? null,
    tables: validation.tables,
    validation: validation.how,
    checks: done.answers.checks,
    newest: done.answers.newest,
    errors: copy.errors,
    warnings: [...warnings, ...validation.problems.map((problem) => `${problem.object}: ${problem.message}`)],
    keptAs: done.keptAs,
    safetyBackup: done.safetyBackup,
    dropped: done.dropped,
    durationSeconds,
  }
  return { plan, result, partial: copy.errors.length > 0 || validation.outcome === 'different' || !done.recorded }
}
