import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import type { DockerEngine } from './services.ts'

const run = promisify(execFile)

/** A container of the test image, removed with its scope. */
export interface TestContainer extends AsyncDisposable {
  readonly name: string
  /** Runs docker; resolves with what it printed. */
  docker(...args: string[]): Promise<string>
  /** Runs a program inside. */
  inside(...command: string[]): Promise<string>
  /** One statement as the container's own user; resolves with the bare values. */
  sql(statement: string, database?: string): Promise<string>
}

/** Starts one; with `server`, its PostgreSQL with the database `nexo` of `nexo_user`, else nothing but the files of the image. */
export async function startContainer(engine: DockerEngine, options: { readonly server: boolean; readonly flags?: readonly string[] }): Promise<TestContainer> {
  const name = `tidemark-${randomBytes(4).toString('hex')}`
  const docker = async (...args: string[]) =>
    (await run('docker', args, { env: { PATH: process.env['PATH'], DOCKER_HOST: engine.host }, maxBuffer: 64 * 1024 * 1024 })).stdout
  const inside = (...command: string[]) => docker('exec', name, ...command)
  const sql = async (statement: string, database = 'nexo') =>
    (await inside('psql', '-X', '-w', '-v', 'ON_ERROR_STOP=1', '-U', 'nexo_user', '-d', database, '-At', '-c', statement)).trim()
  const variables = ['-e', 'POSTGRES_PASSWORD=canary-51c0', '-e', 'POSTGRES_USER=nexo_user', '-e', 'POSTGRES_DB=nexo']
  const what = options.server ? [...variables, engine.image] : ['--entrypoint', 'sleep', engine.image, '1000000']
  await docker('run', '-d', '--init', '--name', name, '--network', 'none', ...(options.flags ?? []), ...what)
  if (options.server) {
    // It listens on TCP only when it is set up, and then asks for the password.
    const asked = () => inside('psql', '-w', '-U', 'nexo_user', '-d', 'nexo', '-h', '127.0.0.1', '-c', 'SELECT 1').then(String, String)
    while (!(await asked()).includes('password'));
  }
  return { name, docker, inside, sql, [Symbol.asyncDispose]: async () => void (await docker('rm', '-f', '-v', name)) }
}

/** A `docker` that does something else where its arguments match; everything else goes to the real one. */
export interface LyingDocker extends AsyncDisposable {
  /** Absolute. */
  readonly program: string
  /** A PATH in which it comes first. */
  readonly path: string
}

/**
 * `when` is a pattern of the shell for all arguments in one line; `instead` what is done then, where `"$real" "$@"` is the real call.
 * `beside` are further programs, by name.
 */
export async function lyingDocker(lies: readonly { when: string; instead: string }[], beside: Readonly<Record<string, string>> = {}): Promise<LyingDocker> {
  const directory = await mkdtemp(join(tmpdir(), 'tidemark-lying-docker-'))
  const real = (await run('which', ['docker'])).stdout.trim()
  const program = join(directory, 'docker')
  const cases = lies.map(({ when, instead }) => `  ${when}) ${instead}; exit ;;`).join('\n')
  await writeFile(program, `#!/bin/sh\nreal=${real}\ncase "$*" in\n${cases}\nesac\nexec "$real" "$@"\n`)
  for (const [name, script] of Object.entries(beside)) await writeFile(join(directory, name), script)
  for (const name of ['docker', ...Object.keys(beside)]) await chmod(join(directory, name), 0o755)
  return {
    program,
    path: [directory, process.env['PATH'] ?? ''].join(delimiter),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  }
}
