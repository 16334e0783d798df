import { execFile } from 'node:child_process'
import { join } from 'node:path'
import type { ConnectionTarget } from '../../src/postgres/target.ts'

export const debianClients = '/usr/lib/postgresql/15/bin'

interface ProgramResult {
  readonly exitCode: number
  readonly stdout: Buffer
  readonly stderr: string
}

/** Runs a stock program as somebody would who has no Tidemark; what it ends with is for the caller to judge. */
export function stockProgram(program: string, args: readonly string[], environment: Readonly<Record<string, string>> = {}): Promise<ProgramResult> {
  const { promise, resolve } = Promise.withResolvers<ProgramResult>()
  const env = { PATH: '/usr/bin:/bin', LC_ALL: 'C.UTF-8', ...environment }
  execFile(program, args, { env, cwd: '/', encoding: 'buffer', maxBuffer: 1024 ** 3 }, (error, stdout, stderr) => {
    resolve({ exitCode: error === null ? 0 : typeof error.code === 'number' ? error.code : -1, stdout, stderr: stderr.toString() || (error?.message ?? '') })
  })
  return promise
}

/** Where a stock client program connects to, in libpq's variables. */
export function libpqEnvironment(target: ConnectionTarget): Record<string, string> {
  return {
    PGHOST: target.host ?? '',
    PGPORT: String(target.port),
    PGUSER: target.user,
    PGPASSWORD: target.password?.reveal() ?? '',
    PGDATABASE: target.database,
  }
}

/** pg_dump, pg_restore or psql on a target; fails the test when the program does. Returns its standard output. */
export async function stockClient(
  binDir: string,
  program: string,
  args: readonly string[],
  target: ConnectionTarget,
  environment: Readonly<Record<string, string>> = {},
): Promise<Buffer> {
  const end = await stockProgram(join(binDir, program), args, { ...libpqEnvironment(target), ...environment })
  if (end.exitCode !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${end.exitCode}: ${end.stderr}`)
  return end.stdout
}

/**
 * What pg_dump writes of a database, without the lines that differ from run to run (its restrict key) or with the client (versions): the judge
 * of a round trip that knows nothing of our fingerprint. Bytes as Latin-1 characters, so that no encoding is lost.
 */
export async function dumpText(binDir: string, target: ConnectionTarget, args: readonly string[] = []): Promise<string> {
  // A database may have a zone of its own, and pg_dump pins none.
  const text = await stockClient(binDir, 'pg_dump', ['--no-password', ...args], target, { PGOPTIONS: '-c TimeZone=UTC' })
  return text
    .toString('latin1')
    .split('\n')
    .filter((line) => !/^\\(un)?restrict |^-- Dumped (from database|by pg_dump) version /.test(line))
    .join('\n')
}

/** Where two texts differ first, with what stands around it; null when they are equal. */
export function firstDifference(one: string, other: string): string | null {
  if (one === other) return null
  const [left, right] = [one.split('\n'), other.split('\n')]
  const at = left.findIndex((line, index) => line !== right[index])
  const index = at === -1 ? left.length : at
  const around = (lines: readonly string[]) => lines.slice(Math.max(0, index - 4), index + 5).map((line) => line.slice(0, 300))
  return [`line ${index + 1} of ${left.length} and ${right.length}:`, '--- one', ...around(left), '--- other', ...around(right)].join('\n')
}
