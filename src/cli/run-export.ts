import { exportBackup } from '../api/export-backup.ts'
import type { ExportPlan, ExportResult } from '../restore/export/export-request.ts'
import type { ExportFlags } from './commands/export.ts'
import { parseTablespaceMap } from './option-values.ts'
import { formatBytes, formatCount, formatDuration, formatUtc, printable, table } from './render/format.ts'
import { asWord } from './render/next-command.ts'
import type { Output } from './render/output.ts'
import type { Runtime } from './runtime.ts'

/** `tidemark export`: flags to options, the plan or the result. */
export async function runExport(runtime: Runtime, wanted: string | undefined, flags: ExportFlags): Promise<void> {
  const { output } = runtime
  const { plan, result } = await exportBackup(await runtime.workspace({ everyCluster: false }), {
    to: flags.to,
    spaceCheck: flags.spaceCheck,
    dryRun: flags.dryRun === true,
    ...(wanted === undefined ? {} : { wanted }),
    ...(flags.backup === undefined ? {} : { backup: flags.backup }),
    ...(flags.cluster === undefined ? {} : { cluster: flags.cluster }),
    ...(flags.format === undefined ? {} : { format: flags.format }),
    ...(flags.compress === undefined ? {} : { compress: flags.compress }),
    ...(flags.tablespaceMap === undefined ? {} : { tablespaceMap: parseTablespaceMap(flags.tablespaceMap) }),
    ...(flags.jobs === undefined ? {} : { jobs: flags.jobs }),
  })
  output.document({ plan, result })
  if (result !== null) return renderResult(output, plan, result)
  renderPlan(output, plan)
  output.line(plan.refusals.length > 0 ? 'It would be refused. Nothing was written.' : 'Nothing was written. Run without --dry-run to start.')
  if (plan.refusals.length > 0) runtime.exitCode = 15
}

function renderPlan(output: Output, plan: ExportPlan): void {
  const free = plan.freeBytes === null ? 'free space unknown' : `${formatBytes(plan.freeBytes)} free`
  const version = plan.postgresVersion === null ? '' : `, PostgreSQL ${printable(plan.postgresVersion)}`
  const how = { directory: 'a data directory', tar: `archives (${plan.compression ?? 'none'})`, native: 'as pg_dump wrote it' }[plan.format]
  output.line(
    table([
      ['From', `${plan.backup}, taken ${formatUtc(plan.takenAt)} UTC of cluster ${printable(plan.cluster)}${version}`],
      ['To', `${printable(plan.target)}, ${how}`],
      ['Needs', `${formatBytes(plan.neededBytes)} for ${formatBytes(plan.sizeBytes)} in ${formatCount(plan.files)} files, ${free}`],
      ...plan.tablespaces.map(({ oid, from, to }) => ['Tablespace', `${oid}: ${printable(from)}${plan.format === 'tar' ? '' : ` → ${printable(to)}`}`]),
      ...plan.outputs.slice(0, 20).map((name) => ['File', printable(name)]),
    ]),
  )
  for (const [index, step] of plan.steps.entries()) output.line(`  ${index + 1}. ${printable(step)}`)
  for (const warning of plan.warnings) output.line(`${output.paint('yellow', '!')} ${printable(warning)}`)
  for (const refusal of plan.refusals) output.line(`${output.paint('red', '✗')} ${printable(refusal)}`)
}

function renderResult(output: Output, plan: ExportPlan, result: ExportResult): void {
  output.line(
    `${output.paint('green', '✓')} exported ${plan.backup} to ${printable(result.target)}: ${formatBytes(result.writtenBytes)} in ${formatDuration(result.durationSeconds)}`,
  )
  for (const { path, sizeBytes } of result.outputs.slice(0, 20)) output.line(`  ${printable(path)}  ${formatBytes(sizeBytes)}`)
  if (result.outputs.length > 20) output.line(`  … and ${formatCount(result.outputs.length - 20)} more`)
  for (const warning of result.warnings) output.line(`${output.paint('yellow', '!')} ${printable(warning)}`)
  if (result.check !== null) output.line(`  check it without Tidemark: ${printable(result.check.map(asWord).join(' '))}`)
}
