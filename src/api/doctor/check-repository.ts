import { constants } from 'node:fs'
import { access, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { randomBytes } from 'node:crypto'
import type { RepositorySettings } from '../../config/settings.ts'
import type { Context } from '../../kernel/context.ts'
import { isFailure, messageOf, systemCodeOf } from '../../kernel/failure.ts'
import { findEnclosingServer, insideServer } from '../../postgres/data-directory.ts'
import { listClusters, readClusterLog } from '../../repository/commit-log.ts'
import { openRepository, type Repository } from '../../repository/repository.ts'
import { probeConditionalCreate } from '../../storage/probe.ts'
import type { Storage } from '../../storage/storage.ts'
import { unlockRepository } from '../unlock-repository.ts'
import { openStorageOf, type Workspace } from '../workspace.ts'
import { checkKeyring } from './check-keys.ts'
import type { ServerSeen } from './check-server.ts'
import type { Report } from './finding.ts'

/** Below it no log entry can be written with certainty. */
const leastFreeBytes = 64 * 1024 * 1024
/** S3 refuses requests that are off by 15 minutes; leases allow less. */
const clockToleranceSeconds = 300

/** Everything about a repository that would make a backup fail or be lost. Writes nothing but a few scratch objects, and those only where a repository or bucket is. */
export async function checkRepository(settings: RepositorySettings, servers: readonly ServerSeen[], report: Report, workspace: Workspace): Promise<void> {
  const { context } = workspace
  if (settings.storage.kind === 'posix' && !(await checkPlace(settings.storage.path, servers, report))) return
  try {
    await using storage = await openStorageOf(workspace, settings)
    const isThere = await checkReading(settings, storage, report, workspace)
    if (!isThere && storage.kind === 'posix') return await checkNewPlace(storage.location, report)
    await checkWriting(storage, report, context)
    await checkSpace(storage, servers, report)
    if (settings.storage.kind === 'posix') await checkModes(settings.storage.path, report)
  } catch (error) {
    context.signal.throwIfAborted()
    report.addFailure('repository', error)
  }
}

/** False when nothing may be written there. */
async function checkPlace(path: string, servers: readonly ServerSeen[], report: Report): Promise<boolean> {
  const local = servers.filter((server) => server.isHere).flatMap((server) => server.ownDirectories)
  const named = local.find((each) => path === each.path || path.startsWith(`${each.path}/`))
  const owner = named ?? (await findEnclosingServer(path))
  if (owner !== null && owner !== undefined) {
    const failure = insideServer(path, owner)
    report.add({ severity: 'fail', check: 'repository-place', what: failure.message, fix: failure.hints.join('\n') })
    return false
  }
  for (const { path: data, kind } of local) {
    if (await onSameFileSystem(path, data)) {
      report.add({
        severity: 'warn',
        check: 'repository-place',
        what: `${path} is on the same file system as the ${kind} ${data}`,
        why: 'one broken or full disk takes the database and its backups',
        fix: 'add a second repository on another disk, host or bucket (repositories: in tidemark.yaml)',
      })
      break
    }
  }
  return true
}

async function onSameFileSystem(path: string, other: string): Promise<boolean> {
  const [here, there] = await Promise.all([deviceOf(path), deviceOf(other)])
  return here !== null && here === there
}

async function deviceOf(path: string): Promise<number | null> {
  for (let current = path; ; current = dirname(current)) {
    try {
      return (await stat(current)).dev
    } catch (error) {
      const code = systemCodeOf(error)
      if (code === undefined) throw error
      if (!['ENOENT', 'ENOTDIR'].includes(code) || dirname(current) === current) return null
    }
  }
}

/** Whether there is a repository; its logs are read to their ends. */
async function checkReading(settings: RepositorySettings, plain: Storage, report: Report, workspace: Workspace): Promise<boolean> {
  const { context } = workspace
  const { name } = settings
  let repository: Repository
  try {
    repository = await openRepository(name, plain, context.signal)
  } catch (error) {
    if (!isFailure(error, 'repository-missing')) throw error
    report.add({
      severity: 'warn',
      check: 'repository',
      what: `there is no repository at ${plain.location} yet`,
      why: 'the first backup creates it',
      fix: `tidemark repo init --repo ${name}`,
    })
    return false
  }
  const { storage, ...opened } = await unlockRepository(repository, settings, workspace)
  await checkKeyring({ storage, ...opened }, report, workspace)
  let backups = 0
  for (const cluster of await listClusters(storage, context.signal)) {
    const state = await readClusterLog(storage, cluster, context)
    const living = [...state.backups.values()].filter((record) => record.deleted === null)
    backups += living.length
    const damaged = living.filter((record) => record.state === 'damaged')
    if (damaged.length > 0) {
      report.add({
        severity: 'fail',
        check: 'damaged-backups',
        what: `${damaged.length} of ${living.length} backups of cluster "${cluster}" are damaged: ${damaged
          .slice(0, 3)
          .map((record) => record.facts.id)
          .join(', ')}`,
        fix: 'tidemark backup\ntidemark verify --all',
      })
    }
  }
  report.add({ severity: 'ok', check: 'repository', what: `${storage.location} is readable, its logs are whole: ${backups} backups` })
  return true
}

async function checkNewPlace(path: string, report: Report): Promise<void> {
  for (let current = path; ; current = dirname(current)) {
    try {
      await access(current, constants.W_OK | constants.X_OK)
      return report.add({
        severity: 'ok',
        check: 'repository-writable',
        what: current === path ? `${path} can be written` : `${path} can be created (${current} can be written)`,
      })
    } catch (error) {
      const code = systemCodeOf(error)
      if (code === 'ENOENT' && dirname(current) !== current) continue
      return report.add({
        severity: 'fail',
        check: 'repository-writable',
        what: `${path} cannot be created: ${messageOf(error)}`,
        fix: `sudo install -d -m 0700 -o "$(id -un)" '${path.replaceAll("'", `'\\''`)}'`,
      })
    }
  }
}

async function checkWriting(storage: Storage, report: Report, context: Context): Promise<void> {
  const prefix = '.tidemark/probe/'
  const key = `${prefix}doctor-${randomBytes(6).toString('hex')}`
  try {
    const before = context.clock.now()
    const { modifiedAt } = await storage.put(key, new Uint8Array([10]), { signal: context.signal })
    const skewSeconds = Math.abs(modifiedAt.since(before).total('seconds'))
    if (skewSeconds > clockToleranceSeconds) {
      report.add({
        severity: 'warn',
        check: 'clock',
        what: `the clock of ${storage.location} differs from this machine's by ${Math.round(skewSeconds)} s`,
        why: 'times of backups would be wrong, and S3 refuses requests that are off by 15 minutes',
        fix: 'timedatectl set-ntp true',
      })
    }
    await storage.delete(key)
    const found = await probeConditionalCreate(storage, prefix, { rounds: 2, signal: context.signal })
    if (found === 'atomic')
      report.add({
        severity: 'ok',
        check: 'repository-writable',
        what: `${storage.location} can be written, and creates objects only once (conditional create is atomic)`,
      })
    else
      report.add({
        severity: 'fail',
        check: 'conditional-create',
        what: `conditional create is ${found} at ${storage.location}`,
        why: 'of two runs one could overwrite the backup of the other',
        fix: 'tidemark repo test\nuse another storage, or a local path',
      })
  } catch (error) {
    context.signal.throwIfAborted()
    report.addFailure('repository-writable', error)
  }
}

async function checkSpace(storage: Storage, servers: readonly ServerSeen[], report: Report): Promise<void> {
  const free = await storage.freeBytes?.()
  if (free === undefined) return
  const needed = servers.reduce((sum, server) => sum + (server.databaseBytes ?? 0), 0)
  const text = `${mebibytes(free)} free at ${storage.location}`
  if (free < leastFreeBytes)
    report.add({
      severity: 'fail',
      check: 'repository-space',
      what: text,
      why: 'the next backup does not fit',
      fix: `tidemark list   # then: tidemark delete BACKUP\ndf -h '${storage.location}'`,
    })
  else if (free < needed)
    report.add({
      severity: 'warn',
      check: 'repository-space',
      what: `${text}, and the databases have ${mebibytes(needed)}`,
      why: 'compressed it may fit once; it will not for long',
      fix: `tidemark list   # then: tidemark delete BACKUP\ndf -h '${storage.location}'`,
    })
  else report.add({ severity: 'ok', check: 'repository-space', what: text })
}

async function checkModes(path: string, report: Report): Promise<void> {
  const { mode } = await stat(path)
  if ((mode & 0o007) === 0)
    return report.add({ severity: 'ok', check: 'repository-access', what: `${path} is closed to other accounts (mode 0${(mode & 0o777).toString(8)})` })
  report.add({
    severity: 'warn',
    check: 'repository-access',
    what: `every account of this machine can get into ${path} (mode 0${(mode & 0o777).toString(8)})`,
    why: 'a backup holds all data of the database',
    fix: `chmod 0700 '${path.replaceAll("'", `'\\''`)}'`,
  })
}

export function mebibytes(bytes: number): string {
  return bytes >= 1024 ** 3 ? `${(bytes / 1024 ** 3).toFixed(1)} GiB` : `${Math.round(bytes / 1024 ** 2)} MiB`
}
