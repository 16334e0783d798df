import type { ClusterSettings } from '../../config/settings.ts'
import { isFailure, messageOf } from '../../kernel/failure.ts'
import { backupRoleSql } from '../../postgres/backup-role.ts'
import { reachServer } from '../../postgres/reach.ts'
import { reachOf, type Workspace } from '../workspace.ts'

/** The script that makes the least-privileged role for a cluster; with what the server says where it can be asked, else for PostgreSQL 14 and later. */
export async function roleScript(workspace: Workspace, cluster: ClusterSettings, roleName: string | undefined): Promise<string> {
  const database = cluster.dump.databases[0] ?? cluster.target.database
  const seen = await lookAt(workspace, cluster, database)
  // A role that owns or writes something is the application's: made read-only it would break it. Only one that just reads is the backup's.
  const role = roleName ?? (seen?.onlyReads === true ? cluster.target.user : 'tidemark')
  const sql = backupRoleSql({ role, database, ...(seen === null ? {} : { serverMajor: seen.major, schemas: seen.schemas, owners: seen.owners }) })
  if (seen?.roles.includes(role) !== true) return sql
  return `-- The role exists and is changed: it loses what it may do besides reading.\n${sql.replace(/^CREATE ROLE /m, 'ALTER ROLE ')}`
}

async function lookAt(workspace: Workspace, cluster: ClusterSettings, database: string) {
  const { context } = workspace
  try {
    const { session } = await reachServer(cluster.target, reachOf(workspace), { applicationName: 'tidemark doctor --sql', database, signal: context.signal })
    await using _session = session
    const [row] = await session.query<{
      only_reads: boolean
      roles: readonly string[] | null
      schemas: readonly string[] | null
      owners: readonly string[] | null
    }>(
      `SELECT (SELECT NOT rolsuper AND NOT rolcreatedb FROM pg_catalog.pg_roles WHERE rolname = current_user)
                AND NOT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datdba = current_user::regrole)
                AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND nspname !~ '^pg_'
                  AND nspname <> 'information_schema' AND (c.relowner = current_user::regrole OR pg_catalog.has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE'))) AS only_reads,
              (SELECT pg_catalog.array_agg(rolname::text) FROM pg_catalog.pg_roles) AS roles,
              (SELECT pg_catalog.array_agg(nspname::text ORDER BY nspname) FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema') AS schemas,
              (SELECT pg_catalog.array_agg(DISTINCT pg_catalog.pg_get_userbyid(c.relowner)::text) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
               WHERE c.relkind IN ('r', 'p', 'S') AND nspname !~ '^pg_' AND nspname <> 'information_schema') AS owners`,
    )
    return {
      major: Math.floor(session.serverVersionNum / 10_000),
      onlyReads: row?.only_reads === true,
      roles: row?.roles ?? [],
      schemas: row?.schemas ?? [],
      owners: row?.owners ?? [],
    }
  } catch (error) {
    if (!isFailure(error) || isFailure(error, 'cancelled')) throw error
    context.emit({
      type: 'warning',
      code: 'server-not-asked',
      message: `the server could not be asked (${messageOf(error)}); the script is for PostgreSQL 14 and later`,
    })
    return null
  }
}
