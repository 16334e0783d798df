import { qualifiedName, quoteIdentifier } from '../postgres/identifiers.ts'
import { readOwnRights } from '../postgres/own-rights.ts'
import type { Session } from '../postgres/session.ts'
import { dropObstacles, logicalSlots, swapObstacles } from './obstacles.ts'
import { findDatabase, isEmptyDatabase, type FoundDatabase } from './owned-database.ts'
import { planServerSpace, planStagingSpace, spaceProblems } from './plan-space.ts'
import { changesTheOriginal, describeSteps } from './plan-steps.ts'
import type { RestorePlan } from './restore-plan.ts'
import { holdsDefinitions, needsTables, noPlainClean } from './select-for-target.ts'
import { refusalOfDrop } from './table-dependents.ts'
import type { RestoreGoal, RestoreRequest, RestoreServer } from './restore-request.ts'

/** Looks at the target server and at the work directory (reads only) and makes the plan. */
export async function planRestore(server: RestoreServer, request: RestoreRequest): Promise<RestorePlan> {
  const { goal } = request
  const admin = server.reached.session
  const backup = request.manifest?.backup ?? null
  const found = await findDatabase(admin, goal.name)
  const refusals = [...refusalsOfName(request), ...(await refusalsOfRoles(admin, request))]
  const action = await chooseAction(goal, found, refusals, server.connections.inside)
  refusals.push(...(await refusalsOfServer(admin, action, found)), ...refusalsOfContent(request))
  if (found !== undefined && refusals.length === 0) refusals.push(...(await refusalsOfDrops(server, request)))
  const existing =
    found === undefined ? null : { oid: found.oid, name: found.name, sizeBytes: await sizeOf(admin, found.oid), madeByUs: found.mark !== undefined }
  const serverSpace = await planServerSpace(server, request, { action, existing })
  const stagingSpace = await planStagingSpace(request)
  const space = spaceProblems({ serverSpace, stagingSpace, action, existing }, !request.spaceCheck)
  const validation = validationOf(request)
  const safetyBackup = changesTheOriginal(request) && request.safetyBackup && existing !== null
  return {
    backup: backup?.id ?? null,
    file: request.file,
    takenAt: backup?.endedAt ?? null,
    sizeBytes: backup?.sizeBytes ?? null,
    server: server.name,
    database: goal.name,
    action,
    existing,
    keptAs: action === 'swap' ? request.keptAs : null,
    safetyBackup,
    validation,
    serverSpace,
    stagingSpace,
    steps: describeSteps(request, { action, existing, safetyBackup, validation }),
    refusals: [...refusals, ...space.refusals],
    warnings: [...(await missingOnServer(admin, request)), ...space.warnings, ...(await losses(admin, action, found)), ...weakValidation(request, validation)],
  }
}

/** What speaks against this backup in that database, whatever the server is like. */
function refusalsOfName(request: RestoreRequest): readonly string[] {
  const { goal, manifest } = request
  const refusals: string[] = []
  const isSource = request.sameServer && goal.name === (manifest?.source?.database ?? manifest?.backup.database)
  if (!changesTheOriginal(request) && (isSource || request.protectedDatabases.has(goal.name)))
    refusals.push(
      `"${goal.name}" is ${isSource ? 'the database this backup was taken from' : 'a configured database'}; only --replace may put something in its place`,
    )
  if (goal.kind === 'replace' && manifest?.backup.partial === true)
    refusals.push(
      `backup ${manifest.backup.id} holds only a part of the database, so it cannot take its place: restore it beside (--as), or tables of it into the original (--table … --clean)`,
    )
  return refusals
}

/** Rows need tables to go into. */
function refusalsOfContent({ manifest, dataOnly }: RestoreRequest): readonly string[] {
  return manifest === null || dataOnly || holdsDefinitions(manifest) ? [] : [needsTables]
}

/** What hangs on tables that are to be dropped and made anew. Of a file it is only known when it is read. */
async function refusalsOfDrops(server: RestoreServer, { clean, tables, manifest, goal }: RestoreRequest): Promise<readonly string[]> {
  if (!clean || manifest === null) return []
  if (manifest.backup.format === 'plain') return [noPlainClean]
  const named = manifest.backup.tables.filter(({ schema, name }) =>
    tables.some((wanted) => [name, `${schema}.${name}`, qualifiedName(schema, name)].includes(wanted)),
  )
  await using session = await server.connections.inside(goal.name)
  const refusal = await refusalOfDrop(session, named)
  return refusal === undefined ? [] : [refusal]
}

/** What the server would refuse in the middle of it: rights, and what neither a rename nor a drop can carry. */
async function refusalsOfServer(admin: Session, action: RestorePlan['action'], existing: FoundDatabase | undefined): Promise<readonly string[]> {
  const refusals: string[] = []
  const rights = await readOwnRights(admin)
  if (action !== 'use-empty' && action !== 'into-existing' && !rights.createDb)
    refusals.push(
      `role "${admin.user}" may not create databases: ALTER ROLE "${admin.user}" CREATEDB, or set adminUrl to a role that may; into an existing empty database no such right is needed (--as NAME)`,
    )
  const drops = action === 'drop-and-create' || action === 'drop-and-restore'
  if (existing === undefined || (action !== 'swap' && !drops)) return refusals
  refusals.push(...(action === 'swap' ? await swapObstacles(admin, existing.name) : await dropObstacles(admin, existing.name)))
  if (!rights.isSuperuser && existing.owner !== admin.user && !(await isMember(admin, existing.owner)))
    refusals.push(
      action === 'swap'
        ? `role "${admin.user}" does not own "${existing.name}" and cannot rename it: use an adminUrl with the right, or --replace=drop`
        : `role "${admin.user}" does not own "${existing.name}" and cannot drop it: use an adminUrl with the right`,
    )
  return refusals
}

/** Roles that are to take the place of others must be there, and have to be written into a dump that names roles where they can be found. */
async function refusalsOfRoles(admin: Session, { roleMap, manifest }: RestoreRequest): Promise<readonly string[]> {
  if (roleMap.size === 0) return []
  const refusals: string[] = []
  if (manifest?.backup.format === 'plain')
    refusals.push('roles cannot be replaced in a plain SQL dump: choose another backup, or restore it without --role-map')
  const there = new Set((await admin.query<{ name: string }>('SELECT rolname AS name FROM pg_catalog.pg_roles')).map((row) => row.name))
  for (const name of new Set(roleMap.values()))
    if (!there.has(name)) refusals.push(`role "${name}" of --role-map does not exist here: CREATE ROLE ${quoteIdentifier(name)}`)
  return refusals
}

/** What goes with a database that is dropped and comes back from no backup. */
async function losses(admin: Session, action: RestorePlan['action'], existing: FoundDatabase | undefined): Promise<readonly string[]> {
  if (existing === undefined || (action !== 'drop-and-create' && action !== 'drop-and-restore')) return []
  return (await logicalSlots(admin, existing.name))
    .filter(({ active }) => !active)
    .map(({ name }) => `logical slot ${name} is dropped with "${existing.name}"; who reads from it has to begin anew`)
}

/** How the copy can be looked at: a fingerprint is of whole tables of a whole backup, and rows that were added to others' cannot be told apart. */
function validationOf({ validate, dataOnly, tables, manifest }: RestoreRequest): RestorePlan['validation'] {
  if (validate === 'none' || dataOnly) return 'none'
  return validate === 'content' && tables.length === 0 && (manifest?.fingerprint ?? null) !== null ? 'content' : 'rows'
}

function weakValidation({ validate, tables }: RestoreRequest, validation: RestorePlan['validation']): readonly string[] {
  if (validate !== 'content' || validation !== 'rows') return []
  return [
    `the content cannot be compared, ${tables.length > 0 ? 'for only some tables are restored' : 'for there is no fingerprint of it'}: rows are counted instead`,
  ]
}

async function chooseAction(
  goal: RestoreGoal,
  existing: FoundDatabase | undefined,
  refusals: string[],
  inside: (database: string) => Promise<Session>,
): Promise<RestorePlan['action']> {
  if (existing?.isTemplate === true) refusals.push(`"${goal.name}" is a template database`)
  switch (goal.kind) {
    case 'new': {
      if (existing === undefined) return 'create'
      await using session = await inside(goal.name)
      if (await isEmptyDatabase(session)) return 'use-empty'
      refusals.push(`the database "${goal.name}" exists and is not empty: choose another name (--as), or drop it first (--drop-existing)`)
      return 'create'
    }
    case 'test':
      if (existing === undefined) return 'create'
      if (existing.mark?.kind !== 'test' || existing.mark.name !== existing.name)
        refusals.push(`"${goal.name}" exists and was not made by an earlier test restore; it is not dropped`)
      return 'replace-own-test'
    case 'drop-existing':
      return existing === undefined ? 'create' : 'drop-and-create'
    case 'into':
      if (existing === undefined) refusals.push(`the database "${goal.name}" does not exist`)
      return 'into-existing'
    case 'replace':
      if (existing === undefined) return 'create'
      return goal.how === 'swap' ? 'swap' : 'drop-and-restore'
    default:
      throw new Error(`unexpected goal ${JSON.stringify(goal satisfies never)}`)
  }
}

async function isMember(admin: Session, role: string): Promise<boolean> {
  const [row] = await admin.query<{ member: boolean }>(
    `SELECT pg_catalog.pg_has_role(current_user, oid, 'MEMBER') AS member FROM pg_catalog.pg_roles WHERE rolname = $1`,
    [role],
  )
  return row?.member === true
}

async function sizeOf(admin: Session, oid: number): Promise<number | null> {
  const [row] = await admin.query<{ bytes: string | null }>(
    `SELECT CASE WHEN pg_catalog.has_database_privilege($1::oid, 'CONNECT') THEN pg_catalog.pg_database_size($1::oid)::text END AS bytes`,
    [oid],
  )
  return row?.bytes === null || row?.bytes === undefined ? null : Number(row.bytes)
}

/** Extensions that the target cannot provide, and version trouble, found before anything is done. */
async function missingOnServer(admin: Session, request: RestoreRequest): Promise<readonly string[]> {
  const warnings: string[] = []
  const source = request.manifest?.source ?? null
  if (source === null) return warnings
  const available = new Set((await admin.query<{ name: string }>('SELECT name FROM pg_catalog.pg_available_extensions')).map((row) => row.name))
  for (const { name } of source.extensions)
    if (!available.has(name)) warnings.push(`extension ${name} is not installed on this server; what depends on it will fail`)
  const roles = new Set((await admin.query<{ name: string }>('SELECT rolname AS name FROM pg_catalog.pg_roles')).map((row) => row.name))
  const usesRoles = !request.noOwner || !request.noPrivileges
  const missing = usesRoles ? source.roles.filter((role) => !roles.has(role)) : []
  if (missing.length > 0)
    warnings.push(
      `roles that own or were granted something do not exist here: ${missing.join(', ')}; make them first (from the .globals.sql beside the dump), or leave owners and grants out: --no-owner --no-privileges`,
    )
  const spaces = new Set((await admin.query<{ name: string }>('SELECT spcname AS name FROM pg_catalog.pg_tablespace')).map((row) => row.name))
  for (const name of source.tablespaces)
    if (!spaces.has(name)) warnings.push(`tablespace "${name}" does not exist here; what lay in it goes to the default one, with an error each`)
  const major = Math.floor(admin.serverVersionNum / 10_000)
  if (major < source.serverMajor)
    warnings.push(`this server is PostgreSQL ${major}, the backup comes from ${source.serverMajor}: newer features may not restore`)
  return warnings
}
