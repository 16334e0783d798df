import { Failure, isFailure } from '../kernel/failure.ts'
import { packKeysOf } from '../repository/base/pack-keys.ts'
import { latestGood } from '../repository/cluster-log.ts'
import { verifyBackup, type VerifiedBackup } from '../verify/verify-backup.ts'
import { createPagesLookedAt, type PagesLookedAt } from '../verify/pages-looked-at.ts'
import { verifyFile } from '../verify/verify-file.ts'
import { fileKeysOf } from './file-keys.ts'
import { locateBackup, mergeStates, type Wanted } from './list-backups.ts'
import { newRunId } from './run-id.ts'
import { oneCluster, resolveSubject } from './subjects.ts'
import { chooseClusters, notAsked, openRepositories, readStates, repositoryNames, requireOneCluster, type Workspace } from './workspace.ts'

export interface VerifyOptions {
  /** Ids, names, `latest`, files or a configured cluster; empty = latest. */
  readonly wanted?: readonly string[]
  /** Backups, whatever they are called. */
  readonly backups?: readonly string[]
  readonly all?: boolean
  readonly file?: string
  readonly cluster?: string
  readonly repositories?: readonly string[]
}

export interface VerifyResult {
  readonly backups: readonly VerifiedBackup[]
  /** Where something is damaged: the newest intact backup, to go on with. */
  readonly intact: string | null
  /** Repositories that could not be asked; not empty = exit 3. */
  readonly warnings: readonly string[]
  /** One of them because its log is damaged: exit 13. */
  readonly isLogDamaged: boolean
}

/** Verifies backups in every repository that holds them, and files on disk. */
export async function verifyBackups(workspace: Workspace, options: VerifyOptions = {}): Promise<VerifyResult> {
  const results: VerifiedBackup[] = []
  const readFile = (path: string) => verifyFile(workspace.machine.cwd, path, () => fileKeysOf(workspace), workspace.context)
  if (options.file !== undefined) results.push(await readFile(options.file))
  const wanted = options.wanted ?? []
  const subjects = await Promise.all(wanted.map((text) => resolveSubject(workspace, text)))
  for (const subject of subjects) if (subject.kind === 'file') results.push(await readFile(subject.path))
  const named = new Set(subjects.flatMap((subject) => (subject.kind === 'cluster' ? [oneCluster(subject.name, options.cluster) ?? subject.name] : [])))
  if (options.cluster !== undefined) named.add(options.cluster)
  const ids: Wanted[] = [...subjects.filter((subject) => subject.kind === 'backup'), ...(options.backups ?? []).map((text) => ({ text }))]
  if (results.length > 0 && ids.length === 0 && subjects.every((subject) => subject.kind === 'file') && options.all !== true)
    return { backups: results, intact: null, warnings: [], isLogDamaged: false }
  if (options.all !== true && named.size === 0)
    for (const { text } of ids.length === 0 ? [{ text: 'latest' }] : ids) requireOneCluster(workspace, undefined, text)

  const scopes = named.size === 0 ? [undefined] : [...named].map((name) => workspace.settings.clusters[name])
  const repositories = new Set(scopes.flatMap((configured) => repositoryNames(workspace, configured, options.repositories)))
  await using open = await openRepositories(workspace, [...repositories], { tolerant: true })
  const clusters =
    named.size === 0
      ? await chooseClusters(workspace, open, undefined, ids.length === 0 && options.all !== true ? 'latest' : undefined)
      : (await Promise.all([...named].map((name) => chooseClusters(workspace, open, name)))).flat()
  const run: VerifyRun = { run: newRunId(workspace.context), looked: new Map() }

  for (const each of clusters) {
    const states = await readStates(open, each, workspace.context)
    const chosen = options.all === true ? mergeStates(states).map(({ record }) => record.facts.id) : []
    for (const id of chosen) results.push(...(await verifyEverywhere(workspace, states, id, run)))
  }
  if (options.all !== true) {
    // Clusters say where to look; where nothing else is named, the latest of each is meant.
    const wishes =
      ids.length > 0
        ? ids.map((wish) => ({ wish, within: clusters }))
        : named.size === 0
          ? [{ wish: { text: 'latest' }, within: clusters }]
          : clusters.map((each) => ({ wish: { text: 'latest' }, within: [each] }))
    for (const { wish, within } of wishes) {
      const found = await locateBackup(open, within, wish, workspace.context)
      results.push(...(await verifyEverywhere(workspace, await readStates(open, found.state.cluster, workspace.context), found.record.facts.id, run)))
    }
  }
  if (results.length === 0) throw new Failure('backup-missing', 'there is nothing to verify: no backup exists', { hints: ['make one: tidemark backup'] })

  let intact: string | null = null
  if (results.some((result) => !result.valid)) {
    for (const each of clusters) for (const { state } of await readStates(open, each, workspace.context)) intact ??= latestGood(state)?.facts.id ?? null
  }
  return { backups: results, intact, warnings: notAsked(open), isLogDamaged: open.failed.some(({ error }) => isFailure(error, 'integrity', 'object-missing')) }
}

interface VerifyRun {
  readonly run: string
  /** By repository: what was read of base backups. */
  readonly looked: Map<string, PagesLookedAt>
}

/** More threads than this only wait for the storage. */
const mostThreads = 8

/** One result per backup; the worst of its copies counts, and a damaged copy names its repository. */
async function verifyEverywhere(
  workspace: Workspace,
  states: Awaited<ReturnType<typeof readStates>>,
  id: string,
  { run, looked }: VerifyRun,
): Promise<readonly VerifiedBackup[]> {
  const results: VerifiedBackup[] = []
  for (const { repository, state } of states) {
    const record = state.backups.get(id)
    if (record === undefined || record.deleted !== null) continue
    const seen = looked.get(repository.name) ?? createPagesLookedAt()
    looked.set(repository.name, seen)
    const request = { run, threads: Math.min(workspace.machine.cpus, mostThreads), keys: packKeysOf(repository.keyring, workspace.context), looked: seen }
    const result = await verifyBackup(repository, { state, record }, request, workspace.context)
    results.push(
      states.length === 1
        ? result
        : { ...result, problems: result.problems.map((problem) => ({ ...problem, object: `${repository.name}: ${problem.object}` })) },
    )
  }
  const [first] = results
  if (first === undefined) return []
  const bad = results.find((result) => !result.valid)
  return [{ ...(bad ?? first), problems: results.flatMap((result) => result.problems) }]
}
