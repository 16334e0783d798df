import { readFile } from 'node:fs/promises'
import { platform } from 'node:os'
import { geteuid, kill, pid as ownPid } from 'node:process'
import { systemCodeOf } from '../kernel/failure.ts'
import { runProgram } from './run-program.ts'

/**
 * A text that stays equal while the same process holds this PID and never comes again: kernels reuse PIDs.
 * Null when no such process exists. Linux: boot id and start time in ticks (proc(5), stat field 22); elsewhere `ps -o lstart`.
 */
export async function startMark(pid: number): Promise<string | null> {
  if (platform() !== 'linux') return psColumn(pid, 'lstart=')
  const stat = await readProc(`/proc/${pid}/stat`)
  if (stat === null) return null
  const fields = fieldsFromThird(stat)
  if (fields[0] === 'Z') return null
  const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
  return `${boot}/${fields[19]}`
}

/** This very process, for a file that outlives it. */
export async function ownProcess(): Promise<{ readonly pid: number; readonly mark: string }> {
  const mark = await startMark(ownPid)
  if (mark === null) throw new Error('this process cannot find itself among the running ones')
  return { pid: ownPid, mark }
}

/** The command line of a process with its arguments joined by NUL (Linux) or spaces, or null when there is none. */
export async function commandLine(pid: number): Promise<string | null> {
  return platform() === 'linux' ? readProc(`/proc/${pid}/cmdline`) : psColumn(pid, 'command=')
}

/** The PID of the process that started this one, or null when there is no such process. */
export async function parentOf(pid: number): Promise<number | null> {
  if (platform() !== 'linux') {
    const column = await psColumn(pid, 'ppid=')
    return column === null ? null : Number(column)
  }
  const stat = await readProc(`/proc/${pid}/stat`)
  return stat === null ? null : parentIn(stat)
}

/** The same from the text of a `/proc/<pid>/stat`, which may be another machine's. */
export function parentIn(stat: string): number {
  return Number(fieldsFromThird(stat)[1])
}

/** Fields of proc(5) stat from the state on. The second is the command's name, in parentheses, and may itself hold spaces and parentheses. */
function fieldsFromThird(stat: string): readonly string[] {
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
}

/**
 * Whether the process that serves a session is a child of the postmaster whose `postmaster.pid` this is, as seen from where `parent` looks. A directory of the
 * same name on another machine, or in another container, holds the PID of another process.
 */
export async function isPostmasterOf(pidFile: string, backendPid: number, parent: (pid: number) => Promise<number | null>): Promise<boolean> {
  const postmaster = Number(/^(\d+)\s/.exec(pidFile)?.[1])
  return postmaster > 0 && (await parent(backendPid)) === postmaster
}

/** The user whose rights this process has; null where there are no such numbers. */
export function ownUserId(): number | null {
  return geteuid?.() ?? null
}

/** Sends a signal; false when the process is already gone. */
export function sendSignal(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return kill(pid, signal)
  } catch (error) {
    if (systemCodeOf(error) === 'ESRCH') return false
    throw error
  }
}

async function readProc(path: string): Promise<string | null> {
  return readFile(path, 'utf8').catch((error: unknown) => {
    if (['ENOENT', 'ESRCH'].includes(systemCodeOf(error) ?? '')) return null
    throw error
  })
}

async function psColumn(pid: number, column: string): Promise<string | null> {
  const run = await runProgram('ps', ['-ww', '-o', column, '-p', String(pid)], { environment: { PATH: '/usr/bin:/bin', LC_ALL: 'C' } })
  const text = run.stdout.trim()
  return text === '' ? null : text
}
