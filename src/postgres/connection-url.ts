import { Failure } from '../kernel/failure.ts'
import { closest } from '../kernel/suggest.ts'
import { type Services, targetFromParameters } from './connection-parameters.ts'
import { parseConninfo } from './conninfo.ts'
import type { ConnectionTarget } from './target.ts'
import { driverParameters, libpqParameters } from './url-parameters.ts'

export { defaultTarget, formatConnectionUrl } from './connection-parameters.ts'

export interface ConnectionDefaults {
  /** User when the text names none; libpq takes the operating system's, and so do we. */
  readonly user?: string
  /** What `service=` may refer to: the content of pg_service.conf, read by `readServiceFile`. */
  readonly services?: Services
}

/**
 * Reads `postgresql://…`, `postgres://…` or a libpq keyword string (`host=… dbname=…`, `service=…`).
 *
 * Like libpq's URI, but a password may hold any character unencoded as long as only one reading of the URL is possible.
 * When there is more than one, or none, it fails with `connection-invalid` and says what to write; the text itself is
 * never repeated, since nobody can tell which part of it is the password.
 */
export function parseConnectionUrl(text: string, defaults: ConnectionDefaults = {}): ConnectionTarget {
  const trimmed = text.trim()
  if (trimmed === '') throw invalid('the connection URL is empty', [example])
  if (trimmed.includes('\0')) throw invalid('the connection URL holds a NUL character')
  const scheme = /^([A-Za-z][A-Za-z0-9+.-]*):\/\//.exec(trimmed)
  if (scheme === null) {
    if (/^\s*[a-z_]+\s*=/.test(trimmed)) return targetFromParameters(requireKnown(parseConninfo(trimmed), 'password'), defaults)
    throw invalid('the connection URL does not begin with postgresql://', [example])
  }
  const name = (scheme[1] ?? '').toLowerCase()
  // SQLAlchemy and others write postgresql+driver://; what follows is the same.
  if (!/^postgres(ql)?(\+[a-z0-9]+)?$/.test(name)) throw invalid(`the connection URL begins with ${name}://, which is not PostgreSQL`, [example])
  const parameters = parseAuthority(trimmed.slice(scheme[0].length))
  return targetFromParameters(requireKnown(parameters, /[?&]password=/.test(trimmed) ? 'password' : null), defaults)
}

/** libpq refuses what it does not know, and so do we: `sslmod=require` must not connect without TLS. What other drivers use is left to a note. */
function requireKnown(parameters: Record<string, string>, beside: 'password' | null): Record<string, string> {
  const known = [...libpqParameters, 'ssl']
  const unknown = Object.keys(parameters).find((name) => !known.includes(name) && !driverParameters.has(name) && !name.includes('.'))
  if (unknown === undefined) return parameters
  const near = closest(unknown, known) ?? closest(unknown, [...driverParameters])
  // Beside a password, what resembles nothing may be a piece of it that was not quoted or encoded.
  if (near === undefined && beside !== null && parameters[beside] !== undefined)
    throw invalid('the connection has a parameter that neither PostgreSQL nor a common driver knows', [
      'remove it, or encode the password: & as %26; in the form key=value, quote it',
    ])
  throw invalid(`the connection has the parameter "${unknown}", which neither PostgreSQL nor a common driver knows`, [
    ...(near === undefined ? [] : [`did you mean ${near}?`]),
    'else remove it from the URL; a setting of the server is written options=-c%20name%3Dvalue',
  ])
}

const example = 'the form is postgresql://user:password@host:5432/database'

interface Reading {
  readonly user: string | null
  readonly password: string | null
  readonly place: Place
}

interface Place {
  readonly host: string
  readonly port: string
  readonly database: string
  readonly query: readonly (readonly [string, string])[]
}

/** Everything after `://` as libpq parameters. */
function parseAuthority(rest: string): Record<string, string> {
  const reading = chooseReading(rest)
  const parameters: Record<string, string> = {}
  const put = (name: string, value: string) => {
    if (value !== '') parameters[name] = value
  }
  put('host', decode(reading.place.host, 'host'))
  put('port', reading.place.port)
  put('dbname', decode(reading.place.database, 'database name'))
  put('user', decode(reading.user ?? '', 'user name'))
  put('password', decode(reading.password ?? '', 'password'))
  for (const [name, value] of reading.place.query) parameters[decode(name, 'parameter name')] = decode(value, `parameter ${name}`)
  return parameters
}

function chooseReading(rest: string): Reading {
  const readings = possibleReadings(rest)
  const [first, second] = readings
  if (first === undefined) throw noReading(rest)
  if (second === undefined) return first
  // `…/db?application_name=a@b`: everything after the first reading's host is parameters of libpq, so the later @ is a value.
  if (isPlain(first) && first.place.query.length > 0 && first.place.query.every(([name]) => libpqParameters.has(name)) && atSignsOnlyInQuery(first.place))
    return first
  throw invalid(
    'the connection URL can be read in more than one way, because the password (or user, or database name) holds @ : / ? or # as it is',
    encodingHints,
  )
}

/** One reading per place where the user part could end: at each @, or nowhere. Only those whose remainder is well formed. */
function possibleReadings(rest: string): readonly Reading[] {
  const readings: Reading[] = []
  const withoutUser = parsePlace(rest)
  if (withoutUser !== null) readings.push({ user: null, password: null, place: withoutUser })
  for (let at = rest.indexOf('@'); at >= 0; at = rest.indexOf('@', at + 1)) {
    const place = parsePlace(rest.slice(at + 1))
    if (place === null) continue
    const credentials = rest.slice(0, at)
    const colon = credentials.indexOf(':')
    const user = colon < 0 ? credentials : credentials.slice(0, colon)
    if (/[/?#]/.test(user) || (colon < 0 && user.includes('@') && /[/?#]/.test(rest.slice(0, at)))) continue
    readings.push({ user, password: colon < 0 ? null : credentials.slice(colon + 1), place })
  }
  return readings
}

/** `[host][:port][/database][?name=value&…]` read strictly, or null. */
function parsePlace(text: string): Place | null {
  const match =
    /^(?<host>\[[0-9A-Fa-f:.%]+(?:%25[\w.-]+)?\]|(?:[\p{L}\p{N}._-]|%[0-9A-Fa-f]{2})*)(?::(?<port>[0-9]*))?(?:\/(?<database>[^/?#]*))?(?:\?(?<query>.*))?$/su.exec(
      text,
    )
  if (match === null) return null
  const { host = '', port = '', database = '', query = '' } = match.groups ?? {}
  const pairs: (readonly [string, string])[] = []
  for (const pair of query === '' ? [] : query.split('&')) {
    const equals = pair.indexOf('=')
    if (equals < 1 || !/^[A-Za-z_][\w.-]*$/.test(pair.slice(0, equals))) return null
    pairs.push([pair.slice(0, equals), pair.slice(equals + 1)])
  }
  return { host: host.startsWith('[') ? host.slice(1, -1) : host, port, database, query: pairs }
}

function isPlain(reading: Reading): boolean {
  return !/[/?#@]/.test(`${reading.user ?? ''}${reading.password ?? ''}`)
}

function atSignsOnlyInQuery(place: Place): boolean {
  return !place.database.includes('@')
}

/** Percent-decoding that leaves a lone % alone, as long as it cannot have been meant otherwise. */
function decode(text: string, what: string): string {
  const encoded = /%[0-9A-Fa-f]{2}/.test(text)
  const lone = /%(?![0-9A-Fa-f]{2})/.test(text)
  if (!encoded) return text
  if (lone)
    throw invalid(`the ${what} in the connection URL holds % both as itself and before two hexadecimal digits, so its meaning is not certain`, encodingHints)
  if (/%00/.test(text)) throw invalid(`the ${what} in the connection URL holds %00, which PostgreSQL cannot take`)
  try {
    return decodeURIComponent(text)
  } catch (error) {
    throw invalid(`the ${what} in the connection URL holds a % sequence that is not UTF-8, so its meaning is not certain`, encodingHints, error)
  }
}

const encodingHints = [
  'write these characters of the password in their encoded form: % as %25, @ as %40, : as %3A, / as %2F, ? as %3F, # as %23',
  'or leave the password out of the URL and give it by itself (PGPASSWORD, DB_PASS, or a PGPASSFILE)',
]

function noReading(rest: string): Failure {
  const hints = [example, ...encodingHints]
  if (/:[^/@]*:\/\//.test(rest)) hints.unshift('two URLs seem to be joined together')
  const behindLast = rest.slice(rest.lastIndexOf('@') + 1)
  if (/^[^/?]+,/.test(behindLast)) return severalHosts()
  const port = /:([^/@?:\]]*)(?:[/?]|$)/.exec(behindLast)?.[1]
  // Behind the last @ there is no password, so this much may be said.
  if (rest.includes('@') && port !== undefined && port !== '' && !/^\d+$/.test(port)) return invalid('the port in the connection URL is not a number', hints)
  return invalid('the connection URL cannot be understood: what follows the password is not host:port/database', hints)
}

function severalHosts(): Failure {
  return invalid('the connection URL names several hosts', ['name the one host to back up from, or a name that always leads to the primary'])
}

function invalid(message: string, hints: readonly string[] = [], cause?: unknown): Failure {
  return new Failure('connection-invalid', message, { hints, cause })
}
