import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

const main = resolve(import.meta.dirname, '../../src/cli/main.ts')

export interface CliEnd {
  readonly exitCode: number | null
  readonly stdout: string
  readonly stderr: string
  /** The document of `--json`. */
  json<T>(): T
}

/** A working directory, and `tidemark` in it as a child process that sees nothing of the real environment. */
export interface CliRoom extends AsyncDisposable {
  readonly directory: string
  run(args: readonly string[], env?: Readonly<Record<string, string>>): Promise<CliEnd>
}

export async function cliRoom(): Promise<CliRoom> {
  const directory = await mkdtemp(join(tmpdir(), 'tidemark-cli-'))
  return {
    directory,
    run: (args, env = {}) => runCli(args, { cwd: directory, env }),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  }
}

async function runCli(args: readonly string[], { cwd, env }: { cwd: string; env: Readonly<Record<string, string>> }): Promise<CliEnd> {
  const child = spawn(process.execPath, [main, ...args], {
    cwd,
    env: { PATH: process.env['PATH'] ?? '', HOME: cwd, TZ: 'UTC', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
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
