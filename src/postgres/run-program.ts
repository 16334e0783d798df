import { spawn } from 'node:child_process'
import { Failure, systemCodeOf } from '../kernel/failure.ts'

export interface ProgramOptions {
  /** The whole environment of the program; nothing is inherited. */
  readonly environment: Readonly<Record<string, string>>
  readonly cwd?: string
  readonly uid?: number
  readonly gid?: number
  /** Written to standard input, which is then closed; nothing by default. */
  readonly stdin?: string
  readonly signal?: AbortSignal
  /** Characters of each output that are kept, from the end. Default 1 Mi. */
  readonly keepChars?: number
}

export interface ProgramEnd {
  readonly exitCode: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/**
 * Runs a program to its end and keeps its (short) output. For programs that stream data see `client-process.ts`.
 * Rejects with `tool-missing` when it cannot be started; a non-zero exit is for the caller to judge.
 */
export async function runProgram(program: string, args: readonly string[], options: ProgramOptions): Promise<ProgramEnd> {
  options.signal?.throwIfAborted()
  const { promise, resolve, reject } = Promise.withResolvers<ProgramEnd>()
  const child = spawn(program, [...args], {
    env: { ...options.environment },
    stdio: ['pipe', 'pipe', 'pipe'],
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.uid === undefined ? {} : { uid: options.uid }),
    ...(options.gid === undefined ? {} : { gid: options.gid }),
  })
  const keep = options.keepChars ?? 1_048_576
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout = (stdout + text).slice(-keep)))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr = (stderr + text).slice(-keep)))
  // The program may end without reading its input; its exit code tells the story then.
  child.stdin.on('error', () => undefined)
  child.stdin.end(options.stdin ?? '')

  const stop = () => child.kill('SIGTERM')
  options.signal?.addEventListener('abort', stop, { once: true })
  child.on('error', (error) => reject(notStarted(program, error)))
  child.on('close', (exitCode, signal) => resolve({ exitCode, signal, stdout, stderr }))
  try {
    const end = await promise
    options.signal?.throwIfAborted()
    return end
  } finally {
    options.signal?.removeEventListener('abort', stop)
  }
}

/** The failure for a program that could not be started at all. */
export function notStarted(program: string, error: unknown): Failure {
  const code = systemCodeOf(error)
  const why = code === 'ENOENT' ? 'it is not installed (or not on PATH)' : code === 'EACCES' ? 'this account may not execute it' : String(code ?? error)
  return new Failure('tool-missing', `cannot start ${program}: ${why}`, { cause: error, details: { program } })
}
