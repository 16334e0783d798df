import { followOption } from '../../config/secrets.ts'
import type { ClusterSettings } from '../../config/settings.ts'
import { Failure } from '../../kernel/failure.ts'
import { parseConnectionUrl } from '../../postgres/connection-url.ts'
import { reachServer } from '../../postgres/reach.ts'
import type { ConnectionTarget } from '../../postgres/target.ts'
import { reachOf, type Workspace } from '../workspace.ts'
import type { Finding } from './finding.ts'

export interface Admin {
  /** A URL, or `env:NAME`, so that no password stands in the list of processes. Never stored. */
  readonly url?: string
  /** Another role at the cluster's own address, for sockets and containers that ask for no password. */
  readonly user?: string
}

export interface Statement {
  readonly cluster: string
  readonly database: string
  readonly sql: string
}

/** The SQL that would mend what was found, each once. */
export function fixesOf(findings: readonly Finding[]): readonly Statement[] {
  const fixes = new Map<string, Statement>()
  for (const { severity, subject, apply } of findings) {
    if (severity !== 'ok' && apply !== null && subject !== null) fixes.set(`${subject}\n${apply.database}\n${apply.sql}`, { cluster: subject, ...apply })
  }
  return [...fixes.values()]
}

/** Who runs the fixes: the URL or user that was given, else the cluster's adminUrl. */
export function adminTarget(workspace: Workspace, cluster: ClusterSettings, admin: Admin): ConnectionTarget {
  if (admin.url !== undefined)
    return { ...parseConnectionUrl(followOption(admin.url, '--admin-url', workspace.machine.env)), container: cluster.target.container }
  if (admin.user !== undefined) return { ...cluster.target, user: admin.user, password: admin.user === cluster.target.user ? cluster.target.password : null }
  if (cluster.adminTarget !== null) return cluster.adminTarget
  throw new Failure('usage-invalid', `no role is named that could mend cluster "${cluster.name}"`, {
    hints: [
      'tidemark doctor --apply --admin-url env:ADMIN_DATABASE_URL',
      'in a container: tidemark doctor --apply --admin-user postgres',
      'or run the SQL above yourself, in psql as superuser',
    ],
  })
}

/** Runs the statements of one cluster, each in its database, stopping at the first that fails. Each is one transaction. */
export async function applyFixes(workspace: Workspace, admin: ConnectionTarget, statements: readonly Statement[]): Promise<void> {
  const { context } = workspace
  const options = { applicationName: 'tidemark doctor --apply', signal: context.signal }
  for (const [database, group] of Map.groupBy(statements, (statement) => statement.database)) {
    const { session } = await reachServer({ ...admin, database }, reachOf(workspace), options)
    await using _session = session
    for (const { sql } of group) await session.query(sql)
  }
}
