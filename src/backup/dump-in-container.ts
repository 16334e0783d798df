import { mkdir, statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Context } from '../kernel/context.ts'
import { Failure, isFailure } from '../kernel/failure.ts'
import { startClient } from '../postgres/client-process.ts'
import { type ContainerAccess, nameOfContainer } from '../postgres/container.ts'
import { bringFiles, listContainerFiles, spaceHints } from '../postgres/container-files.ts'
import { type ContainerStage, makeContainerStage, requireContainerSpace } from '../postgres/container-stage.ts'
import type { DumpRequest } from './dump-request.ts'
import type { Compression } from './file-names.ts'
import type { OpenSource } from './open-source.ts'
import { pgDumpArguments, pgDumpSettings } from './pg-dump-arguments.ts'

/**
 * A directory dump by the pg_dump inside a container, brought into `directory`, which is made. Its workers write files, so
 * it is written there first, into a private temporary directory that is gone when this is over. Brought whole and looked at here, not file by file from
 * there: what is scanned and what is stored must be the same bytes. Returns pg_dump's lines on standard error.
 */
export async function dumpInContainer(
  access: ContainerAccess,
  dump: { readonly request: DumpRequest; readonly source: OpenSource; readonly compression: Compression; readonly directory: string },
  context: Context,
): Promise<readonly string[]> {
  const { request, source, directory } = dump
  await using stage = await makeContainerStage(access, { run: request.run, target: source.target }, context)
  // A compressed directory dump is mostly a quarter of its database; half is room enough to be worth beginning.
  const needed = { bytes: (source.facts.databaseBytes ?? 0) / 2, what: 'a directory dump of this database is written there first and may need' }
  await requireContainerSpace(access, stage, needed, context)
  const there = `${stage.path}/dump`
  const stderrLines = await runPgDump(access, dump, stage, there, context)

  const files = await listContainerFiles(access, there, context.signal)
  const sizeBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0)
  await requireRoomHere(dirname(directory), sizeBytes)
  await mkdir(directory, { mode: 0o700 })
  await bringFiles(access, { directory: there, files }, directory, { signal: context.signal, onBytes: progress(sizeBytes, context) })
  return stderrLines
}

async function runPgDump(
  access: ContainerAccess,
  { request, source, compression }: { request: DumpRequest; source: OpenSource; compression: Compression },
  stage: ContainerStage,
  directory: string,
  context: Context,
): Promise<readonly string[]> {
  await using pgDump = await startClient(
    source.dumpTool,
    pgDumpArguments({ ...request, compression, snapshot: source.snapshot, directory, toolMajor: source.dumpTool.major, encoding: source.facts.encoding }),
    source.target,
    {
      applicationName: stage.sessionName('pg_dump'),
      database: request.database,
      settings: pgDumpSettings,
      signal: context.signal,
      emit: context.emit,
    },
  )
  pgDump.stdout.resume()
  try {
    await pgDump.requireSuccess()
  } catch (error) {
    if (!isFailure(error, 'space-low')) throw error
    throw new Failure('space-low', `the temporary directory in ${nameOfContainer(access.container)} became full: ${error.message}`, {
      cause: error,
      hints: spaceHints(access),
    })
  }
  return pgDump.stderrLines
}

/** Only now it is known how much there is. */
async function requireRoomHere(stage: string, sizeBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(stage)
  if (bavail * bsize >= sizeBytes) return
  throw new Failure(
    'space-low',
    `the work directory ${dirname(stage)} has ${Math.floor((bavail * bsize) / 1048576)} MiB free; this directory dump is staged there and takes ${Math.ceil(sizeBytes / 1048576)} MiB`,
    { hints: ['use --format custom, which needs no staging', 'or choose another with TIDEMARK_WORK_DIR=/path/with/space'] },
  )
}

function progress(expectedBytes: number, { clock, emit }: Context): (count: number) => void {
  let doneBytes = 0
  let toldMs = clock.monotonicMs()
  return (count) => {
    doneBytes += count
    if (clock.monotonicMs() - toldMs < 250) return
    toldMs = clock.monotonicMs()
    emit({ type: 'step-progress', step: 'dump', doneBytes, expectedBytes, note: 'out of the container' })
  }
}
