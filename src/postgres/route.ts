import { connect } from 'node:net'
import { once } from 'node:events'
import type { Emit } from '../kernel/event.ts'
import { Failure, isFailure, messageOf } from '../kernel/failure.ts'
import { type ClientTool, clientToolNames, type ClientTools, groupByVersion, parseToolVersion } from './client-tools.ts'
import { type ContainerAccess, type DockerAccess, dockerEnvironment, nameOfContainer, runInContainer } from './container.ts'
import { containerDatabaseArgument, openContainerSession, psqlRefusal } from './container-session.ts'
import { openDirectSession } from './direct-session.ts'
import { runProgram } from './run-program.ts'
import type { Session, SessionOptions } from './session.ts'
import type { ConnectionTarget, ContainerTarget } from './target.ts'

/** How a configured server is reached from here. */
export interface Route {
  /** Where a direct session connects; its host may have been filled in with the container's name. */
  readonly target: ConnectionTarget
  /** Where the client programs run; null = on this host. */
  readonly container: ContainerAccess | null
  readonly session: 'direct' | 'container'
  /** Why, in words; null when there was nothing to choose. */
  readonly note: string | null
}

export interface RouteOptions {
  /** Default: docker in the usual places, with its default socket. */
  readonly docker?: DockerAccess
  readonly signal?: AbortSignal
  readonly emit?: Emit
}

/**
 * Without a container: directly. With one: client programs inside it, and the session by the target's address if something
 * listens there, else by psql inside. Where docker cannot be reached (we are in a container ourselves) the container's name is
 * tried as a host name on the shared network. The choice is emitted as a note.
 */
export async function findRoute(target: ConnectionTarget, options: RouteOptions): Promise<Route> {
  if (target.container === null) return { target, container: null, session: 'direct', note: null }
  const route = await routeToContainer(target, target.container, options)
  if (route.note !== null) options.emit?.({ type: 'note', message: route.note })
  return route
}

async function routeToContainer(target: ConnectionTarget, container: ContainerTarget, options: RouteOptions): Promise<Route> {
  const name = nameOfContainer(container)
  let access: ContainerAccess
  try {
    access = await openContainer(target, container, options)
  } catch (error) {
    const unreachable = isFailure(error) && (error.details['dockerReachable'] === false || error.details['program'] === (options.docker?.program ?? 'docker'))
    if (!unreachable) throw error
    const host = target.host ?? (container.kind === 'container' ? container.name : container.service)
    return {
      target: { ...target, host, container: null },
      container: null,
      session: 'direct',
      note: `docker is not reachable from here (${messageOf(error)}), so ${name} is used as host name ${host}:${target.port}`,
    }
  }
  if (target.host !== null && (await listens(target, options.signal))) {
    return { target, container: access, session: 'direct', note: `client programs run in ${name}; our own session connects to ${target.host}:${target.port}` }
  }
  const why = target.host === null ? 'the server is reached through its socket there' : `nothing answers at ${target.host}:${target.port}`
  return { target, container: access, session: 'container', note: `client programs and our own session run in ${name}, because ${why}` }
}

/** A session by the right way, and what goes with it. */
export interface RoutedSession {
  readonly session: Session
  readonly route: Route
  /** The client programs of the container; null where those of this host are to be used (`discoverClientTools`). */
  readonly tools: readonly ClientTools[] | null
}

/** Finds the route, opens the session and, for a container, looks which client programs it has. The caller disposes of `session`. */
export async function openSessionByRoute(target: ConnectionTarget, options: SessionOptions & Pick<RouteOptions, 'docker'>): Promise<RoutedSession> {
  const { docker, ...sessionOptions } = options
  const route = await findRoute(target, {
    ...(docker === undefined ? {} : { docker }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    ...(options.emit === undefined ? {} : { emit: options.emit }),
  })
  const tools = route.container === null ? null : await containerTools(route.container, options.signal)
  try {
    return { session: await openRoutedSession(route, sessionOptions), route, tools }
  } catch (error) {
    // Somebody who asked for a container and reads of an unknown host has to be told why a host was tried.
    if (route.note === null || !isFailure(error, 'connection-failed')) throw error
    throw new Failure(error.code, error.message, { hints: [...error.hints, route.note], cause: error, details: error.details })
  }
}

const usualDocker: DockerAccess = { environment: { PATH: '/usr/local/bin:/usr/bin:/bin' } }

export function openRoutedSession(route: Route, options: SessionOptions): Promise<Session> {
  return route.session === 'container' && route.container !== null
    ? openContainerSession(route.target, route.container, options)
    : openDirectSession(route.target, options)
}

async function containerTools(access: ContainerAccess, signal?: AbortSignal): Promise<readonly ClientTools[]> {
  const tools: ClientTool[] = []
  for (const name of clientToolNames) {
    const run = await runInContainer(access, { command: [name, '--version'] }, signal).catch((error: unknown) => {
      if (isFailure(error, 'tool-missing')) return null
      throw error
    })
    const version = run === null ? null : parseToolVersion(run.stdout)
    if (version !== null) tools.push({ name, path: name, ...version, container: access })
  }
  return groupByVersion(tools)
}

/** Finds out how programs are run in the container, and whether its server wants a password on the socket. */
export async function openContainer(
  target: ConnectionTarget,
  container: ContainerTarget,
  options: Pick<RouteOptions, 'docker' | 'signal'>,
): Promise<ContainerAccess> {
  const given = options.docker ?? usualDocker
  const docker = container.kind === 'compose' ? await withCompose(given) : given
  const probe = {
    command: [
      'psql',
      '--no-psqlrc',
      '--no-password',
      '--tuples-only',
      `--username=${target.user}`,
      containerDatabaseArgument(target.database),
      '--command=SELECT 1',
    ],
    environment: { LC_ALL: 'C' },
  }
  const run = await runInContainer({ container, docker }, probe, options.signal)
  if (run.exitCode === 0) return { container, docker, password: 'not-needed' }
  const said = run.stderr.replace(/^psql: (error: )?/gm, '').trim()
  const wantsPassword = /no password supplied|password authentication failed/.test(said)
  if (wantsPassword && (target.password !== null || target.passFile !== null)) return { container, docker, password: 'environment' }
  throw psqlRefusal(said, target)
}

async function withCompose(docker: DockerAccess): Promise<DockerAccess> {
  const environment = dockerEnvironment(docker)
  const plugin = await runProgram(docker.program ?? 'docker', ['compose', 'version'], { environment })
  if (plugin.exitCode === 0) return { ...docker, composeProgram: 'plugin' }
  const standalone = await runProgram('docker-compose', ['version'], { environment }).catch((error: unknown) => {
    if (isFailure(error, 'tool-missing')) return null
    throw error
  })
  if (standalone?.exitCode === 0) return { ...docker, composeProgram: 'docker-compose' }
  throw new Failure('tool-missing', 'cannot use a compose service: neither "docker compose" nor "docker-compose" is installed', {
    hints: ['sudo apt-get install docker-compose-plugin', 'or name the container instead of the service'],
  })
}

async function listens(target: ConnectionTarget, signal?: AbortSignal): Promise<boolean> {
  if (target.host === null) return false
  const socket = target.host.startsWith('/') ? connect(`${target.host}/.s.PGSQL.${target.port}`) : connect(target.port, target.host)
  try {
    await once(socket, 'connect', {
      signal: AbortSignal.any([AbortSignal.timeout(Math.min(target.connectTimeoutSeconds, 5) * 1_000), ...(signal === undefined ? [] : [signal])]),
    })
    return true
  } catch {
    signal?.throwIfAborted()
    return false
  } finally {
    socket.destroy()
  }
}
