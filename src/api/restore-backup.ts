import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { ClusterSettings } from '../config/settings.ts'
import { readNewest, runChecks } from '../drill/run-checks.ts'
import { fileStamp } from '../kernel/clock.ts'
import { Failure, messageOf } from '../kernel/failure.ts'
import { derivedName, requireUsableName } from '../postgres/identifiers.ts'
import { healthRequest } from '../restore/hooks.ts'
import { mapManifestRoles, type RoleMap } from '../restore/map-roles.ts'
import { restoreDump } from '../restore/restore-dump.ts'
import type { RestoreDoors, RestoreRequest } from '../restore/restore-request.ts'
import { writeRunRecord } from '../restore/run-record.ts'
import { openAdminServer, restoreTarget, type AdminServer } from './admin-server.ts'
import { chooseGoal, requireConsistent } from './restore-goal.ts'
import { hooksOf } from './restore-hooks.ts'
import type { RestoreOptions, RestoreOutcome } from './restore-options.ts'
import { findOrigin, stageOrigin, type Origin } from './restore-origin.ts'
import { isSameServer, protectedOn } from './restore-server.ts'
import { newRunId } from './run-id.ts'
import { takeBackups } from './take-backups.ts'
import type { Workspace } from './workspace.ts'

/** Restores a dump: finds out what the options mean here, and hands it to the story in `restore/restore-dump.ts`. */
export async function restoreBackup(workspace: Workspace, options: RestoreOptions = {}): Promise<RestoreOutcome> {
  const { context, machine } = workspace
  requireConsistent(options)
  const begunMs = context.clock.monotonicMs()
  await using stack = new AsyncDisposableStack()
  const origin = await findOrigin(workspace, options, stack)
  const server = stack.use(await openAdminServer(workspace, restoreTarget(origin.cluster, options.server, machine.env), 'restore'))
  const request = await describeRequest(workspace, options, { origin, server, begunMs })
  return await restoreDump(request, server, doorsOf(workspace, options, { origin, server }), context)
}

async function describeRequest(
  workspace: Workspace,
  options: RestoreOptions,
  { origin, server, begunMs }: { origin: Origin; server: AdminServer; begunMs: number },
): Promise<RestoreRequest> {
  const { context, machine } = workspace
  const { cluster } = origin
  const stamp = fileStamp(context.clock.now().toZonedDateTimeISO(cluster?.timeZone ?? context.clock.timeZone()))
  const goal = chooseGoal(origin, options, stamp)
  const roleMap = roleMapOf(options)
  const { manifest } = origin
  return {
    run: newRunId(context),
    cluster: origin.clusterName,
    goal,
    manifest: manifest === null ? null : mapManifestRoles(manifest, roleMap),
    roleMap,
    file: origin.file,
    sameServer: await isSameServer(server, origin),
    protectedDatabases: await protectedOn(workspace, server, goal.name),
    keptAs: derivedName(goal.name, `_before_${stamp}`),
    jobs: options.jobs ?? cluster?.dump.jobs ?? machine.cpus,
    tables: options.tables ?? [],
    dataOnly: options.dataOnly === true,
    truncate: options.truncate === true,
    clean: options.clean === true,
    noOwner: options.noOwner === true,
    noPrivileges: options.noPrivileges === true,
    validate: options.validate ?? (goal.kind === 'replace' ? 'content' : 'rows'),
    safetyBackup: options.safetyBackup ?? true,
    spaceCheck: options.spaceCheck ?? true,
    sql: await readSql(options, machine.cwd),
    hooks: hooksOf(options, cluster, machine.env),
    health: healthOf(options),
    dropAfterwards: options.test === true && options.drop === true,
    dryRun: options.dryRun !== true ? null : options.verify === false ? 'plan' : 'read',
    workDirectory: machine.workDirectory,
    begunMs,
  }
}

function doorsOf(workspace: Workspace, options: RestoreOptions, { origin, server }: { origin: Origin; server: AdminServer }): RestoreDoors {
  return {
    stage: (directory) => stageOrigin(origin, directory, workspace),
    backUp: (database, name) => backUp(workspace, options, { origin, server, database, name }),
    saveRecord: async (record) => {
      if (origin.repository !== null) await writeRunRecord(origin.repository.storage, record)
    },
    ask: askerOf(workspace, origin.cluster),
    approve: async (plan) => options.approve?.(plan),
  }
}

/** A test restore is asked what a drill would ask: the configured checks, and the newest rows for a person to recognise. */
function askerOf({ context }: Workspace, cluster: ClusterSettings | null): RestoreDoors['ask'] {
  const checks = cluster?.checks ?? []
  const newest = cluster?.drill.newest ?? []
  if (checks.length === 0 && newest.length === 0) return null
  return async (session) => ({ checks: await runChecks(session, checks, context), ...(await readNewest(session, newest, context)) })
}

async function backUp(
  workspace: Workspace,
  options: RestoreOptions,
  { origin, server, database, name }: { origin: Origin; server: AdminServer; database: string; name: string },
): Promise<string> {
  const result = await takeBackups(workspace, {
    type: 'dump',
    // Of the server that is about to be changed, which need not be the one the configuration backs up.
    target: server.target,
    databases: [database],
    name,
    nameUnique: true,
    safety: true,
    verify: true,
    ...(origin.cluster === null ? {} : { cluster: origin.cluster.name }),
    ...(options.repositories === undefined ? {} : { repositories: options.repositories }),
  })
  const backup = result.kind === 'done' ? result.backups[0] : undefined
  if (backup === undefined) throw new Failure('bug', 'the safety backup gave no backup')
  if (backup.state !== 'verified' || (result.kind === 'done' && result.partial))
    throw new Failure('partial', `it is incomplete: ${result.kind === 'done' ? result.warnings.join('; ') : ''}`)
  return backup.id
}

function roleMapOf({ roleMap = {} }: RestoreOptions): RoleMap {
  for (const [from, to] of Object.entries(roleMap))
    for (const name of [from, to]) {
      requireUsableName(name, 'role name')
      // PostgreSQL knows no such role, and takes the word for everybody.
      if (name === 'public' || name === 'none') throw new Failure('usage-invalid', `"${name}" is no role that --role-map could replace or put in a place`)
    }
  return new Map(Object.entries(roleMap))
}

/** A URL that cannot be asked must not be found out after the restore. */
function healthOf({ healthUrl, healthTimeoutSeconds }: RestoreOptions): RestoreRequest['health'] {
  if (healthUrl === undefined) return null
  healthRequest(healthUrl)
  return { url: healthUrl, timeoutSeconds: healthTimeoutSeconds ?? 120 }
}

async function readSql({ runSql }: RestoreOptions, cwd: string): Promise<RestoreRequest['sql']> {
  if (runSql === undefined) return null
  try {
    return { file: runSql, text: await readFile(resolve(cwd, runSql), 'utf8') }
  } catch (error) {
    throw new Failure('usage-invalid', `the file of --run-sql cannot be read: ${messageOf(error)}`, { cause: error })
  }
}
