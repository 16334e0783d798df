import { createHash, randomBytes } from 'node:crypto'
import { readlink } from 'node:fs/promises'
import { hostname, platform } from 'node:os'
import type { Context } from '../kernel/context.ts'
import { Failure, messageOf } from '../kernel/failure.ts'
import { endSessions } from './client-sessions.ts'
import { type ContainerAccess, nameOfContainer, runInContainer } from './container.ts'
import { spaceHints } from './container-files.ts'
import { findContainerSpace } from './container-space.ts'
import { ownProcess, startMark } from './process-identity.ts'
import type { ConnectionTarget } from './target.ts'

/** A directory of one run in a container that only our account there can enter. Removed when its scope ends. */
export interface ContainerStage extends AsyncDisposable {
  /** Absolute, in the container. */
  readonly path: string
  /** Application names of programs that work in it begin with this, so that a later run can end what a killed one left. */
  readonly sessionName: (program: 'pg_dump' | 'pg_restore') => string
}

/**
 * `tidemark-<run>-<place>-<pid>-<mark>-<random>`. The owner stands in the name and not in a file, since making a directory is one step that
 * either happened or not. Place and mark are short digests: of the machine, its boot and PID namespace, and of the process's start.
 */
const stageName = /^tidemark-(\d{8}-\d{6}-[0-9a-z]{4})-([0-9a-f]{8})-(\d{1,10})-([0-9a-f]{8})-[0-9a-f]{6}$/
/** A stage whose owner cannot be looked for (other boot, other machine) is left alone for so long, by the container's own clock. */
const unknownOwnerMinutes = 7 * 24 * 60

export interface StageOwner {
  readonly run: string
  /** Where the container's server is reached, to end sessions of killed runs. */
  readonly target: ConnectionTarget
}

/** Makes the stage of a run, after removing those of dead runs. Rejects with `config-invalid` where the directory there cannot be used. */
export async function makeContainerStage(access: ContainerAccess, owner: StageOwner, context: Context): Promise<ContainerStage> {
  await sweepContainerStages(access, owner.target, context)
  const { pid, mark } = await ownProcess()
  const path = `${parentOf(access)}/tidemark-${owner.run}-${await placeMark()}-${pid}-${short(mark)}-${randomBytes(3).toString('hex')}`
  // Not stopped by a cancellation: it could not be known then whether the directory was made.
  const made = await runInContainer(access, { command: ['mkdir', '-m', '700', path], environment: { LC_ALL: 'C' } }, AbortSignal.timeout(60_000))
  if (made.exitCode !== 0) throw cannotUse(access, made.stderr)
  return {
    path,
    sessionName: (program) => sessionName(program, owner.run),
    [Symbol.asyncDispose]: async () => {
      const why = await remove(access, path, context)
      if (why !== null)
        context.emit({
          type: 'warning',
          code: 'clean-up-failed',
          message: `${path} in ${nameOfContainer(access.container)} could not be removed (${why}); the next run removes it`,
        })
    },
  }
}

/**
 * Removes what runs left in the container that are gone (killed, or their machine was restarted), after ending the programs that they left there: killing us
 * ends neither `pg_dump` nor `pg_restore` inside. What cannot be removed fails no run, and is said.
 */
export async function sweepContainerStages(access: ContainerAccess, target: ConnectionTarget, context: Context): Promise<readonly string[]> {
  const swept: string[] = []
  const place = nameOfContainer(access.container)
  const warn = (what: string, why: string) =>
    context.emit({ type: 'warning', code: 'clean-up-failed', message: `${what} in ${place}, left by a run that was killed, could not be removed: ${why}` })
  for (const { path, run } of await orphans(access, context)) {
    for (const program of ['pg_dump', 'pg_restore'] as const) {
      await endSessions(target, access, sessionName(program, run)).catch((error: unknown) =>
        context.emit({ type: 'note', message: `whether ${program} of run ${run} still works in ${place} could not be found out: ${messageOf(error)}` }),
      )
    }
    const why = await remove(access, path, context)
    if (why !== null) {
      warn(path, why)
      continue
    }
    swept.push(path)
    context.emit({ type: 'note', message: `removed ${path} in ${place}, which a run that was killed had left` })
  }
  return swept
}

async function orphans(access: ContainerAccess, context: Context): Promise<readonly { path: string; run: string }[]> {
  const parent = parentOf(access)
  const look = async (...old: string[]) => {
    const command = ['find', parent, '-maxdepth', '1', '-type', 'd', '-name', 'tidemark-*', ...old]
    const run = await runInContainer(access, { command, environment: { LC_ALL: 'C' } }, context.signal)
    return run.stdout.split('\n').flatMap((path) => {
      const [, id = '', place = '', pid = '', mark = ''] = stageName.exec(path.slice(parent.length + 1)) ?? []
      return id === '' ? [] : [{ path, run: id, place, pid: Number(pid), mark }]
    })
  }
  try {
    const all = await look()
    if (all.length === 0) return []
    const here = await placeMark()
    const old = new Set((await look('-mmin', `+${unknownOwnerMinutes}`)).map(({ path }) => path))
    const dead = await Promise.all(
      all.map(async ({ place, pid, mark, path }) => {
        if (place !== here) return old.has(path)
        const living = await startMark(pid)
        return living === null || short(living) !== mark
      }),
    )
    return all.filter((_, index) => dead[index])
  } catch (error) {
    context.signal.throwIfAborted()
    context.emit({ type: 'note', message: `left-overs of killed runs were not looked for in ${nameOfContainer(access.container)}: ${messageOf(error)}` })
    return []
  }
}

/** Why it could not be removed, or null. Goes on when the run is cancelled: that is when it matters. */
async function remove(access: ContainerAccess, path: string, context: Context): Promise<string | null> {
  let why = ''
  // A pg_dump that was just ended may still make a file, and then its directory is not empty.
  for (let tries = 0; tries < 10; tries += 1) {
    if (tries > 0) await context.clock.sleep(200)
    try {
      const run = await runInContainer(access, { command: ['rm', '-rf', path], environment: { LC_ALL: 'C' } }, AbortSignal.timeout(120_000))
      if (run.exitCode === 0) return null
      why = run.stderr.trim().split('\n')[0] ?? ''
    } catch (error) {
      return messageOf(error)
    }
  }
  return why
}

/** Refuses (`space-low`) when the stage's file system has less than `bytes` free. `what` says what is to be put there, and how sure that number is. */
export async function requireContainerSpace(
  access: ContainerAccess,
  stage: ContainerStage,
  needed: { readonly bytes: number; readonly what: string },
  context: Context,
): Promise<void> {
  const found = await findContainerSpace(access, stage.path, context.signal)
  if (found.freeBytes === null)
    throw new Failure('tool-failed', `the free space in ${nameOfContainer(access.container)} cannot be found out: ${found.said}`, { hints: spaceHints(access) })
  if (found.freeBytes >= needed.bytes) return
  throw new Failure(
    'space-low',
    `${parentOf(access)} in ${nameOfContainer(access.container)} has ${mebibytes(Math.floor, found.freeBytes)} MiB free; ${needed.what} ${mebibytes(Math.ceil, needed.bytes)} MiB`,
    { hints: spaceHints(access) },
  )
}

function mebibytes(round: (value: number) => number, bytes: number): number {
  return round(bytes / 1_048_576)
}

function sessionName(program: string, run: string): string {
  return `tidemark ${program} ${run}`
}

function parentOf(access: ContainerAccess): string {
  const parent = access.docker.workDirectory ?? '/tmp'
  if (!/^\/[^\n]*$/.test(parent))
    throw new Failure('config-invalid', `TIDEMARK_CONTAINER_WORK_DIR must be an absolute path in the container, and is "${parent}"`)
  return parent.replace(/\/+$/, '')
}

function cannotUse(access: ContainerAccess, stderr: string): Failure {
  const said = stderr.trim().split('\n')[0] ?? ''
  const parent = parentOf(access)
  if (/No space left on device|Disk quota exceeded/.test(said))
    return new Failure('space-low', `there is no space left in ${parent} in ${nameOfContainer(access.container)}`, { hints: spaceHints(access) })
  const look =
    access.container.kind === 'container'
      ? `docker exec ${access.container.name} ls -ld ${parent}`
      : `docker compose exec ${access.container.service} ls -ld ${parent}`
  return new Failure(
    'config-invalid',
    `${parent} in ${nameOfContainer(access.container)} cannot be used for temporary files: ${said.replace(/^mkdir: /, '')}`,
    {
      hints: ['name a directory there that can be written to: TIDEMARK_CONTAINER_WORK_DIR=/directory', 'for a backup: --format custom needs none', look],
    },
  )
}

/** Tells this machine, boot and PID namespace from others: only here can a PID be looked up. */
async function placeMark(): Promise<string> {
  if (platform() !== 'linux') return short(hostname())
  const { mark } = await ownProcess()
  return short(`${hostname()}/${mark.split('/')[0] ?? ''}/${await readlink('/proc/self/ns/pid')}`)
}

function short(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 8)
}
