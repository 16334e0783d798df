import { Failure, isFailure } from '../kernel/failure.ts'
import { decompressGzip } from '../stream/gzip-members.ts'
import { decompressZstd } from '../stream/zstd-frames.ts'
import { createDumpReader, type DumpContent } from './dump-reader.ts'
import { fileType, fileTypeBytes, type FileType } from './file-type.ts'

export interface ForeignDump {
  readonly content: DumpContent
  readonly compression: 'none' | 'gzip' | 'zstd'
}

export interface ForeignOptions {
  readonly fileName: string
  readonly signal?: AbortSignal
  /** Bound for decompression; a file of unknown origin may be a bomb. Default 64 TiB. */
  readonly maxBytes?: number
  /** Is given the plain bytes as they pass, for a spool. */
  readonly onPlain?: (chunk: Uint8Array) => Promise<void>
}

/**
 * Reads a dump that Tidemark did not make: what it is is told by its content, not its name. Rejects with `dump-empty` for an empty or
 * truncated one, `integrity` for a damaged one, and `usage-invalid` for a file that is no dump at all.
 */
export async function readForeignDump(source: AsyncIterable<Uint8Array>, options: ForeignOptions): Promise<ForeignDump> {
  try {
    return await readWhatItIs(source, options)
  } catch (error) {
    // What reads the bytes does not know whose they are.
    if (!isFailure(error, 'integrity', 'dump-empty') || error.message.includes(options.fileName)) throw error
    throw new Failure(error.code, `${options.fileName}: ${error.message}`, { hints: error.hints, cause: error, details: error.details })
  }
}

async function readWhatItIs(source: AsyncIterable<Uint8Array>, options: ForeignOptions): Promise<ForeignDump> {
  const outer = await peek(source)
  const outerType = fileType(outer.head)
  const compression = outerType === 'gzip' || outerType === 'zstd' ? outerType : 'none'
  const bounds = { maxBytes: options.maxBytes ?? 64 * 2 ** 40, ...(options.signal === undefined ? {} : { signal: options.signal }) }
  const inner = compression === 'none' ? outer : await peek(compression === 'gzip' ? decompressGzip(outer.bytes, bounds) : decompressZstd(outer.bytes, bounds))
  const kind = kindOf(fileType(inner.head), options.fileName)
  const reader = createDumpReader(kind, { fingerprint: true, settings: null })
  for await (const chunk of inner.bytes) {
    reader.write(chunk)
    await reader.pending()
    await options.onPlain?.(chunk)
  }
  return { content: await reader.end(), compression }
}

/** The first bytes, and a stream that still has them. */
async function peek(source: AsyncIterable<Uint8Array>): Promise<{ head: Uint8Array; bytes: AsyncIterable<Uint8Array> }> {
  const iterator = source[Symbol.asyncIterator]()
  const first: Uint8Array[] = []
  let size = 0
  while (size < fileTypeBytes) {
    const step = await iterator.next()
    if (step.done === true) break
    first.push(step.value)
    size += step.value.length
  }
  const bytes = (async function* () {
    try {
      yield* first
      for (;;) {
        const step = await iterator.next()
        if (step.done === true) return
        yield step.value
      }
    } finally {
      await iterator.return?.()
    }
  })()
  return { head: Buffer.concat(first).subarray(0, fileTypeBytes), bytes }
}

function kindOf(type: FileType, fileName: string): 'custom' | 'plain' {
  switch (type) {
    case 'custom':
      return 'custom'
    case 'plain':
      return 'plain'
    case 'empty':
      throw new Failure('dump-empty', `${fileName} is empty`, { hints: ['the program that wrote it failed; take a new backup'] })
    case 'age':
    case 'gpg':
      throw new Failure('encryption-unavailable', `${fileName} is encrypted (${type}); this version cannot open sealed files`, {
        hints: [type === 'gpg' ? `gpg --decrypt ${fileName} > dump` : `age --decrypt ${fileName} > dump`],
      })
    case 'gzip':
    case 'zstd':
      throw new Failure('usage-invalid', `${fileName} is compressed twice; unpack it once first`)
    case 'tar':
      throw new Failure('usage-invalid', `${fileName} is a tar archive; pg_dump's tar format and base backups are not read by this command`, {
        hints: ['pg_restore --dbname=… reads the tar format itself'],
      })
    case 'lz4':
    case 'xz':
    case 'bzip2':
    case 'zip':
      throw new Failure('usage-invalid', `${fileName} is compressed with ${type}, which Tidemark does not read; unpack it first`)
    case 'unknown':
      throw new Failure('usage-invalid', `${fileName} is neither SQL nor an archive of pg_dump`, { hints: ['see what it is: file NAME'] })
    default:
      throw new Error(`unexpected file type ${JSON.stringify(type satisfies never)}`)
  }
}
