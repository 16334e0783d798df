import type { ClusterSettings } from '../../config/settings.ts'
import { isFailure } from '../../kernel/failure.ts'
import { chooseClientTools, type ClientTools } from '../../postgres/client-tools.ts'
import { checkDumpRights } from '../../postgres/dump-rights.ts'
import { identifierAsNeeded } from '../../postgres/identifiers.ts'
import { requireSessionPooling } from '../../postgres/pooler.ts'
import { openRoutedSession, type Route } from '../../postgres/route.ts'
import { reachServer } from '../../postgres/reach.ts'
import { readServerFacts, type ServerFacts } from '../../postgres/server-facts.ts'
import type { Session } from '../../postgres/session.ts'
import type { ConnectionTarget } from '../../postgres/target.ts'
import { reachOf, type Workspace } from '../workspace.ts'
import type { Report } from './finding.ts'

/** What later checks want to know of a server that answered. */
export interface ServerSeen {
  readonly facts: ServerFacts
  /** Bytes of the databases that a backup would dump; null where one of them does not tell. */
  readonly databaseBytes: number | null
  /** Directories of the server and its tablespaces, as it names them. */
  readonly ownDirectories: readonly { readonly path: string; readonly kind: 'data directory' | 'tablespace' }[]
  /** The server runs on this machine, outside of a container, so that its paths mean the same here. */
  readonly isHere: boolean
}

/** Everything about a cluster's server that would make a backup fail. Null when the server could not be reached. */
export async function checkServer(workspace: Workspace, cluster: ClusterSettings, report: Report): Promise<ServerSeen | null> {
  const { context } = workspace
  const options = { applicationName: 'tidemark doctor', signal: context.signal }
  const reached = await reachServer(cluster.target, reachOf(workspace), options).catch((error: unknown) => {
    context.signal.throwIfAborted()
    report.addFailure(cluster.target.container === null ? 'connection' : 'container', error)
    return null
  })
  if (reached === null) return null
  await using session = reached.session
  const facts = await readServerFacts(session)
  const place = facts.inRecovery ? 'standby' : 'primary'
  report.add({
    severity: 'ok',
    check: 'connection',
    what: `PostgreSQL ${facts.version}, ${place}, as ${identifierAsNeeded(facts.role.name)}`,
    why: reached.route.note,
  })
  if (facts.inRecovery) {
    report.add({
      severity: 'warn',
      check: 'standby',
      what: 'the server is a standby: a long dump there is cancelled when replay conflicts with it',
      fix: "ALTER SYSTEM SET hot_standby_feedback = on;  -- on the standby, then SELECT pg_reload_conf();\nALTER SYSTEM SET max_standby_streaming_delay = '-1';",
    })
  }
  await checkTls(session, reached.route.target, report)
  await checkPooling(session, report)
  checkTools(reached.tools, facts.major, cluster, report)
  await checkLocks(session, facts, report)
  await checkRole(session, facts, report)
  const databases = cluster.dump.databases.length === 0 ? [cluster.target.database] : cluster.dump.databases
  for (const database of databases) await checkDatabase(session, reached.route, { database, facts, options }, report)
  return {
    facts,
    databaseBytes: databases.reduce<number | null>((sum, name) => addKnown(sum, facts.databases.find((each) => each.name === name)?.sizeBytes ?? null), 0),
    ownDirectories: await ownDirectories(session, facts),
    isHere: reached.route.container === null && isThisMachine(reached.route.target),
  }
}

function addKnown(sum: number | null, next: number | null): number | null {
  return sum === null || next === null ? null : sum + next
}

export function isThisMachine(target: Pick<ConnectionTarget, 'host'>): boolean {
  return target.host === null || target.host.startsWith('/') || /^(localhost|127(\.\d+){3}|::1)$/i.test(target.host)
}

async function checkTls(session: Session, target: ConnectionTarget, report: Report): Promise<void> {
  const { mode } = target.tls
  if (session.via === 'container') return report.add({ severity: 'ok', check: 'tls', what: 'the connection stays inside the container (socket)' })
  if (isThisMachine(target)) return report.add({ severity: 'ok', check: 'tls', what: 'the connection stays on this machine' })
  const [row] = await session.query<{ ssl: boolean | null; version: string | null }>(
    'SELECT ssl, version FROM pg_catalog.pg_stat_ssl WHERE pid = pg_catalog.pg_backend_pid()',
  )
  const fix = 'add to the connection URL: sslmode=verify-full   (with sslrootcert=/path/to/ca.pem where the certificate is not from a public authority)'
  // A pooler or proxy may end TLS before the server: what the server sees is not the whole way, but the mode is.
  if (['disable', 'allow', 'prefer'].includes(mode)) {
    const now = row?.ssl === true ? 'is encrypted now, but nothing demands it' : 'is not encrypted'
    return report.add({
      severity: 'warn',
      check: 'tls',
      what: `the connection to ${target.host ?? ''} ${now} (sslmode=${mode})`,
      why: 'password and rows could be read on the way',
      fix,
    })
  }
  if (mode === 'require')
    return report.add({
      severity: 'warn',
      check: 'tls',
      what: `the connection is encrypted, but the server's certificate is not checked (sslmode=require)`,
      why: 'somebody in between could pose as the server',
      fix,
    })
  report.add({ severity: 'ok', check: 'tls', what: `TLS with the certificate checked (sslmode=${mode}${row?.version == null ? '' : `, ${row.version}`})` })
}

async function checkPooling(session: Session, report: Report): Promise<void> {
  try {
    await requireSessionPooling(session)
    report.add({ severity: 'ok', check: 'pooler', what: "the session is the server's own: snapshots and settings hold" })
  } catch (error) {
    report.addFailure('pooler', error)
  }
}

function checkTools(tools: readonly ClientTools[], serverMajor: number, cluster: ClusterSettings, report: Report): void {
  let dumpMajor: number | undefined
  try {
    const { tools: chosen, reason } = chooseClientTools(tools, { serverMajor, purpose: 'dump' })
    dumpMajor = chosen.major
    report.add({ severity: 'ok', check: 'tools-dump', what: `to dump: ${reason}` })
    if (cluster.dump.globals && chosen.programs.pg_dumpall === undefined) {
      report.add({
        severity: 'warn',
        check: 'tools-globals',
        what: `pg_dumpall ${chosen.version} is missing beside pg_dump`,
        why: 'roles and tablespaces would be left out of backups',
        fix: `install the whole client package of PostgreSQL ${chosen.major}`,
      })
    }
  } catch (error) {
    report.addFailure('tools-dump', error)
  }
  try {
    const { reason } = chooseClientTools(tools, { serverMajor, purpose: 'restore', ...(dumpMajor === undefined ? {} : { archiveMajor: dumpMajor }) })
    report.add({ severity: 'ok', check: 'tools-restore', what: `to restore: ${reason}` })
  } catch (error) {
    report.addFailure('tools-restore', error)
  }
}

/** pg_dump locks every table in one transaction; the lock table holds max_locks_per_transaction × max_connections of them for all sessions together. */
async function checkLocks(session: Session, facts: ServerFacts, report: Report): Promise<void> {
  const perTransaction = Number(facts.settings['max_locks_per_transaction'] ?? 64)
  const capacity = perTransaction * Number(facts.settings['max_connections'] ?? 100)
  const [row] = await session.query<{ tables: number }>(
    `SELECT count(*)::int AS tables FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p', 'S', 'm') AND relnamespace NOT IN (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname ~ '^pg_' OR nspname = 'information_schema')`,
  )
  const tables = row?.tables ?? 0
  if (tables * 2 < capacity) return
  const wanted = Math.ceil((tables * 3) / Math.max(1, capacity / perTransaction))
  report.add({
    severity: tables >= capacity ? 'fail' : 'warn',
    check: 'locks',
    what: `${tables} tables and sequences are locked by one dump, and the lock table has room for about ${capacity}`,
    why: 'pg_dump would end with "out of shared memory"',
    fix: `ALTER SYSTEM SET max_locks_per_transaction = ${Math.max(wanted, perTransaction * 2)};  -- needs a restart of the server`,
  })
}

async function checkRole(session: Session, facts: ServerFacts, report: Report): Promise<void> {
  const role = identifierAsNeeded(facts.role.name)
  if (facts.role.superuser) {
    report.add({
      severity: 'warn',
      check: 'least-privilege',
      what: `the role ${role} is a superuser, and a backup needs far less`,
      why: 'whoever gets its password owns the server',
      fix: 'tidemark doctor --sql   # the script of a role that can only read',
    })
  }
  const [row] = await session.query<{ until: string | null; days: number | null }>(
    `SELECT rolvaliduntil::text AS until, (EXTRACT(epoch FROM rolvaliduntil - pg_catalog.now()) / 86400)::float8 AS days FROM pg_catalog.pg_roles
     WHERE rolname = current_user AND rolvaliduntil < 'infinity' AND rolvaliduntil < pg_catalog.now() + interval '30 days'`,
  )
  if (row === undefined) return
  const fix = `ALTER ROLE ${role} VALID UNTIL 'infinity';`
  report.add({
    severity: (row.days ?? 0) < 0 ? 'fail' : 'warn',
    check: 'password-expiry',
    what: `the password of ${role} is valid only until ${row.until ?? ''}`,
    why: 'backups stop then',
    fix,
    apply: { database: session.database, sql: fix },
  })
}

interface DatabaseCheck {
  readonly database: string
  readonly facts: ServerFacts
  readonly options: { readonly applicationName: string; readonly signal: AbortSignal }
}

async function checkDatabase(session: Session, route: Route, { database, facts, options }: DatabaseCheck, report: Report): Promise<void> {
  const name = identifierAsNeeded(database)
  const role = identifierAsNeeded(facts.role.name)
  const known = facts.databases.find((each) => each.name === database)
  if (known === undefined) {
    const others = facts.databases.filter((each) => !each.isTemplate).map((each) => each.name)
    return report.add({
      severity: 'fail',
      check: 'database',
      what: `the database ${name} does not exist`,
      fix: `name another one in dump.databases; there are: ${others.join(', ')}`,
    })
  }
  if (known.isInvalid)
    return report.add({
      severity: 'fail',
      check: 'database',
      what: `the database ${name} is invalid (a DROP DATABASE was interrupted): it cannot be dumped`,
      fix: `DROP DATABASE ${name};`,
    })
  if (!known.allowsConnections)
    return report.add({
      severity: 'fail',
      check: 'database',
      what: `the database ${name} allows no connections`,
      fix: `ALTER DATABASE ${name} ALLOW_CONNECTIONS true;`,
    })
  if (!known.canConnect) {
    const sql = `GRANT CONNECT ON DATABASE ${name} TO ${role};`
    return report.add({
      severity: 'fail',
      check: 'database',
      what: `the role ${role} may not connect to the database ${name}`,
      fix: sql,
      apply: { database: session.database, sql },
    })
  }
  try {
    await using own = database === session.database ? null : await openRoutedSession(route, { ...options, database })
    const findings = await checkDumpRights(own ?? session)
    for (const { severity, what, fixSql } of findings) {
      // A DROP is a person's decision.
      const mayApply = fixSql !== null && !/^\s*DROP\b/im.test(fixSql)
      report.add({
        severity: severity === 'error' ? 'fail' : 'warn',
        check: 'role-rights',
        what: inDatabase(what, database, severity),
        why: severity === 'error' ? 'pg_dump stops there' : null,
        fix: fixSql,
        apply: mayApply ? { database, sql: fixSql } : null,
      })
    }
    if (!findings.some((finding) => finding.severity === 'error'))
      report.add({ severity: 'ok', check: 'role-rights', what: `the role ${role} can read everything in the database ${name}` })
  } catch (error) {
    if (isFailure(error, 'cancelled')) throw error
    report.addFailure('role-rights', error)
  }
}

function inDatabase(what: string, database: string, severity: 'error' | 'warning'): string {
  return severity === 'error' ? `database ${identifierAsNeeded(database)}: ${what}` : what
}

async function ownDirectories(session: Session, facts: ServerFacts): Promise<ServerSeen['ownDirectories']> {
  const spaces = await session.query<{ path: string }>(
    `SELECT pg_catalog.pg_tablespace_location(oid) AS path FROM pg_catalog.pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global')`,
  )
  return [
    ...(facts.dataDirectory === null ? [] : [{ path: facts.dataDirectory, kind: 'data directory' as const }]),
    ...spaces.map(({ path }) => ({ path, kind: 'tablespace' as const })),
  ]
}
