import { Failure } from '../../kernel/failure.ts'
import { pagesOf, type LeafEntry } from '../../packs/leaf.ts'
import { readablePath } from '../../pgdata/file-path.ts'
import { parseLsn } from '../../pgdata/lsn.ts'
import { walSegmentNames } from '../../pgdata/wal-segment.ts'
import type { CallOptions } from '../../storage/storage.ts'
import type { OpenBaseBackup } from './open-base-backup.ts'

export interface ClusterShape {
  readonly files: number
  readonly directories: number
  readonly sizeBytes: number
}

/** What no cluster can start without, and no recovery can begin without. */
const wanted = ['PG_VERSION', 'global/pg_control', 'backup_label']

/**
 * Walks over all leaves: every file has all its pages, what a cluster cannot be without is there, and so is every segment of WAL from start to stop. Rejects with `integrity`.
 * That the pages are the right ones is another question (`checkPages`). `look` is shown every entry.
 */
export async function requireWholeCluster(backup: OpenBaseBackup, options: CallOptions, look?: (entry: LeafEntry) => void): Promise<ClusterShape> {
  const { server } = backup.root
  const broken = (why: string) =>
    new Failure('integrity', `backup ${backup.root.backup.id} is not whole: ${why}`, {
      details: { object: backup.record.manifest.key, backup: backup.root.backup.id },
    })
  const span = { timeline: server.timeline, from: parseLsn(server.startLsn), to: parseLsn(server.stopLsn) }
  const missing = new Set([...wanted, ...[...walSegmentNames(span, server.walSegmentBytes)].map((name) => `pg_wal/${name}`)])
  let files = 0
  let directories = 0
  let sizeBytes = 0
  let open: { readonly entry: LeafEntry; pages: number } | null = null
  const close = (): void => {
    if (open !== null && open.pages !== Math.ceil(open.entry.sizeBytes / server.pageBytes))
      throw broken(`${readablePath(open.entry.path)} has ${open.pages} pages of ${open.entry.sizeBytes} bytes`)
    open = null
  }
  for await (const entries of backup.leaves(options)) {
    for (const entry of entries) {
      look?.(entry)
      const pages = pagesOf(entry)
      if (entry.kind === 'directory') {
        directories += 1
        continue
      }
      if (open !== null && entry.path === open.entry.path && entry.firstPage === open.pages && entry.sizeBytes === open.entry.sizeBytes) {
        open.pages += pages
        continue
      }
      close()
      if (entry.firstPage !== 0) throw broken(`${readablePath(entry.path)} lacks its beginning`)
      open = { entry, pages }
      files += 1
      sizeBytes += entry.sizeBytes
      missing.delete(entry.path)
    }
  }
  close()
  const [first] = missing
  if (first !== undefined) throw broken(`${first} is missing${missing.size > 1 ? `, and ${missing.size - 1} more` : ''}`)
  return { files, directories, sizeBytes }
}
