import { stat, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { formatCompression } from '../../config/compression.ts'
import { loadSettings } from '../../config/load.ts'
import { renderConfigYaml, type Profile, type RepositoryAnswer } from '../../config/write.ts'
import type { Context } from '../../kernel/context.ts'
import { Failure, systemCodeOf } from '../../kernel/failure.ts'
import type { Secret } from '../../kernel/secret.ts'
import { makeStage } from '../../repository/stage.ts'
import { diagnose } from '../doctor/diagnose.ts'
import { createReport, type Finding } from '../doctor/finding.ts'
import { initKeys } from '../keys/init-keys.ts'
import type { Machine } from '../machine.ts'
import { newRunId } from '../run-id.ts'
import { tryStorage } from '../test-repositories.ts'
import type { Workspace } from '../workspace.ts'
import type { FoundConnection } from './find-connection.ts'

export interface InitAnswers {
  readonly connection: FoundConnection
  readonly cluster: string
  readonly repositories: readonly RepositoryAnswer[]
  readonly profile?: Profile
  /** Absolute path of the configuration file. */
  readonly output: string
  readonly force: boolean
  readonly envFile?: string
  /** Left out: nobody said; then nothing is sealed, and the configuration does not say that it shall not. */
  readonly encrypt?: boolean
  /** Absolute path of the recovery kit; default: as `key init` has it. */
  readonly kitFile?: string
}

/** What would be written, after server and storages were tried. Plain data; the secret shows itself to nobody. */
export interface InitPlan {
  readonly answers: InitAnswers
  readonly configFile: string
  readonly yaml: string
  /** Holds the connection URL with its password, mode 0600; null where the configuration refers to a variable or needs none. */
  readonly secretFile: string | null
  readonly secret: Secret | null
  readonly findings: readonly Finding[]
  /** Server and storages can be used. */
  readonly usable: boolean
  /** A backup taken now would be complete. */
  readonly ready: boolean
}

/** Findings without which nothing can be set up at all; every other one can be mended afterwards. */
const essential = new Set([
  'connection',
  'container',
  'database',
  'repository',
  'repository-place',
  'repository-writable',
  'repository-space',
  'conditional-create',
  'storage',
  'configuration',
  'keys',
])

/** Renders the configuration and tries it out: the server and its role, the client programs, the storages. Of the final files nothing is written. */
export async function planInit(machine: Machine, answers: InitAnswers, options: { dryRun: boolean }, context: Context): Promise<InitPlan> {
  const secretFile = answers.connection.url === null ? join(dirname(answers.output), `tidemark-${answers.cluster}.url`) : null
  await requireFree(answers.output, answers.force)
  if (secretFile !== null) await requireFree(secretFile, answers.force)
  const yaml = render(answers, answers.connection.url ?? `file:./tidemark-${answers.cluster}.url`, answers)
  const findings = await tryOut(machine, answers, options, context)
  const fails = findings.filter((finding) => finding.severity === 'fail')
  return {
    answers,
    configFile: answers.output,
    yaml,
    secretFile,
    secret: answers.connection.secret,
    findings,
    usable: !fails.some((finding) => essential.has(finding.check)),
    ready: fails.length === 0,
  }
}

function render(answers: InitAnswers, url: string, { repositories, encrypt }: Pick<InitAnswers, 'repositories' | 'encrypt'>): string {
  const { target, dump, timeZone } = answers.connection.cluster
  const container = target.container?.kind === 'container' ? target.container.name : undefined
  return renderConfigYaml({
    cluster: answers.cluster,
    url,
    ...(container === undefined ? {} : { container }),
    format: dump.format,
    compress: formatCompression(dump.compression),
    timeZone,
    repositories,
    ...(answers.profile === undefined ? {} : { profile: answers.profile }),
    ...(encrypt === undefined ? {} : { encryption: encrypt ? 'sealed' : 'none' }),
  })
}

/** The very text that will be written, with paths that mean the same from a directory of its own, is loaded and examined. */
async function tryOut(machine: Machine, answers: InitAnswers, options: { dryRun: boolean }, context: Context): Promise<readonly Finding[]> {
  // Holds the password for a moment; where that moment is cut short, the next run sweeps it.
  await using stage = await makeStage(machine.workDirectory, newRunId(context), context)
  const directory = stage.path
  const { url, secret } = answers.connection
  const secretPath = join(directory, 'url')
  if (secret !== null) await writeFile(secretPath, `${secret.reveal()}\n`, { mode: 0o600, flag: 'wx' })
  const from = dirname(answers.output)
  const repositories = answers.repositories.map((repository) =>
    'path' in repository ? { ...repository, path: resolve(from, repository.path.replace(/^~(?=\/|$)/, machine.home)) } : repository,
  )
  const trial = join(directory, 'tidemark.yaml')
  const reachable = url === null ? `file:${secretPath}` : url.startsWith('file:') ? `file:${resolve(from, url.slice(5))}` : url
  // What is yet to be sealed has no keyring to be examined with.
  const encrypt = answers.encrypt === false ? { encrypt: false } : {}
  await writeFile(trial, render(answers, reachable, { repositories, ...encrypt }), { mode: 0o600, flag: 'wx' })
  const workspace: Workspace = { settings: await load(machine, trial, answers.envFile), machine, context }
  const found = await diagnose(workspace)
  const finalPath = (text: string) => text.replaceAll(trial, answers.output)
  // That a repository does not exist yet is why somebody runs `init`.
  const findings = found.findings
    .filter((finding) => !(finding.check === 'repository' && finding.severity === 'warn') && finding.check !== 'ignored-variable')
    .map((finding) => ({ ...finding, what: finalPath(finding.what) }))
  if (answers.encrypt === true) findings.push(...(await tryKeys(withKit(workspace, answers))))
  if (options.dryRun || findings.some((finding) => finding.severity === 'fail' && essential.has(finding.check))) return findings
  return [...findings, ...(await tryStorages(workspace))]
}

export function load(machine: Machine, config: string, envFile: string | undefined) {
  return loadSettings({
    flags: { config, ...(envFile === undefined ? {} : { envFile }) },
    env: machine.env,
    cwd: machine.cwd,
    home: machine.home,
    isRoot: machine.isRoot,
  })
}

/** The settings with the recovery kit where it was asked for. */
export function withKit(workspace: Workspace, { kitFile }: Pick<InitAnswers, 'kitFile'>): Workspace {
  if (kitFile === undefined) return workspace
  const { settings } = workspace
  return { ...workspace, settings: { ...settings, encryption: { ...settings.encryption, kitFile } } }
}

/** What would keep the repositories from being sealed. */
async function tryKeys(workspace: Workspace): Promise<readonly Finding[]> {
  const report = createReport()
  try {
    const { plan } = await initKeys(workspace, { isWriteOnly: false, dryRun: true, acknowledge: async () => undefined })
    for (const line of plan.lines) report.add({ severity: 'ok', check: 'keys', what: line.replace(/^would /, 'can ') })
  } catch (error) {
    report.addFailure('keys', error)
  }
  return report.findings
}

async function tryStorages(workspace: Workspace): Promise<readonly Finding[]> {
  const findings: Finding[] = []
  for (const settings of Object.values(workspace.settings.repositories)) {
    const test = await tryStorage(workspace, settings, { cases: 'few' })
    const common = { check: 'storage', subject: settings.name, why: null, apply: null }
    if (test.ok) findings.push({ ...common, severity: 'ok', what: `${test.location}: write, read, create-only and delete work`, fix: null })
    for (const { ok, name, message } of test.cases)
      if (!ok)
        findings.push({
          ...common,
          severity: 'fail',
          what: `${test.location} does not keep the promise "${name}": ${message ?? ''}`,
          fix: 'tidemark repo test',
        })
  }
  return findings
}

async function requireFree(path: string, force: boolean): Promise<void> {
  if (force) return
  try {
    await stat(path)
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return
    throw new Failure('usage-invalid', `cannot write ${path}: ${systemCodeOf(error) ?? ''}`, { cause: error, hints: [`ls -ld ${dirname(path)}`] })
  }
  throw new Failure('name-taken', `${path} exists and is not overwritten`, {
    hints: ['look at what it does: tidemark doctor', 'write another file: --output FILE', 'replace it: --force'],
  })
}
