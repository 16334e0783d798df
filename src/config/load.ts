import { readFile, stat } from 'node:fs/promises'
import { availableParallelism, userInfo } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { systemClock } from '../kernel/clock.ts'
import { Failure, messageOf, systemCodeOf } from '../kernel/failure.ts'
import { readServiceFile } from '../postgres/connection-files.ts'
import type { Services } from '../postgres/connection-parameters.ts'
import { buildCluster, fileConnection, type ClusterDefaults, type ClusterSource } from './clusters.ts'
import { parsedService, resolveConnection, type Sourced } from './connection.ts'
import { parseDotenvBytes, type DotenvEntry } from './dotenv.ts'
import { attributed, encryptionUnavailable, readEnvironment, refuseEncryptionVariables, type Environment } from './environment.ts'
import { parsePath, type PathBase } from './file-paths.ts'
import { laterInFile, laterVariables } from './later.ts'
import { addPosix, addS3, fileRepositories, parseRepositoryReference, variableRepositories, type RepositoryParts } from './repositories.ts'
import type { ReferenceContext } from './secrets.ts'
import type { ClusterSettings, Settings } from './settings.ts'
import { parseTimeZone } from './units.ts'
import { parseConfigFile, type ConfigSource } from './yaml-file.ts'

/** The options of the command line that change settings. All optional; a command hands over those it has. */
export interface SettingsFlags {
  /** `--config FILE` */
  readonly config?: string
  /** `--env-file FILE` */
  readonly envFile?: string
  /** `--database-url URL`: replaces the connection of the one cluster, or of `cluster`. */
  readonly databaseUrl?: string
  /** `--cluster NAME`: which one the connection flags mean. */
  readonly cluster?: string
  /** `--admin-url URL`: never stored. */
  readonly adminUrl?: string
  /** `--container NAME` */
  readonly container?: string
  /** `--repo R…`: configured names, directories, `s3://bucket/prefix`. */
  readonly repositories?: readonly string[]
  /** `--pg-bin DIR` */
  readonly pgBin?: string
  readonly format?: string
  readonly compress?: string
  readonly jobs?: number
  /** Any option that asks for sealed backups, by its name (`--encrypt`, `--recipient`, `--passphrase-file`); refused. */
  readonly encryption?: string
}

/** What is outside; every part may be handed in, the rest is the machine's. */
export interface LoadOptions {
  readonly flags?: SettingsFlags
  readonly env?: Readonly<Record<string, string | undefined>>
  readonly cwd?: string
  readonly home?: string | null
  /** The account we run under. */
  readonly user?: string
  /** The machine's time zone. */
  readonly timeZone?: string
  readonly cpus?: number
  /** Looked for when the working directory has no `tidemark.yaml`. */
  readonly systemConfigFile?: string
}

interface Machine {
  readonly flags: SettingsFlags
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  readonly home: string | null
  readonly user: string
  readonly timeZone: string
  readonly cpus: number
  readonly systemConfigFile: string
}

/**
 * The effective settings: flag over process environment over `.env` over default; with a `tidemark.yaml`, variables only fill
 * what it leaves out, and each that does nothing is named in `ignored`. Throws `config-invalid`, `config-contradiction`,
 * `connection-invalid` or `encryption-unavailable` (all exit 2). No cluster at all is no error here: not every command needs one.
 */
export async function loadSettings(options: LoadOptions = {}): Promise<Settings> {
  const machine = machineOf(options)
  if (machine.flags.encryption !== undefined) throw encryptionUnavailable(machine.flags.encryption)
  const { environment, envFile } = await loadEnvironment(machine)
  refuseEncryptionVariables(environment)
  const paths: PathBase = { home: machine.home, directory: machine.cwd }
  const file = await loadConfigFile(machine, environment)
  const references: ReferenceContext | null = file === null ? null : { environment, source: file.source, paths: { home: machine.home, directory: dirname(file.path) } }

  const repositories = await buildRepositories(references, { environment, paths, machine })
  const clusters = await buildClusters(references, { environment, paths, machine, repositories: repositories.written })
  const pgBin = choosePgBin(references, { environment, paths, machine })
  const later = [...(file === null ? [] : laterInFile(file.source)), ...laterVariables(environment, clusters.single, (setting) => writtenIn(file?.source, setting))]
  checkRepositoryNames(clusters.clusters, repositories.parts)

  return deepFreeze({
    clusters: clusters.clusters,
    repositories: repositories.parts.repositories,
    configFile: file?.path ?? null,
    envFile,
    origins: {
      ...clusters.origins,
      ...repositories.parts.origins,
      ...(pgBin === null ? {} : { pgBin: pgBin.origin }),
      ...Object.fromEntries(later.map(({ setting, origin }) => [setting, origin])),
    },
    ignored: environment.ignored(),
    notActing: later,
    notes: clusters.notes,
    warnings: clusters.warnings,
    pgBin: pgBin?.value ?? null,
  })
}

function machineOf(options: LoadOptions): Machine {
  const env = options.env ?? process.env
  return {
    flags: options.flags ?? {},
    env,
    cwd: resolve(options.cwd ?? process.cwd()),
    home: options.home === undefined ? env['HOME'] || null : options.home,
    user: options.user ?? accountName(env),
    timeZone: options.timeZone ?? systemClock.timeZone(),
    cpus: options.cpus ?? availableParallelism(),
    systemConfigFile: options.systemConfigFile ?? '/etc/tidemark/tidemark.yaml',
  }
}

/** Containers run under numbers that no passwd file names; then the environment may. */
function accountName(env: Readonly<Record<string, string | undefined>>): string {
  try {
    return userInfo().username
  } catch {
    return env['USER'] || env['LOGNAME'] || 'postgres'
  }
}

async function loadEnvironment(machine: Machine): Promise<{ environment: Environment; envFile: string | null }> {
  const { flags, cwd, home, env } = machine
  const given = flags.envFile === undefined ? undefined : parsePath(flags.envFile, { home, directory: cwd })
  const path = given ?? join(cwd, '.env')
  const label = flags.envFile ?? '.env'
  let entries: DotenvEntry[] = []
  let envFile: string | null = null
  const bytes = await readOptional(path, label)
  if (bytes === null && given !== undefined) throw new Failure('config-invalid', `cannot read ${label} (--env-file): there is no such file`, { hints: [`ls -l ${path}`] })
  if (bytes !== null) {
    entries = parseDotenvBytes(bytes, { file: label, env, home })
    envFile = path
  }
  return { environment: readEnvironment({ process: env, dotenv: entries, dotenvLabel: basename(label) }), envFile }
}

async function loadConfigFile(machine: Machine, environment: Environment): Promise<{ path: string; source: ConfigSource } | null> {
  const { flags, cwd, home } = machine
  const variable = environment.take('TIDEMARK_CONFIG')
  const asked: Sourced | undefined = flags.config !== undefined ? { value: flags.config, origin: '--config' } : variable === undefined ? undefined : { value: variable.text, origin: variable.origin }
  const candidates = asked === undefined ? [join(cwd, 'tidemark.yaml'), machine.systemConfigFile] : [parsePath(asked.value, { home, directory: cwd })]
  for (const path of candidates) {
    const label = path === join(cwd, basename(path)) ? basename(path) : (asked?.value ?? path)
    const bytes = await readOptional(path, label)
    if (bytes === null) continue
    return { path, source: parseConfigFile(decode(bytes, label), label) }
  }
  if (asked === undefined) return null
  throw new Failure('config-invalid', `cannot read the configuration file ${asked.value} (${asked.origin}): there is no such file`, { hints: ['tidemark init writes one', 'without a file, DATABASE_URL alone is enough'] })
}

function decode(bytes: Uint8Array, label: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (error) {
    throw new Failure('config-invalid', `cannot read ${label}: it is not UTF-8 text`, { cause: error })
  }
}

/** The file's bytes, or null when there is none. A directory or a file we may not read is an error: somebody meant it to count. */
async function readOptional(path: string, label: string): Promise<Uint8Array | null> {
  try {
    return (await stat(path)).isDirectory() ? null : await readFile(path)
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT' || systemCodeOf(error) === 'ENOTDIR') return null
    throw new Failure('config-invalid', `cannot read ${label}: ${messageOf(error)}`, { cause: error, hints: [`ls -l ${path}`] })
  }
}

interface Surroundings {
  readonly environment: Environment
  readonly paths: PathBase
  readonly machine: Machine
}

/** All repositories, and those to write to: what `--repo` names, else all of them. */
async function buildRepositories(references: ReferenceContext | null, { environment, paths, machine }: Surroundings): Promise<{ parts: RepositoryParts; written: Sourced<readonly string[]> }> {
  const flags = (machine.flags.repositories ?? []).map((text) => attributed({ name: '--repo', text, origin: '--repo' }, parseRepositoryReference))
  const configured = references?.source.config.repositories ?? {}
  const fromFile = Object.keys(configured).length > 0
  const parts: RepositoryParts = fromFile && references !== null ? await fileRepositories(configured, references) : variableRepositories({ environment, paths })
  if (fromFile) for (const name of ['BACKUP_DIR', 'BACKUP_DIRECTORY', 'S3_BUCKET_NAME', 'S3_REGION', 'BACKUP_S3_PREFIX']) environment.ignore(name, 'the configuration file lists the repositories')

  const named: string[] = []
  for (const flag of flags) {
    if (flag.kind === 'name') {
      named.push(flag.name)
      continue
    }
    const name = freeName(flag.kind === 'path' ? 'local' : 's3', fromFile ? [...Object.keys(parts.repositories), ...named] : named)
    named.push(name)
    if (flag.kind === 'path') addPosix(parts, { name, path: parsePath(flag.path, paths), origin: '--repo' })
    else addS3(parts, { name, layout: 'flat', written: { bucket: { value: flag.bucket, origin: '--repo' }, prefix: { value: flag.prefix, origin: '--repo' } } }, { environment, paths })
  }
  if (Object.keys(parts.repositories).length === 0) addPosix(parts, { name: 'local', path: resolve(paths.directory, 'backups'), origin: 'default' })
  return { parts, written: named.length > 0 ? { value: named, origin: '--repo' } : { value: Object.keys(parts.repositories), origin: 'default' } }
}

function freeName(wanted: string, taken: readonly string[]): string {
  let name = wanted
  for (let count = 2; taken.includes(name); count++) name = `${wanted}-${count}`
  return name
}

interface BuiltClusters {
  readonly clusters: Record<string, ClusterSettings>
  readonly origins: Record<string, string>
  readonly notes: readonly string[]
  readonly warnings: readonly string[]
  /** The cluster that variables are about, when there is exactly one. */
  readonly single: string | null
}

async function buildClusters(references: ReferenceContext | null, surroundings: Surroundings & { readonly repositories: Sourced<readonly string[]> }): Promise<BuiltClusters> {
  const { environment, paths, machine } = surroundings
  const configured = Object.entries(references?.source.config.clusters ?? {})
  // Without a cluster in the file, the environment may name one; it is then called after its database.
  const sources: (ClusterSource | null)[] = configured.length === 0 ? [null] : configured.map(([name, config]) => ({ name, config, references }))
  if (machine.flags.cluster !== undefined && configured.length > 0 && !configured.some(([name]) => name === machine.flags.cluster)) {
    throw new Failure('usage-invalid', `no cluster is called "${machine.flags.cluster}"`, { hints: [`configured: ${configured.map(([name]) => name).join(', ')}`] })
  }
  if (sources.length > 1 && machine.flags.cluster === undefined && (machine.flags.databaseUrl ?? machine.flags.container) !== undefined) {
    throw new Failure('usage-invalid', 'several clusters are configured, so --database-url and --container need --cluster NAME', { hints: [`configured: ${configured.map(([name]) => name).join(', ')}`] })
  }
  if (sources.length > 1) ignoreConnectionVariables(environment)

  const result: BuiltClusters & { notes: string[]; warnings: string[] } = { clusters: Object.create(null), origins: {}, notes: [], warnings: [], single: null }
  for (const source of sources) {
    const file = source === null ? { inlinePassword: false } : await fileConnection(source)
    const flagged = sources.length === 1 || machine.flags.cluster === source?.name
    const services = await loadServices([machine.flags.databaseUrl, 'url' in file ? file.url.value : undefined, environment.peek('DATABASE_URL')?.text], surroundings)
    const connection = resolveConnection({
      file,
      flagUrl: flagged && machine.flags.databaseUrl !== undefined ? { value: machine.flags.databaseUrl, origin: '--database-url' } : null,
      flagContainer: flagged && machine.flags.container !== undefined ? { value: machine.flags.container, origin: '--container' } : null,
      environment,
      variablesApply: sources.length === 1,
      paths,
      services,
      osUser: machine.user,
    })
    if (connection === null) {
      if (source !== null) throw noConnection(source)
      explainLonelyVariables(environment)
      continue
    }
    const named = source ?? { name: connection.target.database, config: {}, references: null }
    const { cluster, origins } = await buildCluster(named, connection, clusterDefaults(references, surroundings, services))
    result.clusters[named.name] = cluster
    for (const [key, origin] of Object.entries(origins)) result.origins[`clusters.${named.name}.${key}`] = origin
    result.notes.push(...connection.notes)
    if (file.inlinePassword) result.warnings.push(`clusters.${named.name}.url holds a password (${origins['url'] ?? ''}); write it by reference: url: env:DATABASE_URL or file:/path`)
  }
  const names = Object.keys(result.clusters)
  return { ...result, single: names.length === 1 ? (names[0] ?? null) : null }
}

function clusterDefaults(references: ReferenceContext | null, { environment, machine, repositories }: Surroundings & { readonly repositories: Sourced<readonly string[]> }, services: Services): ClusterDefaults {
  const { flags } = machine
  return {
    environment,
    timeZone: defaultZone(references, environment, machine),
    jobs: Math.max(1, Math.min(4, machine.cpus)),
    repositories,
    flags: {
      ...(flags.format === undefined ? {} : { format: flags.format }),
      ...(flags.compress === undefined ? {} : { compress: flags.compress }),
      ...(flags.jobs === undefined ? {} : { jobs: flags.jobs }),
      ...(flags.adminUrl === undefined ? {} : { adminUrl: flags.adminUrl }),
    },
    services,
  }
}

function defaultZone(references: ReferenceContext | null, environment: Environment, machine: Machine): Sourced {
  const written = references?.source.config.timezone
  if (written !== undefined && references !== null) {
    environment.ignore('TZ', `the configuration file sets it (${references.source.originOf(['timezone'])})`)
    return { value: parseTimeZone(written), origin: references.source.originOf(['timezone']) }
  }
  const variable = environment.take('TZ')
  if (variable === undefined) return { value: machine.timeZone, origin: 'default' }
  return { value: attributed(variable, parseTimeZone), origin: variable.origin }
}

function noConnection(source: ClusterSource): Failure {
  const line = source.references?.source.problem(['clusters', source.name], '')
  return new Failure('config-invalid', `cannot use cluster "${source.name}" (${line?.file ?? ''}:${line?.line ?? 0}): neither the file nor the environment says where it is`, {
    hints: ['write url: env:DATABASE_URL under it, or host, user and database, or container'],
  })
}

/** With several clusters a variable such as DB_HOST could mean any of them. */
function ignoreConnectionVariables(environment: Environment): void {
  const named = ['DATABASE_URL', 'DB_HOST', 'DB_PORT', 'DB_USER', 'DB_NAME', 'DB_PASS', 'DB_PASSWORD', 'DATABASE_HOST', 'DATABASE_PORT', 'DATABASE_USERNAME', 'DATABASE_NAME', 'DATABASE_PASSWORD']
  const others = ['POSTGRES_CONTAINER', 'POSTGRES_DB', 'POSTGRES_USER', 'POSTGRES_PASSWORD', 'POSTGRES_HOST', 'POSTGRES_PORT', 'PGHOST', 'PGHOSTADDR', 'PGPORT', 'PGUSER', 'PGDATABASE', 'PGPASSWORD', 'PGSERVICE']
  for (const name of [...named, ...others]) environment.ignore(name, `several clusters are configured; write env:${name} under the one it means`)
}

function explainLonelyVariables(environment: Environment): void {
  for (const name of ['DB_PORT', 'DB_USER', 'DB_PASS', 'DB_PASSWORD', 'DATABASE_PORT', 'DATABASE_USERNAME', 'DATABASE_PASSWORD', 'POSTGRES_PORT', 'POSTGRES_USER', 'POSTGRES_PASSWORD', 'PGUSER', 'PGPASSWORD', 'PGPORT']) {
    environment.ignore(name, 'no variable names a server or database, such as DATABASE_URL or DB_NAME')
  }
}

/** Read only when something refers to a service: a broken service file is then worth an error, and else nobody's business. */
async function loadServices(urls: readonly (string | undefined)[], { environment, paths, machine }: Surroundings): Promise<Services> {
  const refers = environment.peek('PGSERVICE') !== undefined || urls.some((url) => url !== undefined && parsedService(url) !== undefined)
  if (!refers) return new Map()
  const variable = environment.take('PGSERVICEFILE')
  if (variable !== undefined) return await readServiceFile(attributed(variable, (text) => parsePath(text, paths)))
  const system = join(machine.env['PGSYSCONFDIR'] || '/etc/postgresql-common', 'pg_service.conf')
  const own = machine.home === null ? new Map() : await readServiceFile(join(machine.home, '.pg_service.conf'))
  return new Map([...(await readServiceFile(system)), ...own])
}

function choosePgBin(references: ReferenceContext | null, { environment, paths, machine }: Surroundings): Sourced | null {
  if (machine.flags.pgBin !== undefined) return { value: parsePath(machine.flags.pgBin, paths), origin: '--pg-bin' }
  const variable = environment.take('TIDEMARK_PG_BIN')
  if (variable !== undefined) return { value: attributed(variable, (text) => parsePath(text, paths)), origin: variable.origin }
  const written = references?.source.config.pgBin
  return written === undefined || references === null ? null : { value: parsePath(written, references.paths), origin: references.source.originOf(['pgBin']) }
}

/** `tidemark.yaml:12` when the file already says what a `later` variable says (or the block around it), else null. */
function writtenIn(source: ConfigSource | undefined, setting: string): string | null {
  if (source === undefined) return null
  const [top, ...rest] = setting.split('.')
  const path = top === 'clusters' ? [top, rest[0] ?? '', rest[1] ?? ''] : [top ?? '']
  let value: unknown = source.config
  for (const key of path) value = typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[key] : undefined
  return value === undefined ? null : source.originOf(path)
}

function checkRepositoryNames(clusters: Readonly<Record<string, ClusterSettings>>, parts: RepositoryParts): void {
  for (const cluster of Object.values(clusters)) {
    const unknown = cluster.repositories.find((name) => parts.repositories[name] === undefined)
    if (unknown === undefined) continue
    throw new Failure('config-invalid', `cannot use cluster "${cluster.name}": no repository is called "${unknown}"`, {
      hints: [`configured: ${Object.keys(parts.repositories).join(', ')}`, 'a directory is written with a slash: --repo ./backups'],
    })
  }
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value
  Object.freeze(value)
  for (const inner of Object.values(value)) deepFreeze(inner)
  return value
}
