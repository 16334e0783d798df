import type { ClusterSettings } from '../../config/settings.ts'
import { identifierAsNeeded } from '../../postgres/identifiers.ts'
import { reachServer } from '../../postgres/reach.ts'
import { readServerFacts } from '../../postgres/server-facts.ts'
import { reachOf, type Workspace } from '../workspace.ts'
import type { Report } from './finding.ts'

/** Whether somebody we can be may create, fill, read back and swap a database on this server. */
export async function checkRestore(workspace: Workspace, cluster: ClusterSettings, report: Report): Promise<void> {
  const { context } = workspace
  const target = cluster.adminTarget ?? cluster.target
  const reached = await reachServer(target, reachOf(workspace), { applicationName: 'tidemark doctor', signal: context.signal }).catch((error: unknown) => {
    context.signal.throwIfAborted()
    report.addFailure('restore-connection', error)
    return null
  })
  if (reached === null) return
  await using session = reached.session
  const { role, major } = await readServerFacts(session)
  const name = identifierAsNeeded(role.name)
  const means = 'restore, --test, --replace and drills on this server'
  if (!role.superuser && !role.createDatabase) {
    return report.add({
      severity: cluster.adminTarget === null ? 'warn' : 'fail',
      check: 'restore-rights',
      what: `the role ${name} may not create databases, which ${means} need`,
      why: cluster.adminTarget === null ? 'right for a backup role; name another one for restores' : null,
      fix: cluster.adminTarget === null ? `in tidemark.yaml, under the cluster:  adminUrl: env:ADMIN_DATABASE_URL` : `ALTER ROLE ${name} CREATEDB;`,
      apply: cluster.adminTarget === null ? null : { database: session.database, sql: `ALTER ROLE ${name} CREATEDB;` },
    })
  }
  report.add({ severity: 'ok', check: 'restore-rights', what: `the role ${name} can create databases: ${means} can run` })
  if (role.superuser) return
  if (!role.bypassRls) {
    const sql = `ALTER ROLE ${name} BYPASSRLS;`
    report.add({
      severity: 'warn',
      check: 'restore-rights',
      what: `the role ${name} cannot read back tables with row-level security that it does not own`,
      why: 'a drill could then prove only a part',
      fix: sql,
      apply: { database: session.database, sql },
    })
  }
  if (!role.canSignalBackends) {
    const sql = `GRANT pg_signal_backend TO ${name};`
    report.add({
      severity: 'warn',
      check: 'restore-rights',
      what: `the role ${name} may not end the sessions of other roles`,
      why: `restore --replace waits until they leave${major >= 13 ? '' : ' (PostgreSQL before 13)'}`,
      fix: sql,
      apply: { database: session.database, sql },
    })
  }
}
