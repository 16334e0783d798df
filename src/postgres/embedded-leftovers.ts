import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { z } from 'zod'
import { systemCodeOf } from '../kernel/failure.ts'
import { commandLine, sendSignal, startMark } from './process-identity.ts'

/** Kept in a server's directory while it lives, so that whoever comes later can tell whose it was. */
const lifetimeFile = z.object({
  format: z.literal('tidemark-embedded-server/1'),
  dataDirectory: z.string(),
  /** Outside of the server's directory when that path is too long for a socket. */
  socketDirectory: z.string(),
  removeDirectory: z.boolean(),
  owner: z.object({ pid: z.int(), mark: z.string() }),
})
export type Lifetime = z.infer<typeof lifetimeFile>

const fileName = 'tidemark-server.json'

export async function writeLifetime(directory: string, lifetime: Lifetime): Promise<void> {
  // Others may look at any moment, and must see the whole file or none.
  const incoming = join(directory, `${fileName}.incoming`)
  await writeFile(incoming, JSON.stringify(lifetime) + '\n', { mode: 0o600 })
  await rename(incoming, join(directory, fileName))
}

export async function removeLifetime(directory: string): Promise<void> {
  await rm(join(directory, fileName), { force: true })
}

/**
 * Ends the embedded servers under `parent` whose owner is gone (killed, or the machine was restarted) and removes
 * their directories. Servers of living owners are left alone. Returns the directories that were swept.
 */
export async function sweepEmbeddedServers(parent: string): Promise<readonly string[]> {
  const swept: string[] = []
  for (const entry of await readdir(parent, { withFileTypes: true }).catch(none)) {
    if (!entry.isDirectory()) continue
    const directory = join(parent, entry.name)
    const lifetime = await readLifetime(directory)
    if (lifetime === null || (await startMark(lifetime.owner.pid)) === lifetime.owner.mark) continue
    await endServerOf(lifetime.dataDirectory)
    await clear(directory, lifetime)
    swept.push(directory)
  }
  return swept
}

/** Removes what a server left; the lifetime file last, so that an interrupted removal is taken up again. Watchdog and sweep may do it at once. */
export async function clear(directory: string, lifetime: Lifetime): Promise<void> {
  if (!lifetime.socketDirectory.startsWith(directory)) await rm(lifetime.socketDirectory, { recursive: true, force: true })
  if (lifetime.removeDirectory) {
    for (const name of await readdir(directory).catch(none)) if (name !== fileName) await rm(join(directory, name), { recursive: true, force: true })
    await rm(directory, { recursive: true, force: true })
  } else {
    await removeLifetime(directory)
  }
}

export async function readLifetime(directory: string): Promise<Lifetime | null> {
  const text = await readFile(join(directory, fileName), 'utf8').catch((error: unknown) => {
    if (systemCodeOf(error) === 'ENOENT') return null
    throw error
  })
  return text === null ? null : lifetimeFile.parse(JSON.parse(text))
}

/** Ends the postmaster of a data directory: immediate shutdown, then SIGKILL after 5 s. Does nothing when none runs. */
export async function endServerOf(dataDirectory: string): Promise<void> {
  const pid = await postmasterOf(dataDirectory)
  if (pid === null) return
  sendSignal(pid, 'SIGQUIT')
  for (let waited = 0; waited < 5_000; waited += 50) {
    if ((await postmasterOf(dataDirectory)) === null) return
    await delay(50)
  }
  sendSignal(pid, 'SIGKILL')
}

/**
 * The PID of the postmaster that serves this directory. `postmaster.pid` may be left over and its number reused, so
 * the process must also have been started with this directory.
 */
export async function postmasterOf(dataDirectory: string): Promise<number | null> {
  const file = await readFile(join(dataDirectory, 'postmaster.pid'), 'utf8').catch((error: unknown) => {
    if (systemCodeOf(error) === 'ENOENT') return null
    throw error
  })
  const pid = Number(file?.split('\n')[0])
  if (!Number.isInteger(pid) || pid <= 1) return null
  return (await commandLine(pid))?.includes(dataDirectory) === true ? pid : null
}

function none(error: unknown): [] {
  if (systemCodeOf(error) === 'ENOENT') return []
  throw error
}
