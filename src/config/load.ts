import { readFile, stat } from 'node:fs/promises'
import { availableParallelism, userInfo } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { systemClock } from '../kernel/clock.ts'
import { Failure, messageOf, systemCodeOf } from '../kernel/failure.ts'
import type { Sourced } from './connection.ts'
import { parseDotenvBytes, type DotenvEntry } from './dotenv.ts'
import { chooseEncryption } from './encryption.ts'
import { attributed, readEnvironment, refuseEncryptionVariables, type Environment } from './environment.ts'
import { parsePath, type PathBase } from './file-paths.ts'
import { buildClusters } from './load-clusters.ts'
import { laterVariables } from './later-variables.ts'
import { addPosix, addS3, fileRepositories, parseRepositoryReference, variableRepositories, type RepositoryParts } from './repositories.ts'
import type { ReferenceContext } from './secrets.ts'
import type { ClusterSettings, Directories, NotActing, Settings } from './settings.ts'
import type { Machine, SettingsFlags, Surroundings } from './surroundings.ts'
import type { ConfigSource, SettingPath } from './yaml-file.ts'

export type { SettingsFlags } from './surroundings.ts'

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
  /** Whether we run as root, whose host key lies in /etc. */
  readonly isRoot?: boolean
  /** Looked for when the working directory has no `tidemark.yaml`. */
  readonly systemConfigFile?: string
}

/** What a program that embeds us runs in; the door through which `src/api` sees the process. */
export function thisProcess(): {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  readonly pid: number
  readonly uid: number | null
  readonly cpus: number
} {
  return { env: process.env, cwd: process.cwd(), pid: process.pid, uid: process.getuid?.() ?? null, cpus: availableParallelism() }
}

/**
 * The effective settings: flag over process environment over `.env` over default; with a `tidemark.yaml`, variables only fill
 * what it leaves out, and each that does nothing is named in `ignored`. Throws `config-invalid`, `config-contradiction`,
 * `connection-invalid` or `encryption-unavailable` (all exit 2). No cluster at all is no error here: not every command needs one.
 */
export async function loadSettings(options: LoadOptions = {}): Promise<Settings> {
  const machine = machineOf(options)
  const { environment, envFile } = await loadEnvironment(machine)
  refuseEncryptionVariables(environment)
  const paths: PathBase = { home: machine.home, directory: machine.cwd }
  const file = await loadConfigFile(machine, environment)
  const references: ReferenceContext | null =
    file === null ? null : { environment, source: file.source, paths: { home: machine.home, directory: dirname(file.path) } }

  const repositories = await buildRepositories(references, { environment, paths, machine })
  const clusters = await buildClusters(references, { environment, paths, machine, repositories: repositories.written })
  const pgBin = choosePgBin(references, { environment, paths })
  const directories = chooseDirectories({ environment, paths })
  const { encryption, origins: encryptionOrigins } = await chooseEncryption(references, { environment, paths, machine })
  const later = [...(file?.later ?? []), ...laterVariables(environment, clusters.single, (path) => writtenIn(file?.source, path))]
  checkRepositoryNames(clusters.clusters, repositories.parts)

  return deepFreeze({
    clusters: clusters.clusters,
    unusable: clusters.unusable,
    repositories: encryption.wanted === 'clear' ? allClear(repositories.parts.repositories) : repositories.parts.repositories,
    encryption,
    configFile: file?.path ?? null,
    envFile,
    origins: {
      ...clusters.origins,
      ...repositories.parts.origins,
      ...encryptionOrigins,
      ...(pgBin === null ? {} : { pgBin: pgBin.origin }),
      ...Object.fromEntries(Object.entries(directories).flatMap(([key, chosen]) => (chosen === null ? [] : [[`directories.${key}`, chosen.origin]]))),
      ...Object.fromEntries(later.map(({ setting, origin }) => [setting, origin])),
    },
    ignored: environment.ignored(),
    notActing: later,
    notes: clusters.notes,
    warnings: clusters.warnings,
    pgBin: pgBin?.value ?? null,
    directories: {
      work: directories.work?.value ?? null,
      cache: directories.cache?.value ?? null,
      containerWork: directories.containerWork?.value ?? null,
    },
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
    isRoot: options.isRoot ?? process.getuid?.() === 0,
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
  // A directory `.env` that nobody asked for is a Python environment.
  const isEnvironmentOfPython = given === undefined && (await isDirectory(path))
  const bytes = isEnvironmentOfPython ? null : await readOptional(path, label)
  if (bytes === null && given !== undefined)
    throw new Failure('config-invalid', `cannot read ${label} (--env-file): there is no such file`, { hints: [`ls -l ${path}`] })
  if (bytes !== null) {
    entries = parseDotenvBytes(bytes, { file: label, env, home })
    envFile = path
  }
  return { environment: readEnvironment({ process: env, dotenv: entries, dotenvLabel: basename(label) }), envFile }
}

async function loadConfigFile(machine: Machine, environment: Environment): Promise<{ path: string; source: ConfigSource; later: readonly NotActing[] } | null> {
  const { flags, cwd, home } = machine
  const variable = environment.take('TIDEMARK_CONFIG')
  const asked: Sourced | undefined =
    flags.config !== undefined
      ? { value: flags.config, origin: '--config' }
      : variable === undefined
        ? undefined
        : { value: variable.text, origin: variable.origin }
  const candidates = asked === undefined ? [join(cwd, 'tidemark.yaml'), machine.systemConfigFile] : [parsePath(asked.value, { home, directory: cwd })]
  for (const path of candidates) {
    const label = path === join(cwd, basename(path)) ? basename(path) : (asked?.value ?? path)
    const bytes = await readOptional(path, label)
    if (bytes === null) continue
    // Most runs have no file, and what reads it is a third of the time to start.
    const [{ parseConfigFile }, { laterInFile }] = await Promise.all([import('./yaml-file.ts'), import('./later-in-file.ts')])
    const source = parseConfigFile(decode(bytes, label), label)
    return { path, source, later: laterInFile(source) }
  }
  if (asked === undefined) return null
  throw new Failure('config-invalid', `cannot read the configuration file ${asked.value} (${asked.origin}): there is no such file`, {
    hints: ['tidemark init writes one', 'without a file, DATABASE_URL alone is enough'],
  })
}

function decode(bytes: Uint8Array, label: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (error) {
    throw new Failure('config-invalid', `cannot read ${label}: it is not UTF-8 text`, { cause: error })
  }
}

async function isDirectory(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined)
  // What else may be wrong with the path is said by whoever reads it.
  return found?.isDirectory() === true
}

/**
 * The file's bytes, or null when there is none. One that we may not read is an error, and so is a directory: Docker makes
 * one where a bind-mounted file is missing, and going on without the configuration would do something else than was asked.
 */
async function readOptional(path: string, label: string): Promise<Uint8Array | null> {
  try {
    return await readFile(path)
  } catch (error) {
    const code = systemCodeOf(error)
    if (code === 'ENOENT' || code === 'ENOTDIR') return null
    const hints = code === 'EISDIR' ? ['Docker makes a directory where the file of a bind mount is missing', `ls -ld ${path}`] : [`ls -l ${path}`]
    throw new Failure('config-invalid', `cannot read ${label}: ${code === 'EISDIR' ? 'it is a directory' : messageOf(error)}`, { cause: error, hints })
  }
}

/** All repositories, and those to write to: what `--repo` names, else all of them. */
async function buildRepositories(
  references: ReferenceContext | null,
  { environment, paths, machine }: Surroundings,
): Promise<{ parts: RepositoryParts; written: Sourced<readonly string[]> }> {
  const flags = (machine.flags.repositories ?? []).map((text) => attributed({ name: '--repo', text, origin: '--repo' }, parseRepositoryReference))
  const configured = references?.source.config.repositories ?? {}
  const fromFile = Object.keys(configured).length > 0
  const parts: RepositoryParts = fromFile && references !== null ? await fileRepositories(configured, references) : variableRepositories({ environment, paths })
  if (fromFile)
    for (const name of ['BACKUP_DIR', 'BACKUP_DIRECTORY', 'S3_BUCKET_NAME', 'S3_REGION', 'BACKUP_S3_PREFIX'])
      environment.ignore(name, 'the configuration file lists the repositories')

  const named: string[] = []
  for (const flag of flags) {
    if (flag.kind === 'name') {
      named.push(flag.name)
      continue
    }
    const name = freeName(flag.kind === 'path' ? 'local' : 's3', fromFile ? [...Object.keys(parts.repositories), ...named] : named)
    named.push(name)
    if (flag.kind === 'path') addPosix(parts, { name, path: parsePath(flag.path, paths), origin: '--repo' })
    else
      addS3(
        parts,
        { name, layout: 'flat', written: { bucket: { value: flag.bucket, origin: '--repo' }, prefix: { value: flag.prefix, origin: '--repo' } } },
        { environment, paths },
      )
  }
  if (Object.keys(parts.repositories).length === 0) addPosix(parts, { name: 'local', path: resolve(paths.directory, 'backups'), origin: 'default' })
  return { parts, written: named.length > 0 ? { value: named, origin: '--repo' } : { value: Object.keys(parts.repositories), origin: 'default' } }
}

function allClear(repositories: RepositoryParts['repositories']): RepositoryParts['repositories'] {
  return Object.fromEntries(Object.entries(repositories).map(([name, repository]) => [name, { ...repository, isClear: true }]))
}

function freeName(wanted: string, taken: readonly string[]): string {
  let name = wanted
  for (let count = 2; taken.includes(name); count++) name = `${wanted}-${count}`
  return name
}

function choosePgBin(references: ReferenceContext | null, { environment, paths }: Pick<Surroundings, 'environment' | 'paths'>): Sourced | null {
  const variable = environment.take('TIDEMARK_PG_BIN')
  if (variable !== undefined) return { value: attributed(variable, (text) => parsePath(text, paths)), origin: variable.origin }
  const written = references?.source.config.pgBin
  return written === undefined || references === null ? null : { value: parsePath(written, references.paths), origin: references.source.originOf(['pgBin']) }
}

function chooseDirectories({ environment, paths }: Pick<Surroundings, 'environment' | 'paths'>): Readonly<Record<keyof Directories, Sourced | null>> {
  const taken = (name: string, read: (text: string) => string): Sourced | null => {
    const variable = environment.take(name)
    return variable === undefined ? null : { value: attributed(variable, read), origin: variable.origin }
  }
  const here = (text: string) => parsePath(text, paths)
  // A path of the container, of which this machine knows neither the home nor the working directory.
  return {
    work: taken('TIDEMARK_WORK_DIR', here),
    cache: taken('TIDEMARK_CACHE_DIR', here),
    containerWork: taken('TIDEMARK_CONTAINER_WORK_DIR', (text) => text),
  }
}

/** `tidemark.yaml:12` when the file already has something at `path`, else null. */
function writtenIn(source: ConfigSource | undefined, path: SettingPath): string | null {
  let value: unknown = source?.config
  for (const key of path) value = typeof value === 'object' && value !== null && Object.hasOwn(value, key) ? (value as Record<string, unknown>)[key] : undefined
  return source === undefined || value === undefined ? null : source.originOf(path)
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
