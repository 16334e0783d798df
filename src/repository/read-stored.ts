import { Failure } from '../kernel/failure.ts'
import type { Storage } from '../storage/storage.ts'
import { atMost, givingBack } from '../stream/chunks.ts'
import { decompressGzip } from '../stream/gzip-members.ts'
import { Tally } from '../stream/tally.ts'
import { decompressZstd } from '../stream/zstd-frames.ts'
import { openedName } from './layout.ts'
import type { StoredFile } from './manifest.ts'

/** How a dump is wrapped inside its seal, by its extension: `.dump` and `.sql` are what pg_dump wrote. */
export type OuterCompression = 'none' | 'gzip' | 'zstd'

export function outerCompressionOf(fileName: string): OuterCompression {
  const name = openedName(fileName)
  if (name.endsWith('.zst')) return 'zstd'
  return name.endsWith('.gz') ? 'gzip' : 'none'
}

/**
 * The stored bytes of a file, held against the manifest while they pass: another length or digest is an `integrity` failure at the
 * end of the stream. Who consumes it to the end without an error has seen exactly what was stored.
 */
export async function* readChecked(storage: Storage, file: StoredFile, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
  const tally = new Tally()
  yield* tally.through(storage.read(file.key, signal === undefined ? {} : { signal }))
  const damaged = (why: string) => new Failure('integrity', `${file.key} is damaged: ${why}`, { details: { object: file.key } })
  if (tally.sizeBytes !== file.sizeBytes) throw damaged(`it has ${tally.sizeBytes} bytes, ${file.sizeBytes} were stored`)
  if (tally.sha256() !== file.sha256) throw damaged('its SHA-256 is not the one that was stored')
}

/** Undoes the outer compression, if there is one. `maxBytes` is the size that the manifest states: a bomb ends there. A chunk is valid until the next is asked for. */
export function plainBytes(
  source: AsyncIterable<Uint8Array>,
  compression: OuterCompression,
  options: { signal?: AbortSignal; maxBytes: number },
): AsyncIterable<Uint8Array> {
  if (compression === 'zstd') return givingBack(decompressZstd(source, options))
  // What a storage gave may still be the storage's.
  return compression === 'gzip' ? givingBack(decompressGzip(source, options)) : atMost(source, options.maxBytes, 'the dump')
}
