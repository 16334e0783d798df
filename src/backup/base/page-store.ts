import { randomBytes } from 'node:crypto'
import type { Context } from '../../kernel/context.ts'
import { createPackBuilder } from '../../packs/pack-builder.ts'
import { repositoryBytes, type FrameLengths } from '../../packs/pack-format.ts'
import { encodeIndex, type IndexedPack } from '../../packs/pack-index.ts'
import { createPackTable, type PackTable } from '../../packs/pack-table.ts'
import type { PackUse, RootTables } from '../../packs/root-tables.ts'
import { beginUpload } from '../../packs/upload.ts'
import { encodeWholePack, newMetadataPack, storeWholePack, type MetadataSeal } from '../../packs/whole-pack.ts'
import type { BaseRoot } from '../../repository/base/base-root.ts'
import type { OpenBaseBackup } from '../../repository/base/open-base-backup.ts'
import { digestOf } from '../../repository/commit-entry.ts'
import { indexKey, leavesKey, packObjectKey } from '../../repository/layout.ts'
import type { Repository } from '../../repository/repository.ts'
import { createDirectLane, type DirectLane, type DirectSource } from './direct-lane.ts'
import { createChangedLane, type ChangedLane } from './changed-lane.ts'
import { createFileLane, type FileLane } from './file-lane.ts'
import { createFrameUse } from './frame-use.ts'
import { createLeafWriter } from './leaf-writer.ts'
import { createPackIntake } from './pack-intake.ts'
import { startPageWorkers } from './page-workers.ts'
import { noPrior, priorOf } from './prior-backup.ts'

/** The keys that a run seals with; null where the repository is not sealed. */
export interface RunKeys {
  /** Of the pages. */
  readonly run: Uint8Array
  /** Of leaves, indexes and roots. */
  readonly metadata: MetadataSeal
}

export interface PageStoreRequest {
  readonly repository: Repository
  readonly cluster: string
  readonly run: string
  readonly keys: RunKeys | null
  readonly pageBytes: number
  readonly threads: number
  /** Of zstd. */
  readonly level: number
  /** The backup that pages are compared with; null for a full one. */
  readonly prior: OpenBaseBackup | null
}

/** Where the pages of one backup go: files in, packs, leaves and an index out. */
export interface PageStore extends AsyncDisposable {
  lane(): FileLane
  changedLane(): ChangedLane
  /** For files that the threads read themselves. */
  directLane(source: DirectSource): DirectLane
  /** After every lane is finished: resolves when all is durable, with what a root must say of it. */
  finish(): Promise<StoredPages>
}

export interface StoredPages {
  readonly tables: RootTables
  readonly packs: PackTable
  readonly indexes: BaseRoot['indexes']
  readonly hashKey: string
  /** The packs of this run, the leaves' included. */
  readonly written: readonly IndexedPack[]
  /** Of all files of the cluster. */
  readonly sizeBytes: number
  /** Bytes that the run added to the storage, without the root. */
  readonly storedBytes: number
}

export function createPageStore(request: PageStoreRequest, context: Context): PageStore {
  const { repository, cluster, run, keys, pageBytes, prior } = request
  const { storage } = repository
  const { signal } = context
  // Numbers of packs go on from those of the prior backup, whose extents are taken over as they are.
  const packs = prior?.packs ?? createPackTable()
  const hashKey = prior === null ? randomBytes(32) : Buffer.from(prior.root.hashKey, 'hex')
  const known = prior === null ? noPrior : priorOf(prior, { signal })
  const use = createFrameUse(pageBytes)
  const seal = keys?.metadata ?? null

  const leaves = createLeafWriter({
    packs,
    builder: createPackBuilder(newMetadataPack(repository.id, seal), seal?.key ?? null, request.level),
    upload: () => beginUpload(storage, leavesKey(cluster, run), { signal }),
    hashKey,
    prior: known,
    use,
  })
  const keyKind = keys === null ? 'none' : 'run'
  const workers = startPageWorkers({
    threads: request.threads,
    setup: { pageBytes, level: request.level, repository: repositoryBytes(repository.id), keyKind, key: keys?.run ?? null, hashKey },
    intake: (failed) => createPackIntake(storage, { packs, keyOf: (id) => packObjectKey(cluster, run, id), keyKind, signal }, failed),
    signal,
  })

  const finish = async (): Promise<StoredPages> => {
    const pagePacks = await workers.finish()
    const written = await leaves.finish()
    const own = written.pack === null ? pagePacks : [...pagePacks, written.pack]
    const index = encodeWholePack(repository.id, seal, encodeIndex(own))
    const key = indexKey(cluster, run)
    await storeWholePack(storage, key, index, { signal })

    const framesOf = new Map<number, readonly FrameLengths[]>(own.map((pack) => [packs.numberOf(pack.id), pack.frames]))
    const live = use.live((pack) => framesOf.get(pack) ?? prior?.pack(pack).frames ?? [])
    const indexes: BaseRoot['indexes'][number][] = [{ run, key, sha256: digestOf(index) }]
    const uses: PackUse[] = live.map((each) => {
      if (framesOf.has(each.pack)) return { id: packs.idOf(each.pack), index: 0, live: each.live }
      const older = prior?.root.indexes[prior.tables.packs[each.pack]?.index ?? -1]
      if (older === undefined) throw new Error(`pack ${each.pack} is in no index`)
      const place = indexes.findIndex((one) => one.key === older.key)
      return { id: packs.idOf(each.pack), index: place < 0 ? indexes.push(older) - 1 : place, live: each.live }
    })
    return {
      tables: { packs: uses, leaves: written.leaves },
      packs,
      indexes,
      hashKey: hashKey.toString('hex'),
      written: own,
      sizeBytes: written.sizeBytes,
      storedBytes: own.reduce((bytes, { objectBytes }) => bytes + objectBytes, 0) + index.length,
    }
  }
  return {
    lane: () => createFileLane({ workers, pageBytes, prior: known, leaves }),
    changedLane: () => createChangedLane({ workers, pageBytes, prior: known, leaves }),
    directLane: (source) => createDirectLane({ workers, pageBytes, prior: known, leaves }, source),
    finish,
    [Symbol.asyncDispose]: async () => {
      await workers[Symbol.asyncDispose]()
      await leaves.abandon()
    },
  }
}
