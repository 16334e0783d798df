import { Failure, isFailure } from '../kernel/failure.ts'
import { Secret } from '../kernel/secret.ts'
import type { Services } from '../postgres/connection-parameters.ts'
import { defaultTarget, parseConnectionUrl } from '../postgres/connection-url.ts'
import type { ConnectionTarget, ContainerTarget, TlsOptions } from '../postgres/target.ts'
import { agreeing, contradiction, type Environment, type VariableValue } from './environment.ts'
import { applyParameters, chooseContainer, choosePassFile, chooseTimeout, chooseTls } from './connection-options.ts'
import type { PathBase } from './file-paths.ts'
import { parseInteger, portBounds } from './units.ts'

/** One connection part or option with the place it came from. */
export interface Sourced<T = string> {
  readonly value: T
  readonly origin: string
}

/** What a configuration file says about a connection, its references already followed. */
export interface FileConnection {
  readonly url?: Sourced
  readonly host?: Sourced
  readonly port?: Sourced<number>
  readonly user?: Sourced
  readonly database?: Sourced
  readonly password?: Sourced
  readonly passFile?: Sourced
  readonly tls?: Sourced<Partial<TlsOptions>>
  readonly connectTimeoutSeconds?: Sourced<number>
  readonly container?: Sourced<ContainerTarget>
}

export interface ConnectionSources {
  readonly file: FileConnection
  /** `--database-url` */
  readonly flagUrl: Sourced | null
  /** `--container` */
  readonly flagContainer: Sourced | null
  readonly environment: Environment
  /** False when several clusters are configured: then no variable can mean just one of them. */
  readonly variablesApply: boolean
  readonly paths: PathBase
  /** What `service=` and PGSERVICE may refer to; empty when no service file was read. */
  readonly services: Services
  /** The account we run under: libpq's default user. */
  readonly osUser: string
}

export interface Connection {
  readonly target: ConnectionTarget
  /** Origin by field: `url`, `host`, `port`, `user`, `database`, `password`, … */
  readonly origins: Readonly<Record<string, string>>
  readonly notes: readonly string[]
  /** What works and may not be meant. */
  readonly warnings: readonly string[]
}

type Part = 'host' | 'port' | 'user' | 'database' | 'password'

/** Variables by the part of the connection they name, in the families of the seeds. */
const families = {
  /** Override the same part of the URL. */
  override: { host: ['DB_HOST'], port: ['DB_PORT'], user: ['DB_USER'], database: ['DB_NAME'], password: ['DB_PASS', 'DB_PASSWORD'] },
  /** Count only without a URL. */
  withoutUrl: {
    host: ['DATABASE_HOST', 'POSTGRES_HOST'],
    port: ['DATABASE_PORT', 'POSTGRES_PORT'],
    user: ['DATABASE_USERNAME', 'POSTGRES_USER'],
    database: ['DATABASE_NAME', 'POSTGRES_DB'],
    password: ['DATABASE_PASSWORD', 'POSTGRES_PASSWORD'],
  },
  /** libpq's own: fill what nothing else says. */
  libpq: { host: ['PGHOST'], port: ['PGPORT'], user: ['PGUSER'], database: ['PGDATABASE'], password: ['PGPASSWORD'] },
} as const satisfies Record<string, Record<Part, readonly string[]>>

const parts: readonly Part[] = ['host', 'port', 'user', 'database', 'password']

/**
 * The connection that flag, file and environment add up to, or null when none of them names a server or database.
 * Throws `config-contradiction` when two variables name the same part differently and neither comes first by rule.
 */
export function resolveConnection(sources: ConnectionSources): Connection | null {
  const { file } = sources
  const origins: Record<string, string> = {}
  const notes: string[] = []

  const url = chooseUrl(sources)
  if (url === null && !namesServer(sources)) return null
  const parsed = url === null ? null : parseUrl(url, sources.services)
  const explicit = new Set<Part>(url === null || parsed === null ? [] : explicitParts(url.value, parsed, sources.services))
  if (url !== null) origins['url'] = url.origin
  const values = new Map<Part, string>()
  const set = (part: Part, value: string, origin: string) => {
    values.set(part, value)
    origins[part] = origin
    explicit.add(part)
  }

  for (const part of parts) {
    const own = file[part]
    if (own !== undefined && sources.flagUrl === null) set(part, String(own.value), own.origin)
  }
  if (sources.variablesApply) applyVariables({ sources, url, explicit, set, notes })

  const container = chooseContainer(sources, origins)
  // The superuser of the postgres image, where nothing but its container is named.
  const usualUser = container !== null && url === null ? 'postgres' : sources.osUser
  const user = values.get('user') ?? (explicit.has('user') ? parsed?.user : undefined) ?? usualUser
  const base = parsed ?? defaultTarget(user)
  const host = values.get('host')
  const password = values.get('password')
  const parameters: Record<string, string> = { ...base.parameters }
  // An address that belonged to the URL's host must not be dialled for another one.
  if (host !== undefined && host !== base.host) delete parameters['hostaddr']
  applyParameters(sources, parameters, origins)

  const target: ConnectionTarget = {
    host: host ?? base.host,
    port: values.has('port') ? parseInteger(values.get('port') ?? '', portBounds) : base.port,
    user,
    database: values.get('database') ?? (explicit.has('database') ? base.database : user),
    password: password === undefined ? base.password : new Secret(password),
    passFile: choosePassFile(sources, { passFile: base.passFile, hasPassword: password !== undefined || base.password !== null }, origins),
    tls: chooseTls(sources, parsed, origins),
    connectTimeoutSeconds: chooseTimeout(sources, base, origins),
    parameters,
    container,
  }
  for (const part of parts) origins[part] ??= url !== null && explicit.has(part) ? url.origin : 'default'
  origins['url'] ??= 'made of the parts'
  const fallback = emptyUrl(sources, target, origins)
  if (fallback?.isMeant === true) notes.push(fallback.text)
  return { target, origins, notes, warnings: fallback?.isMeant === false ? [fallback.text] : [] }
}

/**
 * DATABASE_URL that is set and empty counts as unset, which is worth saying: whoever set it thinks of a database. Where one of the seeds' variables names the database,
 * that is the one; libpq's may have been left over from something else.
 */
function emptyUrl(
  { environment, file, flagUrl, variablesApply }: ConnectionSources,
  { host, port, database }: ConnectionTarget,
  origins: Readonly<Record<string, string>>,
): { text: string; isMeant: boolean } | null {
  const isElsewhere = flagUrl !== null || Object.keys(file).some((key) => key !== 'inlinePassword')
  if (isElsewhere || !variablesApply || !environment.isSet('DATABASE_URL') || environment.peek('DATABASE_URL') !== undefined) return null
  const origin = origins['database'] ?? 'default'
  const used = [...new Set([origins['host'], origins['database'], origins['container']])].filter((each) => each !== undefined && each !== 'default')
  return {
    text: `DATABASE_URL is set and empty, so ${used.join(' and ')} decide${used.length === 1 ? 's' : ''}: database "${database}" on ${host ?? 'the local socket'}:${port}`,
    isMeant: ![...families.libpq.database, 'PGSERVICE'].some((name) => origin.startsWith(`${name} `)) && origin !== 'default',
  }
}

function chooseUrl(sources: ConnectionSources): Sourced | null {
  const { environment, file, flagUrl } = sources
  if (flagUrl !== null) {
    environment.ignore('DATABASE_URL', '--database-url was given')
    return flagUrl
  }
  if (file.url !== undefined) {
    environment.ignore('DATABASE_URL', `the configuration file gives a url (${file.url.origin})`)
    return file.url
  }
  const named = file.host ?? file.database ?? file.user
  if (named !== undefined) {
    environment.ignore('DATABASE_URL', `the configuration file names the connection in parts (${named.origin})`)
    return null
  }
  if (!sources.variablesApply) return null
  const value = environment.take('DATABASE_URL')
  if (value !== undefined) return { value: value.text, origin: value.origin }
  return chooseService(environment)
}

/** PGSERVICE stands where a URL would, unless one of the seeds' variables names the server. */
function chooseService(environment: Environment): Sourced | null {
  const nearer = [families.override, families.withoutUrl]
    .flatMap((family): readonly string[] => [...family.host, ...family.database])
    .find((name) => environment.peek(name) !== undefined)
  if (nearer !== undefined) {
    environment.ignore('PGSERVICE', `${nearer} names the connection`)
    return null
  }
  const service = environment.take('PGSERVICE')
  return service === undefined ? null : { value: `service='${service.text.replaceAll(/[\\']/g, '\\$&')}'`, origin: service.origin }
}

/** Stands for "no user named", so that the account we run under is not mistaken for a choice. */
const noUser = '\u0001'

function parseUrl(url: Sourced, services: Services): ConnectionTarget {
  try {
    return parseConnectionUrl(url.value, { user: noUser, services })
  } catch (error) {
    if (!isFailure(error)) throw error
    throw new Failure(error.code, `cannot use ${url.origin}: ${error.message}`, { cause: error, hints: error.hints, details: error.details })
  }
}

/** Whether anything without a URL names a server or a database; a lone password or user does not. */
function namesServer(sources: ConnectionSources): boolean {
  const { file, environment } = sources
  if (file.host !== undefined || file.database !== undefined || file.container !== undefined || file.user !== undefined || sources.flagContainer !== null)
    return true
  if (!sources.variablesApply) return false
  const naming = [
    ...(['host', 'database'] as const).flatMap((part) => Object.values(families).flatMap((family): readonly string[] => family[part])),
    'POSTGRES_CONTAINER',
    'PGSERVICE',
  ]
  return naming.some((name) => environment.peek(name) !== undefined)
}

interface Application {
  readonly sources: ConnectionSources
  readonly url: Sourced | null
  readonly explicit: ReadonlySet<Part>
  readonly set: (part: Part, value: string, origin: string) => void
  readonly notes: string[]
}

/** Overrides, then what counts without a URL, then libpq's defaults; every variable that does not act is named. */
function applyVariables({ sources, url, explicit, set, notes }: Application): void {
  const { environment, file } = sources
  // A URL from flag or file comes before every variable; one from the environment is overridden by DB_*.
  const fixedUrl = sources.flagUrl ?? file.url
  for (const part of parts) {
    const decidedBy = file[part]?.origin ?? (explicit.has(part) ? fixedUrl?.origin : undefined)
    if (decidedBy !== undefined) {
      for (const family of Object.values(families)) for (const name of family[part]) environment.ignore(name, `the ${part} comes from ${decidedBy}`)
      continue
    }
    const override = agreeing(environment, families.override[part], sameValue(part))
    const other = chooseWithoutUrl(environment, part, { url, override })
    const chosen = override ?? other
    if (chosen !== undefined) {
      if (url !== null && explicit.has(part)) notes.push(`${chosen.origin} overrides the ${part} of ${url.origin}`)
      set(part, chosen.text, chosen.origin)
    }
    // After `set`, so that a part found above is not filled a second time.
    for (const name of families.libpq[part]) {
      const value = explicit.has(part) ? undefined : environment.take(name)
      if (value === undefined) environment.ignore(name, `the ${part} is named elsewhere`)
      else set(part, value.text, value.origin)
    }
  }
}

function chooseWithoutUrl(
  environment: Environment,
  part: Part,
  given: { readonly url: Sourced | null; readonly override: VariableValue | undefined },
): VariableValue | undefined {
  const names: readonly string[] = families.withoutUrl[part]
  if (given.url !== null) {
    for (const name of names) environment.ignore(name, `it counts only without a URL, and ${given.url.origin} is set`)
    return undefined
  }
  const chosen = agreeing(environment, names, sameValue(part))
  if (chosen !== undefined && given.override !== undefined && sameValue(part)(chosen.text) !== sameValue(part)(given.override.text))
    throw contradiction(given.override, chosen)
  return chosen
}

function sameValue(part: Part): (text: string) => string {
  return part === 'port' ? (text) => String(Number(text)) : (text) => text
}

/** Which parts a URL or conninfo text really names, since a parsed target no longer tells a default from a choice. */
function explicitParts(text: string, parsed: ConnectionTarget, services: Services): Part[] {
  const service = parsedService(text)
  const named = { ...(service === undefined ? {} : services.get(service)) }
  const parameter = (name: string) => name in named || new RegExp(`(?:[?&]|^|\\s)${name}\\s*=`).test(text)
  const path = (name: string) => [name, encodeURIComponent(name)].some((written) => text.split('?', 1)[0]?.endsWith(`/${written}`) === true)
  const found: Part[] = []
  if (parsed.host !== null) found.push('host')
  if (parsed.port !== 5432 || /:5432(?=[/?]|$)/.test(text) || parameter('port')) found.push('port')
  if (parsed.user !== noUser) found.push('user')
  if (parsed.database !== parsed.user || path(parsed.database) || parameter('dbname')) found.push('database')
  if (parsed.password !== null) found.push('password')
  return found
}

/** The service a connection text refers to, or undefined. */
export function parsedService(text: string): string | undefined {
  const match = /(?:[?&]|^|\s)service\s*=\s*(?:'((?:[^'\\]|\\.)*)'|([^\s&']+))/s.exec(text)
  return match === null ? undefined : (match[1]?.replaceAll(/\\(.)/gs, '$1') ?? match[2])
}
