import { join } from 'node:path'
import { Failure, isFailure } from '../kernel/failure.ts'
import { readServiceFile } from '../postgres/connection-files.ts'
import type { Services } from '../postgres/connection-parameters.ts'
import { buildCluster, fileConnection, type ClusterDefaults, type ClusterSource } from './clusters.ts'
import { parsedService, resolveConnection, type Sourced } from './connection.ts'
import { attributed, type Environment } from './environment.ts'
import { parsePath } from './file-paths.ts'
import type { ReferenceContext } from './secrets.ts'
import type { ClusterSettings } from './settings.ts'
import type { Machine, Surroundings } from './surroundings.ts'
import { isTimeZone, parseTimeZone } from './units.ts'

export interface BuiltClusters {
  readonly clusters: Record<string, ClusterSettings>
  readonly origins: Record<string, string>
  readonly notes: readonly string[]
  readonly warnings: readonly string[]
  /** Clusters of which a reference leads nowhere. */
  readonly unusable: Readonly<Record<string, { readonly message: string; readonly hints: readonly string[] }>>
  /** The cluster that variables are about, when there is exactly one. */
  readonly single: string | null
}

/** Every cluster of the file, or the one that flags and variables name. */
export async function buildClusters(
  references: ReferenceContext | null,
  surroundings: Surroundings & { readonly repositories: Sourced<readonly string[]> },
): Promise<BuiltClusters> {
  const { environment, paths, machine } = surroundings
  const configured = Object.entries(references?.source.config.clusters ?? {})
  // Without a cluster in the file, the environment may name one; it is then called after its database.
  const sources: (ClusterSource | null)[] = configured.length === 0 ? [null] : configured.map(([name, config]) => ({ name, config, references }))
  if (sources.length > 1 && (machine.flags.databaseUrl ?? machine.flags.container) !== undefined) {
    throw new Failure('usage-invalid', 'several clusters are configured, so one database URL or container could mean any of them', {
      hints: [`configured: ${configured.map(([name]) => name).join(', ')}`, 'change the connection of the one that is meant in the configuration file'],
    })
  }
  if (sources.length > 1) ignoreConnectionVariables(environment)

  const unusable: Record<string, { message: string; hints: readonly string[] }> = Object.create(null)
  const result: BuiltClusters & { notes: string[]; warnings: string[] } = {
    clusters: Object.create(null),
    unusable,
    origins: {},
    notes: [],
    warnings: [],
    single: null,
  }
  const addCluster = async (source: ClusterSource | null): Promise<void> => {
    const file = source === null ? { inlinePassword: false } : await fileConnection(source)
    const services = await loadServices(
      [machine.flags.databaseUrl, 'url' in file ? file.url.value : undefined, environment.peek('DATABASE_URL')?.text],
      surroundings,
    )
    const connection = resolveConnection({
      file,
      flagUrl: machine.flags.databaseUrl !== undefined ? { value: machine.flags.databaseUrl, origin: '--database-url' } : null,
      flagContainer: machine.flags.container !== undefined ? { value: machine.flags.container, origin: '--container' } : null,
      environment,
      variablesApply: sources.length === 1,
      paths,
      services,
      osUser: machine.user,
    })
    if (connection === null) {
      if (source !== null) throw noConnection(source)
      explainLonelyVariables(environment)
      return
    }
    const named = source ?? { name: connection.target.database, config: {}, references: null }
    const { cluster, origins } = await buildCluster(named, connection, clusterDefaults(references, surroundings, services))
    result.clusters[named.name] = cluster
    for (const [key, origin] of Object.entries(origins)) result.origins[`clusters.${named.name}.${key}`] = origin
    result.notes.push(...connection.notes)
    result.warnings.push(...connection.warnings)
    if (named.config.ssh !== undefined)
      result.warnings.push(
        `clusters.${named.name}.ssh makes no tunnel in this version: the connection goes straight to ${connection.target.host ?? 'this machine'}`,
      )
    if (file.inlinePassword)
      result.warnings.push(`clusters.${named.name}.url holds a password (${origins['url'] ?? ''}); write it by reference: url: env:DATABASE_URL or file:/path`)
  }
  for (const source of sources) {
    try {
      await addCluster(source)
    } catch (error) {
      // What is about one cluster need not wait for the variable of another.
      if (source === null || sources.length === 1 || !isFailure(error, 'config-invalid') || error.details['unset'] === undefined) throw error
      unusable[source.name] = { message: error.message, hints: error.hints }
    }
  }
  const names = Object.keys(result.clusters)
  return { ...result, single: names.length === 1 && sources.length === 1 ? (names[0] ?? null) : null }
}

function clusterDefaults(
  references: ReferenceContext | null,
  { environment, machine, repositories }: Surroundings & { readonly repositories: Sourced<readonly string[]> },
  services: Services,
): ClusterDefaults {
  return {
    environment,
    timeZone: defaultZone(references, environment, machine),
    jobs: Math.max(1, Math.min(4, machine.cpus)),
    repositories,
    services,
    osUser: machine.user,
  }
}

function defaultZone(references: ReferenceContext | null, environment: Environment, machine: Machine): Sourced {
  const written = references?.source.config.timezone
  if (written !== undefined && references !== null) {
    environment.ignore('TZ', `the configuration file sets it (${references.source.originOf(['timezone'])})`)
    return { value: parseTimeZone(written), origin: references.source.originOf(['timezone']) }
  }
  const variable = environment.peek('TZ')
  if (variable === undefined) return { value: machine.timeZone, origin: 'default' }
  if (!isTimeZone(variable.text)) {
    // POSIX forms such as CET-1CEST are legal for the system; they stop no backup here.
    environment.ignore('TZ', `it is no IANA name such as Europe/Paris, so days are counted in ${machine.timeZone}`)
    return { value: machine.timeZone, origin: 'default' }
  }
  environment.take('TZ')
  return { value: parseTimeZone(variable.text), origin: variable.origin }
}

function noConnection(source: ClusterSource): Failure {
  const line = source.references?.source.problem(['clusters', source.name], '')
  return new Failure(
    'config-invalid',
    `cannot use cluster "${source.name}" (${line?.file ?? ''}:${line?.line ?? 0}): neither the file nor the environment says where it is`,
    {
      hints: ['write url: env:DATABASE_URL under it, or host, user and database, or container'],
    },
  )
}

/** With several clusters a variable such as DB_HOST could mean any of them. */
function ignoreConnectionVariables(environment: Environment): void {
  const named = [
    'DATABASE_URL',
    'DB_HOST',
    'DB_PORT',
    'DB_USER',
    'DB_NAME',
    'DB_PASS',
    'DB_PASSWORD',
    'DATABASE_HOST',
    'DATABASE_PORT',
    'DATABASE_USERNAME',
    'DATABASE_NAME',
    'DATABASE_PASSWORD',
  ]
  const others = [
    'POSTGRES_CONTAINER',
    'POSTGRES_DB',
    'POSTGRES_USER',
    'POSTGRES_PASSWORD',
    'POSTGRES_HOST',
    'POSTGRES_PORT',
    'PGHOST',
    'PGHOSTADDR',
    'PGPORT',
    'PGUSER',
    'PGDATABASE',
    'PGPASSWORD',
    'PGSERVICE',
  ]
  for (const name of [...named, ...others]) environment.ignore(name, `several clusters are configured; write env:${name} under the one it means`)
}

function explainLonelyVariables(environment: Environment): void {
  for (const name of [
    'DB_PORT',
    'DB_USER',
    'DB_PASS',
    'DB_PASSWORD',
    'DATABASE_PORT',
    'DATABASE_USERNAME',
    'DATABASE_PASSWORD',
    'POSTGRES_PORT',
    'POSTGRES_USER',
    'POSTGRES_PASSWORD',
    'PGUSER',
    'PGPASSWORD',
    'PGPORT',
  ]) {
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
