import { createPageStore, type PageStore, type RunKeys, type StoredPages } from '../../src/backup/base/page-store.ts'
import type { Context } from '../../src/kernel/context.ts'
import { readFrames } from '../../src/packs/read-frames.ts'
import { encodeWholePack, storeWholePack } from '../../src/packs/whole-pack.ts'
import { encodeBaseRoot } from '../../src/repository/base/base-root.ts'
import { openBaseBackup, type OpenBaseBackup } from '../../src/repository/base/open-base-backup.ts'
import type { PackKeys } from '../../src/repository/base/pack-keys.ts'
import { planFrames } from '../../src/repository/base/plan-frames.ts'
import { uncommittedRecord, type BackupRecord } from '../../src/repository/cluster-log.ts'
import { digestOf } from '../../src/repository/commit-entry.ts'
import { rootKey } from '../../src/repository/layout.ts'
import { openOrCreateRepository, type Repository } from '../../src/repository/repository.ts'
import type { Storage } from '../../src/storage/storage.ts'
import { backupFacts } from './backup-facts.ts'

/** Files of a cluster that never was: by path. */
export type TestFiles = ReadonlyMap<string, Buffer>

export interface TestBackup {
  readonly repository: Repository
  readonly backup: OpenBaseBackup
  readonly pages: StoredPages
}

export interface StoreFilesOptions {
  readonly run: string
  readonly prior: OpenBaseBackup | null
  readonly context: Context
  readonly keys?: { readonly seal: RunKeys; readonly open: PackKeys } | null
  /** Bytes that come at once. */
  readonly chunkBytes?: number
  readonly pageBytes?: number
  readonly threads?: number
  /** When it began; two of one moment have no order. */
  readonly startedAt?: string
  /** Hands the files over in another way than byte by byte. */
  readonly into?: (store: PageStore) => Promise<void>
}

/** Stores files as a base backup does, without a server, and opens what was stored. */
export async function storeFiles(storage: Storage, files: TestFiles, options: StoreFilesOptions): Promise<TestBackup> {
  const { run, prior, context, keys = null, chunkBytes = 70_000, pageBytes = 8_192, threads = 2, startedAt = '2026-11-21T10:00:00.000Z' } = options
  const repository = await openOrCreateRepository('local', storage, 'flat', context)
  await using store = createPageStore({ repository, cluster: 'main', run, keys: keys?.seal ?? null, pageBytes, threads, level: 1, prior }, context)
  const { into = (pages: PageStore) => streamFiles(pages, files, chunkBytes) } = options
  await into(store)
  const pages = await store.finish()
  const record = await storeRoot(repository, pages, { run, prior, pageBytes, keys: keys?.seal ?? null, context, startedAt })
  return { repository, pages, backup: await openBaseBackup(repository, record, keys?.open ?? null, { signal: context.signal }) }
}

async function streamFiles(store: PageStore, files: TestFiles, chunkBytes: number): Promise<void> {
  const lane = store.lane()
  for (const [path, bytes] of files) {
    await lane.begin({ path, mode: 0o600, sizeBytes: bytes.length })
    for (let at = 0; at < bytes.length; at += chunkBytes) await lane.write(bytes.subarray(at, at + chunkBytes))
    lane.end()
  }
  await lane.finish()
}

async function storeRoot(
  repository: Repository,
  pages: StoredPages,
  {
    run,
    prior,
    pageBytes,
    keys,
    context,
    startedAt,
  }: Required<Pick<StoreFilesOptions, 'run' | 'prior' | 'pageBytes' | 'context' | 'startedAt'>> & { readonly keys: RunKeys | null },
): Promise<BackupRecord> {
  const facts = backupFacts(run, {
    cluster: 'main',
    database: null,
    type: prior === null ? 'full' : 'incr',
    format: 'packs',
    key: rootKey('main', run),
    fileName: `${run}.pack`,
    startedAt,
    endedAt: startedAt,
  })
  const root = encodeBaseRoot(
    {
      format: 'tidemark-root/1',
      repository: repository.id,
      cluster: 'main',
      backup: facts,
      server: {
        systemIdentifier: '7000000000000000000',
        major: 17,
        timeline: 1,
        startLsn: '0/2000028',
        stopLsn: '0/2000100',
        pageBytes,
        walSegmentBytes: 16 << 20,
        dataChecksums: true,
      },
      tablespaces: [],
      indexes: [...pages.indexes],
      hashKey: pages.hashKey,
      read: { how: 'stream', why: [] },
      prior: null,
      settings: {},
      outside: [],
      leftOut: [],
      warnings: [],
    },
    pages.tables,
    pages.packs,
  )
  const bytes = encodeWholePack(repository.id, keys?.metadata ?? null, root)
  const key = rootKey('main', run)
  await storeWholePack(repository.storage, key, bytes, { signal: context.signal })
  return uncommittedRecord(facts, { key, sha256: digestOf(bytes) }, prior?.record.moved ?? null)
}

/** Every file of a backup, read by another way than verify and restore do: frame by frame, on this thread. */
export async function openFiles({ repository, backup }: Pick<TestBackup, 'repository' | 'backup'>, { signal }: Context): Promise<TestFiles> {
  const files = new Map<string, Buffer>()
  for await (const entries of backup.leaves({ signal })) {
    for (const { path, kind, sizeBytes } of entries) if (kind === 'file' && !files.has(path)) files.set(path, Buffer.alloc(sizeBytes))
    for (const { pack, frame, uses } of planFrames(entries, backup.root.server.pageBytes)) {
      const codec = await backup.codec(pack)
      for await (const { stored, contentBytes } of readFrames(repository.storage, backup.pack(pack), [frame], { signal })) {
        const content = codec.open(frame, stored, { contentBytes })
        for (const { path, fileOffset, offset, bytes } of uses) content.copy(files.get(path) ?? Buffer.alloc(0), fileOffset, offset, offset + bytes)
      }
    }
  }
  return files
}
