import { type ChildProcess, spawn } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { join, resolve } from 'node:path'
import type { ConnectionTarget } from '../../src/postgres/target.ts'

const compileCache = join(tmpdir(), `tidemark-test-compile-cache-${userInfo().uid}`)
const main = resolve(import.meta.dirname, '../../src/cli/main.ts')

export interface TidemarkEnd {
  readonly exitCode: number | null
  readonly stdout: string
  readonly stderr: string
  /** The document of `--json`; throws with everything that was printed when there is none. */
  json<T>(): T
}

/** A `tidemark` that runs: to look at it, or to stop it. */
export interface RunningTidemark {
  readonly child: ChildProcess
  readonly end: Promise<TidemarkEnd>
}

/** A working directory with a `tidemark` in it that sees nothing of the real environment; its repository is `<directory>/backups`. */
export interface TidemarkRoom extends AsyncDisposable {
  readonly directory: string
  readonly repository: string
  /** Spools and staging of the runs; empty between them. */
  readonly work: string
  run(args: readonly string[], env?: Readonly<Record<string, string>>): Promise<TidemarkEnd>
  /** As `run`, with `--json`; fails the test unless it ends with `exitCode` (default 0). */
  json<T>(args: readonly string[], options?: { exitCode?: number; env?: Readonly<Record<string, string>> }): Promise<T>
  start(args: readonly string[], env?: Readonly<Record<string, string>>): RunningTidemark
}

export interface RoomOptions {
  /** DATABASE_URL, with its password. */
  readonly target?: ConnectionTarget
  readonly env?: Readonly<Record<string, string>>
  /** Written as `tidemark.yaml`. */
  readonly config?: string
}

export async function tidemarkRoom(options: RoomOptions = {}): Promise<TidemarkRoom> {
  const directory = await mkdtemp(join(tmpdir(), 'tidemark-room-'))
  const work = join(directory, 'work')
  await mkdir(work)
  if (options.config !== undefined) await writeFile(join(directory, 'tidemark.yaml'), options.config)
  const base = {
    PATH: process.env['PATH'] ?? '',
    HOME: directory,
    // Root's own keys lie in /etc.
    XDG_CONFIG_HOME: join(directory, '.config'),
    TZ: 'UTC',
    TIDEMARK_WORK_DIR: work,
    // Halves the time of a run, of which there are hundreds.
    NODE_COMPILE_CACHE: compileCache,
    ...(options.target === undefined ? {} : { DATABASE_URL: urlOf(options.target) }),
    ...options.env,
  }
  const start = (args: readonly string[], env: Readonly<Record<string, string>> = {}): RunningTidemark => {
    const child = spawn(process.execPath, [main, ...args], { cwd: directory, env: { ...base, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
    return { child, end: endOf(child) }
  }
  const run = (args: readonly string[], env: Readonly<Record<string, string>> = {}) => start(args, env).end
  return {
    directory,
    repository: join(directory, 'backups'),
    work,
    run,
    json: async <T>(args: readonly string[], { exitCode = 0, env = {} }: { exitCode?: number; env?: Readonly<Record<string, string>> } = {}) => {
      const end = await run([...args, '--json'], env)
      if (end.exitCode !== exitCode)
        throw new Error(`tidemark ${args.join(' ')} ended with ${end.exitCode}, expected ${exitCode}\n${end.stdout.slice(0, 4000)}\n${end.stderr}`)
      return end.json<T>()
    },
    start,
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  }
}

async function endOf(child: ChildProcess): Promise<TidemarkEnd> {
  let stdout = ''
  let stderr = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  const exitCode = await new Promise<number | null>((done, failed) => child.on('error', failed).on('close', done))
  return {
    exitCode,
    stdout,
    stderr,
    json: <T>() => {
      try {
        return JSON.parse(stdout) as T
      } catch (error) {
        throw new Error(`no JSON document (exit ${exitCode}): ${stdout}\n${stderr}`, { cause: error })
      }
    },
  }
}

/** The target as a URL with its password, as somebody would have it in DATABASE_URL. */
export function urlOf(target: { host: string | null; port: number; user: string; database: string; password: { reveal(): string } | null }): string {
  const password = target.password === null ? '' : `:${encodeURIComponent(target.password.reveal())}`
  return `postgresql://${encodeURIComponent(target.user)}${password}@${target.host ?? ''}:${target.port}/${encodeURIComponent(target.database)}`
}
