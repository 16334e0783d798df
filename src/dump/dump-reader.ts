import { createArchiveScanner, type ArchiveScan, type BlockOffsets } from './archive-scan.ts'
import { derivedOfToc } from './derived-objects.ts'
import { scanDirectory, type DirectoryScan, type DirectoryScanOptions, type DumpFiles } from './directory-scan.ts'
import { createFingerprintCollector } from './fingerprint-collector.ts'
import type { ContentFingerprint } from './fingerprint.ts'
import type { PlainReach } from './plain-reach.ts'
import { createPlainScanner, type PlainScan } from './plain-scan.ts'
import type { DumpSink, TableSection } from './sink.ts'

/** What a dump turned out to hold, read to its end. */
export interface DumpContent {
  readonly kind: 'custom' | 'plain' | 'directory'
  /** Bytes as pg_dump wrote them. */
  readonly sizeBytes: number
  /** Tables with rows in the dump; rows null when no fingerprint was wanted. */
  readonly tables: readonly { schema: string; name: string; rows: number | null }[]
  readonly fingerprint: ContentFingerprint | null
  readonly serverVersion: string | null
  readonly dumpVersion: string | null
  /** The database it was taken from, where the dump says so (archives do). */
  readonly database: string | null
  readonly encoding: string | null
  /** `several`: dumps joined into one file; `cluster`: what pg_dumpall writes. Only `database` can be restored and compared as one. */
  readonly scope: 'database' | 'several' | 'cluster'
  /** What pg_dump compressed inside the archive; `none` for plain SQL. */
  readonly innerCompression: 'none' | 'gzip' | 'lz4' | 'zstd'
  /** Where the data blocks of an archive begin; none for the other formats. */
  readonly blockOffsets: BlockOffsets
  /** psql commands in a plain dump beyond those pg_dump writes: it would run them on the restoring machine. */
  readonly suspicious: readonly string[]
  /** What a plain dump does beyond the database it is loaded into; null for archives, of which pg_restore leaves out such entries. */
  readonly reach: PlainReach | null
}

/** A finished scan and its fingerprint as one result. */
export function describeContent(
  kind: DumpContent['kind'],
  scan: ArchiveScan | DirectoryScan | PlainScan,
  fingerprint: ContentFingerprint | null,
  seen: readonly TableSection[],
): DumpContent {
  const toc = 'toc' in scan ? scan.toc : null
  return {
    kind,
    sizeBytes: scan.sizeBytes,
    tables: fingerprint?.tables.map(({ schema, name, rows }) => ({ schema, name, rows })) ?? seen.map(({ schema, name }) => ({ schema, name, rows: null })),
    fingerprint,
    serverVersion: 'toc' in scan ? scan.toc.serverVersion : scan.serverVersion,
    dumpVersion: 'toc' in scan ? scan.toc.dumpVersion : scan.dumpVersion,
    database: toc?.database ?? null,
    encoding: 'toc' in scan ? scan.toc.encoding : scan.encoding,
    scope: 'toc' in scan ? 'database' : scan.kind,
    innerCompression: toc?.compression ?? 'none',
    blockOffsets: 'blockOffsets' in scan ? scan.blockOffsets : [],
    suspicious: 'toc' in scan ? [] : scan.suspicious,
    reach: 'toc' in scan ? null : scan.reach,
  }
}

/** Reads a dump while it flows: `write` every chunk and await `pending`, then `end`, which rejects unless the dump is complete. */
export interface DumpReader {
  write(chunk: Uint8Array): void
  /** Set while something is decompressed aside; await it between writes. */
  pending(): Promise<void> | undefined
  end(): Promise<DumpContent>
  /** What `end` gave; throws before. */
  content(): DumpContent
}

export interface DumpReaderOptions {
  readonly fingerprint: boolean
  /** The settings pg_dump's session was pinned to; null for a dump of somebody else's. */
  readonly settings: Readonly<Record<string, string>> | null
}

export function createDumpReader(kind: 'custom' | 'plain', options: DumpReaderOptions): DumpReader {
  const collector = createFingerprintCollector()
  const seen: TableSection[] = []
  const sink = recordingSink(collector.sink, seen, options.fingerprint)
  const scanner = kind === 'custom' ? createArchiveScanner(sink) : createPlainScanner(sink)
  let content: DumpContent | undefined
  return {
    write: scanner.write,
    pending: scanner.pending,
    end: async () => {
      const scan = await scanner.end()
      const rest = 'toc' in scan ? { encoding: scan.toc.encoding, derived: derivedOfToc(scan.toc) } : { encoding: scan.encoding, derived: scan.derived }
      content = describeContent(kind, scan, options.fingerprint ? collector.finish({ ...rest, settings: options.settings }) : null, seen)
      return content
    },
    content: () => {
      if (content === undefined) throw new Error('the dump has not been read to its end')
      return content
    },
  }
}

/** Reads a directory dump, wherever its files lie, and checks that every promised file is there and whole. */
export async function readDirectoryDump(files: DumpFiles, options: DumpReaderOptions & DirectoryScanOptions): Promise<DumpContent> {
  const collector = createFingerprintCollector()
  const seen: TableSection[] = []
  const scan = await scanDirectory(files, recordingSink(collector.sink, seen, options.fingerprint), options)
  const fingerprint = options.fingerprint
    ? collector.finish({ encoding: scan.toc.encoding, derived: derivedOfToc(scan.toc), settings: options.settings })
    : null
  return describeContent('directory', scan, fingerprint, seen)
}

function recordingSink(sink: DumpSink, seen: TableSection[], fingerprint: boolean): DumpSink {
  return {
    ...sink,
    table: (section) => {
      seen.push(section)
      return fingerprint ? sink.table(section) : null
    },
    largeObject: (oid) => (fingerprint ? sink.largeObject(oid) : null),
  }
}
