import type { Context } from '../../kernel/context.ts'
import { Failure } from '../../kernel/failure.ts'
import { createDumpReader, type DumpContent, type DumpReader } from '../../dump/dump-reader.ts'
import { fileType, fileTypeBytes } from '../../dump/file-type.ts'
import type { Storage, StoredObject } from '../../storage/storage.ts'
import { withProgress } from '../../stream/chunks.ts'
import { Tally } from '../../stream/tally.ts'
import { plainBytes, type OuterCompression } from '../read-stored.ts'

/** A foreign dump, read to its last byte and found whole. */
export interface ReadDump {
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
 * Reads a dump file to its end: decompresses by content, scans its structure, takes the fingerprint. Rejects with `dump-empty` or `integrity`
 * when it is empty, cut off, damaged, or not one dump of one database.
 */
export async function readForeignDump(storage: Storage, object: StoredObject, context: Context): Promise<ReadDump> {
  const { key, version, sizeBytes } = object
  if (sizeBytes === 0) throw new Failure('dump-empty', 'it is empty (0 bytes)', { hints: ['the program that wrote it failed; take a new backup'] })
  const outer = await outerOf(storage, object, context)
  const tally = new Tally()
  const stored = withProgress(tally.through(storage.read(key, { ifVersion: version, signal: context.signal })), {
    clock: context.clock,
    everyMs: 250,
    report: (doneBytes) => context.emit({ type: 'step-progress', step: 'read-back', doneBytes, expectedBytes: sizeBytes }),
  })
  // Nobody knows how large it is; it is only read, never kept.
  const { format, content } = await scan(plainBytes(stored, outer, { signal: context.signal, maxBytes: Infinity }), outer)
  if (content.scope !== 'database') {
    const what = content.scope === 'cluster' ? 'it holds several databases (pg_dumpall)' : 'it is several dumps in one file'
    throw new Failure('integrity', `${what}; only the dump of one database can be restored and compared`, { hints: ['restore it by hand with psql'] })
  }
  return { outer, format, sha256: tally.sha256(), sizeBytes: tally.sizeBytes, version, content }
}

async function outerOf(storage: Storage, { key, version, sizeBytes }: StoredObject, context: Context): Promise<OuterCompression> {
  const head: Uint8Array[] = []
  for await (const chunk of storage.read(key, { ifVersion: version, length: Math.min(sizeBytes, fileTypeBytes), signal: context.signal })) head.push(chunk)
  const type = fileType(Buffer.concat(head))
  if (type === 'gzip' || type === 'zstd') return type
  requireDump(type, 'none')
  return 'none'
}

async function scan(plain: AsyncIterable<Uint8Array>, outer: OuterCompression): Promise<{ format: 'custom' | 'plain'; content: DumpContent }> {
  const held: Uint8Array[] = []
  let heldBytes = 0
  let opened: { format: 'custom' | 'plain'; reader: DumpReader } | undefined
  const open = async () => {
    const format = requireDump(fileType(Buffer.concat(held)), outer)
    opened = { format, reader: createDumpReader(format, { fingerprint: true, settings: null }) }
    for (const chunk of held) await feed(opened.reader, chunk)
    return opened
  }
  for await (const chunk of plain) {
    if (opened !== undefined) await feed(opened.reader, chunk)
    else {
      held.push(chunk)
      heldBytes += chunk.byteLength
      if (heldBytes >= fileTypeBytes) await open()
    }
  }
  const { format, reader } = opened ?? (await open())
  return { format, content: await reader.end() }
}

async function feed(reader: DumpReader, chunk: Uint8Array): Promise<void> {
  reader.write(chunk)
  await reader.pending()
}

function requireDump(type: ReturnType<typeof fileType>, outer: OuterCompression): 'custom' | 'plain' {
  if (type === 'custom' || type === 'plain') return type
  const what = {
    empty: 'there is nothing in it',
    unknown: 'it is neither SQL text nor an archive of pg_dump',
    age: 'it is encrypted (age); decrypt it first',
    gpg: 'it is encrypted (gpg); decrypt it first',
    tar: 'it is a tar file',
    zip: 'it is a zip file',
    bzip2: 'it is compressed with bzip2; decompress it first',
    lz4: 'it is compressed with lz4; decompress it first',
    xz: 'it is compressed with xz; decompress it first',
    gzip: 'it is compressed twice',
    zstd: 'it is compressed twice',
  }[type]
  throw new Failure(type === 'empty' ? 'dump-empty' : 'integrity', outer === 'none' ? what : `inside the ${outer} file: ${what}`)
}
