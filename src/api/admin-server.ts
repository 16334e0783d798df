import { followOption } from '../config/secrets.ts'
import type { ClusterSettings } from '../config/settings.ts'
import { Failure, isFailure } from '../kernel/failure.ts'
import { parseConnectionUrl } from '../postgres/connection-url.ts'
import { reachServer, type Reached } from '../postgres/reach.ts'
import { openRoutedSession } from '../postgres/route.ts'
import type { Session } from '../postgres/session.ts'
import type { ConnectionTarget } from '../postgres/target.ts'
import type { RestoreServer } from '../restore/restore-request.ts'
import { reachOf, type Workspace } from './workspace.ts'

/** The server that is restored on, held open. */
export interface AdminServer extends RestoreServer, AsyncDisposable {}

/** Whether a session is on the server that a target leads to, however it is spelled: two servers never started at the same microsecond. */
export async function isOnServerOf(session: Session, target: ConnectionTarget, workspace: Workspace): Promise<boolean> {
  const asked = `SELECT pg_catalog.pg_postmaster_start_time()::text || ' ' || coalesce(pg_catalog.current_setting('port', true), '') AS identity`
  const { session: other } = await reachServer(target, reachOf(workspace), { applicationName: 'tidemark which server', signal: workspace.context.signal })
  await using _other = other
  const [[here], [there]] = await Promise.all([session.query<{ identity: string }>(asked), other.query<{ identity: string }>(asked)])
  return here?.identity === there?.identity
}

/** Where a restore goes: `--server`, else the cluster's adminUrl, else its url. */
export function restoreTarget(
  cluster: ClusterSettings | null,
  server: string | undefined,
  env: Readonly<Record<string, string | undefined>> = {},
): ConnectionTarget {
  if (server !== undefined) return parseConnectionUrl(followOption(server, '--server', env))
  const target = cluster?.adminTarget ?? cluster?.target
  if (target === undefined)
    throw new Failure('usage-invalid', 'it is not known which server to restore on', {
      hints: ['name it: --server postgres://admin@host/postgres, or configure the cluster'],
    })
  return target
}

/** Opens the server. The admin session is never in a database that may be renamed or dropped: `postgres`, else `template1`, else the target's own. */
export async function openAdminServer(workspace: Workspace, target: ConnectionTarget, purpose: string): Promise<AdminServer> {
  const { context } = workspace
  const options = { applicationName: `tidemark ${purpose}`, settings: { statement_timeout: '0', lock_timeout: '0', idle_in_transaction_session_timeout: '0' } }
  const reached = await reachMaintenance(workspace, target, options)
  await keepIdle(reached.session)
  const inDatabase = async (database: string, signal: AbortSignal | null): Promise<Session> => {
    const session = await openRoutedSession(reached.route, { ...options, database, emit: context.emit, ...(signal === null ? {} : { signal }) })
    await keepIdle(session)
    return session
  }
  return {
    reached,
    target: reached.target,
    name:
      target.container !== null && target.host === null
        ? `container ${target.container.kind === 'container' ? target.container.name : target.container.service}`
        : `${target.host ?? 'local socket'}:${target.port}`,
    connections: { inside: (database) => inDatabase(database, context.signal), fresh: () => inDatabase(reached.session.database, null) },
    [Symbol.asyncDispose]: () => reached.session[Symbol.asyncDispose](),
  }
}

/** Our sessions wait while pg_restore works; a server that ends idle sessions (14 and newer can) must not end them. */
async function keepIdle(session: Session): Promise<void> {
  if (session.serverVersionNum >= 140_000) await session.query('SET idle_session_timeout = 0')
}

async function reachMaintenance(
  workspace: Workspace,
  target: ConnectionTarget,
  options: { readonly applicationName: string; readonly settings: Readonly<Record<string, string>> },
): Promise<Reached> {
  const { context } = workspace
  const reach = (database: string) => reachServer(target, reachOf(workspace), { ...options, database, signal: context.signal, emit: context.emit })
  for (const database of ['postgres', 'template1']) {
    try {
      return await reach(database)
    } catch (error) {
      // Some managed services have no such database, or do not let us in.
      if (!isFailure(error, 'database-missing', 'permission-denied')) throw error
    }
  }
  return reach(target.database)
}
