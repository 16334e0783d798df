import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { realpath, stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import type { Context } from '../kernel/context.ts'
import { Failure, isFailure, messageOf, systemCodeOf } from '../kernel/failure.ts'
import { localDumpFiles, type DumpFiles } from '../dump/directory-scan.ts'
import { readDirectoryDump, type DumpContent } from '../dump/dump-reader.ts'
import { readForeignDump } from '../dump/foreign-dump.ts'
import { isSealedName, openedName, sealedName } from '../repository/layout.ts'
import { openAgeFile } from '../seal/age-file.ts'
import type { OpeningKeys } from '../seal/age.ts'
import type { VerifiedBackup } from './verify-backup.ts'
import { warnOfReach } from './warn-of-reach.ts'

/** Verifies a dump file or directory on disk, whoever made it: decoded to its end and structurally complete. There is no record to compare its content with. A sealed one is opened with `keys`, which are asked for only then. */
export async function verifyFile(cwd: string, path: string, keys: () => Promise<OpeningKeys>, context: Context): Promise<VerifiedBackup> {
  const { file, isDirectory, sizeBytes } = await find(resolve(cwd, path))
  const begunMs = context.clock.monotonicMs()
  context.emit({ type: 'step-begun', step: 'read-back', subject: basename(file), expectedBytes: isDirectory ? null : sizeBytes })
  const id = path
  try {
    const { content, checksum, readBytes } = isDirectory ? await readDirectory(file, keys, context) : await readFile(file, keys, context)
    context.emit({
      type: 'step-ended',
      step: 'read-back',
      subject: basename(file),
      durationSeconds: (context.clock.monotonicMs() - begunMs) / 1000,
      doneBytes: readBytes,
    })
    warnOfReach(content, basename(file), context)
    return { id, valid: true, opened: true, state: 'verified', problems: [], checksum, readBytes, tables: content.tables }
  } catch (error) {
    if (!(error instanceof Failure) || !isFailure(error, 'integrity', 'dump-empty', ...(isDirectory ? (['object-missing'] as const) : []))) throw error
    return {
      id,
      valid: false,
      opened: true,
      state: 'damaged',
      problems: [{ code: error.code, object: file, message: error.message }],
      checksum: '',
      readBytes: sizeBytes,
      tables: [],
    }
  }
}

async function find(path: string): Promise<{ file: string; isDirectory: boolean; sizeBytes: number }> {
  try {
    const file = await realpath(path)
    const stats = await stat(file)
    return { file, isDirectory: stats.isDirectory(), sizeBytes: stats.size }
  } catch (error) {
    const code = systemCodeOf(error)
    if (code === 'ENOENT' || code === 'ENOTDIR')
      throw new Failure('backup-missing', `there is no file ${path}`, { cause: error, hints: ['see the backups there are: tidemark list'] })
    throw code === undefined ? error : new Failure('storage-failed', `cannot read ${path}: ${messageOf(error)}`, { cause: error, hints: [`ls -l ${path}`] })
  }
}

interface ReadDump {
  readonly content: DumpContent
  readonly checksum: string
  readonly readBytes: number
}

async function readFile(file: string, keys: () => Promise<OpeningKeys>, context: Context): Promise<ReadDump> {
  const hash = createHash('sha256')
  let readBytes = 0
  const stored = async function* () {
    for await (const chunk of chunksOf(file, context)) {
      hash.update(chunk)
      readBytes += chunk.byteLength
      yield chunk
    }
  }
  const { content } = await readForeignDump(stored(), {
    fileName: basename(file),
    signal: context.signal,
    openSealed: (sealed) => openAgeFile(sealed, keys),
  })
  return { content, checksum: `sha256:${hash.digest('hex')}`, readBytes }
}

async function readDirectory(directory: string, keys: () => Promise<OpeningKeys>, context: Context): Promise<ReadDump> {
  const files = localDumpFiles(directory)
  const content = await readDirectoryDump(openedFiles(files, keys), { fingerprint: true, settings: null, signal: context.signal })
  const list = createHash('sha256')
  let readBytes = 0
  for (const { name, sizeBytes } of (await files.list()).toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    const hash = createHash('sha256')
    for await (const chunk of chunksOf(join(directory, name), context)) hash.update(chunk)
    list.update(`${hash.digest('hex')}  ${name}\n`)
    readBytes += sizeBytes
  }
  return { content, checksum: `sha256:${list.digest('hex')}`, readBytes }
}

/** The files as pg_dump named them, each opened where it is sealed. */
function openedFiles(files: DumpFiles, keys: () => Promise<OpeningKeys>): DumpFiles {
  const sealed = new Set<string>()
  return {
    list: async () => {
      const found = await files.list()
      for (const { name } of found) if (isSealedName(name)) sealed.add(name)
      return found.map(({ name, sizeBytes }) => ({ name: openedName(name), sizeBytes }))
    },
    read: (name) => (sealed.has(sealedName(name)) ? openAgeFile(files.read(sealedName(name)), keys) : files.read(name)),
  }
}

/** What the disk or the system refuses is no damage of the dump. */
async function* chunksOf(file: string, context: Context): AsyncGenerator<Buffer> {
  try {
    yield* createReadStream(file, { highWaterMark: 256 * 1024, signal: context.signal }) as AsyncIterable<Buffer>
  } catch (error) {
    if (context.signal.aborted || systemCodeOf(error) === undefined || !(error instanceof Error) || !('syscall' in error)) throw error
    throw new Failure('storage-failed', `cannot read ${file}: ${messageOf(error)}`, { cause: error, hints: [`ls -l ${file}`] })
  }
}
