import { realpath, stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { Failure, isFailure, messageOf, systemCodeOf } from '../kernel/failure.ts'
import { adoptDumps } from '../repository/adopt/adopt-dumps.ts'
import { planAdoption, type AdoptionPlan, type AdoptionRequest, type AdoptionSource, type AdoptionVerdict } from '../repository/adopt/plan-adoption.ts'
import type { Backup } from '../repository/backup.ts'
import { openOrCreateRepository, openRepository, type Repository } from '../repository/repository.ts'
import { posixStorage } from '../storage/posix.ts'
import { keyBelow, realPathOrSame } from './real-paths.ts'
import { newRunId } from './run-id.ts'
import { requireClear, unlockRepository } from './unlock-repository.ts'
import { openStorageOf, pickCluster, type Workspace } from './workspace.ts'

export interface AdoptOptions {
  readonly directory: string
  readonly cluster?: string
  /** Default: the repository in whose directory the files lie, else the cluster's first. */
  readonly repositories?: readonly string[]
  readonly again?: boolean
  readonly dryRun: boolean
  /** Asked with the plan before anything is written; rejects to stop. */
  readonly approve: (plans: readonly AdoptionSummary[]) => Promise<void>
}

/** What happens, or would happen, in one repository. */
export interface AdoptionSummary {
  readonly repository: string
  /** The files stay where they are and become part of the repository. */
  readonly inPlace: boolean
  readonly files: readonly AdoptionVerdict[]
}

export interface AdoptOutcome {
  readonly directory: string
  readonly cluster: string
  readonly repositories: readonly AdoptionSummary[]
  readonly adopted: readonly Backup[]
  readonly warnings: readonly string[]
  readonly dryRun: boolean
}

/** Takes dumps that other programs left in a directory into the repository's log, after reading each to its end. The files themselves are never changed. */
export async function adoptFiles(workspace: Workspace, options: AdoptOptions): Promise<AdoptOutcome> {
  const { context, machine } = workspace
  const directory = await existingDirectory(machine.cwd, options.directory, machine.home)
  const cluster = pickCluster(workspace, options.cluster)
  const names = options.repositories ?? [await fittingRepository(workspace, cluster.repositories, directory)]
  await using stack = new AsyncDisposableStack()
  const request: AdoptionRequest = {
    cluster: cluster.name,
    database: cluster.dump.databases[0] ?? cluster.target.database,
    timeZone: cluster.timeZone,
    again: options.again === true,
  }

  const planned: { repository: Repository; source: AdoptionSource; plan: AdoptionPlan }[] = []
  for (const name of names) {
    const repository = await openToLook(workspace, name, stack)
    const source = await sourceFor(repository, directory)
    planned.push({ repository, source, plan: await planAdoption(repository, source, request, context) })
  }
  const summaries = planned.map(({ repository, source, plan }) => ({ repository: repository.name, inPlace: source.inPlace, files: plan.verdicts }))
  const outcome = { directory, cluster: cluster.name, repositories: summaries, adopted: [], warnings: [], dryRun: options.dryRun }
  if (options.dryRun || planned.every(({ plan }) => plan.dumps.length === 0)) return outcome
  await options.approve(summaries)

  const adopted = new Map<string, Backup>()
  const warnings: string[] = []
  const changed = new Map<string, string>()
  const run = newRunId(context)
  for (const { repository: seen, source, plan } of planned) {
    const repository = seen.id === '' ? await openOrCreateRepository(seen.name, seen.storage, seen.layout, context) : seen
    const done = await adoptDumps(repository, plan.dumps, { ...request, run, source, whereabouts: machine.whereabouts }, context)
    for (const backup of done.adopted)
      adopted.set(backup.id, { ...backup, repositories: [...(adopted.get(backup.id)?.repositories ?? []), ...backup.repositories] })
    for (const { file, reason } of done.changed) changed.set(`${repository.name}\n${file}`, reason)
    warnings.push(...done.warnings)
  }
  const settled = summaries.map((summary) => ({
    ...summary,
    files: summary.files.map((file) => refusedIf(file, changed.get(`${summary.repository}\n${file.file}`))),
  }))
  return { ...outcome, repositories: settled, adopted: [...adopted.values()], warnings }
}

/** The repository, or, where there is none yet, what it would be: nothing is created before it was agreed to. */
async function openToLook(workspace: Workspace, name: string, stack: AsyncDisposableStack): Promise<Repository> {
  const settings = workspace.settings.repositories[name]
  if (settings === undefined) {
    throw new Failure('usage-invalid', `no repository is called "${name}"`, {
      hints: [`configured: ${Object.keys(workspace.settings.repositories).join(', ')}`],
    })
  }
  const storage = stack.use(await openStorageOf(workspace, settings))
  try {
    return await unlockRepository(await openRepository(name, storage, workspace.context.signal), settings, workspace)
  } catch (error) {
    if (!isFailure(error, 'repository-missing')) throw error
    await requireClear(workspace, settings, { storage, repository: null })
    return { name, id: '', layout: settings.layout, storage, keyring: null }
  }
}

function refusedIf(file: AdoptionVerdict, reason: string | undefined): AdoptionVerdict {
  return reason === undefined ? file : { ...file, verdict: 'refused', reason }
}

async function existingDirectory(cwd: string, given: string, home: string): Promise<string> {
  const path = resolve(cwd, given.replace(/^~(?=\/|$)/, home))
  try {
    if ((await stat(path)).isDirectory()) return await realpath(path)
  } catch (error) {
    if (systemCodeOf(error) === undefined) throw error
    throw new Failure('usage-invalid', `cannot adopt from ${path}: ${messageOf(error)}`, { cause: error, hints: [`ls -ld ${path}`] })
  }
  throw new Failure('usage-invalid', `cannot adopt from ${path}: it is not a directory`, {
    hints: ['name the directory in which the dumps lie; one file is checked by: tidemark verify FILE'],
  })
}

async function fittingRepository(workspace: Workspace, names: readonly string[], directory: string): Promise<string> {
  for (const [name, { storage }] of Object.entries(workspace.settings.repositories)) {
    if (storage.kind === 'posix' && keyBelow(await realPathOrSame(storage.path), directory) !== undefined) return name
  }
  const [first] = names
  if (first === undefined) throw new Failure('config-invalid', 'no repository is configured', { hints: ['tidemark init'] })
  return first
}

async function sourceFor(repository: Repository, directory: string): Promise<AdoptionSource> {
  const { storage } = repository
  if (storage.kind !== 'posix') return { storage: posixStorage({ root: directory }), prefix: '', inPlace: false, without: null }
  const root = await realPathOrSame(storage.location)
  const inside = keyBelow(root, directory)
  if (inside !== undefined) return { storage, prefix: asPrefix(inside), inPlace: true, without: null }
  const repositoryBelow = keyBelow(directory, root)
  return { storage: posixStorage({ root: directory }), prefix: '', inPlace: false, without: repositoryBelow === undefined ? null : asPrefix(repositoryBelow) }
}

/** `2025/01/` for a directory, '' for the root. */
function asPrefix(key: string): string {
  return key === '' ? '' : `${key}/`
}
