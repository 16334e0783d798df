import { restoreDirectory, type RestoreDirectoryOptions, type RestoreDirectoryResult } from '../api/restore-directory.ts'
import { Failure } from '../kernel/failure.ts'
import type { BaseRestorePlan } from '../restore/base/base-restore-request.ts'
import type { RestoreFlags } from './commands/restore.ts'
import { parseTablespaceMap } from './option-values.ts'
import { formatBytes, formatCount, formatDuration, formatUtc, printable, table } from './render/format.ts'
import type { Output } from './render/output.ts'
import type { Runtime } from './runtime.ts'

/** Flags of `restore` that make no sense for a directory, by the name that a person typed. */
const ofDumps: readonly (readonly [keyof RestoreFlags, string])[] = [
  ['as', '--as'],
  ['test', '--test'],
  ['replace', '--replace'],
  ['replaceDrop', '--replace=drop'],
  ['dropExisting', '--drop-existing'],
  ['clean', '--clean'],
  ['table', '--table'],
  ['dataOnly', '--data-only'],
  ['server', '--server'],
  ['file', '--file'],
  ['roleMap', '--role-map'],
  ['runSql', '--run-sql'],
  ['to', '--to'],
]

/** `tidemark restore --into`: flags to options, the plan and the question, the result. */
export async function runRestoreDirectory(runtime: Runtime, typed: string | undefined, flags: RestoreFlags & { readonly into: string }): Promise<void> {
  const { output } = runtime
  const wrong = ofDumps.find(([flag]) => flags[flag] !== undefined && flags[flag] !== false)
  if (wrong?.[1] === '--to')
    throw new Failure('usage-invalid', '--to needs archived WAL, which comes with a later version; without it the backup is restored to its end')
  if (wrong !== undefined) throw new Failure('usage-invalid', `${wrong[1]} is for dumps, and --into for base backups`, { hints: ['leave one of them out'] })
  const { plan, result } = await restoreDirectory(await runtime.workspace(), {
    ...optionsOf(typed ?? flags.backup, flags),
    approve: async (agreed) => {
      if (agreed.mode !== 'delta') return
      if (!output.json) renderPlan(output, agreed)
      await runtime.confirm(`What is in ${printable(agreed.directory)} will be overwritten.`, { yes: flags.yes })
    },
  })
  output.document({ plan, result })
  if (result === null) {
    renderPlan(output, plan)
    output.line(plan.refusals.length > 0 ? 'It would be refused. Nothing was changed.' : 'Nothing was changed. Run without --dry-run to start.')
    if (plan.refusals.length > 0) runtime.exitCode = 15
    return
  }
  renderResult(output, plan, result)
}

function optionsOf(wanted: string | undefined, flags: RestoreFlags & { readonly into: string }): RestoreDirectoryOptions {
  return {
    into: flags.into,
    delta: flags.delta === true,
    start: flags.start === true,
    dryRun: flags.dryRun === true,
    spaceCheck: flags.spaceCheck,
    tablespaceMap: parseTablespaceMap(flags.tablespaceMap ?? []),
    ...(wanted === undefined ? {} : { wanted }),
    ...(flags.cluster === undefined ? {} : { cluster: flags.cluster }),
    ...(flags.jobs === undefined ? {} : { jobs: flags.jobs }),
    ...(flags.port === undefined ? {} : { port: flags.port }),
    ...(typeof flags.owner === 'string' ? { owner: flags.owner } : {}),
  }
}

function renderPlan(output: Output, plan: BaseRestorePlan): void {
  const free = plan.freeBytes === null ? 'free space unknown' : `${formatBytes(plan.freeBytes)} free`
  output.line(
    table([
      [
        'From',
        `${plan.backup}, taken ${formatUtc(plan.takenAt)} UTC of cluster ${printable(plan.cluster)}, PostgreSQL ${printable(plan.postgresVersion ?? 'unknown')}`,
      ],
      [
        'Into',
        `${printable(plan.directory)} (${{ new: 'new', resume: 'half restored', delta: 'a data directory' }[plan.mode]})${plan.owner === null ? '' : `, for account ${printable(plan.owner)}`}`,
      ],
      ['Needs', `${formatBytes(plan.sizeBytes)} in ${formatCount(plan.files)} files, ${free}`],
      ...plan.tablespaces.map(({ oid, from, to }) => ['Tablespace', `${oid}: ${printable(from)} → ${printable(to)}`]),
    ]),
  )
  for (const [index, step] of plan.steps.entries()) output.line(`  ${index + 1}. ${printable(step)}`)
  for (const warning of plan.warnings) output.line(`${output.paint('yellow', '!')} ${printable(warning)}`)
  for (const refusal of plan.refusals) output.line(`${output.paint('red', '✗')} ${printable(refusal)}`)
}

function renderResult(output: Output, plan: BaseRestorePlan, result: RestoreDirectoryResult): void {
  const fetched = plan.mode === 'new' ? '' : ` (${formatBytes(result.writtenBytes)} fetched)`
  output.line(
    `${output.paint('green', '✓')} restored ${formatBytes(result.sizeBytes)} in ${formatCount(result.files)} files to ${printable(result.directory)} in ${formatDuration(result.durationSeconds)}${fetched}`,
  )
  for (const warning of result.warnings) output.line(`${output.paint('yellow', '!')} ${printable(warning)}`)
  if (result.port === null) output.line(`  start it with: pg_ctl -D ${printable(result.directory)} start`)
  else {
    output.line(
      `  a server runs there, recovered to ${result.reachedLsn ?? 'its end'}: psql -h ${printable(result.socketDirectory ?? '')} -p ${result.port}, or ${result.connection ?? ''}`,
    )
    output.line(`  stop it with: pg_ctl -D ${printable(result.directory)} stop`)
  }
}
