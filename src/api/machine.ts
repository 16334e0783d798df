import { readFile, readlink } from 'node:fs/promises'
import { homedir, hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemCodeOf } from '../kernel/failure.ts'
import type { Holder } from '../repository/commit-entry.ts'
import type { Whereabouts } from '../repository/lease.ts'

/** What the program may know of the machine it runs on. Read once at the edge and handed down. */
export interface Machine {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  readonly home: string
  readonly hostName: string
  /** For spools and staging; each run makes its own directory inside. */
  readonly workDirectory: string
  /** For things fetched once (embedded servers). */
  readonly cacheDirectory: string
  readonly isRoot: boolean
  readonly cpus: number
  readonly whereabouts: Whereabouts
}

export interface MachineSource {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  readonly pid: number
  readonly uid: number | null
  readonly cpus: number
}

export async function readMachine(source: MachineSource): Promise<Machine> {
  const home = source.env['HOME'] ?? homedir()
  // As root, servers run under another account, which cannot look into root's home.
  const cache =
    setIn(source.env, 'TIDEMARK_CACHE_DIR') ??
    (source.uid === 0 ? '/var/cache/tidemark' : join(source.env['XDG_CACHE_HOME'] ?? join(home, '.cache'), 'tidemark'))
  return {
    env: source.env,
    cwd: source.cwd,
    home,
    hostName: hostname(),
    workDirectory: setIn(source.env, 'TIDEMARK_WORK_DIR') ?? tmpdir(),
    cacheDirectory: cache,
    isRoot: source.uid === 0,
    cpus: source.cpus,
    whereabouts: await readWhereabouts(source.pid),
  }
}

/** Set and empty counts as not set, as everywhere. */
function setIn(env: MachineSource['env'], name: string): string | undefined {
  return env[name] === '' ? undefined : env[name]
}

async function readWhereabouts(pid: number): Promise<Whereabouts> {
  const place = await placeOfThisProcess()
  return {
    self: { host: hostname(), pid, place, startedTicks: await startTicks(pid) },
    isGone: async (holder: Holder) => {
      // Only a process that would be visible from here can be known to be gone: same boot, same PID namespace.
      if (place === null || holder.place !== place || holder.startedTicks === null) return false
      return (await startTicks(holder.pid)) !== holder.startedTicks
    },
  }
}

/** Boot id and PID namespace, which containers of one host do not share; null where there is no /proc. */
async function placeOfThisProcess(): Promise<string | null> {
  try {
    const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8')
    return `${boot.trim()}/${await readlink('/proc/self/ns/pid')}`
  } catch (error) {
    if (systemCodeOf(error) === undefined) throw error
    return null
  }
}

/** Field 22 of /proc/<pid>/stat; null when there is no such process. The command name may hold spaces and parentheses. */
async function startTicks(pid: number): Promise<string | null> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null
  } catch (error) {
    if (systemCodeOf(error) === undefined) throw error
    return null
  }
}
