import { parseLsn } from '../../pgdata/lsn.ts'
import { formatServerManifest } from '../../pgdata/server-manifest-format.ts'
import type { ManifestFile } from '../../pgdata/server-manifest.ts'
import type { OpenBaseBackup } from '../../repository/base/open-base-backup.ts'
import type { CallOptions } from '../../storage/storage.ts'

/** What a manifest says of times, which leaves do not know and nobody looks at. */
const noTime = '1970-01-01 00:00:00 GMT'

/**
 * The manifest of a backup as the server wants it for UPLOAD_MANIFEST: which files the backup has (of any other the server sends the whole), and from where on changes count. Written from the leaves,
 * so that it does not matter how the backup was read; checksums are not asked for.
 */
export async function* priorManifest(backup: OpenBaseBackup, options: CallOptions): AsyncGenerator<Uint8Array, void, undefined> {
  const { systemIdentifier, timeline, startLsn, stopLsn } = backup.root.server
  const files: ManifestFile[] = []
  for await (const entries of backup.leaves(options)) {
    for (const { path, kind, sizeBytes, firstPage } of entries) {
      // WAL is in no manifest of a server.
      if (kind === 'file' && firstPage === 0 && !path.startsWith('pg_wal/')) files.push({ path, sizeBytes, lastModified: noTime, checksum: null })
    }
  }
  const walRanges = [{ timeline, startLsn: parseLsn(startLsn), endLsn: parseLsn(stopLsn) }]
  let batch: Buffer[] = []
  for (const line of formatServerManifest({ version: 2, systemIdentifier, walRanges }, files)) {
    batch.push(line)
    if (batch.length < linesAtOnce) continue
    yield Buffer.concat(batch)
    batch = []
  }
  yield Buffer.concat(batch)
}

const linesAtOnce = 512
