import { chmod, chown, lchown, lstat, mkdir, open, readdir, rm, symlink, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Context } from '../../kernel/context.ts'
import type { LeafEntry } from '../../packs/leaf.ts'
import { damagedPages } from '../../repository/base/damaged-pages.ts'
import { startFrameWorkers, type FrameWorkers } from '../../repository/base/frame-workers.ts'
import type { OpenBaseBackup } from '../../repository/base/open-base-backup.ts'
import type { WantedPages } from '../../repository/base/plan-frames.ts'
import type { Repository } from '../../repository/repository.ts'
import type { BaseRestorePlan, FileOwner } from './base-restore-request.ts'
import { markerName } from './target-directory.ts'

/** Under this name until everything else is durable. */
export const waitingControlFile = 'global/pg_control.tidemark'
export const controlFile = 'global/pg_control'
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
  await linkTablespaces(request)
  const path = Buffer.from(directory).toString('latin1')
  await using workers = startFrameWorkers({ repository, backup, threads, directory: path, owner, signal: context.signal })
  let done = 0
  let fetched = 0
  const progress = (bytes: number): void => {
    done += bytes
    fetched += bytes
    context.emit({ type: 'step-progress', step, doneBytes: done, expectedBytes: sizeBytes })
  }
  const belongs = mode === 'new' ? null : new Set([markerName, waitingControlFile])
  for await (const batch of inBatches(request, context)) {
    const files: LeafEntry[] = []
    for (const entry of batch) {
      belongs?.add(entry.path)
      if (entry.kind === 'directory') {
        await makeDirectory(join(directory, readable(entry.path)), request, entry.mode)
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
async function linkTablespaces(request: ClusterWriting): Promise<void> {
  const { tablespaces, mode } = request
  const links = join(request.directory, 'pg_tblspc')
  await makeDirectory(links, request, 0o700)
  for (const { oid, to } of tablespaces) {
    await makeDirectory(to, request, 0o700)
    const link = join(links, oid)
    if (mode !== 'new') await unlink(link).catch(() => undefined)
    await symlink(to, link)
    if (request.owner !== null) await lchown(link, request.owner.uid, request.owner.gid)
  }
}

async function makeDirectory(path: string, { owner }: ClusterWriting, mode: number): Promise<void> {
  const made = await mkdir(path, { recursive: true, mode: 0o700 })
  if (made === undefined && (await lstat(path)).isSymbolicLink()) return
  await chmod(path, mode & 0o777)
  if (owner === null) return
  await chown(path, owner.uid, owner.gid)
  // Parents that were made on the way.
  for (let parent = dirname(path); made !== undefined && parent.length >= made.length; parent = dirname(parent)) await chown(parent, owner.uid, owner.gid)
}

async function makeEmpty({ directory, owner }: ClusterWriting, { path, mode }: LeafEntry): Promise<void> {
  await using file = await open(Buffer.from(join(Buffer.from(directory).toString('latin1'), path), 'latin1'), 'w', 0o600)
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
  for (const { extents, wanted } of entries) {
    const pages = wanted === undefined ? extents.reduce((count, extent) => count + extent.pages, 0) : wanted.reduce((count, flag) => count + flag, 0)
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
      const path = entry.path === controlFile ? waitingControlFile : nameOf(entry.path)
      if (path === null) continue
      batch.push({ ...entry, path, mode: entry.mode & 0o777 })
      pages += entry.extents.reduce((count, extent) => count + extent.pages, 0)
    }
    if (pages < batchPages) continue
    yield batch
    batch = []
    pages = 0
  }
  if (batch.length > 0) yield batch
}

/** Removes what the backup does not hold: a file of an older state would come back to life. The directory itself, and those of tablespaces, stay. */
async function removeForeign({ directory }: ClusterWriting, belongs: ReadonlySet<string>): Promise<void> {
  const walk = async (relative: string): Promise<void> => {
    const path = Buffer.from(relative === '' ? directory : join(directory, readable(relative)))
    for (const found of await readdir(path, { withFileTypes: true, encoding: 'buffer' })) {
      const name = found.name.toString('latin1')
      const below = relative === '' ? name : `${relative}/${name}`
      const isTablespace = found.isSymbolicLink() && /^pg_tblspc\/\d+$/.test(below)
      if (isTablespace || (found.isDirectory() && belongs.has(below)) || /^pg_tblspc(\/\d+)?$/.test(below)) await walk(below)
      else if (!belongs.has(below) || serverLeftovers.has(below))
        await rm(Buffer.from(join(Buffer.from(directory).toString('latin1'), below), 'latin1'), { recursive: true, force: true })
    }
  }
  await walk('')
}

const readable = (path: string) => Buffer.from(path, 'latin1').toString('utf8')
