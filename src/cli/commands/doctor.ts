import { Command } from 'commander'
import { Failure } from '../../kernel/failure.ts'
import { printable } from '../render/format.ts'
import { errorOf } from '../render/output.ts'
import { addRepositoryFlags, runAction, type GlobalFlags, type Runtime } from '../runtime.ts'

interface DoctorFlags extends GlobalFlags {
  sql?: boolean
  role?: string
  apply?: boolean
  adminUrl?: string
  adminUser?: string
  dryRun?: boolean
  yes?: boolean
}

export function doctorCommand(): Command {
  const command = new Command('doctor')
    .description('find everything that would make a backup or a restore fail later, each with its fix')
    .argument('[cluster]', 'only this cluster (default: all)')
    .option('--cluster <name>', 'same as the argument')
    .option('--sql', 'print the SQL that makes a role which can back up and do nothing else')
    .option('--role <name>', 'with --sql: the name of that role')
    .option('--apply', 'run the SQL fixes as another role, which is never stored; asks first')
    .option('--admin-url <url>', 'with --apply: the connection of that role; env:NAME keeps its password off the command line')
    .option('--admin-user <name>', 'with --apply: that role at the same address (containers and sockets without password)')
    .option('--dry-run', 'with --apply: show what would be run, as which role, and run nothing')
    .option('-y, --yes', 'do not ask')
    .addHelpText(
      'after',
      `
Examples:
  tidemark doctor
  tidemark doctor nexo --sql | psql postgres://postgres@db.example.com/nexo
  tidemark doctor --apply --admin-url env:ADMIN_DATABASE_URL

Exit code 1 when something fails; warnings alone end with 0.`,
    )
  return addRepositoryFlags(command).action(async (cluster: string | undefined, flags: DoctorFlags) => {
    await runAction(flags, async (runtime) => {
      const { oneCluster } = await import('../../api/subjects.ts')
      const name = oneCluster(cluster, flags.cluster)
      await (flags.sql === true ? printScript(runtime, flags, name) : examine(runtime, flags, name))
    })
  })
}

async function printScript(runtime: Runtime, flags: DoctorFlags, name: string | undefined): Promise<void> {
  if (flags.apply === true)
    throw new Failure('usage-invalid', '--sql and --apply exclude each other', {
      hints: ['--sql prints the role script; --apply runs the fixes of what was found'],
    })
  const { pickCluster } = await import('../../api/workspace.ts')
  const { roleScript } = await import('../../api/doctor/role-script.ts')
  const workspace = await runtime.workspace()
  const cluster = pickCluster(workspace, name)
  const sql = await roleScript(workspace, cluster, flags.role)
  runtime.output.document({ cluster: cluster.name, sql })
  runtime.output.line(sql.trimEnd())
}

async function examine(runtime: Runtime, flags: DoctorFlags, name: string | undefined): Promise<void> {
  const { output } = runtime
  const { diagnose } = await import('../../api/doctor/diagnose.ts')
  const { renderFindings, renderVerdict } = await import('../render/findings.ts')
  const workspace = await runtime.workspace()
  const options = name === undefined ? {} : { cluster: name }
  let diagnosis = await diagnose(workspace, options)
  let applied: Applied = { applied: [], plan: null }
  renderFindings(output, diagnosis.findings)
  if (flags.apply === true) {
    applied = await applyAll(runtime, flags, diagnosis.findings)
    if (applied.plan !== null && applied.plan.lines.length > 0) {
      output.line()
      for (const line of applied.plan.lines) output.line(printable(line, true))
      output.line('Nothing was changed.')
    } else if (applied.applied.length > 0) {
      output.line()
      output.line('After the fixes:')
      diagnosis = await diagnose(workspace, options)
      renderFindings(output, diagnosis.findings)
    } else output.line('There is nothing that SQL could mend.')
  }
  const failing = diagnosis.findings.filter((finding) => finding.severity === 'fail').length
  const error = failing === 0 ? {} : errorOf(new Failure('doctor-failed', `doctor found ${failing} to mend`, { hints: ['the findings say how: fix'] }))
  output.document({ ...diagnosis, ...(flags.apply === true ? applied : {}), ...error })
  renderVerdict(output, diagnosis)
  if (!diagnosis.ok) runtime.exitCode = 1
}

interface Applied {
  readonly applied: readonly { readonly cluster: string; readonly database: string; readonly sql: string }[]
  /** Only of a dry run. */
  readonly plan: { readonly lines: readonly string[] } | null
}

async function applyAll(
  runtime: Runtime,
  flags: DoctorFlags,
  findings: Parameters<typeof import('../../api/doctor/apply-fixes.ts').fixesOf>[0],
): Promise<Applied> {
  const { adminTarget, applyFixes, fixesOf } = await import('../../api/doctor/apply-fixes.ts')
  const { pickCluster } = await import('../../api/workspace.ts')
  const workspace = await runtime.workspace()
  const fixes = fixesOf(findings)
  const lines: string[] = []
  for (const [name, statements] of Map.groupBy(fixes, (fix) => fix.cluster)) {
    const admin = adminTarget(workspace, pickCluster(workspace, name), {
      ...(flags.adminUrl === undefined ? {} : { url: flags.adminUrl }),
      ...(flags.adminUser === undefined ? {} : { user: flags.adminUser }),
    })
    const list = statements.map(({ database, sql }) => `-- in database ${database}\n${sql}`).join('\n')
    if (flags.dryRun === true) {
      lines.push(`would run as ${admin.user} on cluster "${name}":`, ...list.split('\n'))
      continue
    }
    await runtime.confirm(`Run as ${admin.user} on cluster "${name}":\n${list}\n`, { yes: flags.yes })
    await applyFixes(workspace, admin, statements)
  }
  return flags.dryRun === true ? { applied: [], plan: { lines } } : { applied: fixes, plan: null }
}
