import { createReadStream } from 'node:fs'
import { cp, open, realpath, rm, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { localDumpFiles } from '../dump/directory-scan.ts'
import { readDirectoryDump } from '../dump/dump-reader.ts'
import { readForeignDump } from '../dump/foreign-dump.ts'
import { makeSeekable } from '../dump/seekable-archive.ts'
import type { Context } from '../kernel/context.ts'
import { Failure, systemCodeOf } from '../kernel/failure.ts'
import { writeToStage, type StagedDump } from './staged-dump.ts'

/** Reads a dump file of whoever made it to its end and, where it is compressed, unpacks it into the stage. The original is never changed. */
export async function stageForeignFile(path: string, stage: string, context: Context): Promise<StagedDump> {
  const file = await realFile(path)
  const { size } = await stat(file)
  const begunMs = context.clock.monotonicMs()
  context.emit({ type: 'step-begun', step: 'fetch', subject: basename(file), expectedBytes: size })
  const staged = (await stat(file)).isDirectory() ? await stageDirectory(file, stage, context) : await stageFile(file, stage, context)
  context.emit({
    type: 'step-ended',
    step: 'fetch',
    subject: file,
    durationSeconds: (context.clock.monotonicMs() - begunMs) / 1000,
    doneBytes: staged.content?.sizeBytes ?? size,
    note: 'read to its end',
  })
  return staged
}

async function realFile(path: string): Promise<string> {
  try {
    return await realpath(path)
  } catch (error) {
    if (systemCodeOf(error) !== 'ENOENT') throw error
    throw new Failure('backup-missing', `there is no file ${path}`, { hints: ['see the backups there are: tidemark list'], cause: error })
  }
}

async function stageDirectory(directory: string, stage: string, context: Context): Promise<StagedDump> {
  const copy = join(stage, 'dump.d')
  await cp(directory, copy, { recursive: true, dereference: true, errorOnExist: true, force: false })
  const content = await readDirectoryDump(localDumpFiles(copy), { fingerprint: true, settings: null, signal: context.signal })
  return { format: 'directory', path: copy, content, [Symbol.asyncDispose]: () => rm(copy, { recursive: true, force: true }) }
}

async function stageFile(file: string, stage: string, context: Context): Promise<StagedDump> {
  const spool = join(stage, 'dump.plain')
  await using output = await open(spool, 'wx', 0o600)
  const { content } = await readForeignDump(createReadStream(file, { highWaterMark: 256 * 1024, signal: context.signal }), {
    fileName: basename(file),
    signal: context.signal,
    onPlain: (chunk) => writeToStage(output, chunk),
  })
  const format = content.kind === 'plain' ? 'plain' : 'custom'
  await makeSeekable(spool, content.blockOffsets)
  // The copy is what was read and checked; the file itself may be changed by others meanwhile.
  return { format, path: spool, content, [Symbol.asyncDispose]: () => rm(spool, { force: true }) }
}
