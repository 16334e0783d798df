import type { BlockOffsets } from '../dump/archive-scan.ts'
import type { ContentFingerprint } from '../dump/fingerprint.ts'
import type { StoredFile } from '../repository/manifest.ts'
import type { StoreTarget } from './store-target.ts'

/** What lies in the storages now, and what was seen while it went there. */
export interface StoredDump {
  readonly plainBytes: number
  readonly blockOffsets: BlockOffsets
  readonly storedBytes: number
  /** Of the stored file; directory format: of its sorted `sha256sum` list. */
  readonly sha256: string
  readonly fingerprint: ContentFingerprint | null
  readonly dumpedTables: ReadonlySet<string>
  readonly tables: { schema: string; name: string; rows: number | null }[]
  readonly warnings: readonly string[]
  readonly dumpTool: string
  filesIn(target: StoreTarget): readonly StoredFile[]
}
