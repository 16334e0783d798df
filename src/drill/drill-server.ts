import { createReadStream } from 'node:fs'
import { lstat, mkdir, readFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { scanPlain } from '../dump/plain-scan.ts'
import { selectingSink } from '../dump/sink.ts'
import type { Context } from '../kernel/context.ts'
import { Failure } from '../kernel/failure.ts'
import { startClient } from '../postgres/client-process.ts'
import { startEmbeddedServer, sweepEmbeddedServers, type EmbeddedServer } from '../postgres/embedded.ts'
import type { EmbeddedSource } from '../postgres/embedded-install.ts'
import { reachServer, type Reach, type Reached } from '../postgres/reach.ts'

export interface EmbeddedRequest {
  readonly major: number
  readonly source: EmbeddedSource
  /** Parent of the drills' directories; leftovers of killed drills below it are swept. */
  readonly parent: string
  readonly run: string
  readonly keep: boolean
}

/** A private server for one drill: no network, its own socket directory, nothing of it survives. Durability is off, since it holds nothing that is not in the backup. */
export async function startDrillServer(request: EmbeddedRequest, context: Context): Promise<EmbeddedServer> {
  await mkdir(request.parent, { recursive: true, mode: 0o755 })
  await requireOurs(request.parent)
  for (const swept of await sweepEmbeddedServers(request.parent))
    context.emit({ type: 'note', message: `removed the server of a drill that was killed: ${swept}` })
  const begunMs = context.clock.monotonicMs()
  context.emit({ type: 'step-begun', step: 'start-server', subject: `PostgreSQL ${request.major}`, expectedBytes: null })
  const server = await startEmbeddedServer({
    major: request.major,
    directory: join(request.parent, request.run),
    binaries: request.source,
    keepDirectory: request.keep,
    settings: {
      fsync: 'off',
      full_page_writes: 'off',
      synchronous_commit: 'off',
      autovacuum: 'off',
      max_wal_size: '4GB',
      wal_level: 'minimal',
      max_wal_senders: '0',
      archive_mode: 'off',
    },
    signal: context.signal,
  })
  context.emit({
    type: 'step-ended',
    step: 'start-server',
    subject: `PostgreSQL ${request.major}`,
    durationSeconds: (context.clock.monotonicMs() - begunMs) / 1000,
    doneBytes: null,
  })
  return server
}

/** In a directory that others may write, somebody could plant a leftover whose removal removes more: a parent that is not ours alone is refused. */
async function requireOurs(parent: string): Promise<void> {
  const found = await lstat(parent)
  if (found.isDirectory() && found.uid === userInfo().uid && (found.mode & 0o022) === 0) return
  throw new Failure('target-unsafe', `${parent} is not a directory that belongs to this account alone, so no drill is run in it`, {
    hints: ['look at what is in it and remove it', 'or choose another place: TIDEMARK_WORK_DIR=/path'],
  })
}

/** Makes the source's roles on an empty server from the backup's globals. Roles that exist are no error; what cannot be made is said by the restore itself. */
export async function applyGlobals(server: Reached, file: string, context: Context): Promise<void> {
  const psql = server.tools.map((tools) => tools.programs.psql).find((tool) => tool !== undefined)
  if (psql === undefined || (await readFile(file)).length === 0) return
  // Whoever can write the repository can forge this file and its digest; psql would run commands in it on this machine.
  const { suspicious } = await scanPlain(
    createReadStream(file),
    selectingSink(() => null),
  )
  if (suspicious.length > 0)
    throw new Failure('integrity', `the stored roles contain psql commands that pg_dumpall does not write: ${suspicious.slice(0, 3).join(', ')}`, {
      hints: ['somebody changed the repository; do not use this backup before you know who'],
    })
  await using process = await startClient(psql, ['--no-psqlrc', '--no-password', '--quiet', '--output=/dev/null', `--file=${file}`], server.target, {
    applicationName: 'tidemark globals',
    signal: context.signal,
  })
  process.stdout.resume()
  const { exitCode } = await process.ended
  const unexpected = process.stderrLines.filter((line) => line.includes('ERROR') && !line.includes('already exists'))
  if (exitCode !== 0 || unexpected.length > 0)
    context.emit({ type: 'note', message: `roles of the source that could not be made: ${unexpected.slice(0, 3).join('; ')}` })
}

export function reachDrillServer(server: EmbeddedServer, reach: Reach, context: Context): Promise<Reached> {
  return reachServer(server.target, reach, { applicationName: 'tidemark drill', signal: context.signal, emit: context.emit })
}
