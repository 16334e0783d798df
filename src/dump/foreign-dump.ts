import { Failure, isFailure } from '../kernel/failure.ts'
import { decompressGzip } from '../stream/gzip-members.ts'
import { peek } from '../stream/peek.ts'
import { decompressZstd } from '../stream/zstd-frames.ts'
import { createDumpReader, type DumpContent } from './dump-reader.ts'
import { fileType, fileTypeBytes, type FileType } from './file-type.ts'

export interface ForeignDump {
  readonly content: DumpContent
  readonly compression: 'none' | 'gzip' | 'zstd'
  readonly isSealed: boolean
}

export interface ForeignOptions {
  readonly fileName: string
  readonly signal?: AbortSignal
  /** Bound for decompression; a file of unknown origin may be a bomb. Default 64 TiB. */
  readonly maxBytes?: number
  /** Is given the plain bytes as they pass, for a spool. */
  readonly onPlain?: (chunk: Uint8Array) => Promise<void>
  /** Opens an age file. Without it, sealed files are refused. */
  readonly openSealed?: (sealed: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>
}

/**
 * Reads a dump that Tidemark did not make: what it is is told by its content, not its name. Rejects with `dump-empty` for an empty or
 * truncated one, `integrity` for a damaged one, `usage-invalid` for a file that is no dump at all, and `key-missing` for a sealed one that no key opens.
 */
export async function readForeignDump(source: AsyncIterable<Uint8Array>, options: ForeignOptions): Promise<ForeignDump> {
  try {
    return await readWhatItIs(source, options)
  } catch (error) {
    // What reads the bytes does not know whose they are.
    if (!isFailure(error, 'integrity', 'dump-empty', 'key-missing') || error.message.includes(options.fileName)) throw error
    throw new Failure(error.code, `${options.fileName}: ${error.message}`, { hints: error.hints, cause: error, details: error.details })
  }
}

async function readWhatItIs(source: AsyncIterable<Uint8Array>, options: ForeignOptions): Promise<ForeignDump> {
  const asStored = await peek(source, fileTypeBytes)
  const { openSealed } = options
  const isSealed = openSealed !== undefined && fileType(asStored.head) === 'age'
  const outer = isSealed ? await peek(openSealed(asStored.bytes), fileTypeBytes) : asStored
  const outerType = fileType(outer.head)
  const compression = outerType === 'gzip' || outerType === 'zstd' ? outerType : 'none'
  const bounds = { maxBytes: options.maxBytes ?? 64 * 2 ** 40, ...(options.signal === undefined ? {} : { signal: options.signal }) }
  const inner =
    compression === 'none'
      ? outer
      : await peek(compression === 'gzip' ? decompressGzip(outer.bytes, bounds) : decompressZstd(outer.bytes, bounds), fileTypeBytes)
  const kind = kindOf(fileType(inner.head), options.fileName)
  const reader = createDumpReader(kind, { fingerprint: true, settings: null })
  for await (const chunk of inner.bytes) {
    reader.write(chunk)
    await reader.pending()
    await options.onPlain?.(chunk)
  }
  return { content: await reader.end(), compression, isSealed }
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
      throw new Failure('key-missing', `${fileName} is sealed with age, and is opened by no key here`, {
        hints: [`age --decrypt --identity FILE ${fileName} > dump`],
      })
    case 'gpg':
      throw new Failure('encryption-unavailable', `${fileName} is encrypted with GPG, which Tidemark does not open`, {
        hints: [`gpg --decrypt ${fileName} > dump`],
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
