import { createReadStream } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Failure, messageOf, systemCodeOf } from '../kernel/failure.ts'
import { createTocReader, type ArchiveToc, type TocEntry } from './archive-toc.ts'
import { createCopyStaging } from './copy-staging.ts'
import { malformed } from './faults.ts'
import { createDecompressor, type InnerMethod } from './inner-decompression.ts'
import type { ByteSink, DumpSink } from './sink.ts'
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

/** A directory dump on this machine. Only regular files count. */
export function localDumpFiles(directory: string): DumpFiles {
  return {
    list: async () => {
      try {
        const entries = await readdir(directory, { withFileTypes: true })
        return await Promise.all(entries.filter((entry) => entry.isFile()).map(async ({ name }) => ({ name, sizeBytes: (await stat(join(directory, name))).size })))
      } catch (error) {
        throw new Failure('object-missing', `cannot list the directory dump ${directory}: ${messageOf(error)}`, { cause: error, details: { code: systemCodeOf(error) } })
      }
    },
    read: (name) => createReadStream(join(directory, name), { highWaterMark: 1024 * 1024 }),
  }
}

/**
 * Scans a directory dump (pg_backup_directory.c): toc.dat, a file of rows per table, and for large objects lists (`blobs.toc`, from 17
 * `blobs_<n>.toc`) with a file per object. Resolves when every promised file was there and whole.
 */
export async function scanDirectory(files: DumpFiles, sink: DumpSink, options: DirectoryScanOptions = {}): Promise<DirectoryScan> {
  const listed = new Map((await files.list()).map((file) => [file.name, file]))
  const used = new Set<string>()
  const read = async function* (name: string): AsyncGenerator<Uint8Array> {
    for await (const chunk of files.read(name)) {
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
  const tasks: (() => Promise<void>)[] = []
  for (const entry of toc.entries.filter((each) => each.hadData)) {
    const content = contentOf(entry)
    if (content.kind === 'large-objects') tasks.push(...(await objectTasks(entry, { read, claim, sink })))
    else {
      const name = claim(fileNameOf(entry, /^\d+\.dat$/), `the rows of ${nameOf(entry)}`)
      if (content.kind === 'other') sink.notCompared(nameOf(entry), content.why)
      tasks.push(() => readTable(read(name), { name, entry, target: content.kind === 'rows' ? openTable(name) : null, isRows: content.kind === 'rows' }))
      function openTable(file: string): ByteSink | null {
        if (!file.endsWith('.lz4')) return content.kind === 'rows' ? sink.table(content.section) : null
        sink.notCompared(nameOf(entry), 'pg_dump compressed it with lz4, which Tidemark cannot read')
        return null
      }
    }
  }
  await inParallel(tasks, options.jobs ?? 4)

  const mine = [...used].map((name) => listed.get(name)).filter((file) => file !== undefined)
  return { toc, files: mine, sizeBytes: mine.reduce((sum, file) => sum + file.sizeBytes, 0), strangers: [...listed.keys()].filter((name) => !used.has(name)) }
}

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

interface ObjectReading {
  readonly read: Read
  readonly claim: (name: string, what: string) => string
  readonly sink: DumpSink
}

/** One task per large object that the list names: lines of `<oid> blob_<oid>.dat`. */
async function objectTasks(entry: TocEntry, { read, claim, sink }: ObjectReading): Promise<(() => Promise<void>)[]> {
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

async function readTable(source: AsyncIterable<Uint8Array>, file: { name: string; entry: TocEntry; target: ByteSink | null; isRows: boolean }): Promise<void> {
  if (!file.isRows || file.target === null) return decompressed(source, file.name, () => undefined)
  const staging = createCopyStaging()
  staging.begin(file.target)
  await decompressed(source, file.name, (piece) => staging.append(Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength), 0, piece.length))
  const problem = staging.finish()
  if (problem !== null) throw new Failure('dump-empty', `the dump is not complete: table ${nameOf(file.entry)} in ${file.name}: ${problem}`, { details: { file: file.name } })
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
    for await (const chunk of source) {
      stream.push(chunk)
      await stream.settled()
    }
    await stream.end()
  } catch (error) {
    if (error instanceof Failure || (error instanceof Error && error.name === 'AbortError')) throw error
    throw malformed(`file ${name} cannot be decompressed: ${messageOf(error)}`, 0)
  }
}

async function inParallel(tasks: readonly (() => Promise<void>)[], jobs: number): Promise<void> {
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
