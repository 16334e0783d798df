import { spawn } from 'node:child_process'
import { chown, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runProgram } from '../../src/postgres/run-program.ts'

export const binDirectory = '/usr/lib/postgresql/15/bin'
/** Account `postgres` of Debian's packages; servers refuse to run as root. */
const account = { uid: 0, gid: 0 }

export interface TestServer {
  readonly socketDirectory: string
  readonly port: number
  /** Runs SQL through psql, stopping at the first error; returns its unaligned output. */
  sql(database: string, text: string): Promise<string>
  /** Runs a client program with the server's address in the environment. */
  run(program: string, args: readonly string[], options?: RunOptions): Promise<string>
  /** As `run`, but the output as bytes, in the pieces in which they came. */
  bytes(program: string, args: readonly string[], options?: RunOptions): AsyncIterable<Uint8Array>
  [Symbol.asyncDispose](): Promise<void>
}

export interface RunOptions {
  readonly environment?: Readonly<Record<string, string>>
  readonly stdin?: string
}

/** A PostgreSQL 15 server of its own, on a socket in a temporary directory, without TCP. */
export async function startServer(): Promise<TestServer> {
  await findAccount()
  const directory = await mkdtemp(join(tmpdir(), 'tm-dump-'))
  await chown(directory, account.uid, account.gid)
  const data = join(directory, 'data')
  const asPostgres = { ...account, environment: { LC_ALL: 'C.UTF-8', PATH: '/usr/bin:/bin' }, cwd: '/' }
  const made = await runProgram(
    join(binDirectory, 'initdb'),
    ['-D', data, '-A', 'trust', '-U', 'postgres', '-E', 'UTF8', '--no-sync', '--locale=C.UTF-8'],
    asPostgres,
  )
  if (made.exitCode !== 0) throw new Error(`initdb: ${made.stderr}`)
  const settings = [
    `unix_socket_directories = '${directory}'`,
    "listen_addresses = ''",
    'fsync = off',
    'full_page_writes = off',
    'max_connections = 30',
    'shared_buffers = 32MB',
  ]
  await writeFile(join(data, 'postgresql.auto.conf'), `${settings.join('\n')}\n`)
  const started = await runProgram(join(binDirectory, 'pg_ctl'), ['-D', data, '-w', '-l', join(directory, 'log'), 'start'], asPostgres)
  if (started.exitCode !== 0) throw new Error(`pg_ctl: ${started.stdout}${started.stderr}`)
  const environment = { PGHOST: directory, PGPORT: '5432', PGUSER: 'postgres', PATH: '/usr/bin:/bin', LC_ALL: 'C.UTF-8' }
  const pathOf = (program: string) => (program.includes('/') ? program : join(binDirectory, program))

  const run = async (program: string, args: readonly string[], options: RunOptions = {}) => {
    const stdin = options.stdin === undefined ? {} : { stdin: options.stdin }
    const end = await runProgram(pathOf(program), args, { environment: { ...environment, ...options.environment }, ...stdin, keepChars: 64 * 1024 * 1024 })
    if (end.exitCode !== 0) throw new Error(`${program} ${args.join(' ')}: ${end.stderr}`)
    return end.stdout
  }
  return {
    socketDirectory: directory,
    port: 5432,
    run,
    sql: (database, text) => run('psql', ['-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-f', '-'], { environment: { PGDATABASE: database }, stdin: text }),
    bytes: (program, args, options = {}) => outputOf(pathOf(program), args, { ...environment, ...options.environment }),
    [Symbol.asyncDispose]: async () => {
      await runProgram(join(binDirectory, 'pg_ctl'), ['-D', data, '-w', '-m', 'immediate', 'stop'], asPostgres)
      await rm(directory, { recursive: true, force: true })
    },
  }
}

async function findAccount(): Promise<void> {
  const found = await runProgram('/usr/bin/id', ['-u', 'postgres'], { environment: {} })
  const group = await runProgram('/usr/bin/id', ['-g', 'postgres'], { environment: {} })
  account.uid = Number(found.stdout)
  account.gid = Number(group.stdout)
}

async function* outputOf(program: string, args: readonly string[], env: Record<string, string>): AsyncGenerator<Uint8Array> {
  const child = spawn(program, [...args], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  const closed = new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve))
  yield* child.stdout as AsyncIterable<Uint8Array>
  const code = await closed
  if (code !== 0) throw new Error(`${program} ${args.join(' ')}: ended with ${code}: ${stderr}`)
}
