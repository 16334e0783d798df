import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { PassThrough, pipeline, type Readable, type Writable } from 'node:stream'
import type { Emit } from '../kernel/event.ts'
import { Failure, messageOf } from '../kernel/failure.ts'
import type { Secret } from '../kernel/secret.ts'
import { containerConnection, hostConnection } from './client-environment.ts'
import { clientFailure, type ProcessEnd } from './client-failure.ts'
import type { ClientTool } from './client-tools.ts'
import { callInContainer, type ProgramCall } from './container.ts'
import { endSessions, lockHolders } from './client-sessions.ts'
import { maskSecrets } from './mask.ts'
import { privateFiles } from './private-files.ts'
import { notStarted } from './run-program.ts'
import type { ConnectionTarget } from './target.ts'

export type { ProcessEnd } from './client-failure.ts'

export interface ClientOptions {
  /** Shown in pg_stat_activity, followed by eight hex digits that make it this run's alone. */
  readonly applicationName: string
  /** Another database than the target's. */
  readonly database?: string
  /** Run-time settings for the program's session, by PGOPTIONS (`TimeZone`, `lock_timeout`, …). */
  readonly settings?: Readonly<Record<string, string>>
  /** `pipe` to feed the program; default: none. */
  readonly stdin?: 'pipe' | 'none'
  /** Aborting cancels the program and its session on the server. */
  readonly signal?: AbortSignal
  /** Told every line of standard error, masked. */
  readonly emit?: Emit
}

/** A running pg_dump, pg_restore or psql. Leaving its scope cancels it. */
export interface ClientProcess extends AsyncDisposable {
  readonly tool: ClientTool
  /** As it appears in pg_stat_activity. */
  readonly applicationName: string
  /** Must be read (or `resume`d), or the program waits for ever. That it ended says nothing yet: ask `requireSuccess`. */
  readonly stdout: Readable
  /** Null unless asked for. When writing fails with EPIPE the reason is in `requireSuccess`. */
  readonly stdin: Writable | null
  /** The first 100 and last 400 lines of standard error, secrets masked. */
  readonly stderrLines: readonly string[]
  /** Resolves when the program is gone and all its output was read; never rejects. */
  readonly ended: Promise<ProcessEnd>
  /** Waits for the end; rejects with a Failure that explains it unless the exit code was 0. */
  requireSuccess(): Promise<void>
  /** Ends the program (SIGINT, SIGTERM, SIGKILL after 5 s) and its session on the server. */
  cancel(): Promise<void>
}

/** Milliseconds between one signal and the next stronger one. */
const patience = [
  ['SIGINT', 2_000],
  ['SIGTERM', 3_000],
  ['SIGKILL', 5_000],
] as const

/** Starts a client program on a target. `args` are the program's own; where to connect is added, and nothing positional should be among them. */
export async function startClient(tool: ClientTool, args: readonly string[], target: ConnectionTarget, options: ClientOptions): Promise<ClientProcess> {
  options.signal?.throwIfAborted()
  const applicationName = `${options.applicationName} ${randomBytes(4).toString('hex')}`
  const wanted = {
    applicationName,
    database: options.database ?? target.database,
    ...(options.settings === undefined ? {} : { settings: options.settings }),
  }
  const place = { ...target, database: wanted.database }
  await using resources = new AsyncDisposableStack()
  const files = resources.use(await privateFiles())
  const { call, password } = await describeCall(tool, args, target, wanted, files, options.stdin === 'pipe')
  const child = spawn(call.program, [...call.args], {
    env: { ...call.environment },
    cwd: '/',
    stdio: [options.stdin === 'pipe' ? 'pipe' : 'ignore', 'pipe', 'pipe', ...files.descriptors],
  })
  await once(child, 'spawn').catch((error: unknown) => {
    throw notStarted(call.program, error)
  })
  return running(child, { tool, place, applicationName, password, options, resources: resources.move() })
}

async function describeCall(
  tool: ClientTool,
  args: readonly string[],
  target: ConnectionTarget,
  wanted: { applicationName: string; database: string; settings?: Readonly<Record<string, string>> },
  files: Awaited<ReturnType<typeof privateFiles>>,
  stdin: boolean,
): Promise<{ call: ProgramCall; password: Secret | null }> {
  if (tool.container === null) {
    const connection = await hostConnection(target, wanted, files)
    return { call: { program: tool.path, args: [...args, ...connection.args], environment: connection.environment }, password: connection.password }
  }
  const connection = await containerConnection(target, wanted, tool.container)
  const call = callInContainer(tool.container, {
    command: [tool.path, ...args, ...connection.args],
    environment: connection.environment,
    secret: connection.secret,
    stdin,
  })
  return { call, password: connection.password }
}

interface Started {
  readonly tool: ClientTool
  readonly place: ConnectionTarget
  readonly applicationName: string
  readonly password: Secret | null
  readonly options: ClientOptions
  readonly resources: AsyncDisposableStack
}

function running(child: ChildProcess, started: Started): ClientProcess {
  const { tool, options } = started
  const { stderr, stdin } = child
  if (child.stdout === null || stderr === null) throw new Error('a child process without pipes')
  const stdout = keepUntilRead(child.stdout)
  const lines = keepLines(stderr, (line) => {
    const masked = maskSecrets(line, [started.password])
    options.emit?.({ type: 'tool-line', tool: tool.name, line: masked })
    return masked
  })
  // A late error (kill refused, say) must not be thrown into nowhere; the end of the process tells what matters.
  child.on('error', (error) => lines.add(messageOf(error)))
  stdin?.on('error', () => undefined)

  let stopping: Promise<void> | null = null
  let isEnded = false
  const cancel = () => (stopping ??= isEnded ? Promise.resolve() : stop(child, stdout, ended, started))
  const onAbort = () => void cancel()
  const ended: Promise<ProcessEnd> = once(child, 'close').then(async ([exitCode, signal]: unknown[]) => {
    isEnded = true
    options.signal?.removeEventListener('abort', onAbort)
    await started.resources.disposeAsync()
    return { exitCode: exitCode as number | null, signal: signal as NodeJS.Signals | null }
  })
  options.signal?.addEventListener('abort', onAbort, { once: true })
  if (options.signal?.aborted === true) onAbort()

  return {
    tool,
    applicationName: started.applicationName,
    stdout,
    stdin,
    get stderrLines() {
      return lines.kept()
    },
    ended,
    cancel,
    async requireSuccess() {
      const end = await ended
      if (options.signal?.aborted === true) {
        await stopping
        options.signal.throwIfAborted()
      }
      if (end.exitCode === 0) return
      if (stopping !== null) throw new Failure('cancelled', `${tool.name} was stopped on request`)
      throw await explained(clientFailure(tool, end, lines.kept(), started.place), lines.kept(), started.place, tool)
    },
    async [Symbol.asyncDispose]() {
      if (!isEnded) await cancel()
      await ended
    },
  }
}

/**
 * When a program exits, Node drains whatever of its output nobody has begun to read, and it is lost. A storage may begin to draw only after
 * a round trip, when a small dump is long over: so somebody reads from the start.
 */
function keepUntilRead(stdout: Readable): Readable {
  const kept = new PassThrough()
  // An error of the pipe destroys `kept` with it, and so reaches the reader.
  pipeline(stdout, kept, () => undefined)
  return kept
}

async function stop(child: ChildProcess, stdout: Readable, ended: Promise<ProcessEnd>, started: Started): Promise<void> {
  // Nobody may be reading any more, and 'close' comes only after all output was taken.
  stdout.resume()
  child.stdin?.destroy()
  // Inside a container the signals end only `docker exec`; there the session must go first, and pg_dump follows it.
  if (started.tool.container !== null) await endTheirSession(started)
  for (const [signal, waitMs] of patience) {
    child.kill(signal)
    if (await endsWithin(ended, waitMs)) break
  }
  // A killed client leaves a backend that waits for a lock or computes until it next tries to write.
  if (started.tool.container === null) await endTheirSession(started)
}

async function endTheirSession(started: Started): Promise<void> {
  try {
    await endSessions(started.place, started.tool.container, started.applicationName)
  } catch (error) {
    started.options.emit?.({
      type: 'warning',
      code: 'session-left',
      message: `the session "${started.applicationName}" may still run on the server: ${messageOf(error)}`,
    })
  }
}

async function endsWithin(ended: Promise<unknown>, ms: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const timer = setTimeout(resolve, ms, false)
  try {
    return await Promise.race([ended.then(() => true), promise])
  } finally {
    clearTimeout(timer)
  }
}

/** A lock timeout is only useful with the name of who holds the lock. */
async function explained(failure: Failure, lines: readonly string[], target: ConnectionTarget, tool: ClientTool): Promise<Failure> {
  if (failure.code !== 'lock-timeout') return failure
  const holders = await lockHolders(target, tool.container, lines).catch((error: unknown) => [`(who holds it cannot be asked: ${messageOf(error)})`])
  return new Failure(failure.code, failure.message, { hints: [...holders, ...failure.hints], details: { ...failure.details, holders } })
}

const keptFirst = 100
const keptLast = 400
const longestLine = 4_096

function keepLines(stream: Readable, see: (line: string) => string): { kept(): readonly string[]; add(line: string): void } {
  const first: string[] = []
  const last: string[] = []
  let rest = ''
  const add = (line: string) => {
    // Masked before it is cut, or half a secret would be left.
    const masked = see(line).slice(0, longestLine)
    if (first.length < keptFirst) first.push(masked)
    else if (last.push(masked) > keptLast) last.shift()
  }
  stream.setEncoding('utf8')
  stream.on('data', (text: string) => {
    const parts = (rest + text).split('\n')
    rest = (parts.pop() ?? '').slice(0, longestLine)
    for (const line of parts) add(line.replace(/\r$/, ''))
  })
  stream.on('end', () => {
    if (rest !== '') add(rest)
    rest = ''
  })
  return { kept: () => [...first, ...last], add }
}
