import { createHash, type Hash } from 'node:crypto'
import { open, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Context } from '../../kernel/context.ts'
import { Failure, isOutOfSpace } from '../../kernel/failure.ts'
import type { LeafEntry } from '../../packs/leaf.ts'
import { controlFilePath } from '../../pgdata/control-file.ts'
import { formatBaseTar } from '../../pgdata/tar-writer.ts'
import { startFrameWorkers, type FrameWorkers } from '../../repository/base/frame-workers.ts'
import { placesBelow } from '../../repository/base/places-below.ts'
import { readFiles, type FilePiece } from '../../repository/base/read-files.ts'
import { blocks, type Stage } from '../../stream/chunks.ts'
import { compressGzipFile } from '../../stream/gzip-file.ts'
import { compressZstd } from '../../stream/zstd-frames.ts'
import { partialSuffix } from './claimed-place.ts'
import type { WrittenExport } from './export-directory.ts'
import type { BaseExportRequest } from './export-request.ts'
import { archiveNames, type PlannedBaseExport } from './plan-base-export.ts'
import { manifestName } from './survey-cluster.ts'
import { frameOf, listHashed, writeManifest, type HashedFile } from './write-manifest.ts'

/** Bytes that are written to a file at once. */
const writeBytes = 1 << 20

/** Writes what `pg_basebackup --format=tar --wal-method=stream` leaves, one archive after the other, every file under a temporary name and durable. */
export async function exportTar(request: BaseExportRequest, { plan, survey, manifest }: PlannedBaseExport, context: Context): Promise<WrittenExport> {
  const { repository, backup, directory, threads } = request
  const begunMs = context.clock.monotonicMs()
  context.emit({ type: 'step-begun', step: 'export', subject: directory, expectedBytes: plan.sizeBytes })
  await using workers = startFrameWorkers({ repository, backup, threads, directory: null, signal: context.signal })
  const partial = (name: string): string => join(directory, `${name}${partialSuffix}`)
  const hashed: HashedFile[] | null = manifest.kind === 'written' ? [] : null
  const progress = progressOf(plan.sizeBytes, context)
  const names = archiveNames(plan.tablespaces, request.compression)
  for (const [index, archive] of archivesOf(plan.tablespaces.map(({ oid }) => oid)).entries()) {
    const pieces = progress(hashing(archive.listed ? hashed : null, readArchive(request, archive, { workers, context })))
    const tar = formatBaseTar(pieces, { prefix: archive.prefix, modifiedSeconds: Math.floor(Date.parse(backup.root.backup.endedAt) / 1_000) })
    await writeFileOf(partial(names[index] ?? archive.prefix), stageOf(request, context)(tar), context)
  }
  if (hashed !== null) await writeManifest(partial(manifestName), frameOf(backup.root), listHashed(backup.root, hashed.sort(byPath)))
  else await writeFileOf(partial(manifestName), bytesOf(readFiles(backup, workers, { entries: survey.manifest, context })), context)

  const outputs = await Promise.all(
    [...names, manifestName].map(async (name) => ({ path: join(directory, name), sizeBytes: (await stat(partial(name))).size })),
  )
  const writtenBytes = outputs.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  const durationSeconds = (context.clock.monotonicMs() - begunMs) / 1_000
  context.emit({ type: 'step-ended', step: 'export', subject: directory, durationSeconds, doneBytes: writtenBytes })
  return { names: [...names, manifestName].map((name) => ({ from: `${name}${partialSuffix}`, to: name })), outputs, writtenBytes }
}

/** A part of the cluster that is an archive of its own. */
interface Archive {
  /** What its paths lie below in the data directory; '' for the data directory itself. */
  readonly prefix: string
  /** Whether a manifest lists its files. */
  readonly listed: boolean
  readonly holds: (entry: LeafEntry) => boolean
}

/** In the order of `archiveNames`. The directories of WAL belong to the data directory, its files do not. */
function archivesOf(oids: readonly string[]): readonly Archive[] {
  const apart = oids.map((oid) => `pg_tblspc/${oid}/`)
  const isWal = ({ path, kind }: LeafEntry): boolean => kind === 'file' && path.startsWith('pg_wal/')
  const isApart = ({ path }: LeafEntry): boolean => path.startsWith('pg_tblspc/') && apart.some((prefix) => path.startsWith(prefix))
  return [
    { prefix: '', listed: true, holds: (entry) => entry.path !== manifestName && !isWal(entry) && !isApart(entry) },
    ...apart.map((prefix) => ({ prefix, listed: true, holds: ({ path }: LeafEntry) => path.startsWith(prefix) })),
    { prefix: 'pg_wal/', listed: false, holds: isWal },
  ]
}

/** The files of an archive; `pg_control` last, so that what is unpacked by halves does not start. */
async function* readArchive(
  { backup }: BaseExportRequest,
  { prefix, holds }: Archive,
  { workers, context }: { readonly workers: FrameWorkers; readonly context: Context },
): AsyncGenerator<FilePiece, void, undefined> {
  const last: LeafEntry[] = []
  const places = prefix === '' ? backup.tables.leaves : placesBelow(backup.tables.leaves, prefix)
  const entries = async function* (): AsyncGenerator<LeafEntry, void, undefined> {
    for await (const leaf of backup.leaves(context, undefined, places)) {
      for (const entry of leaf) {
        if (!holds(entry)) continue
        if (entry.path === controlFilePath) last.push(entry)
        else yield entry
      }
    }
  }
  yield* readFiles(backup, workers, { entries: entries(), context })
  yield* readFiles(backup, workers, { entries: last, context })
}

/** The digests of the files that pass, where somebody wants them. */
async function* hashing(into: HashedFile[] | null, pieces: AsyncIterable<FilePiece>): AsyncGenerator<FilePiece, void, undefined> {
  let hash: Hash = createHash('sha256')
  for await (const piece of pieces) {
    const { entry, offset, bytes } = piece
    if (into !== null && entry.kind === 'file') {
      if (offset === 0) hash = createHash('sha256')
      hash.update(bytes)
      if (offset + bytes.length === entry.sizeBytes) into.push({ path: entry.path, sizeBytes: entry.sizeBytes, sha256: hash.digest('hex') })
    }
    yield piece
  }
}

function progressOf(expectedBytes: number, { emit, clock }: Context): (pieces: AsyncIterable<FilePiece>) => AsyncGenerator<FilePiece, void, undefined> {
  let doneBytes = 0
  let toldMs = clock.monotonicMs()
  return async function* (pieces) {
    for await (const piece of pieces) {
      yield piece
      doneBytes += piece.bytes.length
      if (clock.monotonicMs() - toldMs < 250) continue
      toldMs = clock.monotonicMs()
      emit({ type: 'step-progress', step: 'export', doneBytes, expectedBytes })
    }
  }
}

function stageOf({ compression, threads }: BaseExportRequest, { signal }: Context): Stage {
  if (compression.method === 'none') return (source) => blocks(source, writeBytes)
  const options = { level: compression.level, workers: threads, signal }
  return compression.method === 'zstd' ? (source) => compressZstd(source, options) : (source) => compressGzipFile(source, options)
}

/** Writes a new file, durably. */
async function writeFileOf(path: string, source: AsyncIterable<Uint8Array>, { signal }: Context): Promise<void> {
  await using file = await open(path, 'wx', 0o600)
  try {
    for await (const chunk of source) {
      signal.throwIfAborted()
      await file.writeFile(chunk)
    }
    await file.sync()
  } catch (error) {
    if (!isOutOfSpace(error)) throw error
    throw new Failure('space-low', `there is no space left for ${path}; what was written is removed again`, { cause: error })
  }
}

async function* bytesOf(pieces: AsyncIterable<FilePiece>): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const { bytes } of pieces) yield bytes
}

const byPath = (a: HashedFile, b: HashedFile): number => (a.path < b.path ? -1 : 1)
