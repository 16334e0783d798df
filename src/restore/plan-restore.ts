import type { BackupFacts } from '../repository/backup.ts'
import type { DumpSource } from '../repository/manifest.ts'
import type { Session } from '../postgres/session.ts'
import { findDatabase, isEmptyDatabase, type FoundDatabase } from './owned-database.ts'
import { swapObstacles } from './swap.ts'

/** What a restore is asked to do, decided before anything is looked at. */
export type RestoreGoal =
  /** A new database; `explicit` when its name was given. */
  | { readonly kind: 'new'; readonly name: string; readonly explicit: boolean }
  /** `<db>_restore_test`, replacing an earlier one of ours. */
  | { readonly kind: 'test'; readonly name: string }
  /** Drop the named database first. */
  | { readonly kind: 'drop-existing'; readonly name: string }
  /** Into an existing database: its objects dropped first, or rows only. Not `explicit`: the original, which is then backed up first. */
  | { readonly kind: 'into'; readonly name: string; readonly how: 'clean' | 'append' | 'truncate'; readonly explicit: boolean }
  /** Replace the original: beside, validated, swapped; or dropped first where there is no room for both. */
  | { readonly kind: 'replace'; readonly name: string; readonly how: 'swap' | 'drop' }

/** What will be done, where, with what, and what speaks against it. Plain data: `--dry-run`, the question and the tests look at it. */
export interface RestorePlan {
  readonly backup: string | null
  readonly file: string | null
  readonly takenAt: string | null
  readonly sizeBytes: number | null
  /** `host:port`, no credentials. */
  readonly server: string
  readonly database: string
  readonly action: 'create' | 'replace-own-test' | 'drop-and-create' | 'use-empty' | 'into-existing' | 'swap' | 'drop-and-restore'
  /** The database that is there now, if one is. */
  readonly existing: { readonly oid: number; readonly name: string; readonly sizeBytes: number | null; readonly madeByUs: boolean } | null
  /** Where the existing one is kept, for a swap. */
  readonly keptAs: string | null
  readonly safetyBackup: boolean
  readonly steps: readonly string[]
  /** Reasons not to; not empty = exit 15 and nothing is done. */
  readonly refusals: readonly string[]
  readonly warnings: readonly string[]
}

export interface PlanFacts {
  readonly goal: RestoreGoal
  readonly backup: BackupFacts | null
  readonly source: DumpSource | null
  readonly file: string | null
  readonly server: string
  /** True when the restore goes to the server the backup came from, as far as can be known. */
  readonly sameServer: boolean
  /** Databases that configured clusters on this server use; only `--replace` may touch them. */
  readonly protectedDatabases: ReadonlySet<string>
  readonly keptAs: string
  readonly safetyBackup: boolean
  readonly validate: 'content' | 'rows' | 'none'
  readonly jobs: number
  readonly selected: readonly string[]
  /** Whether owners or grants are restored. */
  readonly usesRoles: boolean
  readonly hooks: { readonly before: boolean; readonly after: boolean; readonly healthUrl: string | null; readonly sqlFile: string | null }
}

/** Looks at the target server (reads only) and makes the plan. `inside` opens the named database for a look. */
export async function planRestore(admin: Session, facts: PlanFacts, inside: (database: string) => Promise<Session>): Promise<RestorePlan> {
  const { goal } = facts
  const existing = await findDatabase(admin, goal.name)
  const refusals: string[] = []
  const warnings: string[] = []
  const isSource = facts.sameServer && goal.name === (facts.source?.database ?? facts.backup?.database)
  const isMeant = goal.kind === 'replace' || (goal.kind === 'into' && !goal.explicit)
  if (!isMeant && (isSource || facts.protectedDatabases.has(goal.name))) {
    refusals.push(
      `"${goal.name}" is ${isSource ? 'the database this backup was taken from' : 'a configured database'}; only --replace may put something in its place`,
    )
  }
  if (goal.kind === 'replace' && facts.backup?.partial === true)
    refusals.push(
      `backup ${facts.backup.id} holds only a part of the database, so it cannot take its place: restore it beside (--as), or tables of it into the original (--table … --clean)`,
    )
  const action = await chooseAction(goal, existing, refusals, inside)
  const rights = await readRights(admin)
  if (['create', 'replace-own-test', 'drop-and-create', 'swap', 'drop-and-restore'].includes(action) && !rights.createDb) {
    refusals.push(
      `role "${admin.user}" may not create databases: ALTER ROLE "${admin.user}" CREATEDB, or set adminUrl to a role that may; into an existing empty database no such right is needed (--as NAME)`,
    )
  }
  if (action === 'swap' && existing !== null && existing !== undefined) {
    for (const obstacle of await swapObstacles(admin, existing.name)) refusals.push(obstacle)
    if (!rights.isSuperuser && existing.owner !== admin.user && !(await isMember(admin, existing.owner)))
      refusals.push(`role "${admin.user}" does not own "${existing.name}" and cannot rename it: use an adminUrl with the right, or --replace=drop`)
  }
  warnings.push(...(await missingOnServer(admin, facts)))

  return {
    backup: facts.backup?.id ?? null,
    file: facts.file,
    takenAt: facts.backup?.endedAt ?? null,
    sizeBytes: facts.backup?.sizeBytes ?? null,
    server: facts.server,
    database: goal.name,
    action,
    existing:
      existing === undefined
        ? null
        : { oid: existing.oid, name: existing.name, sizeBytes: await sizeOf(admin, existing.oid), madeByUs: existing.mark !== undefined },
    keptAs: action === 'swap' ? facts.keptAs : null,
    safetyBackup: isMeant && facts.safetyBackup && existing !== undefined,
    steps: describeSteps(facts, action, existing),
    refusals,
    warnings,
  }
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
      if (existing.mark?.kind !== 'test') refusals.push(`"${goal.name}" exists and was not made by an earlier test restore; it is not dropped`)
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

async function readRights(admin: Session): Promise<{ createDb: boolean; isSuperuser: boolean }> {
  const [row] = await admin.query<{ create: boolean; super: boolean }>(
    'SELECT rolcreatedb OR rolsuper AS create, rolsuper AS super FROM pg_catalog.pg_roles WHERE rolname = current_user',
  )
  return { createDb: row?.create === true, isSuperuser: row?.super === true }
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
async function missingOnServer(admin: Session, facts: PlanFacts): Promise<readonly string[]> {
  const warnings: string[] = []
  if (facts.source === null) return warnings
  const available = new Set((await admin.query<{ name: string }>('SELECT name FROM pg_catalog.pg_available_extensions')).map((row) => row.name))
  for (const { name } of facts.source.extensions)
    if (!available.has(name)) warnings.push(`extension ${name} is not installed on this server; what depends on it will fail`)
  const roles = new Set((await admin.query<{ name: string }>('SELECT rolname AS name FROM pg_catalog.pg_roles')).map((row) => row.name))
  const missing = facts.usesRoles ? facts.source.roles.filter((role) => !roles.has(role)) : []
  if (missing.length > 0)
    warnings.push(
      `roles that own or were granted something do not exist here: ${missing.join(', ')}; make them first (from the .globals.sql beside the dump), or leave owners and grants out: --no-owner --no-privileges`,
    )
  const spaces = new Set((await admin.query<{ name: string }>('SELECT spcname AS name FROM pg_catalog.pg_tablespace')).map((row) => row.name))
  for (const name of facts.source.tablespaces)
    if (!spaces.has(name)) warnings.push(`tablespace "${name}" does not exist here; what lay in it goes to the default one, with an error each`)
  const major = Math.floor(admin.serverVersionNum / 10_000)
  if (major < facts.source.serverMajor)
    warnings.push(`this server is PostgreSQL ${major}, the backup comes from ${facts.source.serverMajor}: newer features may not restore`)
  return warnings
}

function describeSteps(facts: PlanFacts, action: RestorePlan['action'], existing: FoundDatabase | undefined): readonly string[] {
  const { goal, hooks } = facts
  const what = facts.selected.length === 0 ? 'everything' : `tables ${facts.selected.join(', ')}`
  const steps: string[] = []
  if (hooks.before) steps.push('run the "before" command')
  const isMeant = goal.kind === 'replace' || (goal.kind === 'into' && !goal.explicit)
  if (isMeant && existing !== undefined)
    steps.push(
      facts.safetyBackup
        ? `take and verify a safety backup of "${goal.name}"`
        : `no safety backup${action === 'swap' ? `; the old database is kept as "${facts.keptAs}"` : ''}`,
    )
  steps.push('read and verify the whole backup')
  if (action === 'replace-own-test' || action === 'drop-and-create' || action === 'drop-and-restore') steps.push(`drop database "${goal.name}"`)
  if (action === 'swap') steps.push('create a new database beside it')
  else if (action !== 'use-empty' && action !== 'into-existing') steps.push(`create database "${goal.name}"`)
  steps.push(
    goal.kind === 'into' && goal.how !== 'clean'
      ? `load the rows of ${what}${goal.how === 'truncate' ? ', after emptying those tables' : ''}`
      : `restore ${what} with ${facts.jobs} workers`,
  )
  if (hooks.sqlFile !== null) steps.push(`run ${hooks.sqlFile}`)
  if (facts.validate !== 'none')
    steps.push(facts.validate === 'content' ? 'compare the content of every table with the fingerprint' : 'count the rows of every table')
  if (action === 'swap')
    steps.push(`swap: "${goal.name}" becomes "${facts.keptAs}" and the new one takes its name; sessions are ended, waiting clients see one failed attempt`)
  if (hooks.after) steps.push('run the "after" command, also after a failure')
  if (hooks.healthUrl !== null) steps.push(`wait until ${originOf(hooks.healthUrl)} answers`)
  return steps
}

/** A health URL may carry a token; only where it leads is shown. */
function originOf(url: string): string {
  return URL.canParse(url) ? new URL(url).origin : 'the health URL'
}
