import { dirname, resolve } from 'node:path'
import { parseRepositoryReference } from '../config/repositories.ts'
import type { RepositoryAnswer } from '../config/write.ts'
import { Failure } from '../kernel/failure.ts'
import { carryOutInit } from '../api/init/carry-out-init.ts'
import { findConnection, type FoundConnection } from '../api/init/find-connection.ts'
import { planInit, type InitPlan } from '../api/init/plan-init.ts'
import { takeBackups } from '../api/take-backups.ts'
import type { Secret } from '../kernel/secret.ts'
import type { Backup } from '../repository/backup.ts'
import type { Asker } from './ask-init.ts'
import type { InitFlags } from './commands/init.ts'
import { renderFindings } from './render/findings.ts'
import { formatBytes, printable } from './render/format.ts'
import { kitQuestion, renderInit } from './render/keys.ts'
import { nextCommand } from './render/next-command.ts'
import type { Runtime } from './runtime.ts'

/** `tidemark init`: answers (from flags, then questions) → trial → files → repository → first backup. */
export async function runInit(runtime: Runtime, flags: InitFlags): Promise<void> {
  const { output, context } = runtime
  const machine = await runtime.machine()
  const asker = await askerFor(flags, context.signal)
  const connection = await chooseConnection(runtime, flags, asker)
  const cluster = flags.name ?? (await asker?.name(connection.cluster.name)) ?? connection.cluster.name
  const repositories = await chooseRepositories(flags, connection, asker)
  const profile = flags.profile ?? (await asker?.profile())
  const encrypt = flags.encrypt ?? (await asker?.encrypt())
  const configFile = resolve(machine.cwd, flags.output)
  const answers = {
    connection,
    cluster: requireClusterName(cluster),
    repositories:
      dirname(configFile) === machine.cwd
        ? repositories
        : repositories.map((each) => ('path' in each ? { ...each, path: resolve(machine.cwd, each.path) } : each)),
    ...(profile === undefined ? {} : { profile }),
    output: configFile,
    force: flags.force === true,
    ...(encrypt === undefined ? {} : { encrypt }),
    ...(flags.kit === undefined ? {} : { kitFile: resolve(machine.cwd, flags.kit) }),
    ...(flags.envFile === undefined ? {} : { envFile: flags.envFile }),
  }
  const plan = await planInit(machine, answers, { dryRun: flags.dryRun === true }, context)
  renderFindings(output, plan.findings)
  if (flags.dryRun === true) return showPlan(runtime, plan)

  const acknowledge = ({ file, ending }: { readonly file: string; readonly ending: Secret }) =>
    runtime.confirm(kitQuestion(file), { yes: flags.yes === true || flags.kitStored === true, known: ending })
  const done = await carryOutInit(machine, plan, acknowledge, context)
  output.line(`${output.paint('green', '✓')} wrote ${printable(plan.configFile)}`)
  if (plan.secretFile !== null)
    output.line(`${output.paint('green', '✓')} wrote ${printable(plan.secretFile)}  (holds the password, mode 0600: keep it out of version control)`)
  for (const { name, location, created } of done.repositories)
    output.line(`${output.paint('green', '✓')} repository ${name} ${created ? 'created' : 'found'} at ${printable(location)}`)
  if (done.keys !== null) renderInit(output, done.keys, done.workspace.settings)
  if (connection.origin?.endsWith('(environment)') === true)
    output.remark(
      `${output.paint('yellow', '!')} ${connection.origin.replace(' (environment)', '')} must be set wherever tidemark runs: it was found in this shell's environment, not in .env`,
    )

  const isFoundBySelf = configFile === resolve(machine.cwd, 'tidemark.yaml')
  const next = (verb: string) =>
    printable(nextCommand([verb], { ...(isFoundBySelf ? {} : { config: flags.output }), ...(flags.envFile === undefined ? {} : { envFile: flags.envFile }) }))
  const backup = await firstBackup(runtime, flags, { asker, plan, next, take: () => takeBackups(done.workspace, { cluster: plan.answers.cluster }) })
  output.document({ ...documentOf(plan), repositories: done.repositories, keys: done.keys, backup, dryRun: false })
  if (!plan.ready) {
    output.line(`Something of the above would make a backup fail: mend it, then ${next('doctor')} and ${next('backup')}.`)
    runtime.exitCode = 3
  } else if (backup === null) output.line(`Ready. Next: ${next('backup')}`)
}

async function askerFor(flags: InitFlags, signal: AbortSignal): Promise<Asker | null> {
  if (flags.yes === true || flags.nonInteractive === true || flags.json === true || !process.stdin.isTTY || !process.stdout.isTTY) return null
  const { createAsker } = await import('./ask-init.ts')
  return createAsker(signal)
}

async function chooseConnection(runtime: Runtime, flags: InitFlags, asker: Asker | null): Promise<FoundConnection> {
  const machine = await runtime.machine()
  const wish = { ...(flags.container === undefined ? {} : { container: flags.container }), ...(flags.envFile === undefined ? {} : { envFile: flags.envFile }) }
  const found = await findConnection(machine, { ...wish, ...(flags.url === undefined ? {} : { url: flags.url }) }, runtime.context)
  if (found !== null) {
    if (found.origin !== null) runtime.output.remark(`using database "${printable(found.cluster.target.database)}" (${found.origin})`)
    return found
  }
  const url = await asker?.url()
  const asked = url === undefined ? null : await findConnection(machine, { ...wish, url }, runtime.context)
  if (asked !== null) return asked
  throw new Failure('usage-invalid', 'no database is named', {
    hints: ['tidemark init --url postgres://user@host/database', 'or set DATABASE_URL, in the environment or in .env'],
  })
}

async function chooseRepositories(flags: InitFlags, connection: FoundConnection, asker: Asker | null): Promise<readonly RepositoryAnswer[]> {
  const given: RepositoryAnswer[] = []
  if (flags.repoPath !== undefined) given.push({ name: 'local', path: flags.repoPath })
  if (flags.s3 !== undefined) given.push(s3Answer(flags.s3, flags))
  if (given.length > 0) return given
  if (flags.s3Endpoint !== undefined || flags.s3Region !== undefined)
    throw new Failure('usage-invalid', '--s3-endpoint and --s3-region belong to --s3', { hints: ['--s3 s3://bucket/prefix'] })
  if (connection.repositories.length > 0) return connection.repositories
  const place = (await asker?.place()) ?? './backups'
  return [place.startsWith('s3://') ? s3Answer(place, flags) : { name: 'local', path: place }]
}

function s3Answer(place: string, flags: InitFlags): RepositoryAnswer {
  const reference = parseRepositoryReference(place)
  if (reference.kind !== 's3') throw new Failure('usage-invalid', `--s3 ${place} is not a bucket`, { hints: ['the form is s3://bucket/prefix'] })
  const { bucket, prefix } = reference
  return {
    name: 's3',
    s3: {
      bucket,
      ...(prefix === '' ? {} : { prefix }),
      ...(flags.s3Region === undefined ? {} : { region: flags.s3Region }),
      ...(flags.s3Endpoint === undefined ? {} : { endpoint: flags.s3Endpoint }),
    },
  }
}

/** As the configuration's schema has it; said here, where the name can still be chosen. */
function requireClusterName(name: string): string {
  if (/^(?!__proto__$)[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$/.test(name)) return name
  throw new Failure('usage-invalid', `a cluster cannot be called "${name}"`, {
    hints: ['--name: at most 63 letters, digits, _ . -, not beginning with a dash or dot'],
  })
}

function showPlan({ output }: Runtime, plan: InitPlan): void {
  output.document({ ...documentOf(plan), yaml: plan.yaml, repositories: [], keys: null, backup: null, dryRun: true })
  output.line()
  output.line(`${printable(plan.configFile)} would be:`)
  for (const line of plan.yaml.trimEnd().split('\n')) output.line(`    ${printable(line)}`)
  if (plan.secretFile !== null) output.line(`${printable(plan.secretFile)} would hold the connection URL with its password (mode 0600).`)
  output.line('Nothing was written.')
}

function documentOf(plan: InitPlan): Record<string, unknown> {
  return {
    configFile: plan.configFile,
    secretFile: plan.secretFile,
    cluster: plan.answers.cluster,
    usable: plan.usable,
    ready: plan.ready,
    findings: plan.findings,
  }
}

interface FirstBackup {
  readonly asker: Asker | null
  readonly plan: InitPlan
  readonly next: (verb: string) => string
  readonly take: () => ReturnType<typeof takeBackups>
}

async function firstBackup({ output }: Runtime, flags: InitFlags, { asker, plan, next, take }: FirstBackup): Promise<Backup | null> {
  // A role that cannot read everything gives no complete backup; asked for all the same, pg_dump says why it fails.
  if (!plan.ready && flags.firstBackup !== true) return null
  const wanted = flags.firstBackup ?? (asker === null ? flags.yes === true : await asker.firstBackup())
  if (!wanted) return null
  const result = await take()
  const backup = result.kind === 'done' ? result.backups[0] : undefined
  if (backup === undefined) throw new Failure('bug', 'the first backup ended without a backup')
  output.line(
    `${output.paint('green', '✓')} backup ${backup.id}  ${backup.state.toUpperCase()}  ${formatBytes(backup.storedBytes)}   not yet proven: ${next('drill')}`,
  )
  return backup
}
