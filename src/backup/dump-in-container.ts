import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Context } from '../kernel/context.ts'
import { Failure, isFailure } from '../kernel/failure.ts'
import { type ContainerAccess, nameOfContainer } from '../postgres/container.ts'
import { bringFiles, listContainerFiles, spaceHints } from '../postgres/container-files.ts'
import { makeContainerStage, requireContainerSpace } from '../postgres/container-stage.ts'
import { requireStageSpace } from '../repository/stage-space.ts'
import { dumpIntoDirectory, roomToBegin, withoutStaging, type DumpWork } from './run-pg-dump.ts'

/**
 * A directory dump by the pg_dump inside a container, brought into `directory`, which is made. Its workers write files, so
 * it is written there first, into a private temporary directory that is gone when this is over. Brought whole and looked at here, not file by file from
 * there: what is scanned and what is stored must be the same bytes. Returns pg_dump's lines on standard error.
 */
export async function dumpInContainer(access: ContainerAccess, work: DumpWork, directory: string, context: Context): Promise<readonly string[]> {
  const { request, source } = work
  await using stage = await makeContainerStage(access, { run: request.run, target: source.target }, context)
  const needed = { bytes: roomToBegin(source.facts), what: 'a directory dump of this database is written there first and may need' }
  await requireContainerSpace(access, stage, needed, context)
  const there = `${stage.path}/dump`
  const stderrLines = await runPgDump(access, work, { directory: there, applicationName: stage.sessionName('pg_dump') }, context)

  const files = await listContainerFiles(access, there, context.signal)
  const sizeBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0)
  // Only now it is known how much there is.
  await requireStageSpace(dirname(directory), { bytes: sizeBytes, what: 'this directory dump is staged there and takes', hints: withoutStaging })
  await mkdir(directory, { mode: 0o700 })
  await bringFiles(access, { directory: there, files }, directory, { signal: context.signal, onBytes: progress(sizeBytes, context) })
  return stderrLines
}

async function runPgDump(
  access: ContainerAccess,
  work: DumpWork,
  where: { readonly directory: string; readonly applicationName: string },
  context: Context,
): Promise<readonly string[]> {
  try {
    return await dumpIntoDirectory(work, where, context)
  } catch (error) {
    if (!isFailure(error, 'space-low')) throw error
    throw new Failure('space-low', `the temporary directory in ${nameOfContainer(access.container)} became full: ${error.message}`, {
      cause: error,
      hints: spaceHints(access),
    })
  }
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
