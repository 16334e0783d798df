import { chmod, lchown, open, readdir, rename, rm, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { Context } from '../../kernel/context.ts'
import { pagesOf, type LeafEntry } from '../../packs/leaf.ts'
import { controlFilePath } from '../../pgdata/control-file.ts'
import { pathBelow, pathFromBytes } from '../../pgdata/file-path.ts'
import { damagedPages } from '../../repository/base/damaged-pages.ts'
import { startFrameWorkers, type FrameWorkers } from '../../repository/base/frame-workers.ts'
import type { OpenBaseBackup } from '../../repository/base/open-base-backup.ts'
import type { WantedPages } from '../../repository/base/plan-frames.ts'
import type { Repository } from '../../repository/repository.ts'
import type { BaseRestorePlan, FileOwner } from './base-restore-request.ts'
import { clearPlace } from './clear-place.ts'
import { makeDirectory, markerName } from './target-directory.ts'

/** Under this name until everything else is durable. */
export const waitingControlFile = 'global/pg_control.tidemark'
/** What a restore writes for itself: of what the original may have under these names, left by a restore that it came from, nothing may take their place. */
const ownNames = new Set([markerName, waitingControlFile])
/** What a server leaves that no backup holds. */
const serverLeftovers = new Set(['postmaster.pid', 'postmaster.opts'])
/** Pages that are planned at once. */
const batchPages = 1 << 19
/** Files that are compared at the same time. */
const comparedAtOnce = 8

export interface ClusterWriting extends Pick<BaseRestorePlan, 'mode' | 'sizeBytes' | 'tablespaces'> {
  readonly step: 'restore' | 'export'
  readonly repository: Repository
  readonly backup: OpenBaseBackup
  /** Absolute. */
  readonly directory: string
  readonly owner: FileOwner | null
  readonly threads: number
  /** What a file of the backup is called; null for one that is left out. `pg_control` is called `waitingControlFile`, whatever this says. */
  readonly nameOf: (path: string) => string | null
}

/** Brings the directory to what the backup holds, `pg_control` under another name. Resolves with the bytes that were fetched. Nothing is durable yet. */
export async function writeCluster(request: ClusterWriting, context: Context): Promise<number> {
  const { repository, backup, directory, owner, threads, step, mode, sizeBytes } = request
  const begunMs = context.clock.monotonicMs()
  context.emit({ type: 'step-begun', step, subject: directory, expectedBytes: sizeBytes })
  await linkTablespaces(request, context)
  const place = pathFromBytes(Buffer.from(directory))
  await using workers = startFrameWorkers({ repository, backup, threads, directory: place, owner, signal: context.signal })
  let done = 0
  let fetched = 0
  const progress = (bytes: number): void => {
    done += bytes
    fetched += bytes
    context.emit({ type: 'step-progress', step, doneBytes: done, expectedBytes: sizeBytes })
  }
  const belongs = mode === 'new' ? null : new Set(ownNames)
  for await (const batch of inBatches(request, context)) {
    const files: LeafEntry[] = []
    for (const entry of batch) {
      belongs?.add(entry.path)
      if (mode !== 'new') await clearPlace(directory, entry, context)
      if (entry.kind === 'directory') {
        await makeDirectory(pathBelow(directory, entry.path), owner, entry.mode)
        // The archive does not tell the data directory's own mode: it is that of the directories in it.
        if (entry.path === 'base') await chmod(directory, entry.mode & 0o777)
      } else if (entry.sizeBytes === 0) await makeEmpty(request, entry)
      else files.push(entry)
    }
    const wanted = mode === 'new' ? files : await compareAll(workers, files)
    done += sizeOf(files, backup.root.server.pageBytes) - sizeOf(wanted, backup.root.server.pageBytes)
    const [problem] = await workers.read(wanted, { progress })
    if (problem !== undefined) throw damagedPages(backup, problem, step === 'restore' ? [`${directory} is half restored; no server can start in it`] : [])
  }
  await workers.close()
  if (belongs !== null) await removeForeign(request, belongs)
  const durationSeconds = (context.clock.monotonicMs() - begunMs) / 1_000
  context.emit({ type: 'step-ended', step, subject: directory, durationSeconds, doneBytes: fetched })
  return fetched
}

/** Before anything is written below them. */
async function linkTablespaces({ directory, owner, tablespaces, mode }: ClusterWriting, context: Context): Promise<void> {
  if (mode !== 'new') await clearPlace(directory, { kind: 'directory', path: 'pg_tblspc', firstPage: 0 }, context)
  await makeDirectory(pathBelow(directory, 'pg_tblspc'), owner, 0o700)
  for (const { oid, to } of tablespaces) {
    await makeDirectory(Buffer.from(to), owner, 0o700)
    const link = join(directory, 'pg_tblspc', oid)
    // Renamed, so that there always is one: by it the next call knows that what is there is ours.
    await rm(`${link}.tidemark`, { force: true })
    await symlink(to, `${link}.tidemark`)
    if (owner !== null) await lchown(`${link}.tidemark`, owner.uid, owner.gid)
    await rename(`${link}.tidemark`, link)
  }
}

async function makeEmpty({ directory, owner }: ClusterWriting, { path, mode }: LeafEntry): Promise<void> {
  await using file = await open(pathBelow(directory, path), 'w', 0o600)
  await file.chmod(mode & 0o777)
  if (owner !== null) await file.chown(owner.uid, owner.gid)
}

async function compareAll(workers: FrameWorkers, files: readonly LeafEntry[]): Promise<readonly WantedPages[]> {
  const wanted: WantedPages[] = []
  for (let at = 0; at < files.length; at += comparedAtOnce) {
    const compared = await Promise.all(files.slice(at, at + comparedAtOnce).map((entry) => workers.compare(entry)))
    for (const entry of compared) if (entry !== null) wanted.push(entry)
  }
  return wanted
}

function sizeOf(entries: readonly WantedPages[], pageBytes: number): number {
  let bytes = 0
  for (const entry of entries) {
    const { wanted } = entry
    const pages = wanted === undefined ? pagesOf(entry) : wanted.reduce((count, flag) => count + flag, 0)
    bytes += pages * pageBytes
  }
  return bytes
}

/** The entries of the backup, many at a time, under the names that they get. */
async function* inBatches({ backup, nameOf }: ClusterWriting, context: Context): AsyncGenerator<readonly LeafEntry[], void, undefined> {
  let batch: LeafEntry[] = []
  let pages = 0
  for await (const entries of backup.leaves(context)) {
    for (const entry of entries) {
      const path = entry.path === controlFilePath ? waitingControlFile : ownNames.has(entry.path) ? null : nameOf(entry.path)
      if (path === null) continue
      batch.push({ ...entry, path, mode: entry.mode & 0o777 })
      pages += pagesOf(entry)
    }
    if (pages < batchPages) continue
    yield batch
    batch = []
    pages = 0
  }
  if (batch.length > 0) yield batch
}

/**
 * Removes what the backup does not hold: a file of an older state would come back to life. The directory itself, and those of tablespaces, stay. Of the directory of a tablespace only what a server of
 * this major keeps there is ours, for others may have theirs beside it; a link to a tablespace that the backup does not have is removed, and what it leads to is not.
 */
async function removeForeign({ directory, backup, tablespaces }: ClusterWriting, belongs: ReadonlySet<string>): Promise<void> {
  const linked = new Set(tablespaces.map(({ oid }) => `pg_tblspc/${oid}`))
  const places = new Set(backup.root.tablespaces.map(({ oid }) => `pg_tblspc/${oid}`))
  const ownVersion = `PG_${backup.root.server.major}_`
  const walk = async (relative: string): Promise<void> => {
    for (const found of await readdir(relative === '' ? directory : pathBelow(directory, relative), { withFileTypes: true, encoding: 'buffer' })) {
      const name = pathFromBytes(found.name)
      const below = relative === '' ? name : `${relative}/${name}`
      if (places.has(relative) && !name.startsWith(ownVersion)) continue
      if (linked.has(below) || (found.isDirectory() && (belongs.has(below) || places.has(below) || below === 'pg_tblspc'))) await walk(below)
      else if (!belongs.has(below) || serverLeftovers.has(below)) await rm(pathBelow(directory, below), { recursive: true, force: true })
    }
  }
  await walk('')
}
