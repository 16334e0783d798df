import { access, constants, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { isPartial } from '../backup/left-out.ts'
import type { DumpRequest } from '../backup/dump-request.ts'
import { planDump } from '../backup/plan-dump.ts'
import type { RepositorySettings } from '../config/settings.ts'
import { Failure, isFailure, messageOf, systemCodeOf } from '../kernel/failure.ts'
import type { Repository } from '../repository/repository.ts'
import { couldNotBeAsked, openRepositories, type FailedRepository, type Workspace } from './workspace.ts'

/** What `backup` would do, looked at on the server and in the repositories. Plain data, for `--dry-run`. */
export interface BackupPlan {
  readonly cluster: string
  readonly databases: readonly string[]
  readonly repositories: readonly string[]
  readonly lines: readonly string[]
  /** What would be left out; not empty = exit 3. */
  readonly warnings: readonly string[]
}

/** Does everything of a backup that writes nothing, and rejects as the run itself would; what it would leave out is a warning. */
export async function planBackups(
  workspace: Workspace,
  { cluster, requests, repositories }: { readonly cluster: string; readonly requests: readonly DumpRequest[]; readonly repositories: readonly string[] },
): Promise<BackupPlan> {
  const { context } = workspace
  await using stack = new AsyncDisposableStack()
  const places = await lookAtRepositories(workspace, repositories, stack)
  const usable = [...places.open.map(({ name }) => name), ...places.missing]
  const lines = places.missing.map((name) => `would create repository ${name}`)
  const warnings = places.failed.map(couldNotBeAsked)
  const failures: Failure[] = []
  for (const request of requests) {
    try {
      const plan = await planDump(request, places.open, context)
      const { compression } = request
      const what = isPartial(request.selection) ? 'a part of' : 'all of'
      const kind = `${request.format}, ${compression.method}`
      lines.push(
        `would dump ${what} database "${plan.database}" (${plan.tables} tables) with ${plan.tool} as ${kind}, into ${usable.join(' and ')}: ${plan.fileName}`,
      )
      warnings.push(...plan.warnings)
    } catch (error) {
      context.signal.throwIfAborted()
      if (!isFailure(error)) throw error
      failures.push(error)
      warnings.push(`database "${request.database}" would not be dumped: ${error.message}`)
    }
  }
  const [first] = failures
  if (first !== undefined && failures.length === requests.length) throw first
  return { cluster, databases: requests.map(({ database }) => database), repositories, lines, warnings }
}

interface Places {
  readonly open: readonly Repository[]
  /** Those that the run would create. */
  readonly missing: readonly string[]
  readonly failed: readonly FailedRepository[]
}

async function lookAtRepositories(workspace: Workspace, names: readonly string[], stack: AsyncDisposableStack): Promise<Places> {
  const open: Repository[] = []
  const missing: string[] = []
  const failed: FailedRepository[] = []
  for (const name of names) {
    try {
      open.push(...stack.use(await openRepositories(workspace, [name])).repositories)
    } catch (error) {
      workspace.context.signal.throwIfAborted()
      const settings = workspace.settings.repositories[name]
      if (settings === undefined || !isFailure(error)) throw error
      const reason = isFailure(error, 'repository-missing') ? await obstacleTo(settings) : error
      if (reason === null) missing.push(name)
      else failed.push({ name, error: reason })
    }
  }
  const [first] = failed
  if (first !== undefined && open.length === 0 && missing.length === 0) throw first.error
  return { open, missing, failed }
}

/** Why a repository could not be created here, or null. A bucket answered already; whether it can be written is for `repo test`. */
async function obstacleTo({ storage }: RepositorySettings): Promise<Failure | null> {
  if (storage.kind !== 'posix') return null
  for (let path = storage.path; ; path = dirname(path)) {
    try {
      if (!(await stat(path)).isDirectory()) return new Failure('storage-failed', `cannot make the repository at ${storage.path}: ${path} is no directory`)
      await access(path, constants.W_OK | constants.X_OK)
      return null
    } catch (error) {
      const code = systemCodeOf(error)
      if (code === undefined) throw error
      if (code === 'ENOENT' && path !== dirname(path)) continue
      if (code === 'ENOTDIR') continue
      return new Failure(code === 'EACCES' ? 'storage-denied' : 'storage-failed', `cannot make the repository at ${storage.path}: ${messageOf(error)}`, {
        cause: error,
      })
    }
  }
}
