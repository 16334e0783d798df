import type { Context } from '../../kernel/context.ts'
import type { Failure } from '../../kernel/failure.ts'
import { pagesOf, type LeafEntry } from '../../packs/leaf.ts'
import { readablePath } from '../../pgdata/file-path.ts'
import type { Problem } from '../backup.ts'
import type { Repository } from '../repository.ts'
import { startFrameWorkers, type PackProblem } from './frame-workers.ts'
import type { OpenBaseBackup } from './open-base-backup.ts'

export interface PageCheck {
  /** What is wrong, at most once for each frame; at most `mostProblems` are named. */
  readonly problems: readonly PageProblem[]
  /** Every frame in which something is wrong, by pack; null where a whole pack cannot be read. */
  readonly broken: ReadonlyMap<number, ReadonlySet<number> | null>
  /** Pages looked at, in bytes. */
  readonly contentBytes: number
}

export interface PageProblem extends Problem {
  readonly pack: number
  /** Null where the whole pack is concerned. */
  readonly frame: number | null
}

export interface PageCheckOptions {
  readonly threads: number
  /** Whether the pages of a frame are looked at; the others are taken to be as they were. */
  readonly wants: (pack: number, frame: number) => boolean
  /** Told of leaves that cannot be read; without it the first of them rejects. */
  readonly brokenLeaf?: (failure: Failure) => void
}

/** Entries that are planned at once: so many that a frame which several files share is seldom fetched twice, and few enough to be held. */
const batchPages = 1 << 19
const mostProblems = 100

/** Reads the pages of a backup, opens every frame, and holds every page against the hash that it had when it was backed up. */
export async function checkPages(repository: Repository, backup: OpenBaseBackup, options: PageCheckOptions, context: Context): Promise<PageCheck> {
  const { threads, wants } = options
  await using workers = startFrameWorkers({ repository, backup, threads, directory: null, signal: context.signal })
  const problems: PageProblem[] = []
  const broken = new Map<number, Set<number> | null>()
  let contentBytes = 0
  const report = (bytes: number): void => {
    contentBytes += bytes
    context.emit({ type: 'step-progress', step: 'read-back', doneBytes: contentBytes, expectedBytes: null })
  }
  for await (const batch of inBatches(backup, options, context)) {
    for (const problem of await workers.read(batch, { wants, progress: report })) {
      if (isNoted(broken, problem) && problems.length < mostProblems) problems.push(named(problem))
    }
  }
  return { problems, broken, contentBytes }
}

/** False where it is known already that the frame, or its whole pack, is broken. */
function isNoted(broken: Map<number, Set<number> | null>, { pack, frame }: PackProblem): boolean {
  const known = broken.get(pack)
  if (known === null) return false
  if (frame === null) broken.set(pack, null)
  else if (known === undefined) broken.set(pack, new Set([frame]))
  else if (known.has(frame)) return false
  else known.add(frame)
  return true
}

function named({ code, object, pack, frame, path, message }: PackProblem): PageProblem {
  return { code, object, pack, frame, message: path === null ? message : `frame ${frame}: ${readablePath(path)}: ${message}` }
}

/** The entries of the backup, many at a time, that have pages in frames that are wanted. */
async function* inBatches(
  backup: OpenBaseBackup,
  { wants, brokenLeaf }: PageCheckOptions,
  context: Context,
): AsyncGenerator<readonly LeafEntry[], void, undefined> {
  let batch: LeafEntry[] = []
  let pages = 0
  for await (const entries of backup.leaves(context, brokenLeaf)) {
    for (const entry of entries) {
      if (!entry.extents.some(({ pack, frame }) => wants(pack, frame))) continue
      batch.push(entry)
      pages += pagesOf(entry)
    }
    if (pages < batchPages) continue
    yield batch
    batch = []
    pages = 0
  }
  if (batch.length > 0) yield batch
}
