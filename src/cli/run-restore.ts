import { restoreBackup } from '../api/restore-backup.ts'
import type { RestoreOptions, RestoreOutcome } from '../api/restore-options.ts'
import { parseDuration } from '../config/units.ts'
import { Failure } from '../kernel/failure.ts'
import { quoteIdentifier } from '../postgres/identifiers.ts'
import type { PlannedSpace, RestorePlan } from '../restore/restore-plan.ts'
import type { RestoreFlags } from './commands/restore.ts'
import { formatBytes, formatCount, formatDuration, formatUtc, printable, table } from './render/format.ts'
import { nextCommand, withoutMask } from './render/next-command.ts'
import type { Output } from './render/output.ts'
import type { Runtime } from './runtime.ts'

/** `tidemark restore`: flags to options, the plan and the question, the result. */
export async function runRestore(runtime: Runtime, typed: string | undefined, flags: RestoreFlags): Promise<void> {
  const { output } = runtime
  const named = typed ?? flags.backup ?? flags.file
  if (flags.latest === true && named !== undefined && named !== 'latest')
    throw new Failure('usage-invalid', `two backups are named: "${named}" and --latest`, { hints: ['name one of them'] })
  const wanted = typed ?? (flags.latest === true ? 'latest' : undefined)
  refuseDirectoryFlags(flags)
  const outcome = await restoreBackup(await runtime.workspace(), {
    ...optionsOf(wanted, flags),
    approve: async (plan) => {
      // Only what ends something that is there asks; a new database beside harms nobody.
      if (!['swap', 'drop-and-restore', 'drop-and-create', 'into-existing'].includes(plan.action)) return
      if (!output.json && !(output.quiet && flags.yes === true)) renderPlan(output, plan)
      await runtime.confirm(question(plan), {
        yes: flags.yes,
        ...(plan.action === 'swap' || plan.action === 'drop-and-restore' ? { typed: plan.database } : {}),
      })
    },
  })
  output.document(outcome.result === null ? { plan: outcome.plan, result: null } : { plan: outcome.plan, result: outcome.result })
  if (outcome.result === null) {
    renderPlan(output, outcome.plan)
    output.line(outcome.plan.refusals.length > 0 ? 'It would be refused. Nothing was changed.' : 'Nothing was changed. Run without --dry-run to start.')
    if (outcome.plan.refusals.length > 0) runtime.exitCode = 15
    return
  }
  renderResult(output, outcome, flags)
  if (outcome.partial) runtime.exitCode = 3
  if (outcome.result.checks.some((check) => !check.ok)) runtime.exitCode = 1
}

/** What only a base backup knows must not be ignored for a dump. */
function refuseDirectoryFlags(flags: RestoreFlags): void {
  if (flags.to !== undefined) {
    throw new Failure('usage-invalid', '--to needs archived WAL, which comes with a later version', {
      hints: ['restore the newest dump before the moment: tidemark list', 'or the newest base backup: tidemark restore --into DIR'],
    })
  }
  const given = [
    flags.delta === true ? '--delta' : null,
    flags.start === true ? '--start' : null,
    flags.port !== undefined ? '--port' : null,
    flags.tablespaceMap !== undefined ? '--tablespace-map' : null,
    typeof flags.owner === 'string' ? '--owner' : null,
  ].find((flag) => flag !== null)
  if (given !== undefined)
    throw new Failure('usage-invalid', `${given} is for base backups, which are restored to a directory`, { hints: ['name the directory: --into DIR'] })
}

function question(plan: RestorePlan): string {
  if (plan.action === 'swap') return `Database "${plan.database}" on ${plan.server} will be replaced; the old one is kept as "${plan.keptAs ?? ''}".`
  if (plan.action === 'into-existing') return `Objects of database "${plan.database}" on ${plan.server} will be changed. Go on?`
  return `Database "${plan.database}" on ${plan.server} will be DROPPED first.`
}

function optionsOf(wanted: string | undefined, flags: RestoreFlags): RestoreOptions {
  const given = {
    wanted,
    backup: flags.backup,
    file: flags.file,
    cluster: flags.cluster,
    as: flags.as,
    test: flags.test,
    drop: flags.drop,
    replace: flags.replaceDrop === true ? ('drop' as const) : flags.replace === true ? ('swap' as const) : undefined,
    dropExisting: flags.dropExisting,
    clean: flags.clean,
    tables: flags.table,
    dataOnly: flags.dataOnly,
    truncate: flags.truncate,
    append: flags.append,
    server: flags.server,
    jobs: flags.jobs,
    noOwner: flags.owner === false,
    noPrivileges: !flags.privileges,
    roleMap: flags.roleMap === undefined ? undefined : parseRoleMap(flags.roleMap),
    runSql: flags.runSql,
    before: flags.before,
    after: flags.after,
    healthUrl: flags.healthUrl,
    healthTimeoutSeconds: flags.healthTimeout === undefined ? undefined : parseDuration(flags.healthTimeout),
    safetyBackup: flags.safetyBackup,
    spaceCheck: flags.spaceCheck,
    validate: flags.validate,
    verify: flags.verify ? undefined : false,
    dryRun: flags.dryRun,
  }
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as RestoreOptions
}

function parseRoleMap(pairs: readonly string[]): Readonly<Record<string, string>> {
  const map = new Map<string, string>()
  for (const pair of pairs) {
    const [, from, to] = /^([^=]+)=([^=]+)$/.exec(pair) ?? []
    if (from === undefined || to === undefined)
      throw new Failure('usage-invalid', `--role-map ${pair}: the form is OLD=NEW`, {
        hints: ['where a name has a = in it, use the Node API: restoreBackup(id, { roleMap: { … } })'],
      })
    if ((map.get(from) ?? to) !== to) throw new Failure('usage-invalid', `--role-map names two roles for "${from}"`)
    map.set(from, to)
  }
  return Object.fromEntries(map)
}

function renderPlan(output: Output, plan: RestorePlan): void {
  const rows = [
    [
      'From',
      plan.file === null
        ? `${plan.backup ?? ''}${plan.takenAt === null ? '' : `, taken ${formatUtc(plan.takenAt)} UTC`}${plan.sizeBytes === null ? '' : `, ${formatBytes(plan.sizeBytes)}`}`
        : printable(plan.file),
    ],
    [
      'Into',
      `database "${printable(plan.database)}" on ${printable(plan.server)}${plan.existing === null ? ' (new)' : plan.existing.sizeBytes === null ? ' (exists)' : ` (exists, ${formatBytes(plan.existing.sizeBytes)})`}`,
    ],
  ]
  rows.push(['Needs', spaceText(plan.serverSpace, 'on the server')], ['', spaceText(plan.stagingSpace, 'in the work directory')])
  output.line(table(rows))
  for (const [index, step] of plan.steps.entries()) output.line(`  ${index + 1}. ${printable(step)}`)
  for (const warning of plan.warnings) output.line(`${output.paint('yellow', '!')} ${printable(warning)}`)
  for (const refusal of plan.refusals) output.line(`${output.paint('red', '✗')} ${printable(refusal)}`)
}

/** `about 9.66 MiB on the server, 84.2 GiB free (/var/lib/postgresql/15/main)`; what is not known is said to be unknown. */
function spaceText({ neededBytes, freeBytes, freedBytes, path, unknown }: PlannedSpace, where: string): string {
  const needed = neededBytes === null ? 'unknown room' : `about ${formatBytes(neededBytes)}`
  const free = freeBytes === null ? 'free space unknown' : `${formatBytes(freeBytes)} free`
  const freed = freedBytes === null || freedBytes === 0 ? '' : ` and ${formatBytes(freedBytes)} that are dropped first`
  return `${needed} ${where}, ${free}${freed}${path === null ? '' : ` (${printable(path)})`}${unknown === null ? '' : `: ${printable(unknown)}`}`
}

function renderResult(output: Output, outcome: RestoreOutcome, flags: RestoreFlags): void {
  const { result } = outcome
  if (result === null) return
  const bad = result.tables.filter((each) => !each.match)
  const rows = result.tables.reduce((sum, each) => sum + (each.restoredRows ?? 0), 0)
  const compared = { content: 'content equal', rows: 'row counts equal', none: 'not validated' }[result.validation]
  const judged =
    bad.length > 0
      ? output.paint('red', `${bad.length} of ${result.tables.length} tables differ`)
      : result.validation === 'none'
        ? output.paint('yellow', compared)
        : result.tables.every((each) => each.rows === null && (each.restoredRows ?? 0) === 0)
          ? `${result.tables.length} tables made, without rows`
          : `${result.tables.length} tables, ${formatCount(rows)} rows, ${compared}`
  output.line(
    `${outcome.partial ? output.paint('yellow', '!') : output.paint('green', '✓')} restored into "${printable(result.database)}" in ${formatDuration(result.durationSeconds)}: ${judged}`,
  )
  for (const error of result.errors.slice(0, 20))
    output.line(
      `  ${output.paint('red', 'error')} ${printable(error.message)}${error.statement === null ? '' : `\n        ${printable(error.statement).slice(0, 200)}`}`,
    )
  if (result.errors.length > 20) output.line(`  … and ${result.errors.length - 20} more errors (--json lists all)`)
  for (const warning of result.warnings) output.line(`  ${output.paint('yellow', '!')} ${printable(warning)}`)
  for (const check of result.checks)
    output.line(
      `  ${check.ok ? output.paint('green', '✓') : output.paint('red', '✗')} ${printable(check.sql)}${check.ok ? '' : `: ${printable(check.actual ?? 'nothing')}, expected ${printable(check.expected)}`}`,
    )
  for (const { table: name, rows: newest } of result.newest) {
    output.line(`  newest of ${printable(name)}:`)
    for (const row of newest) output.line(`    ${printable(JSON.stringify(row))}`)
  }
  const undo = nextCommand(['undo', result.run], flags)
  if (result.keptAs !== null) {
    output.line(`  the old database is kept as "${printable(result.keptAs)}"; put it back with: ${printable(undo)}`)
    output.line(`  when nobody needs it any more: DROP DATABASE ${printable(quoteIdentifier(result.keptAs))};`)
  }
  if (result.safetyBackup !== null) output.line(`  safety backup: ${result.safetyBackup}`)
  if (result.dropped) return output.line('  the test database was dropped again')
  output.line(`  connect: ${withoutMask(result.connection)}`)
  if (flags.test === true) output.line(`  look:    psql '${withoutMask(result.connection)}'`)
  const isProduction = flags.replace === true || flags.replaceDrop === true
  const isOurs = ['create', 'replace-own-test', 'drop-and-create'].includes(outcome.plan.action) && !isProduction
  if (flags.test === true || (result.keptAs === null && isOurs)) output.line(`  remove it again: ${printable(undo)}`)
  else if (result.keptAs === null && result.safetyBackup !== null)
    output.line(`  to go back: ${printable(nextCommand(['restore', result.safetyBackup, '--replace'], flags))}`)
}
