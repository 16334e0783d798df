import type { ContainerAccess } from './container.ts'
import { passFileLine, readPassFile } from './connection-files.ts'
import type { Secret } from '../kernel/secret.ts'
import { quoteConninfo } from './identifiers.ts'
import type { PrivateFiles } from './private-files.ts'
import type { ConnectionTarget } from './target.ts'
import { trustedAuthorities } from './tls-options.ts'

export interface ClientConnection {
  /** The whole environment of the program. */
  readonly environment: Readonly<Record<string, string>>
  /** `--dbname=…` and `--no-password`; never a password, never a positional argument. */
  readonly args: readonly string[]
  /** Known now, for masking. */
  readonly password: Secret | null
}

export interface ClientConnectionOptions {
  readonly applicationName: string
  readonly database: string
  /** Run-time settings, by PGOPTIONS. */
  readonly settings?: Readonly<Record<string, string>>
}

/** libpq parameters that may stand in a URL and have a variable; older libpqs ignore variables they do not know, unlike parameters. */
const variables: Readonly<Record<string, string>> = {
  hostaddr: 'PGHOSTADDR',
  channel_binding: 'PGCHANNELBINDING',
  gssencmode: 'PGGSSENCMODE',
  krbsrvname: 'PGKRBSRVNAME',
  gsslib: 'PGGSSLIB',
  load_balance_hosts: 'PGLOADBALANCEHOSTS',
  require_auth: 'PGREQUIREAUTH',
  requirepeer: 'PGREQUIREPEER',
  sslcertmode: 'PGSSLCERTMODE',
  sslcompression: 'PGSSLCOMPRESSION',
  sslcrl: 'PGSSLCRL',
  sslcrldir: 'PGSSLCRLDIR',
  sslnegotiation: 'PGSSLNEGOTIATION',
  sslsni: 'PGSSLSNI',
  ssl_min_protocol_version: 'PGSSLMINPROTOCOLVERSION',
  ssl_max_protocol_version: 'PGSSLMAXPROTOCOLVERSION',
  target_session_attrs: 'PGTARGETSESSIONATTRS',
}

/** Parameters without a variable, known to every libpq since 12. */
const conninfoOnly = ['keepalives', 'keepalives_idle', 'keepalives_interval', 'keepalives_count', 'tcp_user_timeout']

/** Parameters of the URL that neither we nor client programs use (`schema=…` of an ORM, say); worth a note. */
export function unusedParameters(target: ConnectionTarget): readonly string[] {
  const ours = ['options', 'application_name', 'fallback_application_name', 'client_encoding', ...conninfoOnly]
  return Object.keys(target.parameters).filter((name) => variables[name] === undefined && !ours.includes(name))
}

/** How a client program on this host is told where to connect. */
export async function hostConnection(target: ConnectionTarget, options: ClientConnectionOptions, files: PrivateFiles): Promise<ClientConnection> {
  const place = { ...target, database: options.database }
  const password = target.password ?? (target.passFile === null ? null : await readPassFile(target.passFile, place))
  const environment: Record<string, string> = {
    PATH: '/usr/local/bin:/usr/bin:/bin',
    // No ~/.pgpass, ~/.postgresql or ~/.pg_service.conf of whoever runs us: the target says everything.
    HOME: '/nonexistent',
    LC_ALL: 'C',
    PGSYSCONFDIR: '/nonexistent',
    PGSERVICEFILE: '/nonexistent/pg_service.conf',
    PGPASSFILE: password === null ? '/nonexistent/pgpass' : await files.add(passFileLine(password)),
    PGPORT: String(target.port),
    PGUSER: target.user,
    PGCONNECT_TIMEOUT: String(target.connectTimeoutSeconds),
    PGGSSENCMODE: 'disable',
    ...commonVariables(target, options),
    ...(await tlsVariables(target, files)),
  }
  if (target.host !== null) environment['PGHOST'] = target.host
  for (const [name, value] of Object.entries(target.parameters)) {
    const variable = variables[name]
    if (variable !== undefined) environment[variable] = value
  }
  const keepalives = conninfoOnly.flatMap((name) => (target.parameters[name] === undefined ? [] : [`${name}=${quoteConninfo(target.parameters[name])}`]))
  return { environment, args: ['--no-password', `--dbname=${[`dbname=${quoteConninfo(options.database)}`, ...keepalives].join(' ')}`], password }
}

/** The same inside a container: by its socket, where the host's address and certificates mean nothing. */
export async function containerConnection(
  target: ConnectionTarget,
  options: ClientConnectionOptions,
  access: ContainerAccess,
): Promise<ClientConnection & { secret: Record<string, string> }> {
  const wanted = access.password === 'environment'
  const password = !wanted
    ? null
    : (target.password ?? (target.passFile === null ? null : await readPassFile(target.passFile, { ...target, database: options.database })))
  return {
    environment: { LC_ALL: 'C', ...commonVariables(target, options) },
    secret: password === null ? {} : { PGPASSWORD: password.reveal() },
    args: ['--no-password', `--username=${target.user}`, `--dbname=dbname=${quoteConninfo(options.database)}`],
    password,
  }
}

function commonVariables(target: ConnectionTarget, options: ClientConnectionOptions): Record<string, string> {
  const given = target.parameters['options']
  const all = [given ?? '', pgOptions(options.settings ?? {})].filter((part) => part !== '').join(' ')
  return { PGAPPNAME: options.applicationName, ...(all === '' ? {} : { PGOPTIONS: all }) }
}

/** The value of PGOPTIONS that sets `settings`. In it spaces separate, and a backslash takes their meaning (pg_split_opts). */
export function pgOptions(settings: Readonly<Record<string, string>>): string {
  return Object.entries(settings)
    .map(([name, value]) => `-c ${`${name}=${value}`.replace(/[\s\\]/g, '\\$&')}`)
    .join(' ')
}

async function tlsVariables(target: ConnectionTarget, files: PrivateFiles): Promise<Record<string, string>> {
  const { mode, rootCertFile, certFile, keyFile } = target.tls
  const verifies = mode === 'verify-ca' || mode === 'verify-full'
  // libpq before 16 knows no `system` store, and none of them Node's: both sides get the same list.
  const roots = rootCertFile ?? (verifies ? await files.add([...trustedAuthorities()].join('\n')) : null)
  return {
    PGSSLMODE: mode,
    ...(roots === null ? {} : { PGSSLROOTCERT: roots }),
    ...(certFile === null ? {} : { PGSSLCERT: certFile }),
    ...(keyFile === null ? {} : { PGSSLKEY: keyFile }),
  }
}
