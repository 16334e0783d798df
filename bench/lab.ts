/**
 * A PostgreSQL server of its own with data in it, and contestants that are timed on it: what the benches of whole programs share. Debian's server, run as the account `postgres` in a temporary directory; the
 * contestants alternate, in odd rounds in reverse order. The median counts, and of that the ratios, since absolute figures of a shared machine are noise.
 */
import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, chownSync, existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import { documentRows } from './dump-text.ts'

export interface Contestant {
  readonly name: string
  /** Run by bash, in the output directory. */
  readonly script: string
  /** Untimed preparation. */
  readonly before?: () => void
  /** What it leaves behind, for its size. */
  readonly leaves?: string
  /** Slow and steady ones run once. */
  readonly once?: boolean
}

export interface Contest {
  readonly title: string
  /** Those of ours are compared with all others. */
  readonly contestants: readonly [Contestant, ...Contestant[]]
}

interface Run {
  readonly seconds: number
  readonly cpuSeconds: number
  readonly storedBytes: number
}

/** Where the programs of the server are, and where the lab may write. */
export interface LabOptions {
  readonly bin: string
  readonly directory?: string
  readonly rounds: number
  readonly keep: boolean
  /** On the server's command line, besides those of every lab. */
  readonly settings?: Readonly<Record<string, string>>
}

export interface Lab extends Disposable {
  readonly tidemark: string
  /** Where contestants work. */
  readonly out: string
  /** The data directory of the server. */
  readonly data: string
  readonly sockets: string
  readonly port: number
  readonly account: { readonly uid: number; readonly gid: number }
  /** Half pgbench rows (9.7 MB of text per scale unit), half documents. */
  load(sizeBytes: number): Promise<void>
  psql(database: string, statement: string): string
  /** Runs a program as the server's account: PostgreSQL refuses to run as root. */
  as(program: string, args: readonly string[]): ReturnType<typeof spawnSync>
  /** One timed run. Throws, with what the program said, when it fails: a contestant that fails is not fast. */
  run(contestant: Contestant): Run
  compete(contest: Contest): void
  freshRepository(): void
}

export async function openLab({ bin, directory = tmpdir(), rounds, keep, settings: more = {} }: LabOptions): Promise<Lab> {
  const tidemark = fileURLToPath(new URL('../bin/tidemark', import.meta.url))
  const account = accountOf('postgres')
  const lab = mkdtempSync(join(directory, 'tidemark-bench-'))
  chmodSync(lab, 0o755)
  const [data, sockets, out] = ['data', 'sockets', 'out'].map((name) => {
    const path = join(lab, name)
    mkdirSync(path)
    chownSync(path, account.uid, account.gid)
    return path
  }) as [string, string, string]
  const port = await freePort()
  const environment: NodeJS.ProcessEnv = {
    PATH: `${bin}:${process.env['PATH'] ?? ''}`,
    HOME: lab,
    LC_ALL: 'C.UTF-8',
    PGHOST: '127.0.0.1',
    PGPORT: String(port),
    PGUSER: 'postgres',
    DATABASE_URL: `postgres://postgres@127.0.0.1:${port}/bench`,
    BACKUP_DIR: join(out, 'repository'),
    XDG_CONFIG_HOME: join(lab, 'config'),
  }

  function compete({ title, contestants }: Contest): void {
    const runs = new Map<Contestant, Run[]>(contestants.map((contestant) => [contestant, []]))
    const failed = new Set<Contestant>()
    for (let round = 0; round < rounds; round++) {
      for (const contestant of round % 2 === 0 ? contestants : contestants.toReversed()) {
        if (failed.has(contestant) || (contestant.once === true && round > 0)) continue
        try {
          runs.get(contestant)?.push(run(contestant))
        } catch (error) {
          failed.add(contestant)
          process.exitCode = 1
          console.log(`${contestant.name} FAILED: ${error instanceof Error ? error.message : String(error)}`)
        }
      }
    }
    console.log(`\n${title}`)
    for (const contestant of contestants) {
      const all = runs.get(contestant) ?? []
      if (failed.has(contestant) || all.length === 0) continue
      const stored = Math.max(...all.map(({ storedBytes }) => storedBytes))
      const each = all.map(({ seconds }) => seconds.toFixed(2)).join(' ')
      const cpu = median(all.map(({ cpuSeconds }) => cpuSeconds))
      console.log(
        `  ${contestant.name.padEnd(48)} ${secondsOf(all).toFixed(2)} s [${each}]  cpu ${cpu.toFixed(2)}${stored > 0 ? `  ${(stored / 1e6).toFixed(1)} MB` : ''}`,
      )
    }
    for (const ours of contestants.filter(({ name }) => name.startsWith('tidemark'))) {
      for (const stock of contestants.filter(({ name }) => !name.startsWith('tidemark'))) {
        if (failed.has(ours) || failed.has(stock)) continue
        console.log(`  ${ours.name}: ${(secondsOf(runs.get(ours) ?? []) / secondsOf(runs.get(stock) ?? [])).toFixed(2)} times the wall time of ${stock.name}`)
      }
    }
  }

  function run({ script, before, leaves }: Contestant): Run {
    before?.()
    psql('postgres', 'checkpoint')
    spawnSync('sync')
    const timed = `set -eo pipefail; cd "$1"; TIMEFORMAT='%R %U %S'; time { ${script} ; }`
    const child = spawnSync('bash', ['-c', timed, 'bash', out], { env: environment, maxBuffer: 1 << 26 })
    const lines = child.stderr.toString().trim().split('\n')
    const [seconds = NaN, user = NaN, system = NaN] = (lines.pop() ?? '').split(' ').map(Number)
    if (child.status !== 0) throw new Error(`exit ${child.status}: ${lines.join(' / ').slice(0, 600)}`)
    return { seconds, cpuSeconds: user + system, storedBytes: leaves === undefined ? 0 : sizeOf(join(out, leaves)) }
  }

  function freshRepository(): void {
    rmSync(join(out, 'repository'), { recursive: true, force: true })
    need(spawnSync(tidemark, ['repo', 'init', '--quiet'], { cwd: out, env: environment }), 'tidemark repo init')
  }

  function startServer(): void {
    const settings = {
      port,
      listen_addresses: '127.0.0.1',
      unix_socket_directories: sockets,
      shared_buffers: '1GB',
      max_wal_size: '16GB',
      checkpoint_timeout: '60min',
      autovacuum: 'off',
      maintenance_work_mem: '512MB',
      ...more,
    }
    need(as(join(bin, 'initdb'), ['-D', data, '-k', '-E', 'UTF8', '--locale=C.UTF-8', '-A', 'trust', '-U', 'postgres']), 'initdb')
    const flags = Object.entries(settings).map(([name, value]) => `-c ${name}='${value}'`)
    need(as(join(bin, 'pg_ctl'), ['-D', data, '-l', join(data, 'log'), '-o', flags.join(' '), '-w', 'start']), 'pg_ctl start')
  }

  async function load(sizeBytes: number): Promise<void> {
    psql('postgres', 'create database bench')
    const scale = Math.max(1, Math.round(sizeBytes / 2 / 9_700_000))
    need(as(join(bin, 'pgbench'), ['-q', '-i', '-s', String(scale), '-h', '127.0.0.1', '-p', String(port), 'bench']), 'pgbench')
    psql('bench', 'create table documents (id int8 primary key, uid uuid not null, created timestamptz not null, title text, body text, meta jsonb)')
    const copy = spawn(join(bin, 'psql'), ['-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', 'bench', '-c', 'copy documents from stdin'], {
      env: environment,
      stdio: ['pipe', 'inherit', 'inherit'],
    })
    const ended = new Promise<number | null>((resolve) => copy.once('close', resolve))
    await pipeline(Readable.from(documentRows(sizeBytes / 2)), copy.stdin)
    if ((await ended) !== 0) throw new Error('loading the documents failed')
    for (const statement of ['create index on documents (created)', 'create index on documents (uid)', 'vacuum (freeze, analyze)', 'checkpoint'])
      psql('bench', statement)
  }

  function psql(database: string, statement: string): string {
    const child = spawnSync(join(bin, 'psql'), ['-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', database, '-c', statement], { env: environment })
    need(child, statement)
    return child.stdout.toString().trim()
  }

  function as(program: string, args: readonly string[]): ReturnType<typeof spawnSync> {
    return spawnSync(program, args, { uid: account.uid, gid: account.gid, cwd: '/', env: { ...environment, HOME: '/' }, stdio: ['ignore', 'ignore', 'pipe'] })
  }

  startServer()
  return {
    tidemark,
    out,
    data,
    sockets,
    port,
    account,
    load,
    psql,
    as,
    run,
    compete,
    freshRepository,
    [Symbol.dispose]: () => {
      as(join(bin, 'pg_ctl'), ['-D', data, '-m', 'immediate', '-w', 'stop'])
      if (!keep) rmSync(lab, { recursive: true, force: true })
    },
  }
}

function need(child: ReturnType<typeof spawnSync>, what: string): void {
  if (child.status !== 0) throw new Error(`${what} failed: ${child.error?.message ?? String(child.stderr)}`)
}

function accountOf(name: string): { uid: number; gid: number } {
  const number = (flag: string): number => Number(spawnSync('id', [flag, name]).stdout.toString())
  return { uid: number('-u'), gid: number('-g') }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => (typeof address === 'object' && address !== null ? resolve(address.port) : reject(new Error('no port'))))
    })
  })
}

function sizeOf(path: string): number {
  if (!existsSync(path)) return 0
  // A link (`latest_backup`) is no second copy.
  const status = lstatSync(path)
  return status.isDirectory() ? readdirSync(path).reduce((sum, name) => sum + sizeOf(join(path, name)), 0) : status.size
}

function secondsOf(runs: readonly Run[]): number {
  return median(runs.map(({ seconds }) => seconds))
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? NaN
}
