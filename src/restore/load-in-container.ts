import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { type DumpFile, localDumpFiles } from '../dump/directory-scan.ts'
import type { Context } from '../kernel/context.ts'
import { systemCodeOf } from '../kernel/failure.ts'
import type { ContainerAccess } from '../postgres/container.ts'
import { sendFiles, type SentFile } from '../postgres/container-files.ts'
import { type ContainerStage, makeContainerStage, requireContainerSpace, sweepContainerStages } from '../postgres/container-stage.ts'
import type { ConnectionTarget } from '../postgres/target.ts'
import { isPlainName } from '../postgres/tar-format.ts'
import type { StagedDump } from './staged-dump.ts'

/** What pg_restore inside a container is to read, and where it lies there. Its scope's end removes it. */
export interface DumpInContainer extends AsyncDisposable {
  /** A directory dump; null for a custom archive, which is fed to standard input. */
  readonly directory: string | null
  /** For `--use-list`. */
  readonly list: string | null
  readonly applicationName: string
}

/**
 * Puts into the container what pg_restore cannot read from a stream: the files of a directory dump, and the list of selected entries. A custom archive
 * stays here and is fed: it needs no space there, which may be that of the database itself; a cut is noticed by pg_restore, which misses blocks that
 * the table of contents promises.
 */
export async function putIntoContainer(
  access: ContainerAccess,
  dump: { readonly staged: StagedDump; readonly entries: readonly string[] | null; readonly run: string; readonly target: ConnectionTarget },
  context: Context,
): Promise<DumpInContainer> {
  const { staged, entries } = dump
  if (staged.format !== 'directory' && entries === null) {
    await sweepContainerStages(access, dump.target, context)
    return { directory: null, list: null, applicationName: 'tidemark pg_restore', [Symbol.asyncDispose]: async () => undefined }
  }
  await using stack = new AsyncDisposableStack()
  const stage = stack.use(await makeContainerStage(access, dump, context))
  const files = await filesToSend(staged)
  await requireRoom(access, stage, files, context)
  const sent: SentFile[] = files.map(({ name }) => ({ name, path: join(staged.path, name) }))
  if (entries !== null) sent.push({ name: listName, content: `${entries.join('\n')}\n` })
  await sendFiles(access, sent, stage.path, { signal: context.signal })
  const owned = stack.move()
  return {
    directory: staged.format === 'directory' ? stage.path : null,
    list: entries === null ? null : `${stage.path}/${listName}`,
    applicationName: stage.sessionName('pg_restore'),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

/** Finds out whether `putIntoContainer` can do its work: makes the temporary directory, looks at the space, and removes it again. */
export async function requireRoomInContainer(
  access: ContainerAccess,
  dump: { readonly staged: StagedDump; readonly selected: boolean; readonly run: string; readonly target: ConnectionTarget },
  context: Context,
): Promise<void> {
  if (dump.staged.format !== 'directory' && !dump.selected) return
  await using stage = await makeContainerStage(access, dump, context)
  await requireRoom(access, stage, await filesToSend(dump.staged), context)
}

const listName = 'tidemark-entries.list'
/** Room for the list and the blocks that files fill up. */
const spareBytes = 1024 * 1024

async function filesToSend(staged: StagedDump): Promise<readonly DumpFile[]> {
  const listed = staged.format === 'directory' ? await localDumpFiles(staged.path).list() : []
  // What is called otherwise is no file of pg_dump's.
  return listed.filter(({ name }) => isPlainName(name) && name !== listName)
}

async function requireRoom(access: ContainerAccess, stage: ContainerStage, files: readonly DumpFile[], context: Context): Promise<void> {
  const bytes = files.reduce((sum, file) => sum + Math.ceil(file.sizeBytes / 4096) * 4096, 0) + spareBytes
  await requireContainerSpace(access, stage, { bytes, what: 'what pg_restore is to read there needs' }, context)
}

/** Feeds a file, and then `end`. A reader that stopped early (EPIPE) has its reason on standard error, which the caller reads. */
export async function feed(path: string, stdin: NodeJS.WritableStream, end = ''): Promise<void> {
  const source = async function* (): AsyncGenerator<Uint8Array> {
    yield* createReadStream(path, { highWaterMark: 256 * 1024 })
    if (end !== '') yield Buffer.from(end)
  }
  try {
    await pipeline(source, stdin)
  } catch (error) {
    if (!['EPIPE', 'ERR_STREAM_PREMATURE_CLOSE', 'ECONNRESET'].includes(systemCodeOf(error) ?? '')) throw error
  }
}
