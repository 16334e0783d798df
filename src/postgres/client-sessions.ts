import type { ContainerAccess } from './container.ts'
import { openContainerSession } from './container-session.ts'
import { openDirectSession } from './direct-session.ts'
import type { Session } from './session.ts'
import type { ConnectionTarget } from './target.ts'

/** Ends all sessions that are ours and whose application name begins so, and waits until they are gone (at most 5 s). */
export async function endSessions(target: ConnectionTarget, container: ContainerAccess | null, applicationName: string): Promise<void> {
  await using session = await beside(target, container)
  const sessions =
    'FROM pg_catalog.pg_stat_activity WHERE pg_catalog.starts_with(application_name, $1) AND usename = current_user AND pid <> pg_catalog.pg_backend_pid()'
  await session.query(`SELECT pg_catalog.pg_terminate_backend(pid) ${sessions}`, [applicationName.slice(0, 63)])
  for (let tries = 0; tries < 100; tries += 1) {
    const left = await session.query(`SELECT pg_catalog.pg_sleep(0.05) ${sessions} LIMIT 1`, [applicationName.slice(0, 63)])
    if (left.length === 0) return
  }
  throw new Error('it did not end within 5 s')
}

/**
 * Who holds locks on the tables that a `LOCK TABLE` named in these messages waited for: one line per session. Asked after the
 * fact, so the holder may be gone already.
 */
export async function lockHolders(target: ConnectionTarget, container: ContainerAccess | null, lines: readonly string[]): Promise<readonly string[]> {
  await using session = await beside(target, container)
  const named = lines.map((line) => /LOCK TABLE (.+?) IN /.exec(line)?.[1]).find((tables) => tables !== undefined)
  const holders = await session.query<{
    pid: number
    relation: string
    mode: string
    state: string | null
    user: string | null
    app: string
    seconds: number | null
    query: string
  }>(
    `SELECT l.pid, l.relation::pg_catalog.regclass::text AS relation, l.mode, a.state, a.usename::text AS user, a.application_name AS app,
        EXTRACT(epoch FROM pg_catalog.now() - a.xact_start)::int AS seconds, pg_catalog.left(a.query, 200) AS query
      FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a USING (pid)
      WHERE l.granted AND l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.pid <> pg_catalog.pg_backend_pid()
        AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
      ORDER BY a.xact_start LIMIT 5`,
  )
  const about = named === undefined ? '' : ` (waited for ${named.slice(0, 200)})`
  if (holders.length === 0) return [`no session holds an exclusive lock now${about}: it may be gone, so simply try again`]
  return holders.map(
    (holder) =>
      `PID ${holder.pid} (${holder.user ?? 'unknown user'}, "${holder.app}", ${holder.state ?? 'unknown state'}${holder.seconds === null ? '' : `, for ${holder.seconds} s`}) holds ${holder.mode} on ${holder.relation}: ${holder.query.replace(/\s+/g, ' ')}`,
  )
}

function beside(target: ConnectionTarget, container: ContainerAccess | null): Promise<Session> {
  const options = {
    applicationName: 'tidemark control',
    signal: AbortSignal.timeout(15_000),
    // An empty search_path makes regclass show every name with its schema.
    settings: { statement_timeout: '10000', search_path: '' },
  }
  return container === null ? openDirectSession(target, options) : openContainerSession(target, container, options)
}
