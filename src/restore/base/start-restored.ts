import { chmod, chown, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Context } from '../../kernel/context.ts'
import { lastLines, startPostmaster } from '../../postgres/embedded-postmaster.ts'
import type { FileOwner } from './base-restore-request.ts'

/** Where the server that was started can be reached. */
export interface StartedCopy {
  readonly connection: string | null
  readonly host: string | null
  readonly port: number | null
  readonly user: string | null
  readonly socketDirectory: string | null
  readonly reachedLsn: string | null
}

export interface StartRequest {
  readonly directory: string
  /** Directory of the server programs. */
  readonly programs: string
  readonly owner: FileOwner | null
  /** 0: a free one. */
  readonly port: number
}

/** Recovery may have hours of WAL to go through. */
const longestStartMs = 24 * 3_600_000

/**
 * Starts a server in a restored directory and leaves it running. Resolves when recovery is over and connections are accepted, which the server itself says in `postmaster.pid`; how far it recovered is read
 * from its log.
 */
export async function startRestored({ directory, programs, owner, port }: StartRequest, context: Context): Promise<StartedCopy> {
  const begunMs = context.clock.monotonicMs()
  context.emit({ type: 'step-begun', step: 'start-server', subject: directory, expectedBytes: null })
  const socketDirectory = `${directory}-socket`
  const logFile = `${directory}.log`
  await mkdir(socketDirectory, { recursive: true, mode: 0o700 })
  await chmod(socketDirectory, 0o700)
  await writeFile(logFile, '', { mode: 0o600, flag: 'a' })
  if (owner !== null) for (const path of [socketDirectory, logFile]) await chown(path, owner.uid, owner.gid)
  const layout = { directory, dataDirectory: directory, socketDirectory, logFile }
  const server = await startPostmaster(programs, layout, {
    account: owner === null ? null : { uid: owner.uid, gid: owner.gid },
    tcp: true,
    port,
    // Whatever the configuration says, which may name places of the original: what lies in the directory.
    settings: {
      data_directory: directory,
      external_pid_file: '',
      archive_mode: 'off',
      hba_file: join(directory, 'pg_hba.conf'),
      ident_file: join(directory, 'pg_ident.conf'),
    },
    longestStartMs,
    signal: context.signal,
  })
  const durationSeconds = (context.clock.monotonicMs() - begunMs) / 1_000
  context.emit({ type: 'step-ended', step: 'start-server', subject: directory, durationSeconds, doneBytes: null })
  const reachedLsn = /redo done at ([0-9A-F]+\/[0-9A-F]+)/.exec(await lastLines(logFile, 200))?.[1] ?? null
  return { connection: `postgres://127.0.0.1:${server.port}/postgres`, host: '127.0.0.1', port: server.port, user: null, socketDirectory, reachedLsn }
}
