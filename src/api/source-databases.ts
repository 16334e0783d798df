import { reachServer } from '../postgres/reach.ts'
import type { ConnectionTarget } from '../postgres/target.ts'
import { parseMark } from '../repository/database-mark.ts'
import { reachOf, type Workspace } from './workspace.ts'

/** The databases of a server that can be dumped, and those that cannot, with the reason. */
export async function listDumpableDatabases(
  target: ConnectionTarget,
  workspace: Workspace,
): Promise<{ dumpable: readonly string[]; skipped: readonly { name: string; why: string }[] }> {
  const { context } = workspace
  const { session } = await reachServer(target, reachOf(workspace), { applicationName: 'tidemark list databases', signal: context.signal, emit: context.emit })
  await using _session = session
  const rows = await session.query<{ name: string; template: boolean; allow: boolean; limit: number; comment: string | null; may: boolean }>(
    `SELECT datname AS name, datistemplate AS template, datallowconn AS allow, datconnlimit AS limit,
            pg_catalog.shobj_description(oid, 'pg_database') AS comment, pg_catalog.has_database_privilege(oid, 'CONNECT') AS may
     FROM pg_catalog.pg_database ORDER BY datname`,
  )
  const dumpable: string[] = []
  const skipped: { name: string; why: string }[] = []
  for (const row of rows) {
    if (row.limit === -2) skipped.push({ name: row.name, why: 'it is invalid (a DROP DATABASE was interrupted); drop it' })
    else if (row.template) continue
    else if (!row.allow) skipped.push({ name: row.name, why: 'it allows no connections' })
    else if (!row.may) skipped.push({ name: row.name, why: 'this role may not connect to it: GRANT CONNECT' })
    // One that was given another name is somebody's now.
    else if (parseMark(row.comment)?.name === row.name) skipped.push({ name: row.name, why: 'it is a restored copy that Tidemark made' })
    else dumpable.push(row.name)
  }
  return { dumpable, skipped }
}
