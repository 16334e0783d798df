import { Failure } from '../kernel/failure.ts'
import { runProgram } from './run-program.ts'
import type { ContainerTarget } from './target.ts'

/** How docker is reached. */
export interface DockerAccess {
  /** Default `docker`. */
  readonly program?: string
  /** PATH, HOME, DOCKER_HOST and the like: the client reads its contexts and sockets from them. Handed in. */
  readonly environment: Readonly<Record<string, string | undefined>>
  /** Whether `docker compose` exists; else `docker-compose` is used. Found by `openContainer`. */
  readonly composeProgram?: 'plugin' | 'docker-compose'
  /** Absolute, in the container: where files lie that are on their way. Default `/tmp`. */
  readonly workDirectory?: string
}

/** A container that we can run programs in. */
export interface ContainerAccess {
  readonly container: ContainerTarget
  readonly docker: DockerAccess
  /** Whether the server wants the password on its socket; it then travels as PGPASSWORD by name, never in an argument. */
  readonly password: 'not-needed' | 'environment'
}

export interface ProgramCall {
  readonly program: string
  readonly args: readonly string[]
  readonly environment: Readonly<Record<string, string>>
}

/** The call that runs a program inside the container. `secret` variables are named in the arguments, their values go through docker's environment. */
export function callInContainer(
  access: Pick<ContainerAccess, 'container' | 'docker'>,
  inside: {
    readonly command: readonly string[]
    readonly environment?: Readonly<Record<string, string>>
    readonly secret?: Readonly<Record<string, string>>
    readonly stdin?: boolean
  },
): ProgramCall {
  const variables = [
    ...Object.entries(inside.environment ?? {}).flatMap(([name, value]) => ['-e', `${name}=${value}`]),
    ...Object.keys(inside.secret ?? {}).flatMap((name) => ['-e', name]),
  ]
  const environment = { ...dockerEnvironment(access.docker), ...inside.secret }
  const docker = access.docker.program ?? 'docker'
  const { container } = access
  if (container.kind === 'container') {
    return { program: docker, args: ['exec', ...(inside.stdin === true ? ['-i'] : []), ...variables, container.name, ...inside.command], environment }
  }
  const base = composeBase(access.docker, container)
  return { program: base.program, args: [...base.args, 'exec', '-T', ...variables, container.service, ...inside.command], environment }
}

function composeBase(docker: DockerAccess, container: ContainerTarget & { kind: 'compose' }): { program: string; args: readonly string[] } {
  const options = [...container.files.flatMap((file) => ['-f', file]), ...(container.project === null ? [] : ['-p', container.project])]
  return docker.composeProgram === 'docker-compose'
    ? { program: 'docker-compose', args: options }
    : { program: docker.program ?? 'docker', args: ['compose', ...options] }
}

export function dockerEnvironment(docker: DockerAccess): Record<string, string> {
  const kept: Record<string, string> = {}
  for (const [name, value] of Object.entries(docker.environment)) {
    if (value !== undefined && /^(PATH|HOME|DOCKER_.*|COMPOSE_.*|XDG_RUNTIME_DIR|SSH_AUTH_SOCK)$/.test(name)) kept[name] = value
  }
  return kept
}

/** `nexo-postgres`, `compose service db`: for messages. */
export function nameOfContainer(container: ContainerTarget): string {
  return container.kind === 'container' ? `container "${container.name}"` : `compose service "${container.service}"`
}

/** What docker itself says when the program inside never ran. Null when the fault is elsewhere. */
export function containerFailure(container: ContainerTarget, exitCode: number | null, stderr: string): Failure | null {
  const name = nameOfContainer(container)
  const start = container.kind === 'compose' ? `docker compose up -d ${container.service}` : `docker start ${container.name}`
  const logs = container.kind === 'compose' ? `docker compose logs --tail 20 ${container.service}` : `docker logs --tail 20 ${container.name}`
  if (/No such container|is not running|no such service|service ".*" is not running|No container found/i.test(stderr)) {
    return new Failure('container-not-running', `cannot run a program in ${name}: ${firstLine(stderr)}`, {
      hints: [start, ...(container.kind === 'container' ? ['with compose: docker compose up -d SERVICE'] : []), `what it said last: ${logs}`],
    })
  }
  if (/Cannot connect to the Docker daemon|permission denied while trying to connect|error during connect/i.test(stderr)) {
    return new Failure('tool-failed', `cannot reach docker for ${name}: ${firstLine(stderr)}`, {
      hints: [
        'is the docker service running, and may this account use it (group docker)?',
        'where Tidemark itself runs in a container, connect by host name instead of container',
      ],
      details: { dockerReachable: false },
    })
  }
  if (exitCode === 126 || exitCode === 127 || /executable file not found/i.test(stderr)) {
    return new Failure('tool-missing', `cannot run a program in ${name}: ${firstLine(stderr)}`, { hints: ['is this the container of the PostgreSQL server?'] })
  }
  return null
}

/** Runs a short program in the container; failures of docker itself are thrown, those of the program are for the caller. */
export async function runInContainer(
  access: Pick<ContainerAccess, 'container' | 'docker'>,
  inside: Parameters<typeof callInContainer>[1],
  signal?: AbortSignal,
): Promise<{ exitCode: number | null; stdout: string; stderr: string }> {
  const call = callInContainer(access, inside)
  const run = await runProgram(call.program, call.args, { environment: call.environment, ...(signal === undefined ? {} : { signal }) })
  if (run.exitCode !== 0) {
    const failure = containerFailure(access.container, run.exitCode, run.stderr)
    if (failure !== null) throw failure
  }
  return run
}

function firstLine(text: string): string {
  return text.trim().split('\n')[0] ?? ''
}
