import { Failure } from '../kernel/failure.ts'
import type { Services } from '../postgres/connection-parameters.ts'
import { parseConnectionUrl } from '../postgres/connection-url.ts'
import type { ConnectionTarget, ContainerTarget, TlsOptions } from '../postgres/target.ts'
import { defaultCompression, parseCompression, parseZstd } from './compression.ts'
import type { Connection, FileConnection, Sourced } from './connection.ts'
import { attributed, type Environment } from './environment.ts'
import { parsePath } from './file-paths.ts'
import { namePresets, parseNameTemplate } from './name-template.ts'
import type { ClusterConfig } from './schema.ts'
import { resolveReference, type ReferenceContext, type Resolved } from './secrets.ts'
import type { BaseSettings, CheckSettings, ClusterSettings, DrillSettings, DumpSettings } from './settings.ts'
import { parseDuration, parseTimeZone, parseTruth } from './units.ts'
import { parseGzipLevel } from './variable-rules.ts'
import type { SettingPath } from './yaml-file.ts'

export const defaultLockWaitSeconds = 300

/** One cluster as the file writes it, with what is needed to follow its references and to name its lines. */
export interface ClusterSource {
  readonly name: string
  readonly config: ClusterConfig
  /** Null in zero-file mode: then `config` is empty. */
  readonly references: ReferenceContext | null
}

export interface ClusterDefaults {
  readonly environment: Environment
  /** Default time zone: the file's top-level `timezone`, else TZ, else the machine's. */
  readonly timeZone: Sourced
  readonly jobs: number
  readonly repositories: Sourced<readonly string[]>
  readonly services: Services
  /** The account we run under: libpq's default user. */
  readonly osUser: string
}

/** The connection a file gives, references followed. Secrets become known to nobody but the result. */
export async function fileConnection(source: ClusterSource): Promise<FileConnection & { readonly inlinePassword: boolean }> {
  const { config, references } = source
  if (references === null) return { inlinePassword: false }
  const base: SettingPath = ['clusters', source.name]
  const follow = async (key: 'url' | 'host' | 'user' | 'database' | 'password' | 'passFile' | 'container'): Promise<Resolved | undefined> => {
    const written = config[key]
    return written === undefined ? undefined : await resolveReference(written, [...base, key], references)
  }
  const sourced = (resolved: Resolved | undefined): Sourced | undefined =>
    resolved === undefined ? undefined : { value: resolved.text, origin: resolved.origin }
  const [url, host, user, database, password, passFile, container] = [
    await follow('url'),
    await follow('host'),
    await follow('user'),
    await follow('database'),
    await follow('password'),
    await follow('passFile'),
    await follow('container'),
  ]
  const originOf = (key: keyof ClusterConfig) => references.source.originOf([...base, key])
  const result = {
    url: sourced(url),
    host: sourced(host),
    user: sourced(user),
    database: sourced(database),
    password: sourced(password),
    port: config.port === undefined ? undefined : { value: config.port, origin: originOf('port') },
    passFile: passFile === undefined ? undefined : { value: parsePath(passFile.text, references.paths), origin: passFile.origin },
    tls: config.tls === undefined ? undefined : { value: tlsOptions(config.tls, references), origin: originOf('tls') },
    connectTimeoutSeconds:
      config.connectTimeout === undefined ? undefined : { value: parseDuration(config.connectTimeout), origin: originOf('connectTimeout') },
    container: containerOf(source, container, references),
    inlinePassword: url !== undefined && !url.byReference && hasPassword(url.text),
  }
  refuseTwice(config, result.url, references, base)
  return dropUndefined(result)
}

function dropUndefined<T extends object>(object: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as { [K in keyof T]: Exclude<T[K], undefined> }
}

/** In one file, a url and its parts are two answers to one question. */
function refuseTwice(config: ClusterConfig, url: Sourced | undefined, references: ReferenceContext, base: SettingPath): void {
  if (url === undefined) return
  const part = (['host', 'port', 'user', 'database'] as const).find((key) => config[key] !== undefined)
  if (part === undefined) return
  const lines = [references.source.originOf([...base, 'url']), references.source.originOf([...base, part])]
  throw new Failure('config-contradiction', `cluster "${base[1] ?? ''}" gives both url (${lines[0] ?? ''}) and ${part} (${lines[1] ?? ''})`, {
    hints: [`remove ${part}, or write the connection without url`],
  })
}

function hasPassword(url: string): boolean {
  try {
    return parseConnectionUrl(url).password !== null
  } catch {
    // What is wrong with the URL is said when the connection is made from it.
    return false
  }
}

function tlsOptions(written: NonNullable<ClusterConfig['tls']>, references: ReferenceContext): Partial<TlsOptions> {
  const path = (text: string | undefined) => (text === undefined ? undefined : parsePath(text, references.paths))
  return dropUndefined({ mode: written.mode, rootCertFile: path(written.rootCert), certFile: path(written.cert), keyFile: path(written.key) })
}

function containerOf(source: ClusterSource, named: Resolved | undefined, references: ReferenceContext): Sourced<ContainerTarget> | undefined {
  const { compose } = source.config
  const base: SettingPath = ['clusters', source.name]
  if (compose !== undefined && named !== undefined) {
    const [first, second] = ['container', 'compose'].map((key) => references.source.originOf([...base, key]))
    throw new Failure('config-contradiction', `cluster "${source.name}" names both a container (${first ?? ''}) and a compose service (${second ?? ''})`, {
      hints: ['keep the one that names your database'],
    })
  }
  if (named !== undefined) return { value: { kind: 'container', name: named.text }, origin: named.origin }
  if (compose === undefined) return undefined
  const files = typeof compose.files === 'string' ? [compose.files] : (compose.files ?? [])
  return {
    value: { kind: 'compose', service: compose.service, files: files.map((file) => parsePath(file, references.paths)), project: compose.project ?? null },
    origin: references.source.originOf([...base, 'compose']),
  }
}

/** Everything of a cluster but its connection. `origins` gets one entry per setting, without the `clusters.NAME.` in front. */
export async function buildCluster(
  source: ClusterSource,
  connection: Connection,
  defaults: ClusterDefaults,
): Promise<{ readonly cluster: ClusterSettings; readonly origins: Record<string, string> }> {
  const { config, references } = source
  const { environment } = defaults
  const base: SettingPath = ['clusters', source.name]
  const origins: Record<string, string> = { ...connection.origins }
  const originOf = (...path: readonly (string | number)[]) => references?.source.originOf([...base, ...path]) ?? 'default'
  const choose = <T>(path: readonly string[], written: T | undefined, fallback: T): T => {
    origins[path.join('.')] = written === undefined ? 'default' : originOf(...path)
    return written ?? fallback
  }

  const enabledVariable = config.enabled === undefined ? environment.take('BACKUP_ENABLED') : undefined
  if (config.enabled !== undefined) environment.ignore('BACKUP_ENABLED', `the configuration file sets it (${originOf('enabled')})`)
  const enabled = choose(
    ['enabled'],
    config.enabled === undefined ? undefined : parseTruth(config.enabled),
    enabledVariable === undefined || parseTruth(enabledVariable.text),
  )
  if (enabledVariable !== undefined) origins['enabled'] = enabledVariable.origin

  const timeZone = choose(['timezone'], config.timezone === undefined ? undefined : parseTimeZone(config.timezone), defaults.timeZone.value)
  if (config.timezone === undefined) origins['timezone'] = defaults.timeZone.origin
  // What the command line names is meant, whatever the file lists for this cluster.
  const isNamed = defaults.repositories.origin === '--repo'
  const repositories = choose(['repositories'], isNamed ? undefined : config.repositories, [...defaults.repositories.value])
  if (isNamed || config.repositories === undefined) origins['repositories'] = defaults.repositories.origin

  const cluster: ClusterSettings = {
    name: source.name,
    enabled,
    target: connection.target,
    adminTarget: await adminTarget(source, connection.target, defaults, origins),
    dump: dumpSettings(config, defaults, { origins, originOf, choose }),
    base: baseSettings(config, defaults, choose),
    drill: await drillSettings(source, defaults, choose),
    checks: checks(config),
    hooks: {
      beforeRestore: choose(['hooks', 'beforeRestore'], config.hooks?.beforeRestore, null),
      afterRestore: choose(['hooks', 'afterRestore'], config.hooks?.afterRestore, null),
      onFailure: choose(['hooks', 'onFailure'], config.hooks?.onFailure, null),
    },
    repositories,
    timeZone,
    lockWaitSeconds: choose(
      ['dump', 'lockWait'],
      config.dump?.lockWait === undefined ? undefined : parseDuration(config.dump.lockWait),
      defaultLockWaitSeconds,
    ),
  }
  origins['checks'] = config.checks === undefined ? 'default' : originOf('checks')
  return { cluster, origins }
}

interface Chooser {
  readonly origins: Record<string, string>
  readonly originOf: (...path: readonly string[]) => string
  readonly choose: <T>(path: readonly string[], written: T | undefined, fallback: T) => T
}

function dumpSettings(config: ClusterConfig, defaults: ClusterDefaults, { origins, originOf, choose }: Chooser): DumpSettings {
  const { environment } = defaults
  const written = config.dump
  const truth = (key: 'globals' | 'fingerprint') => choose(['dump', key], written?.[key] === undefined ? undefined : parseTruth(written[key]), true)
  const compress = written?.compress === undefined ? undefined : parseCompression(written.compress)
  const settings = {
    databases: choose(['dump', 'databases'], written?.databases, []),
    format: choose(['dump', 'format'], written?.format, 'custom'),
    compression: choose(['dump', 'compress'], compress, defaultCompression),
    jobs: choose(['dump', 'jobs'], written?.jobs, defaults.jobs),
    nameTemplate: choose(['dump', 'name'], written?.name === undefined ? undefined : parseNameTemplate(written.name), namePresets.default),
    globals: truth('globals'),
    fingerprint: truth('fingerprint'),
  }
  // One variable means two settings, so either of them in the file decides both.
  const decided =
    written?.format !== undefined
      ? `the configuration file chooses (${originOf('dump', 'format')})`
      : written?.compress !== undefined
        ? `the configuration file chooses (${originOf('dump', 'compress')})`
        : null
  if (decided !== null) environment.ignore('BACKUP_COMPRESSION', decided)
  const level = decided === null ? environment.take('BACKUP_COMPRESSION') : undefined
  if (level !== undefined) {
    settings.format = 'plain'
    settings.compression = { method: 'gzip', level: attributed(level, parseGzipLevel) }
    origins['dump.format'] = origins['dump.compress'] = level.origin
  }
  return settings
}

function baseSettings(config: ClusterConfig, defaults: ClusterDefaults, choose: Chooser['choose']): BaseSettings {
  const written = config.base
  return {
    enabled: choose(['base', 'enabled'], written?.enabled === undefined ? undefined : parseTruth(written.enabled), false),
    // On pages of tables the first level is as small as the third, and much faster.
    level: choose(['base', 'compress'], written?.compress === undefined ? undefined : parseZstd(written.compress).level, 1),
    jobs: choose(['base', 'jobs'], written?.jobs, defaults.jobs),
    reader: choose(['base', 'reader'], written?.reader, 'auto'),
  }
}

async function adminTarget(
  source: ClusterSource,
  target: ConnectionTarget,
  defaults: ClusterDefaults,
  origins: Record<string, string>,
): Promise<ConnectionTarget | null> {
  const written = source.config.adminUrl
  const resolved =
    written === undefined || source.references === null ? undefined : await resolveReference(written, ['clusters', source.name, 'adminUrl'], source.references)
  origins['adminUrl'] = resolved?.origin ?? 'default'
  if (resolved === undefined) return null
  const parsed = attributed({ name: 'adminUrl', text: resolved.text, origin: resolved.origin }, (text) =>
    parseConnectionUrl(text, { user: defaults.osUser, services: defaults.services }),
  )
  // The same server by definition, so the same container leads to it.
  return { ...parsed, container: target.container }
}

async function drillSettings(source: ClusterSource, defaults: ClusterDefaults, choose: Chooser['choose']): Promise<DrillSettings> {
  const written = source.config.drill
  const server = choose(['drill', 'server'], written?.server, 'same')
  const newest = choose(['drill', 'newest'], written?.newest, [])
  const rows = newest.map(({ table, by, rows: count, mask }) => ({ table, by, rows: count ?? 5, mask: mask ?? [] }))
  if (server === 'same' || server === 'embedded' || source.references === null) return { server: server === 'embedded' ? 'embedded' : 'same', newest: rows }
  const resolved = await resolveReference(server, ['clusters', source.name, 'drill', 'server'], source.references)
  return {
    server: attributed({ name: 'drill.server', text: resolved.text, origin: resolved.origin }, (text) =>
      parseConnectionUrl(text, { user: defaults.osUser, services: defaults.services }),
    ),
    newest: rows,
  }
}

/** Only questions in SQL act today; the others are carried in `Settings.notActing`. */
function checks(config: ClusterConfig): CheckSettings[] {
  return (config.checks ?? []).flatMap((check) => ('sql' in check ? [{ sql: check.sql, expect: check.expect }] : []))
}
