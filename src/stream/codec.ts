import { atMost, type Stage } from './chunks.ts'
import { compressGzip, decompressGzip } from './gzip-members.ts'
import { isGzip } from './gzip-format.ts'
import { compressZstd, decompressZstd, type DecompressOptions } from './zstd-frames.ts'
import { frameMagic, skippableBytes } from './zstd-format.ts'

export type CompressionMethod = 'gzip' | 'zstd' | 'none'

export interface CodecOptions {
  /** Blocks compressed at the same time. */
  readonly workers: number
  readonly signal?: AbortSignal | undefined
}

/** The stage that compresses as the settings say; for `none`, one that changes nothing. */
export function compressionFor(
  compression: { readonly method: 'gzip' | 'zstd'; readonly level: number } | { readonly method: 'none' },
  { workers, signal }: CodecOptions,
): Stage {
  switch (compression.method) {
    case 'zstd':
      return (source) => compressZstd(source, { level: compression.level, workers, signal })
    case 'gzip':
      return (source) => compressGzip(source, { level: compression.level, workers, signal })
    case 'none':
      return (source) => source
    default:
      throw new Error(`unexpected compression "${compression satisfies never}"`)
  }
}

/** The stage that undoes `compressionFor`; for `none` it only bounds. */
export function decompressionFor(method: CompressionMethod, options: DecompressOptions): Stage {
  switch (method) {
    case 'zstd':
      return (source) => decompressZstd(source, options)
    case 'gzip':
      return (source) => decompressGzip(source, options)
    case 'none':
      return (source) => atMost(source, options.maxBytes, 'the stream')
    default:
      throw new Error(`unexpected compression "${method satisfies never}"`)
  }
}

/** `.zst`, `.gz` or nothing: what a file of this compression is called. */
export function compressionSuffix(method: CompressionMethod): '.zst' | '.gz' | '' {
  return method === 'zstd' ? '.zst' : method === 'gzip' ? '.gz' : ''
}

/** How many first bytes `compressionOf` wants to see. */
export const magicBytes = 8

/** What the first bytes (eight, or all of a shorter file) say. Neither a custom archive (`PGDMP`) nor SQL text begins like gzip or zstd. */
export function compressionOf(head: Uint8Array): CompressionMethod {
  const bytes = Buffer.from(head.buffer, head.byteOffset, head.length)
  if (isGzip(bytes)) return 'gzip'
  const zstd = bytes.length >= 4 && bytes.readUInt32LE(0) === frameMagic
  return zstd || skippableBytes(bytes) !== undefined ? 'zstd' : 'none'
}

/** Decompresses by what the first bytes say, not by the name. Reads those bytes at once and the rest on demand. */
export async function decompressByMagic(
  source: AsyncIterable<Uint8Array>,
  options: DecompressOptions,
): Promise<{ readonly method: CompressionMethod; readonly content: AsyncIterable<Uint8Array> }> {
  const iterator = source[Symbol.asyncIterator]()
  const head: Uint8Array[] = []
  for (let held = 0; held < magicBytes;) {
    const step = await iterator.next()
    if (step.done === true) break
    head.push(step.value)
    held += step.value.length
  }
  const method = compressionOf(Buffer.concat(head).subarray(0, magicBytes))
  return { method, content: decompressionFor(method, options)(resumed(head, iterator)) }
}

async function* resumed(head: readonly Uint8Array[], iterator: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  let ended = false
  try {
    yield* head
    for (;;) {
      const step = await iterator.next()
      ended = step.done === true
      if (step.done === true) return
      yield step.value
    }
  } finally {
    if (!ended) await iterator.return?.()
  }
}
