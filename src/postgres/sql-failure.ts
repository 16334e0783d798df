import { Failure, type FailureCode, messageOf, systemCodeOf } from '../kernel/failure.ts'
import { maskSecrets } from './mask.ts'
import type { ConnectionTarget } from './target.ts'

/** What PostgreSQL reports, whichever way it reached us (protocol error or psql variables). */
export interface SqlError {
  readonly sqlState: string
  readonly message: string
  readonly detail?: string | undefined
  readonly hint?: string | undefined
}

/** `42501`, `57P01`: five characters, at least one digit in the class; system codes such as `ECONNRESET` do not match. */
export function sqlErrorOf(error: unknown): SqlError | null {
  const code = systemCodeOf(error)
  if (code === undefined || !/^(?=.*\d)[0-9A-Z]{5}$/.test(code) || !(error instanceof Error)) return null
  const fields = error as Error & { detail?: string; hint?: string }
  return { sqlState: code, message: error.message, detail: fields.detail, hint: fields.hint }
}

/** A statement that failed on a session: what was tried, what the server said, what to do. */
export function statementFailure(error: unknown, session: { readonly user: string; readonly database: string }, tried: string): Failure {
  if (error instanceof Failure) return error
  const sql = sqlErrorOf(error)
  if (sql === null) return lostFailure(error, tried)
  const [code, hints] = judgeStatement(sql, session)
  // The statement may be somebody's own, with a password in it.
  return new Failure(code, maskSecrets(`cannot ${tried}: ${sql.message}${sql.detail === undefined ? '' : ` (${sql.detail})`}`, []), {
    hints: [...hints, ...(sql.hint === undefined ? [] : [sql.hint])],
    cause: error,
    details: { sqlState: sql.sqlState },
  })
}

function judgeStatement(sql: SqlError, session: { user: string; database: string }): readonly [FailureCode, readonly string[]] {
  switch (sql.sqlState) {
    case '42501':
      return ['permission-denied', [grantHint(sql.message, session)]]
    case '55P03':
      return ['lock-timeout', ['who holds it: SELECT pid, query FROM pg_stat_activity WHERE pid IN (SELECT pid FROM pg_locks WHERE granted)']]
    case '57P01':
    case '57P02':
    case '57P03':
    case '57P05':
      return ['connection-lost', ['the server was stopped or restarted, or somebody ended our session; run the same command again']]
    case '25P03':
    case '25P04':
      return ['connection-lost', [`allow the role longer transactions: ALTER ROLE ${session.user} SET idle_in_transaction_session_timeout = 0`]]
    case '53100':
    case '53200':
      return ['space-low', [sql.sqlState === '53100' ? "the server's disk is full" : 'the server has no memory left']]
    case '57014':
      return /statement timeout/.test(sql.message)
        ? ['query-failed', [`allow the role longer statements: ALTER ROLE ${session.user} SET statement_timeout = 0`]]
        : ['query-failed', ['somebody cancelled the statement (pg_cancel_backend)']]
    case '26000':
      return ['pooler-refused', poolerHints]
    case '3D000':
      return ['database-missing', []]
    default:
      return [sql.sqlState.startsWith('08') ? 'connection-lost' : 'query-failed', []]
  }
}

export const poolerHints: readonly string[] = [
  'use the direct (session) connection of the server instead of the pooled one',
  'Neon: the host without "-pooler"; Supabase: port 5432 instead of 6543; PgBouncer: the port of PostgreSQL itself',
]

/** The GRANT that removes "permission denied for table x" and the like. */
export function grantHint(message: string, session: { user: string; database: string }): string {
  const role = /^[a-z_][a-z0-9_]*$/.test(session.user) ? session.user : `"${session.user.replaceAll('"', '""')}"`
  // "must be superuser or replication role to start walsender" before 16; then "permission denied to start WAL sender".
  if (/ to start wal ?sender/i.test(message)) return `as superuser: ALTER ROLE ${role} REPLICATION;`
  const [, kind, object] =
    /permission denied for (?:materialized )?(table|view|sequence|schema|large object|relation|function|database) (.+)$/.exec(message) ?? []
  switch (kind) {
    case 'table':
    case 'view':
    case 'relation':
      return `as owner or superuser: GRANT SELECT ON ${object} TO ${role}; or for all: GRANT pg_read_all_data TO ${role} (PostgreSQL 14+)`
    case 'sequence':
      return `as owner or superuser: GRANT SELECT ON SEQUENCE ${object} TO ${role};`
    case 'schema':
      return `as owner or superuser: GRANT USAGE ON SCHEMA ${object} TO ${role};`
    case 'large object':
      return `as owner or superuser: GRANT SELECT ON LARGE OBJECT ${object} TO ${role};`
    case 'function':
      return `as superuser: GRANT EXECUTE ON FUNCTION ${object} TO ${role};`
    case 'database':
      return `as owner or superuser: GRANT CONNECT ON DATABASE ${object} TO ${role};`
    default:
      return `the role ${role} lacks a right; see: tidemark doctor`
  }
}

function lostFailure(error: unknown, tried: string): Failure {
  return new Failure('connection-lost', maskSecrets(`cannot ${tried}: the connection to the server broke: ${messageOf(error)}`, []), {
    hints: ['was the server stopped or restarted? is there a firewall or proxy that ends idle connections?'],
    cause: error,
  })
}

/** A connection that did not come about. */
export function connectFailure(error: unknown, target: ConnectionTarget): Failure {
  if (error instanceof Failure) return error
  const tried = `cannot connect to ${placeOf(target)} as user "${target.user}"`
  const sql = sqlErrorOf(error)
  const [code, why, hints] = sql === null ? judgeNetwork(error, target) : judgeRefusal(sql, target)
  return new Failure(code, `${tried}: ${why}`, {
    hints,
    cause: error,
    details: { ...(sql === null ? { systemCode: systemCodeOf(error) ?? null } : { sqlState: sql.sqlState }), transient: isTransient(error) },
  })
}

/** Whether waiting a little may help: the server is starting up, or the network hiccuped. */
function isTransient(error: unknown): boolean {
  return ['57P03', '53300', 'ECONNRESET', 'ETIMEDOUT', 'EAI_AGAIN'].includes(systemCodeOf(error) ?? '')
}

export function placeOf(target: Pick<ConnectionTarget, 'host' | 'port' | 'database'>): string {
  const host = target.host ?? 'the default socket'
  return `database "${target.database}" at ${host.includes(':') ? `[${host}]` : host}${target.host?.startsWith('/') ? ` (port ${target.port})` : `:${target.port}`}`
}

type Judgement = readonly [FailureCode, string, readonly string[]]

function judgeRefusal(sql: SqlError, target: ConnectionTarget): Judgement {
  switch (sql.sqlState) {
    case '28P01':
      return ['connection-failed', 'the server refuses the password', ['check the password; special characters in a URL must be encoded (% as %25, @ as %40)']]
    case '28000':
      return ['connection-failed', sql.message, accessHints(sql.message)]
    case '3D000':
      return ['database-missing', sql.message, ['list the databases: psql -l', 'a wrong name in the URL?']]
    case '53300':
      return [
        'connection-failed',
        sql.message,
        [
          sql.message.includes('max_wal_senders')
            ? 'raise max_wal_senders (a restart is needed): a base backup takes two'
            : 'too many sessions: raise max_connections or the CONNECTION LIMIT of the role',
        ],
      ]
    case '57P03':
      return ['connection-failed', sql.message, ['wait until the server accepts connections and try again']]
    case '42501':
      return ['permission-denied', sql.message, [grantHint(sql.message, target)]]
    default:
      if (/unsupported startup parameter/.test(sql.message)) return ['pooler-refused', sql.message, poolerHints]
      return ['connection-failed', sql.message, sql.hint === undefined ? [] : [sql.hint]]
  }
}

function accessHints(message: string): readonly string[] {
  const encrypt = /no encryption|SSL off/.test(message) ? ['the server may want an encrypted connection: add sslmode=require (or verify-full)'] : []
  if (/no pg_hba.conf entry/.test(message)) return [...encrypt, 'add a line for this host, user and database to pg_hba.conf and reload the server']
  if (encrypt.length > 0) return encrypt
  if (/does not exist/.test(message)) return ['the role does not exist: CREATE ROLE … LOGIN, or correct the user name']
  if (/not permitted to log in/.test(message)) return ['ALTER ROLE … LOGIN']
  return ['see pg_hba.conf of the server']
}

const certificateHints = ['give the certificate of the authority that signed it: sslrootcert=FILE', 'without any check (not advised): sslmode=require']

function judgeNetwork(error: unknown, target: ConnectionTarget): Judgement {
  const code = networkCodeOf(error)
  const failed = (why: string, ...hints: readonly string[]): Judgement => ['connection-failed', why, hints]
  switch (code) {
    case 'ECONNREFUSED':
      return failed(
        'nothing listens there',
        `is the server running? try: pg_isready -h ${target.host ?? '/var/run/postgresql'} -p ${target.port}`,
        'is the port right?',
      )
    case 'ENOENT':
      return failed('there is no such socket', 'is the server running on this machine?', 'name the host, or the socket directory: ?host=/run/postgresql')
    case 'EACCES':
      return failed('this account may not use the socket', 'run as an account that may, or connect by TCP')
    case 'ENOTFOUND':
      return failed('the host name is not known', 'is it spelled right? try: getent hosts ' + (target.host ?? ''))
    case 'EAI_AGAIN':
      return failed('the name server does not answer', 'is the network up?')
    case 'ETIMEDOUT':
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return failed('the host cannot be reached', 'is there a firewall in between? is this address on the allow-list of the server?')
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return failed(
        "the server's certificate is for another host name",
        'connect by the name in the certificate',
        'or check the signature only: sslmode=verify-ca',
      )
    case 'CERT_HAS_EXPIRED':
    case 'CERT_NOT_YET_VALID':
      return failed("the server's certificate has expired or is not valid yet", "renew it, or check this machine's clock")
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'SELF_SIGNED_CERT_IN_CHAIN':
      return failed("the server's certificate is not signed by an authority that is trusted here", ...certificateHints)
    case 'CERT_REVOKED':
      return failed("the server's certificate has been revoked", 'it needs a new one')
    default:
  }
  const message = messageOf(error)
  if (/does not support SSL/.test(message))
    return failed('the server does not offer TLS', 'turn ssl on in postgresql.conf, or use sslmode=disable on a trusted network')
  if (/timeout expired/.test(message))
    return failed(`no answer within ${target.connectTimeoutSeconds} s`, 'is there a firewall in between? is this address on the allow-list of the server?')
  if (/terminated unexpectedly|ECONNRESET/.test(message))
    return failed('the server ended the connection at once', 'is this really the port of PostgreSQL? what does its log say?')
  return failed(message)
}

/** Node tries all addresses of a name and gathers the failures. */
function networkCodeOf(error: unknown): string | undefined {
  if (error instanceof AggregateError && error.errors.length > 0) return systemCodeOf(error) ?? networkCodeOf(error.errors[0])
  return systemCodeOf(error)
}
