import type { Context } from '../kernel/context.ts'
import { startClient, type ClientProcess } from '../postgres/client-process.ts'
import type { DumpSource } from '../repository/manifest.ts'
import { workDirectoryHint } from '../repository/stage-space.ts'
import type { DumpRequest } from './dump-request.ts'
import type { Compression } from './file-names.ts'
import type { OpenSource } from './open-source.ts'
import { pgDumpArguments, pgDumpSettings } from './pg-dump-arguments.ts'

/** What is dumped, and how. */
export interface DumpWork {
  readonly request: DumpRequest
  readonly source: OpenSource
  /** Effective, not wanted: an older pg_dump has no zstd for its directories. */
  readonly compression: Compression
}

/** Starts pg_dump on the snapshot that the source holds open. With `directory` null it writes to its standard output. */
export function startPgDump(
  { request, source, compression }: DumpWork,
  { directory, applicationName = 'tidemark pg_dump' }: { readonly directory: string | null; readonly applicationName?: string },
  context: Context,
): Promise<ClientProcess> {
  const { dumpTool, snapshot, facts } = source
  return startClient(
    dumpTool,
    pgDumpArguments({ ...request, compression, snapshot, directory, toolMajor: dumpTool.major, encoding: facts.encoding }),
    source.target,
    { applicationName, database: request.database, settings: pgDumpSettings, signal: context.signal, emit: context.emit },
  )
}

/** Lets pg_dump make the directory and write all of the dump into it. Returns its lines on standard error; rejects unless it reported success. */
export async function dumpIntoDirectory(
  work: DumpWork,
  where: { readonly directory: string; readonly applicationName?: string },
  context: Context,
): Promise<readonly string[]> {
  await using pgDump = await startPgDump(work, where, context)
  pgDump.stdout.resume()
  await pgDump.requireSuccess()
  return pgDump.stderrLines
}

/** Bytes that must be free where a directory dump is written: it is mostly a quarter of its database, and half is room enough to be worth beginning. */
export function roomToBegin({ databaseBytes }: DumpSource): number {
  return (databaseBytes ?? 0) / 2
}

/** What to do where a directory dump finds no room in the work directory. */
export const withoutStaging: readonly string[] = ['use --format custom, which needs no staging', `or ${workDirectoryHint}`]
