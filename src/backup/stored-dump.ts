import type { BlockOffsets } from '../dump/archive-scan.ts'
import type { DumpContent } from '../dump/dump-reader.ts'
import type { ContentFingerprint } from '../dump/fingerprint.ts'
import { qualifiedName } from '../postgres/identifiers.ts'
import type { StoredFile } from '../repository/manifest.ts'
import type { StoreTarget } from './store-target.ts'

/** What lies in the storages now, and what was seen while it went there. */
export interface StoredDump {
  readonly plainBytes: number
  readonly blockOffsets: BlockOffsets
  readonly fingerprint: ContentFingerprint | null
  readonly dumpedTables: ReadonlySet<string>
  readonly tables: { schema: string; name: string; rows: number | null }[]
  readonly warnings: readonly string[]
  readonly dumpTool: string
  /** What lies in one of the repositories: each seals for itself. */
  in(target: StoreTarget): StoredContent
}

export interface StoredContent {
  readonly storedBytes: number
  /** Of the stored file; directory format: of its sorted `sha256sum` list. */
  readonly sha256: string
  readonly files: readonly StoredFile[]
}

/** The part that does not depend on how the dump was stored: what was seen of it while it passed, and what pg_dump said. */
export function describeStored(
  content: DumpContent,
  pgDump: { readonly version: string; readonly stderrLines: readonly string[] },
): Pick<StoredDump, 'plainBytes' | 'blockOffsets' | 'fingerprint' | 'dumpedTables' | 'tables' | 'warnings' | 'dumpTool'> {
  return {
    plainBytes: content.sizeBytes,
    blockOffsets: content.blockOffsets,
    fingerprint: content.fingerprint,
    dumpedTables: new Set(content.tables.map(({ schema, name }) => qualifiedName(schema, name))),
    tables: [...content.tables],
    warnings: pgDump.stderrLines.filter((line) => line.trim() !== ''),
    dumpTool: `pg_dump ${pgDump.version}`,
  }
}
