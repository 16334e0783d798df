import { createReadStream } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Failure, messageOf, systemCodeOf } from '../kernel/failure.ts'
import { createTocReader, type ArchiveToc, type TocEntry } from './archive-toc.ts'
import { createCopyStaging } from './copy-staging.ts'
import { malformed } from './faults.ts'
import { createDecompressor, type InnerMethod } from './inner-decompression.ts'
import type { DumpSink } from './sink.ts'
import { contentOf, nameOf, tellSequences } from './toc-content.ts'

/** The files of a directory dump, wherever they lie: a local directory, or objects in a repository. */
export interface DumpFiles {
  list(): Promise<readonly DumpFile[]>
  read(name: string): AsyncIterable<Uint8Array>
}

export interface DumpFile {
  readonly name: string
  readonly sizeBytes: number
}

export interface DirectoryScan {
  readonly toc: ArchiveToc
  /** The files that belong to the dump. */
  readonly files: readonly DumpFile[]
  /** Their bytes together. */
  readonly sizeBytes: number
  /** What lies there besides. */
  readonly strangers: readonly string[]
}

export interface DirectoryScanOptions {
  /** Files read at the same time; default 4. */
  readonly jobs?: number
  readonly signal?: AbortSignal
  /** Bytes read so far, as they lie in the files. */
  readonly onBytes?: (count: number) => void
}

const suffixes: Readonly<Record<string, InnerMethod | 'none' | 'lz4'>> = { '': 'none', '.gz': 'gzip', '.zst': 'zstd', '.lz4': 'lz4' }

/** What pg_dump calls its data files; one that nothing refers to means that a list was cut. */
const dataFile = /^(?:\d+\.dat|blob_\d+\.dat|blobs(?:_\d+)?\.toc)(?:\.gz|\.zst|\.lz4)?$/

/** A directory dump on this machine. Only regular files count. */
export function localDumpFiles(directory: string): DumpFiles {
  return {
    list: async () => {
      try {
        const entries = await readdir(directory, { withFileTypes: true })
        return await Promise.all(
          entries.filter((entry) => entry.isFile()).map(async ({ name }) => ({ name, sizeBytes: (await stat(join(directory, name))).size })),
        )
      } catch (error) {
        throw new Failure('object-missing', `cannot list the directory dump ${directory}: ${messageOf(error)}`, {
          cause: error,
          details: { code: systemCodeOf(error) },
        })
      }
    },
    read: (name) => createReadStream(join(directory, name), { highWaterMark: 1024 * 1024 }),
  }
}

/**
 * Scans a directory dump (pg_backup_directory.c): toc.dat, a file of rows per table, and for large objects lists (`blobs.toc`, from 17
 * `blobs_<n>.toc`) with a file per object. Resolves when every promised file was there and whole.
 */
export async function scanDirectory(source: DumpFiles, sink: DumpSink, options: DirectoryScanOptions = {}): Promise<DirectoryScan> {
  const listed = new Map((await source.list()).map((file) => [file.name, file]))
  const used = new Set<string>()
  const read = async function* (name: string): AsyncGenerator<Uint8Array> {
    for await (const chunk of source.read(name)) {
      options.signal?.throwIfAborted()
      options.onBytes?.(chunk.length)
      yield chunk
    }
  }
  const claim = (name: string, what: string): string => {
    const found = Object.keys(suffixes).filter((suffix) => listed.has(name + suffix))
    if (found.length === 0) throw new Failure('dump-empty', `the dump is not complete: file ${name} with ${what} is missing`, { details: { file: name } })
    if (found.length > 1 || used.has(name + found[0])) throw malformed(`${what} is in it twice (${name})`, 0)
    used.add(name + found[0])
    return name + found[0]
  }

  const toc = await readTocFile(read, claim('toc.dat', 'its table of contents'))
  tellSequences(toc, sink)
  const tasks: Task[] = []
  for (const entry of toc.entries.filter(({ hadData }) => hadData)) {
    if (contentOf(entry).kind === 'large-objects') tasks.push(...(await objectTasks(entry, { read, claim, sink })))
    else tasks.push(tableTask(entry, { read, claim, sink }))
  }
  const strangers = [...listed.keys()].filter((name) => !used.has(name))
  const orphan = strangers.find((name) => dataFile.test(name))
  if (orphan !== undefined) throw malformed(`data file ${orphan} belongs to nothing in its table of contents`, 0)
  await inParallel(tasks, options.jobs ?? 4)

  const files = [...used].flatMap((name) => listed.get(name) ?? [])
  return { toc, files, sizeBytes: files.reduce((sum, file) => sum + file.sizeBytes, 0), strangers }
}

type Task = () => Promise<void>
type Read = (name: string) => AsyncIterable<Uint8Array>

async function readTocFile(read: Read, name: string): Promise<ArchiveToc> {
  const reader = createTocReader({ definitions: 'needed' })
  let restBytes = 0
  await decompressed(read(name), name, (piece) => {
    restBytes += reader.push(piece)?.length ?? 0
  })
  const toc = reader.end()
  if (toc.format === 'custom') throw malformed('toc.dat is a custom archive', 0)
  if (restBytes > 0) throw malformed(`${restBytes} bytes follow the table of contents in toc.dat`, toc.sizeBytes)
  return toc
}

/** The file's name comes from a table of contents that anybody may have written, so it must look like pg_dump's. */
function fileNameOf(entry: TocEntry, form: RegExp): string {
  if (entry.fileName === null || !form.test(entry.fileName)) throw malformed(`the data of ${nameOf(entry)} is in a file of a strange name`, 0)
  return entry.fileName
}

interface EntryReading {
  readonly read: Read
  readonly claim: (name: string, what: string) => string
  readonly sink: DumpSink
}

/** One task per large object that the list names: lines of `<oid> blob_<oid>.dat`. */
async function objectTasks(entry: TocEntry, { read, claim, sink }: EntryReading): Promise<Task[]> {
  const list = claim(fileNameOf(entry, /^blobs(_\d+)?\.toc$/), 'the list of large objects')
  const pieces: Uint8Array[] = []
  await decompressed(read(list), list, (piece) => pieces.push(Buffer.from(piece)))
  const lines = Buffer.concat(pieces).toString('latin1').split('\n')
  if (lines.pop() !== '') throw new Failure('dump-empty', `the dump is not complete: ${list} ends inside a line`, { details: { file: list } })
  return lines.map((line) => {
    const oid = /^(\d{1,10}) blob_\1\.dat$/.exec(line)?.[1]
    if (oid === undefined || Number(oid) > 0xffffffff) throw malformed(`${list} has a line that pg_dump does not write`, 0)
    const name = claim(`blob_${oid}.dat`, `large object ${oid}`)
    return async () => {
      if (name.endsWith('.lz4')) return sink.notCompared(`large object ${oid}`, 'pg_dump compressed it with lz4, which Tidemark cannot read')
      const target = sink.largeObject(Number(oid))
      await decompressed(read(name), name, (piece) => target?.bytes(piece))
      target?.end()
    }
  })
}

/** Reads the file of one table; what it holds is told to the sink in the order of the table of contents. */
function tableTask(entry: TocEntry, { read, claim, sink }: EntryReading): Task {
  const name = claim(fileNameOf(entry, /^\d+\.dat$/), `the rows of ${nameOf(entry)}`)
  const content = contentOf(entry)
  const why = content.kind === 'other' ? content.why : name.endsWith('.lz4') ? 'pg_dump compressed it with lz4, which Tidemark cannot read' : null
  if (why !== null) sink.notCompared(nameOf(entry), why)
  const target = content.kind === 'rows' && why === null ? sink.table(content.section) : null
  if (target === null) return () => decompressed(read(name), name, () => undefined)
  return async () => {
    const staging = createCopyStaging()
    staging.begin(target)
    await decompressed(read(name), name, (piece) => staging.append(Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength), 0, piece.length))
    const problem = staging.finish()
    if (problem !== null)
      throw new Failure('dump-empty', `the dump is not complete: table ${nameOf(entry)} in ${name}: ${problem}`, { details: { file: name } })
  }
}

/** Reads a file to its end and gives on its content, decompressed by its name. */
async function decompressed(source: AsyncIterable<Uint8Array>, name: string, onBytes: (piece: Uint8Array) => void): Promise<void> {
  const method = suffixes[/\.(?:gz|zst|lz4)$/.exec(name)?.[0] ?? ''] ?? 'none'
  if (method === 'none' || method === 'lz4') {
    for await (const chunk of source) onBytes(chunk)
    return
  }
  const stream = createDecompressor(method, onBytes)
  try {
    let fileBytes = 0
    for await (const chunk of source) {
      fileBytes += chunk.length
      stream.push(chunk)
      await stream.settled()
    }
    // pg_dump 17 and 18 write nothing at all, not even a frame, for an empty large object. (An empty table has its end marker.)
    if (fileBytes > 0 || method !== 'zstd') await stream.end()
  } catch (error) {
    if (error instanceof Failure || (error instanceof Error && error.name === 'AbortError')) throw error
    throw malformed(`file ${name} cannot be decompressed: ${messageOf(error)}`, 0)
  }
}

async function inParallel(tasks: readonly Task[], jobs: number): Promise<void> {
  const queue = tasks.values()
  let failed = false
  const work = async () => {
    for (const task of queue) {
      if (failed) return
      try {
        await task()
      } catch (error) {
        failed = true
        throw error
      }
    }
  }
  await Promise.all(Array.from({ length: Math.max(1, Math.min(jobs, tasks.length)) }, work))
}
