import { join } from 'node:path'
import { followOption } from '../config/secrets.ts'
import type { ClusterSettings } from '../config/settings.ts'
import { drillDump, type DrillOutcome, type DrillPlace } from '../drill/drill-dump.ts'
import { reachDrillServer, startDrillServer } from '../drill/drill-server.ts'
import { Failure } from '../kernel/failure.ts'
import { parseConnectionUrl } from '../postgres/connection-url.ts'
import { readOwnRights } from '../postgres/own-rights.ts'
import { openRoutedSession } from '../postgres/route.ts'
import type { ConnectionTarget } from '../postgres/target.ts'
import type { Manifest } from '../repository/manifest.ts'
import { openAdminServer } from './admin-server.ts'
import { locateBackup, type Wanted } from './list-backups.ts'
import { requireDump } from '../repository/backup.ts'
import { newRunId } from './run-id.ts'
import { chooseClusters, openRepositories, reachOf, repositoryNames, requireOneCluster, type Workspace } from './workspace.ts'

export interface DrillOptions {
  readonly cluster?: string
  readonly backup?: string
  /** What else the word for the backup might have been and is not. */
  readonly elseIs?: string
  readonly repositories?: readonly string[]
  /** `same`, `embedded` or a URL; default: the configuration's. */
  readonly server?: string
  readonly jobs?: number
  readonly keep?: boolean
}

export interface DrillResult extends DrillOutcome {
  /** Where a kept embedded server's directory is. */
  readonly directory: string | null
}

/** Proves one backup (the latest by default) by restoring it where it harms nobody. */
export async function drillBackup(workspace: Workspace, options: DrillOptions = {}): Promise<DrillResult> {
  const { context, machine } = workspace
  const run = newRunId(context)
  await using stack = new AsyncDisposableStack()
  const { found, cluster, where } = await chooseDrill(workspace, options, stack)
  let directory: string | null = null
  const outcome = await drillDump(
    {
      run,
      repository: found.repository,
      state: found.state,
      record: found.record,
      jobs: options.jobs ?? cluster?.dump.jobs ?? machine.cpus,
      checks: cluster?.checks ?? [],
      newest: cluster?.drill.newest ?? [],
      keep: options.keep === true,
      hostName: machine.hostName,
      workDirectory: machine.workDirectory,
    },
    async (manifest) => {
      if (where !== 'embedded') return openShared(workspace, where, stack)
      directory = options.keep === true ? join(drillsDirectory(workspace), run) : null
      return openEmbedded(workspace, { run, manifest, keep: options.keep === true }, stack)
    },
    context,
  )
  return { ...outcome, directory }
}

/** What a drill would do. Plain data, for `--dry-run`. */
export interface DrillPlan {
  readonly backup: string
  readonly cluster: string
  readonly database: string
  readonly repository: string
  /** Where it would be restored; no credentials. */
  readonly server: string
  readonly checks: readonly string[]
  readonly lines: readonly string[]
}

/** Finds out what would be drilled and where; the server is asked only whether it may be used. Reads no backup and starts nothing. */
export async function planDrill(workspace: Workspace, options: DrillOptions = {}): Promise<DrillPlan> {
  await using stack = new AsyncDisposableStack()
  const { found, cluster, where } = await chooseDrill(workspace, options, stack)
  const { id, database, storedBytes, tables } = requireDump(found.record.facts, 'drill it')
  const server =
    where === 'embedded'
      ? 'a private server of its own, started for it and removed afterwards'
      : `${where.host ?? 'the local socket'}:${where.port}, in a database of its own that is dropped afterwards`
  const checks = (cluster?.checks ?? []).map((check) => check.sql)
  const lines = [
    `would restore ${id} (database "${database}", ${storedBytes} bytes stored) from repository ${found.repository.name}`,
    `on ${server}${options.keep === true ? ' (here it is kept: --keep)' : ''}`,
    `and compare the content of ${tables.length} tables${checks.length === 0 ? '' : `, ask ${checks.length} checks`}, and record the proof`,
  ]
  return {
    backup: id,
    cluster: found.state.cluster,
    database,
    repository: found.repository.name,
    server: where === 'embedded' ? 'embedded' : `${where.host ?? ''}:${where.port}`,
    checks,
    lines,
  }
}

async function chooseDrill(workspace: Workspace, options: DrillOptions, stack: AsyncDisposableStack) {
  const wanted: Wanted = { text: options.backup ?? 'latest', family: 'dump', ...(options.elseIs === undefined ? {} : { elseIs: options.elseIs }) }
  requireOneCluster(workspace, options.cluster, wanted.text)
  const named = options.cluster === undefined ? undefined : workspace.settings.clusters[options.cluster]
  const open = stack.use(await openRepositories(workspace, repositoryNames(workspace, named, options.repositories), { tolerant: true }))
  const clusters = await chooseClusters(workspace, open, options.cluster, wanted.text)
  const found = await locateBackup(open, clusters, wanted, workspace.context)
  const cluster = workspace.settings.clusters[found.state.cluster] ?? named ?? null
  return { found, cluster, where: await chooseServer(workspace, cluster, options.server) }
}

/** `same` needs the right to create databases; where the role has none, and nobody insisted, a private server is used instead. */
async function chooseServer(workspace: Workspace, cluster: ClusterSettings | null, wanted: string | undefined): Promise<'embedded' | ConnectionTarget> {
  const setting = wanted ?? cluster?.drill.server ?? 'embedded'
  if (setting === 'embedded') return 'embedded'
  if (typeof setting !== 'string') return setting
  if (setting !== 'same') return parseConnectionUrl(followOption(setting, '--server', workspace.machine.env))
  const target = cluster?.adminTarget ?? cluster?.target
  if (target === undefined) {
    if (wanted === 'same')
      throw new Failure('usage-invalid', 'the cluster of this backup is not configured here, so there is no server that would be the same', {
        hints: ['drill it on a private server: --server embedded'],
      })
    return 'embedded'
  }
  if (wanted === 'same' || (await mayCreateDatabases(workspace, target))) return target
  workspace.context.emit({ type: 'note', message: `role "${target.user}" may not create databases there, so the drill uses a private server` })
  return 'embedded'
}

async function mayCreateDatabases(workspace: Workspace, target: ConnectionTarget): Promise<boolean> {
  try {
    await using server = await openAdminServer(workspace, target, 'drill')
    return (await readOwnRights(server.reached.session)).createDb
  } catch (error) {
    workspace.context.signal.throwIfAborted()
    // A backup must be provable when its source is gone: that is what it is for.
    if (error instanceof Failure && ['connection-failed', 'container-not-running'].includes(error.code)) return false
    throw error
  }
}

async function openShared(workspace: Workspace, target: ConnectionTarget, stack: AsyncDisposableStack): Promise<DrillPlace> {
  const server = stack.use(await openAdminServer(workspace, target, 'drill'))
  const [row] = await server.reached.session.query<{ version: string }>(
    `SELECT pg_catalog.split_part(pg_catalog.current_setting('server_version'), ' ', 1) AS version`,
  )
  return { reached: server.reached, connections: server.connections, isPrivate: false, description: `PostgreSQL ${row?.version ?? '?'} at ${server.name}` }
}

function drillsDirectory(workspace: Workspace): string {
  return join(workspace.machine.workDirectory, 'tidemark-drills')
}

async function openEmbedded(workspace: Workspace, drill: { run: string; manifest: Manifest; keep: boolean }, stack: AsyncDisposableStack): Promise<DrillPlace> {
  const { context, machine } = workspace
  const major = drill.manifest.source?.serverMajor ?? 18
  const server = stack.use(
    await startDrillServer(
      {
        major,
        source: { cacheDir: join(machine.cacheDirectory, 'postgres'), environment: machine.env },
        parent: drillsDirectory(workspace),
        run: drill.run,
        keep: drill.keep,
      },
      context,
    ),
  )
  const reached = await reachDrillServer(server, reachOf(workspace), context)
  stack.defer(() => reached.session[Symbol.asyncDispose]())
  const inside = (database: string, signal?: AbortSignal) =>
    openRoutedSession(reached.route, { applicationName: 'tidemark drill', database, emit: context.emit, ...(signal === undefined ? {} : { signal }) })
  return {
    reached,
    connections: { inside: (database) => inside(database, context.signal), fresh: () => inside('postgres') },
    isPrivate: true,
    description: `embedded PostgreSQL ${major}`,
  }
}
