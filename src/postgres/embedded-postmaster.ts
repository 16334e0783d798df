import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { open, readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Failure, isFailure, systemCodeOf } from '../kernel/failure.ts'

/** Whom a server runs as. */
export interface ServerAccount {
  readonly uid: number
  readonly gid: number
}

/** Where the parts of an embedded server are. */
export interface Layout {
  readonly directory: string
  readonly dataDirectory: string
  readonly socketDirectory: string
  readonly logFile: string
}

/** TZ spares initdb the search for the machine's zone and makes clusters alike everywhere. */
export const serverEnvironment = { PATH: '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' }

export interface PostmasterOptions {
  /** Null: ourselves. */
  readonly account: ServerAccount | null
  /** Listen on 127.0.0.1 too. */
  readonly tcp: boolean
  /** 0 with `tcp`: a free one. */
  readonly port: number
  readonly settings: Readonly<Record<string, string>>
  /** How long it may take until connections are accepted: recovery takes as long as there is WAL. Default one minute. */
  readonly longestStartMs?: number
  readonly signal?: AbortSignal
}

export interface Postmaster {
  readonly port: number
  readonly pid: number | null
  stop(): Promise<void>
  kill(): Promise<void>
  start(signal?: AbortSignal): Promise<void>
}

/** Starts the server of an initialised data directory. */
export async function startPostmaster(binDir: string, layout: Layout, how: PostmasterOptions): Promise<Postmaster> {
  const choose = how.tcp && how.port === 0
  for (let attempt = 1; ; attempt += 1) {
    const port = choose ? await freePort() : how.port || 5432
    const server = postmaster(join(binDir, 'postgres'), layout, { ...how, port })
    try {
      await server.start(how.signal)
      return server
    } catch (error) {
      // Between our look and the server's bind somebody else may have taken the port.
      if (choose && attempt < 5 && isFailure(error, 'tool-failed') && error.message.includes('Address already in use')) continue
      throw error
    }
  }
}

function postmaster(program: string, layout: Layout, how: PostmasterOptions): Postmaster {
  const settings = {
    listen_addresses: how.tcp ? '127.0.0.1' : '',
    unix_socket_directories: layout.socketDirectory,
    logging_collector: 'off',
    log_destination: 'stderr',
    ...how.settings,
    port: String(how.port),
  }
  const args = ['-D', layout.dataDirectory, ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])]
  let child: ChildProcess | null = null
  let gone: Promise<unknown> = Promise.resolve()

  async function start(signal?: AbortSignal): Promise<void> {
    if (child !== null) return
    signal?.throwIfAborted()
    await using log = await open(layout.logFile, 'a')
    // Detached: a terminal's Ctrl-C must reach us, not the server, which we may still need to clean up.
    const started = spawn(program, args, { cwd: '/', env: serverEnvironment, detached: true, stdio: ['ignore', log.fd, log.fd], ...how.account })
    child = started
    gone = once(started, 'exit').then(() => (child = null))
    // An error here means it never started; `ready` below sees the end and tells it with the log.
    gone.catch(() => (child = null))
    await ready(started, layout, { longestMs: how.longestStartMs ?? 60_000, signal }).catch(async (error: unknown) => {
      await kill()
      throw error
    })
    started.unref()
  }
  async function stop(): Promise<void> {
    for (const [signal, waitMs] of [
      ['SIGINT', 10_000],
      ['SIGQUIT', 5_000],
      ['SIGKILL', 5_000],
    ] as const) {
      if (child === null) return
      child.ref()
      child.kill(signal)
      const timer = new AbortController()
      await Promise.race([gone, delay(waitMs, undefined, { signal: timer.signal }).catch(() => undefined)])
      timer.abort()
    }
  }
  async function kill(): Promise<void> {
    if (child === null) return
    child.ref()
    child.kill('SIGKILL')
    await gone.catch(() => undefined)
  }
  return {
    port: how.port,
    stop,
    kill,
    start,
    get pid() {
      return child?.pid ?? null
    },
  }
}

/** Waits until the server accepts connections, which it writes as the eighth line of postmaster.pid (miscadmin.h, LOCK_FILE_LINE_PM_STATUS). */
async function ready(
  child: ChildProcess,
  layout: Layout,
  { longestMs, signal }: { readonly longestMs: number; readonly signal: AbortSignal | undefined },
): Promise<void> {
  let failure: unknown = null
  child.on('error', (error) => (failure = error))
  for (let waited = 0; waited < longestMs; waited += 20) {
    if (failure !== null || child.exitCode !== null || child.signalCode !== null) break
    const lines = (await readFile(join(layout.dataDirectory, 'postmaster.pid'), 'utf8').catch(empty)).split('\n')
    if (Number(lines[0]) === child.pid && lines[7]?.trim() === 'ready') return
    await delay(20, undefined, signal === undefined ? {} : { signal })
  }
  throw new Failure('tool-failed', `cannot start the server in ${layout.dataDirectory}: ${(await lastLines(layout.logFile, 6)) || String(failure)}`, {
    cause: failure ?? undefined,
  })
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const address = probe.address()
  probe.close()
  await once(probe, 'close')
  if (address === null || typeof address === 'string') throw new Error('a TCP server without a port')
  return address.port
}

/** The end of a text file. */
export async function lastLines(file: string, count: number): Promise<string> {
  return (await readFile(file, 'utf8')).trimEnd().split('\n').slice(-count).join('\n')
}

function empty(error: unknown): string {
  if (systemCodeOf(error) === 'ENOENT') return ''
  throw error
}
