import { randomBytes } from 'node:crypto'
import { Failure } from '../kernel/failure.ts'
import { openDirectSession } from './direct-session.ts'
import { identifierAsNeeded } from './identifiers.ts'
import type { Session } from './session.ts'
import { placeOf, poolerHints } from './sql-failure.ts'
import type { ConnectionTarget } from './target.ts'

/**
 * Fails with `pooler-refused` when the session does not keep its server process between transactions: a transaction pooler
 * (PgBouncer, Supavisor, Neon's "-pooler" hosts) cannot hold a snapshot, session settings or pg_dump's locks.
 *
 * Found by behaviour, not by name: while our session is idle, a second connection asks for *its* server process. A server never
 * shares one; a transaction pooler hands out the one that just became free. Session pooling passes.
 */
export async function requireSessionPooling(session: Session): Promise<void> {
  // Inside a container the socket leads to the server itself.
  if (session.via === 'container') return
  const sharing = await sharesItsBackend(session)
  if (sharing === null) return
  throw new Failure('pooler-refused', `cannot use ${placeOf(session.target)} for a backup: ${sharing}`, {
    hints: directHints(session.target),
    details: { provider: recogniseProvider(session.target.host) },
  })
}

/** What betrays the pooler, or null when there is none. */
async function sharesItsBackend(session: Session): Promise<string | null> {
  const mark = randomBytes(8).toString('hex')
  await using second = await openDirectSession(session.target, { applicationName: 'tidemark pooler probe' })
  const ask = async (of: Session) =>
    (
      await of.query<{ pid: number; mark: string | null }>(
        `SELECT pg_catalog.pg_backend_pid() AS pid, pg_catalog.current_setting('tidemark.probe', true) AS mark`,
      )
    )[0]
  // A few rounds: which idle server process a pooler hands out is its own affair.
  for (let round = 0; round < 3; round += 1) {
    await session.query(`SELECT pg_catalog.set_config('tidemark.probe', $1, false)`, [mark])
    const first = await ask(session)
    await second.query('BEGIN')
    const other = await ask(second)
    const again = await ask(session)
    await second.query('ROLLBACK')
    if (other?.pid === first?.pid || other?.mark === mark)
      return 'two connections were given the same server process, so a transaction pooler stands in between'
    if (again?.pid !== first?.pid || again?.mark !== mark)
      return 'the server process changes between transactions and forgets session settings, so a transaction pooler stands in between'
  }
  await session.query(`SELECT pg_catalog.set_config('tidemark.probe', '', false)`)
  return null
}

export type Provider = 'Neon' | 'Supabase' | 'Railway' | 'DigitalOcean' | 'Amazon RDS' | 'Google Cloud SQL' | 'Azure' | 'Heroku' | 'Render' | 'Aiven' | 'Fly.io'

const providers: readonly (readonly [RegExp, Provider])[] = [
  [/\.neon\.(tech|build)$/, 'Neon'],
  [/\.supabase\.(co|com)$/, 'Supabase'],
  [/\.(railway\.app|rlwy\.net|railway\.internal)$/, 'Railway'],
  [/\.db\.ondigitalocean\.com$/, 'DigitalOcean'],
  [/\.rds\.amazonaws\.com(\.cn)?$/, 'Amazon RDS'],
  [/\.sql\.goog$/, 'Google Cloud SQL'],
  [/\.postgres(ql)?\.(database\.azure\.com|cosmos\.azure\.com)$|\.database\.azure\.com$/, 'Azure'],
  [/\.compute(-1)?\.amazonaws\.com$/, 'Heroku'],
  [/\.render\.com$/, 'Render'],
  [/\.aivencloud\.com$/, 'Aiven'],
  [/\.(fly\.dev|flycast|fly\.io)$/, 'Fly.io'],
]

/** The managed service a host name belongs to, or null. Names only: nothing is contacted. */
export function recogniseProvider(host: string | null): Provider | null {
  const name = host?.toLowerCase().replace(/\.$/, '') ?? ''
  return providers.find(([pattern]) => pattern.test(name))?.[1] ?? null
}

/** Where the direct connection is, as exactly as the provider's naming lets us know. */
export function directHints(target: ConnectionTarget): readonly string[] {
  const { host } = target
  switch (recogniseProvider(host)) {
    case 'Neon':
      return [`use the direct host: ${host?.replace(/-pooler(?=\.)/, '')}`]
    case 'Supabase':
      return target.port === 6543
        ? [`use the session pooler: the same host with port 5432 instead of 6543`, 'or the direct host: db.<project>.supabase.co:5432']
        : ['use the direct host: db.<project>.supabase.co:5432']
    case 'DigitalOcean':
      return ['use the connection details of the cluster itself (port 25060), not those of the connection pool (25061)']
    default:
      return [...poolerHints, `or set pool_mode = session for this database in pgbouncer.ini: ${identifierAsNeeded(target.database)} = … pool_mode=session`]
  }
}
