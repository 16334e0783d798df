import { createArchiveScanner } from './archive-scan.ts'
import { derivedOfToc } from './derived-objects.ts'
import { createFingerprintCollector } from './fingerprint-collector.ts'
import type { ContentFingerprint } from './fingerprint.ts'
import { createPlainScanner } from './plain-scan.ts'
import type { DumpSink, TableSection } from './sink.ts'

/** What a dump turned out to hold, read to its end. */
export interface DumpContent {
  readonly kind: 'custom' | 'plain'
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
  /** psql commands in a plain dump beyond those pg_dump writes: it would run them on the restoring machine. */
  readonly suspicious: readonly string[]
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
  const sink: DumpSink = {
    ...collector.sink,
    table: (section) => {
      seen.push(section)
      return options.fingerprint ? collector.sink.table(section) : null
    },
    largeObject: (oid) => (options.fingerprint ? collector.sink.largeObject(oid) : null),
  }
  const scanner = kind === 'custom' ? createArchiveScanner(sink) : createPlainScanner(sink)
  let content: DumpContent | undefined

  const end = async (): Promise<DumpContent> => {
    const scan = await scanner.end()
    const toc = 'toc' in scan ? scan.toc : null
    const encoding = toc?.encoding ?? ('encoding' in scan ? scan.encoding : 'UTF8')
    const derived = toc === null ? ('derived' in scan ? scan.derived : []) : derivedOfToc(toc)
    const fingerprint = options.fingerprint ? collector.finish({ encoding, settings: options.settings, derived }) : null
    content = {
      kind,
      sizeBytes: scan.sizeBytes,
      tables: fingerprint?.tables.map(({ schema, name, rows }) => ({ schema, name, rows })) ?? seen.map(({ schema, name }) => ({ schema, name, rows: null })),
      fingerprint,
      serverVersion: toc?.serverVersion ?? ('serverVersion' in scan ? scan.serverVersion : null),
      dumpVersion: toc?.dumpVersion ?? ('dumpVersion' in scan ? scan.dumpVersion : null),
      database: toc?.database ?? null,
      encoding,
      suspicious: 'suspicious' in scan ? scan.suspicious : [],
    }
    return content
  }
  return {
    write: scanner.write,
    pending: () => ('pending' in scanner ? scanner.pending() : undefined),
    end,
    content: () => {
      if (content === undefined) throw new Error('the dump has not been read to its end')
      return content
    },
  }
}
