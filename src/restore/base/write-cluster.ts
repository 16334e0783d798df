import { chmod, chown, lchown, lstat, mkdir, open, readdir, rm, symlink, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Context } from '../../kernel/context.ts'
import { Failure } from '../../kernel/failure.ts'
import type { LeafEntry } from '../../packs/leaf.ts'
import type { WantedPages } from '../../repository/base/plan-frames.ts'
import { startFrameWorkers, type FrameWorkers } from '../../repository/base/frame-workers.ts'
import type { BaseRestorePlan, BaseRestoreRequest } from './base-restore-request.ts'
import { markerName } from './target-directory.ts'

/** Under this name until everything else is durable. */
export const waitingControlFile = 'global/pg_control.tidemark'
const controlFile = 'global/pg_control'
/** Files that make a server follow another one. */
const followers = new Set(['standby.signal', 'recovery.signal'])
/** What a server leaves that no backup holds. */
const serverLeftovers = new Set(['postmaster.pid', 'postmaster.opts'])
/** Pages that are planned at once. */
const batchPages = 1 << 19
/** Files that are compared at the same time. */
const comparedAtOnce = 8

/** Brings the directory to what the backup holds, `pg_control` under another name. Resolves with the bytes that were fetched. Nothing is durable yet. */
export async function writeCluster(request: BaseRestoreRequest, plan: BaseRestorePlan, context: Context): Promise<number> {
  const { repository, backup, directory, owner, threads } = request
  const begunMs = context.clock.monotonicMs()
  context.emit({ type: 'step-begun', step: 'restore', subject: directory, expectedBytes: plan.sizeBytes })
  await linkTablespaces(request, plan)
  const path = Buffer.from(directory).toString('latin1')
  await using workers = startFrameWorkers({ repository, backup, threads, directory: path, owner, signal: context.signal })
  let done = 0
  let fetched = 0
  const progress = (bytes: number): void => {
    done += bytes
    fetched += bytes
    context.emit({ type: 'step-progress', step: 'restore', doneBytes: done, expectedBytes: plan.sizeBytes })
  }
  const belongs = plan.mode === 'new' ? null : new Set([markerName, waitingControlFile])
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
    const wanted = plan.mode === 'new' ? files : await compareAll(workers, files)
    done += sizeOf(files, backup.root.server.pageBytes) - sizeOf(wanted, backup.root.server.pageBytes)
    const [problem] = await workers.read(wanted, { progress })
    if (problem !== undefined) {
      throw new Failure(
        problem.code,
        `backup ${backup.root.backup.id} cannot be restored: ${problem.path === null ? '' : `${readable(problem.path)}: `}${problem.message}`,
        {
          hints: ['see what else is damaged, and which backup is whole: tidemark verify --all', `${directory} is half restored; no server can start in it`],
          details: { object: problem.object, backup: backup.root.backup.id },
        },
      )
    }
  }
  await workers.close()
  if (belongs !== null) await removeForeign(request, belongs)
  const durationSeconds = (context.clock.monotonicMs() - begunMs) / 1_000
  context.emit({ type: 'step-ended', step: 'restore', subject: directory, durationSeconds, doneBytes: fetched })
  return fetched
}

/** Before anything is written below them. */
async function linkTablespaces(request: BaseRestoreRequest, { tablespaces, mode }: BaseRestorePlan): Promise<void> {
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

async function makeDirectory(path: string, { owner }: BaseRestoreRequest, mode: number): Promise<void> {
  const made = await mkdir(path, { recursive: true, mode: 0o700 })
  if (made === undefined && (await lstat(path)).isSymbolicLink()) return
  await chmod(path, mode & 0o777)
  if (owner === null) return
  await chown(path, owner.uid, owner.gid)
  // Parents that were made on the way.
  for (let parent = dirname(path); made !== undefined && parent.length >= made.length; parent = dirname(parent)) await chown(parent, owner.uid, owner.gid)
}

async function makeEmpty({ directory, owner }: BaseRestoreRequest, { path, mode }: LeafEntry): Promise<void> {
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

/** The entries of the backup, many at a time; `pg_control` has another name, and what would make the copy follow the original is left out. */
async function* inBatches({ backup }: BaseRestoreRequest, context: Context): AsyncGenerator<readonly LeafEntry[], void, undefined> {
  let batch: LeafEntry[] = []
  let pages = 0
  for await (const entries of backup.leaves(context)) {
    for (const entry of entries) {
      if (followers.has(entry.path)) continue
      batch.push(entry.path === controlFile ? { ...entry, path: waitingControlFile } : { ...entry, mode: entry.mode & 0o777 })
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
async function removeForeign({ directory }: BaseRestoreRequest, belongs: ReadonlySet<string>): Promise<void> {
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
