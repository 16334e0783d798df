import { createReadStream, createWriteStream } from 'node:fs'
import { cp, open, readdir, realpath, rm, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { localDumpFiles } from '../dump/directory-scan.ts'
import { readDirectoryDump } from '../dump/dump-reader.ts'
import { fileType, fileTypeBytes } from '../dump/file-type.ts'
import { readForeignDump } from '../dump/foreign-dump.ts'
import { makeSeekable } from '../dump/seekable-archive.ts'
import type { Context } from '../kernel/context.ts'
import { Failure, isFailure, systemCodeOf } from '../kernel/failure.ts'
import { isSealedName, openedName } from '../repository/layout.ts'
import { openAgeFile } from '../seal/age-file.ts'
import type { OpeningKeys } from '../seal/age.ts'
import { peek } from '../stream/peek.ts'
import { writeToStage, type StagedDump } from './staged-dump.ts'

export interface ForeignFile {
  readonly path: string
  /** What may open it, asked for only where it is sealed. */
  readonly keys: () => Promise<OpeningKeys>
}

/** Reads a dump file of whoever made it to its end and, where it is sealed or compressed, unpacks it into the stage. The original is never changed. */
export async function stageForeignFile({ path, keys }: ForeignFile, stage: string, context: Context): Promise<StagedDump> {
  const file = await realFile(path)
  const { size } = await stat(file)
  const begunMs = context.clock.monotonicMs()
  context.emit({ type: 'step-begun', step: 'fetch', subject: basename(file), expectedBytes: size })
  const staged = (await stat(file)).isDirectory()
    ? await stageDirectory({ path: file, keys }, stage, context)
    : await stageFile({ path: file, keys }, stage, context)
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

/** Refuses (`key-missing`) a sealed file or directory that no key opens, before anything is done with it. */
export async function requireOpenableFile({ path, keys }: ForeignFile, { signal }: Pick<Context, 'signal'>): Promise<void> {
  const file = await realFile(path)
  const sealedPart = (await stat(file)).isDirectory() ? (await readdir(file)).find(isSealedName) : ''
  if (sealedPart === undefined) return
  const { head, bytes } = await peek(createReadStream(join(file, sealedPart), { signal }), fileTypeBytes)
  if (fileType(head) !== 'age') return void (await bytes.return(undefined))
  try {
    for await (const _beginning of openAgeFile(bytes, keys)) return
  } catch (error) {
    throw naming(join(file, sealedPart), error)
  }
}

/** What opens the bytes does not know whose they are. */
function naming(path: string, error: unknown): unknown {
  if (!isFailure(error, 'integrity', 'key-missing')) return error
  const hints = error.code === 'key-missing' ? ['use --identity FILE, --kit FILE or --passphrase-file FILE of somebody it is sealed to'] : error.hints
  return new Failure(error.code, `${basename(path)}: ${error.message}`, { cause: error, hints, details: error.details })
}

async function realFile(path: string): Promise<string> {
  try {
    return await realpath(path)
  } catch (error) {
    if (systemCodeOf(error) !== 'ENOENT') throw error
    throw new Failure('backup-missing', `there is no file ${path}`, { hints: ['see the backups there are: tidemark list'], cause: error })
  }
}

async function stageDirectory({ path, keys }: ForeignFile, stage: string, context: Context): Promise<StagedDump> {
  const copy = join(stage, 'dump.d')
  await cp(path, copy, { recursive: true, dereference: true, errorOnExist: true, force: false })
  for (const name of await readdir(copy)) if (isSealedName(name)) await openCopy(join(copy, name), keys, context)
  const content = await readDirectoryDump(localDumpFiles(copy), { fingerprint: true, settings: null, signal: context.signal })
  return { format: 'directory', path: copy, content, [Symbol.asyncDispose]: () => rm(copy, { recursive: true, force: true }) }
}

async function openCopy(sealed: string, keys: () => Promise<OpeningKeys>, context: Context): Promise<void> {
  const opened = openAgeFile(createReadStream(sealed, { signal: context.signal }), keys)
  try {
    await pipeline(opened, createWriteStream(openedName(sealed), { flags: 'wx', mode: 0o600 }), { signal: context.signal })
  } catch (error) {
    throw naming(sealed, error)
  }
  await rm(sealed)
}

async function stageFile({ path: file, keys }: ForeignFile, stage: string, context: Context): Promise<StagedDump> {
  const spool = join(stage, 'dump.plain')
  await using output = await open(spool, 'wx', 0o600)
  const { content } = await readForeignDump(createReadStream(file, { highWaterMark: 256 * 1024, signal: context.signal }), {
    fileName: basename(file),
    signal: context.signal,
    onPlain: (chunk) => writeToStage(output, chunk),
    openSealed: (sealed) => openAgeFile(sealed, keys),
  })
  const format = content.kind === 'plain' ? 'plain' : 'custom'
  await makeSeekable(spool, content.blockOffsets)
  // The copy is what was read and checked; the file itself may be changed by others meanwhile.
  return { format, path: spool, content, [Symbol.asyncDispose]: () => rm(spool, { force: true }) }
}
