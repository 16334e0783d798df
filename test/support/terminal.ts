import { spawn } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { TidemarkRoom } from './tidemark-cli.ts'

const main = resolve(import.meta.dirname, '../../src/cli/main.ts')

/** A `tidemark` that believes it talks to a person. */
export interface Terminal extends AsyncDisposable {
  /** Resolves when the text was shown; rejects with everything that was, when the program ended before. */
  shows(text: string): Promise<void>
  type(text: string): void
  /** To the program itself, not through the keyboard. */
  signal(name: NodeJS.Signals): void
  exitCode(): Promise<number | null>
}

/** Starts it on a pseudo-terminal, which `script` of util-linux makes. */
export function onTerminal(room: TidemarkRoom, args: readonly string[]): Terminal {
  const quoted = [process.execPath, main, ...args].map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ')
  // A new terminal is zero columns wide.
  const child = spawn('script', ['--quiet', '--return', '--command', `stty rows 40 cols 140; exec ${quoted}`, '/dev/null'], {
    cwd: room.directory,
    env: {
      PATH: process.env['PATH'] ?? '',
      HOME: room.directory,
      XDG_CONFIG_HOME: join(room.directory, '.config'),
      TERM: 'xterm',
      SHELL: '/bin/sh',
      TIDEMARK_WORK_DIR: room.work,
    },
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  let shown = ''
  const listeners = new Set<() => void>()
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    shown += text
    for (const listener of listeners) listener()
  })
  const ended = new Promise<number | null>((done) => child.on('close', done))
  return {
    shows: (text) => {
      const { promise, resolve: done, reject } = Promise.withResolvers<void>()
      const look = () => {
        if (shown.includes(text)) done()
      }
      listeners.add(look)
      look()
      void ended.then(() => reject(new Error(`it ended without showing "${text}":\n${shown}`)))
      return promise
    },
    type: (text) => void child.stdin.write(text),
    signal: (name) => void programBelow(child.pid ?? 0).then((pid) => process.kill(pid, name)),
    exitCode: () => ended,
    // A program that ignores what it was told must not outlive its test.
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return
      process.kill(await programBelow(child.pid ?? 0), 'SIGKILL')
      await ended
    },
  }
}

/** The process that `script` started: by `exec`, the program itself. */
async function programBelow(pid: number): Promise<number> {
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    const stat = await readFile(`/proc/${entry}/stat`, 'utf8').catch(() => '')
    if (stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1] === String(pid)) return Number(entry)
  }
  throw new Error('script has no child')
}
