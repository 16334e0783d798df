import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { runProgram } from '../../src/postgres/run-program.ts'
import { ownCluster } from '../support/cluster.ts'

/** Client programs as `make setup` installs them. */
export const binDirectory = '/usr/lib/postgresql/15/bin'
export interface TestServer {
  readonly socketDirectory: string
  readonly port: number
  /** Runs SQL through psql, stopping at the first error; returns its unaligned output. */
  sql(database: string, text: string): Promise<string>
  /** Runs a client program with the server's address in the environment. */
  run(program: string, args: readonly string[], options?: RunOptions): Promise<string>
  /** As `run`, but the output as bytes, in the pieces in which they came. */
  bytes(program: string, args: readonly string[], options?: RunOptions): AsyncIterable<Uint8Array>
  [Symbol.asyncDispose](): PromiseLike<void>
}

export interface RunOptions {
  readonly environment?: Readonly<Record<string, string>>
  readonly stdin?: string
}

/** A PostgreSQL 15 server of its own from npm, so that no server need be installed; only the client programs are the machine's. */
export async function startServer(): Promise<TestServer> {
  const { server } = await ownCluster(15, { max_connections: '30', shared_buffers: '32MB' }, ['--locale=C.UTF-8'])
  const { socketDirectory, port } = server
  const environment = { PGHOST: socketDirectory, PGPORT: String(port), PGUSER: 'postgres', PATH: '/usr/bin:/bin', LC_ALL: 'C.UTF-8' }
  const pathOf = (program: string) => (program.includes('/') ? program : join(binDirectory, program))

  const run = async (program: string, args: readonly string[], options: RunOptions = {}) => {
    const stdin = options.stdin === undefined ? {} : { stdin: options.stdin }
    const end = await runProgram(pathOf(program), args, { environment: { ...environment, ...options.environment }, ...stdin, keepChars: 64 * 1024 * 1024 })
    if (end.exitCode !== 0) throw new Error(`${program} ${args.join(' ')}: ${end.stderr}`)
    return end.stdout
  }
  return {
    socketDirectory,
    port,
    run,
    sql: (database, text) => run('psql', ['-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-f', '-'], { environment: { PGDATABASE: database }, stdin: text }),
    bytes: (program, args, options = {}) => outputOf(pathOf(program), args, { ...environment, ...options.environment }),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  }
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
