import { createWriteStream } from 'node:fs'
import { mkdir, open, rm, type FileHandle } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Context } from '../kernel/context.ts'
import { Failure, isOutOfSpace } from '../kernel/failure.ts'
import type { DumpContent } from '../dump/dump-reader.ts'
import { makeSeekable } from '../dump/seekable-archive.ts'
import { scannedDump } from '../repository/check-stored.ts'
import { dumpFileOf, type Manifest, type StoredFile } from '../repository/manifest.ts'
import { openedName } from '../repository/layout.ts'
import { outerCompressionOf, plainBytes } from '../repository/read-stored.ts'
import type { Repository } from '../repository/repository.ts'
import { requireStageSpace, workDirectoryHint } from '../repository/stage-space.ts'
import { filesOf, readOpened } from '../repository/stored-files.ts'
import { withProgress } from '../stream/chunks.ts'

/** A dump on local disk, opened and decompressed, that was read to its end and found whole. Removed when its scope ends, unless it is the original. */
export interface StagedDump extends AsyncDisposable {
  readonly format: 'custom' | 'plain' | 'directory'
  /** Absolute; a directory for the directory format. */
  readonly path: string
  /** Null for the directory format, whose files were compared byte for byte with what was scanned when they were stored. */
  readonly content: StagedContent | null
}

/** What is known of a staged dump without reading it again. */
export type StagedContent = Pick<DumpContent, 'sizeBytes' | 'tables' | 'dumpVersion' | 'suspicious' | 'reach' | 'blockOffsets'>

/**
 * Brings a stored dump to local disk, checking every byte on the way: SHA-256, structure, content. Nothing has been done to any server
 * when this rejects. Even a dump that lies on local disk uncompressed is copied: what was checked and what is loaded must be the same bytes, whatever
 * happens to the file meanwhile. What was sealed is opened once, here, into files that only our account can read.
 */
export async function stageBackup(repository: Repository, manifest: Manifest, stage: string, context: Context): Promise<StagedDump> {
  const { backup } = manifest
  const begunMs = context.clock.monotonicMs()
  context.emit({ type: 'step-begun', step: 'fetch', subject: backup.fileName, expectedBytes: backup.storedBytes })
  await requireStageSpace(stage, { bytes: unpackedBytes(manifest) + stagingSpareBytes, what: 'staging this dump needs' })
  const staged =
    backup.format === 'directory' ? await stageDirectory(repository, manifest, stage, context) : await stageFile(repository, manifest, stage, context)
  context.emit({
    type: 'step-ended',
    step: 'fetch',
    subject: backup.fileName,
    durationSeconds: (context.clock.monotonicMs() - begunMs) / 1000,
    doneBytes: manifest.plainBytes,
    note: 'read and verified',
  })
  return staged
}

async function stageFile(repository: Repository, manifest: Manifest, stage: string, context: Context): Promise<StagedDump> {
  const file = dumpFileOf(manifest)
  if (file === null) throw new Failure('integrity', `the manifest of backup ${manifest.backup.id} names no dump file`)
  const format = manifest.backup.format === 'plain' ? 'plain' : 'custom'
  const path = join(stage, format === 'plain' ? 'dump.sql' : 'dump.custom')
  const content = await spool(stagedBytes(repository, manifest, file, context), path)
  if (format === 'custom') await makeSeekable(path, content.blockOffsets)
  return { format, path, content, [Symbol.asyncDispose]: () => rm(path, { force: true }) }
}

/**
 * The bytes pg_dump wrote, with the check that they need. An archive with the SHA-256 of the manifest is the one whose structure and content were
 * scanned when it was dumped. Plain SQL is scanned again all the same, for psql acts upon what it finds there and whoever can write the repository can
 * forge a digest; and so is what somebody else wrote (adopted), or what was dumped without a fingerprint.
 */
async function* stagedBytes(repository: Repository, manifest: Manifest, file: StoredFile, context: Context): AsyncGenerator<Uint8Array, StagedContent> {
  const { backup } = manifest
  if (backup.adopted || manifest.fingerprint === null || backup.format === 'plain') {
    const format = backup.format === 'plain' ? 'plain' : 'custom'
    return yield* scannedDump(
      filesOf(repository),
      file,
      { format, fileName: backup.fileName, files: manifest.files, plainBytes: manifest.plainBytes, fingerprint: manifest.fingerprint },
      context,
    )
  }
  const compression = outerCompressionOf(backup.fileName)
  const plain = plainBytes(readOpened(filesOf(repository), file, context.signal), compression, { signal: context.signal, maxBytes: manifest.plainBytes })
  let sizeBytes = 0
  for await (const chunk of withProgress(plain, {
    clock: context.clock,
    report: (doneBytes) => context.emit({ type: 'step-progress', step: 'fetch', doneBytes, expectedBytes: manifest.plainBytes }),
  })) {
    sizeBytes += chunk.byteLength
    yield chunk
  }
  if (sizeBytes !== manifest.plainBytes)
    throw new Failure('integrity', `${backup.fileName} decompresses to ${sizeBytes} bytes; pg_dump wrote ${manifest.plainBytes}`, {
      details: { object: file.key },
    })
  return {
    sizeBytes,
    tables: backup.tables,
    dumpVersion: manifest.dumpTool?.replace(/^pg_dump /, '') ?? null,
    suspicious: [],
    reach: null,
    blockOffsets: manifest.blockOffsets,
  }
}

async function stageDirectory(repository: Repository, manifest: Manifest, stage: string, context: Context): Promise<StagedDump> {
  const files = filesOf(repository)
  const root = join(stage, 'dump.d')
  await mkdir(root, { mode: 0o700 })
  for (const file of manifest.files) {
    if (file.role !== 'part') continue
    const path = join(root, openedName(relative(manifest.backup.key, file.key)))
    // Keys were validated by the storage; a part outside its own folder would still be a forged manifest.
    if (relative(root, path).startsWith('..'))
      throw new Failure('integrity', `the manifest of backup ${manifest.backup.id} names a part outside its folder: ${file.key}`)
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    await pipeline(Readable.from(readOpened(files, file, context.signal), { objectMode: false }), createWriteStream(path, { flags: 'wx', mode: 0o600 }), {
      signal: context.signal,
    })
  }
  return { format: 'directory', path: root, content: null, [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true }) }
}

/** Writes to `path` to the end, and returns what the source found. */
async function spool(source: AsyncGenerator<Uint8Array, StagedContent>, path: string): Promise<StagedContent> {
  await using output = await open(path, 'wx', 0o600)
  for (;;) {
    const step = await source.next()
    if (step.done === true) return step.value
    await writeToStage(output, step.value)
  }
}

/** Unlike write(), writeFile() takes all of it on a disk that is getting full, or fails; and that is what it then says. */
export async function writeToStage(output: FileHandle, bytes: Uint8Array): Promise<void> {
  try {
    await output.writeFile(bytes)
  } catch (error) {
    if (!isOutOfSpace(error)) throw error
    throw new Failure('space-low', 'the work directory is full: the dump does not fit there unpacked', {
      cause: error,
      hints: [workDirectoryHint],
    })
  }
}

/** Room beyond the dump itself: for the list of entries, and what others write there meanwhile. */
export const stagingSpareBytes = 64 * 1024 * 1024

/** What a backup takes in the work directory, where it lies unpacked; the parts of a directory dump stay as pg_dump compressed them. */
export function unpackedBytes({ backup, files, plainBytes }: Manifest): number {
  return backup.format === 'directory' ? files.filter(({ role }) => role === 'part').reduce((sum, part) => sum + part.sizeBytes, 0) : plainBytes
}
