import { randomBytes } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { type EmbeddedServer, startEmbeddedServer, sweepEmbeddedServers } from '../../src/postgres/embedded.ts'
import type { EmbeddedSource } from '../../src/postgres/embedded-install.ts'
import { quoteIdentifier } from '../../src/postgres/identifiers.ts'
import { openSession, type Session } from '../../src/postgres/session.ts'
import type { ConnectionTarget } from '../../src/postgres/target.ts'

/** Servers are fetched once per machine and kept between runs; outside of /root, which the server's account cannot enter. */
export const embeddedSource: EmbeddedSource = { cacheDir: join(tmpdir(), `tidemark-embedded-${userInfo().uid}`), environment: process.env }

const serversDir = join(tmpdir(), `tidemark-test-servers-${userInfo().uid}`)

export interface TestCluster {
  readonly server: EmbeddedServer
  /** Superuser by TCP, with a password. */
  readonly target: ConnectionTarget
  readonly major: number
  /** A session as superuser. */
  session(database?: string): Promise<Session>
  /** An empty database that is dropped on disposal; a name that occurs nowhere else by default. */
  createScratchDatabase(name?: string): Promise<ScratchDatabase>
}

export interface ScratchDatabase extends AsyncDisposable {
  readonly name: string
  readonly target: ConnectionTarget
  session(): Promise<Session>
}

// Test files may be evaluated several times in one process; the servers are the process's.
const shared = ((globalThis as { tidemarkTestClusters?: Map<number, Promise<TestCluster>> }).tidemarkTestClusters ??= new Map())

/**
 * The server of this major that all tests of this process share: started on first use (0.6 s, or 2 s when it must be fetched).
 * It needs no teardown: its watchdog ends it and removes its directory when the process is gone, however it went.
 */
export function sharedCluster(major: number): Promise<TestCluster> {
  const running = shared.get(major) ?? ownCluster(major)
  shared.set(major, running)
  return running
}

/** A server of one's own, for tests that stop, break or configure it. The caller disposes of `server`. */
export async function ownCluster(major: number, settings: Readonly<Record<string, string>> = {}, initdbArgs: readonly string[] = []): Promise<TestCluster> {
  // The servers' account must be able to pass; the servers' own directories in it are 0700.
  await mkdir(serversDir, { recursive: true, mode: 0o755 })
  await sweepEmbeddedServers(serversDir)
  const directory = join(serversDir, `${major}-${randomBytes(4).toString('hex')}`)
  const server = await startEmbeddedServer({
    major,
    directory,
    binaries: embeddedSource,
    tcp: true,
    settings: { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off', ...settings },
    initdbArgs,
  })
  const session = (database = 'postgres') => openSession(server.target, { applicationName: 'tidemark test', database })
  return { server, target: server.target, major, session, createScratchDatabase: (name) => createScratchDatabase(server.target, session, name) }
}

async function createScratchDatabase(
  target: ConnectionTarget,
  session: TestCluster['session'],
  name = `scratch_${randomBytes(5).toString('hex')}`,
): Promise<ScratchDatabase> {
  await using admin = await session()
  await admin.query(`CREATE DATABASE ${quoteIdentifier(name)} TEMPLATE template0`)
  return {
    name,
    target: { ...target, database: name },
    session: () => session(name),
    [Symbol.asyncDispose]: async () => {
      await using dropper = await session()
      await dropper.query(`DROP DATABASE IF EXISTS ${quoteIdentifier(name)} WITH (FORCE)`)
    },
  }
}
