import { userInfo } from 'node:os'
import { Failure } from '../kernel/failure.ts'
import { Secret } from '../kernel/secret.ts'
import type { ConnectionTarget, TlsOptions } from './target.ts'

/** Sections of pg_service.conf: name → libpq parameters. */
export type Services = ReadonlyMap<string, Readonly<Record<string, string>>>

/** Seconds; libpq waits for ever by default, which no unattended backup should. */
const defaultConnectTimeoutSeconds = 10

/** A server on this machine's default socket, as this account: what libpq would connect to with no parameters at all. */
export function defaultTarget(user: string = userInfo().username): ConnectionTarget {
  return {
    host: null,
    port: 5432,
    user,
    database: user,
    password: null,
    passFile: null,
    tls: { mode: 'prefer', rootCertFile: null, certFile: null, keyFile: null },
    connectTimeoutSeconds: defaultConnectTimeoutSeconds,
    parameters: {},
    container: null,
  }
}

/** libpq parameters as a target. A service's parameters stand below those given beside it. */
export function targetFromParameters(given: Readonly<Record<string, string>>, defaults: { user?: string; services?: Services } = {}): ConnectionTarget {
  const { service, servicefile: _file, ...direct } = given
  const all = service === undefined ? direct : { ...parametersOfService(service, defaults.services), ...direct }
  const { host, port, user, dbname, password, passfile, connect_timeout: connectTimeout, ...others } = all
  if (host?.includes(',') === true || port?.includes(',') === true) {
    throw invalid('the connection names several hosts', ['name the one host to back up from, or a name that always leads to the primary'])
  }
  const { tls, rest } = takeTls(others)
  const base = defaultTarget(user ?? defaults.user)
  return {
    ...base,
    host: host ?? null,
    port: port === undefined ? 5432 : parsePort(port),
    database: dbname ?? base.user,
    password: password === undefined ? null : new Secret(password),
    passFile: passfile ?? null,
    tls,
    connectTimeoutSeconds: connectTimeout === undefined ? defaultConnectTimeoutSeconds : parseSeconds(connectTimeout),
    parameters: rest,
  }
}

function parametersOfService(name: string, services: Services | undefined): Readonly<Record<string, string>> {
  const found = services?.get(name)
  if (found !== undefined) return found
  const known = services === undefined ? [] : [...services.keys()]
  throw invalid(`the connection names the service "${name}", which no pg_service.conf defines`, [
    known.length === 0 ? 'set PGSERVICEFILE to the file that defines it' : `defined are: ${known.join(', ')}`,
  ])
}

function parsePort(text: string): number {
  const port = Number(text)
  if (!/^\d+$/.test(text) || port < 1 || port > 65_535) throw invalid('the port of the connection is not a number from 1 to 65535')
  return port
}

function parseSeconds(text: string): number {
  if (!/^-?\d+$/.test(text)) throw invalid('connect_timeout of the connection is not a whole number of seconds')
  // libpq: zero and negative mean no limit; an hour is the longest anyone can mean.
  return Number(text) <= 0 ? 3_600 : Number(text)
}

const tlsModes = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full'] as const

/** Separates what concerns TLS, with the spellings of node-postgres and of libpq before 9. */
function takeTls(parameters: Readonly<Record<string, string>>): { tls: TlsOptions; rest: Record<string, string> } {
  const { sslmode, ssl, requiressl, sslrootcert, sslcert, sslkey, sslpassword, ...rest } = parameters
  if (sslpassword !== undefined) {
    throw invalid('the connection gives a password for its TLS key (sslpassword), which is not supported', [
      'use a key file without a password, readable only by this account (chmod 600)',
    ])
  }
  const system = sslrootcert === 'system'
  const implied = sslmode ?? (system ? 'verify-full' : isTrue(ssl) || requiressl === '1' ? 'require' : ssl === 'false' || ssl === '0' ? 'disable' : 'prefer')
  const mode = implied === 'no-verify' ? 'require' : tlsModes.find((known) => known === implied)
  if (mode === undefined) throw invalid(`sslmode of the connection is "${implied}"`, [`known are: ${tlsModes.join(', ')}`])
  if (system && mode !== 'verify-full') throw invalid(`sslrootcert=system cannot be combined with sslmode=${mode}`, ['use sslmode=verify-full'])
  // libpq checks the certificate's chain whenever it has a root certificate, even with `require` (documented as backward compatibility).
  const effective = mode === 'require' && implied === mode && sslrootcert !== undefined && sslrootcert !== '' ? 'verify-ca' : mode
  return {
    tls: { mode: effective, rootCertFile: system || sslrootcert === '' ? null : (sslrootcert ?? null), certFile: sslcert ?? null, keyFile: sslkey ?? null },
    rest,
  }
}

function isTrue(text: string | undefined): boolean {
  return text !== undefined && ['true', '1', 'on', 'yes', 'require'].includes(text)
}

/**
 * The target as a URL for people and JSON: parts encoded so that it parses back, the password shown as `***`.
 * A default socket has no host part.
 */
export function formatConnectionUrl(target: ConnectionTarget): string {
  const host = target.host === null ? '' : target.host.includes(':') ? `[${target.host}]` : encodeURIComponent(target.host)
  const credentials = encodeURIComponent(target.user) + (target.password === null ? '' : ':***')
  const query = Object.entries({ ...tlsParameters(target.tls), ...(target.passFile === null ? {} : { passfile: target.passFile }), ...target.parameters })
    .map(([name, value]) => `${name}=${looksSecret(name) ? '***' : encodeURIComponent(value)}`)
    .join('&')
  return `postgresql://${credentials}@${host}:${target.port}/${encodeURIComponent(target.database)}${query === '' ? '' : `?${query}`}`
}

function tlsParameters(tls: TlsOptions): Record<string, string> {
  return {
    ...(tls.mode === 'prefer' ? {} : { sslmode: tls.mode }),
    ...(tls.rootCertFile === null ? {} : { sslrootcert: tls.rootCertFile }),
    ...(tls.certFile === null ? {} : { sslcert: tls.certFile }),
    ...(tls.keyFile === null ? {} : { sslkey: tls.keyFile }),
  }
}

/** Drivers invent parameters; one that sounds like a secret is treated as one. */
function looksSecret(name: string): boolean {
  return /pass|secret|token|key$/i.test(name)
}

function invalid(message: string, hints: readonly string[] = []): Failure {
  return new Failure('connection-invalid', message, { hints })
}
