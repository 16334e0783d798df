import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Machine } from '../../src/api/machine.ts'
import { readMachine } from '../../src/api/machine.ts'
import { takeBackups } from '../../src/api/take-backups.ts'
import type { Workspace } from '../../src/api/workspace.ts'
import type { ClusterSettings, RepositorySettings } from '../../src/config/settings.ts'
import { type Clock, systemClock } from '../../src/kernel/clock.ts'
import type { Context } from '../../src/kernel/context.ts'
import type { Event } from '../../src/kernel/event.ts'
import { chooseClientTools, discoverClientTools } from '../../src/postgres/client-tools.ts'
import type { Backup } from '../../src/repository/backup.ts'
import { readObject } from '../../src/repository/bytes.ts'
import { memoryStorage } from '../../src/storage/memory.ts'
import type { Storage } from '../../src/storage/storage.ts'
import { type ScratchDatabase, sharedCluster, type TestCluster } from './cluster.ts'
import { type Picture, takePicture } from './repository-state.ts'

export interface RoomOptions {
  /** Events of the run, for tests that look at them. */
  readonly emit?: (event: Event) => void
  readonly signal?: AbortSignal
  readonly clock?: Clock
  /** Whether the holder of the lease we meet is known to be dead. Default true: killed runs are met after their process is gone. */
  readonly holderIsGone?: boolean
  /** Real pg_dump instead of the recorded one. */
  readonly realDump?: boolean
  readonly cluster?: Partial<ClusterSettings>
  readonly machine?: Partial<Machine>
}

/** One real server, one tiny database, a repository with two backups of it, and verbs on any storage. */
export interface SweepRoom extends AsyncDisposable {
  readonly server: TestCluster
  readonly source: ScratchDatabase
  readonly directory: string
  readonly workDirectory: string
  readonly context: Context
  /** Two verified backups: the second holds one row more. */
  readonly base: Picture
  readonly earlier: readonly Backup[]
  workspace(storage: Storage, options?: RoomOptions): Workspace
  /** Directories of runs in the work directory; none is left when all is well. */
  stages(): Promise<readonly string[]>
}

export const clusterName = 'shop'

/**
 * pg_dump and pg_dumpall of a sweep replay what the real ones wrote once for the same database, so that hundreds of runs take seconds;
 * the session, the snapshot and everything after the programs' output are real. pg_restore and psql are the real ones.
 */
export async function sweepRoom(major = 15): Promise<SweepRoom> {
  const server = await sharedCluster(major)
  const directory = await mkdtemp(join(tmpdir(), 'tidemark-sweep-'))
  const workDirectory = join(directory, 'work')
  const source = await server.createScratchDatabase()
  {
    await using session = await source.session()
    await session.query('CREATE TABLE orders (id int PRIMARY KEY, item text NOT NULL)')
    await session.query(`INSERT INTO orders SELECT g, 'item ' || g FROM generate_series(1, 200) g`)
    await session.query('CREATE SEQUENCE ticket START 42')
    await session.query(`SELECT lo_from_bytea(0, 'a large object')`)
  }
  const found = await discoverClientTools({ path: process.env['PATH'] ?? '' })
  const { tools } = chooseClientTools(found, { serverMajor: major, purpose: 'dump', programs: ['pg_dump', 'pg_dumpall', 'pg_restore', 'psql'] })
  const machine = await readMachine({ env: { PATH: '' }, cwd: directory, pid: process.pid, uid: 0, cpus: 2 })
  const replayDirectory = join(directory, 'bin')
  let runs = 0
  const recorded: { tools?: typeof found } = {}

  const workspace = (storage: Storage, options: RoomOptions = {}): Workspace => {
    // File names and names of set-aside databases hold the second; two runs of a sweep never share one.
    runs += 1
    const offset = Temporal.Duration.from({ seconds: runs * 2 })
    const clock: Clock = options.clock ?? { ...systemClock, now: () => systemClock.now().add(offset) }
    const cluster: ClusterSettings = {
      name: clusterName,
      enabled: true,
      target: source.target,
      adminTarget: null,
      dump: {
        databases: [],
        format: 'custom',
        compression: { method: 'zstd', level: 3 },
        jobs: 1,
        nameTemplate: 'shop_<id>',
        globals: true,
        fingerprint: true,
      },
      base: { enabled: false, level: 1, jobs: 1, reader: 'auto' },
      drill: { server: 'same', newest: [] },
      checks: [],
      hooks: { beforeRestore: null, afterRestore: null, onFailure: null },
      repositories: ['main'],
      timeZone: 'UTC',
      lockWaitSeconds: 5,
      ...options.cluster,
    }
    const repository: RepositorySettings = {
      name: 'main',
      storage: { kind: 'posix', path: '/nowhere', dirMode: 0o700, fileMode: 0o600, owner: null, group: null },
      layout: 'flat',
      bandwidth: null,
      isClear: true,
    }
    return {
      settings: {
        clusters: { [clusterName]: cluster },
        repositories: { main: repository },
        unusable: {},
        encryption: { wanted: 'clear', recipients: [], hostKey: null, kitFile: null, identities: [], passphraseFile: null, root: null },
        configFile: null,
        envFile: null,
        origins: {},
        ignored: [],
        notActing: [],
        notes: [],
        warnings: [],
        pgBin: null,
        directories: { work: null, cache: null, containerWork: null },
      },
      machine: { ...machine, workDirectory, whereabouts: { ...machine.whereabouts, isGone: async () => options.holderIsGone ?? true }, ...options.machine },
      context: { clock, emit: options.emit ?? (() => undefined), signal: options.signal ?? new AbortController().signal },
      openStorage: async () => storage,
      discoverTools: async () => (options.realDump === true ? found : (recorded.tools ?? found)),
    }
  }

  const storage = memoryStorage({ clock: systemClock })
  const earlier = [await backupOf(workspace(storage, { realDump: true }))]
  {
    await using session = await source.session()
    await session.query(`INSERT INTO orders VALUES (201, 'one more')`)
  }
  earlier.push(await backupOf(workspace(storage, { realDump: true })))
  const base = await takePicture(storage)
  await recordPrograms(replayDirectory, tools.directory, workspace, major)
  recorded.tools = await discoverClientTools({ path: replayDirectory })

  return {
    server,
    source,
    directory,
    workDirectory,
    context: workspace(storage).context,
    base,
    earlier,
    workspace,
    stages: async () => (await readdir(workDirectory).catch(() => [])).filter((name) => name.startsWith('tidemark-')),
    async [Symbol.asyncDispose]() {
      await source[Symbol.asyncDispose]()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

export async function backupOf(workspace: Workspace): Promise<Backup> {
  const result = await takeBackups(workspace)
  const backup = result.kind === 'done' ? result.backups[0] : undefined
  if (backup === undefined) throw new Error('no backup was made')
  return backup
}

/** Takes one uncompressed backup with the real programs, whose stored bytes are what pg_dump wrote, and makes programs that write them again. */
async function recordPrograms(directory: string, realDirectory: string, workspace: SweepRoom['workspace'], major: number): Promise<void> {
  const storage = memoryStorage({ clock: systemClock })
  const plain = {
    dump: { databases: [], format: 'custom', compression: { method: 'none' }, jobs: 1, nameTemplate: 'recorded', globals: true, fingerprint: true },
  } as const
  await backupOf(workspace(storage, { realDump: true, cluster: plain }))
  await mkdir(directory)
  for (const [program, key] of [
    ['pg_dump', 'recorded.dump'],
    ['pg_dumpall', 'recorded.globals.sql'],
  ] as const) {
    await writeFile(join(directory, key), await readObject(storage, key, 64 * 1024 * 1024))
    await writeScript(join(directory, program), program, major, `exec /bin/cat '${join(directory, key)}'`)
  }
  for (const program of ['pg_restore', 'psql']) await writeScript(join(directory, program), program, major, `exec '${join(realDirectory, program)}' "$@"`)
}

/** The version is the highest of its major, so that these are chosen among all that are installed. */
async function writeScript(path: string, program: string, major: number, body: string): Promise<void> {
  await writeFile(path, `#!/bin/sh\nif [ "$1" = --version ]; then echo '${program} (PostgreSQL) ${major}.99'; exit 0; fi\n${body}\n`)
  await chmod(path, 0o755)
}
