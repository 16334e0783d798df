import type { Context } from '../../kernel/context.ts'
import { Failure } from '../../kernel/failure.ts'
import type { DumpContent } from '../../dump/dump-reader.ts'
import { readForeignDump } from '../../dump/foreign-dump.ts'
import { openAgeFile } from '../../seal/age-file.ts'
import type { OpeningKeys } from '../../seal/age.ts'
import type { Storage, StoredObject } from '../../storage/storage.ts'
import { withProgress } from '../../stream/chunks.ts'
import { Tally } from '../../stream/tally.ts'
import type { OuterCompression } from '../read-stored.ts'

/** A foreign dump, read to its last byte and found whole. */
export interface ReadDump {
  readonly isSealed: boolean
  readonly outer: OuterCompression
  readonly format: 'custom' | 'plain'
  /** Of the stored file, hex. */
  readonly sha256: string
  readonly sizeBytes: number
  /** The file as it was read; another version is another file. */
  readonly version: string
  readonly content: DumpContent
}

/**
 * Reads a dump file to its end, by its content: opens it with `keys` where it is sealed, decompresses it, scans its structure, takes the fingerprint. Rejects with a Failure
 * when it is empty, cut off, damaged, or not one dump of one database.
 */
export async function readDump(storage: Storage, object: StoredObject, keys: OpeningKeys, context: Context): Promise<ReadDump> {
  const { key, version, sizeBytes } = object
  const tally = new Tally()
  const stored = withProgress(tally.through(storage.read(key, { ifVersion: version, signal: context.signal })), {
    clock: context.clock,
    everyMs: 250,
    report: (doneBytes) => context.emit({ type: 'step-progress', step: 'read-back', doneBytes, expectedBytes: sizeBytes }),
  })
  try {
    const { content, compression, isSealed } = await readForeignDump(stored, {
      fileName: key.split('/').at(-1) ?? key,
      signal: context.signal,
      openSealed: (sealed) => openAgeFile(sealed, async () => keys),
    })
    if (content.kind === 'directory') throw new Error('one file cannot be a directory dump')
    if (content.scope !== 'database') {
      const what = content.scope === 'cluster' ? 'it holds several databases (pg_dumpall)' : 'it is several dumps in one file'
      throw new Failure('integrity', `${what}; only the dump of one database can be restored and compared`, { hints: ['restore it by hand with psql'] })
    }
    return { isSealed, outer: compression, format: content.kind, sha256: tally.sha256(), sizeBytes: tally.sizeBytes, version, content }
  } finally {
    // A dump that was refused half-way leaves its file open otherwise.
    await stored.return()
  }
}
