import type { Context } from '../../kernel/context.ts'
import type { LeafEntry } from '../../packs/leaf.ts'
import type { Problem } from '../backup.ts'
import type { Repository } from '../repository.ts'
import { startFrameWorkers } from './frame-workers.ts'
import type { OpenBaseBackup } from './open-base-backup.ts'

export interface PageCheck {
  /** Everything that is wrong, object by object; at most `mostProblems` are named. */
  readonly problems: readonly Problem[]
  /** Pages looked at, in bytes. */
  readonly contentBytes: number
}

export interface PageCheckOptions {
  readonly threads: number
  /** Whether the pages of a pack are looked at; the others are taken to be as they were. */
  readonly wants: (pack: number) => boolean
}

/** Entries that are planned at once: so many that a frame which several files share is seldom fetched twice, and few enough to be held. */
const batchPages = 1 << 19
const mostProblems = 100

/** Reads the pages of a backup, opens every frame, and holds every page against the hash that it had when it was backed up. */
export async function checkPages(repository: Repository, backup: OpenBaseBackup, { threads, wants }: PageCheckOptions, context: Context): Promise<PageCheck> {
  await using workers = startFrameWorkers({ repository, backup, threads, directory: null, signal: context.signal })
  const problems: Problem[] = []
  let contentBytes = 0
  const report = (bytes: number): void => {
    contentBytes += bytes
    context.emit({ type: 'step-progress', step: 'read-back', doneBytes: contentBytes, expectedBytes: null })
  }
  for await (const batch of inBatches(backup, wants, context)) {
    for (const { code, object, frame, path, message } of await workers.read(batch, { wants, progress: report })) {
      if (problems.length < mostProblems) problems.push({ code, object, message: path === null ? message : `frame ${frame}: ${readable(path)}: ${message}` })
    }
  }
  return { problems, contentBytes }
}

/** The entries of the backup, many at a time, with only those extents that are wanted. */
async function* inBatches(backup: OpenBaseBackup, wants: PageCheckOptions['wants'], context: Context): AsyncGenerator<readonly LeafEntry[], void, undefined> {
  let batch: LeafEntry[] = []
  let pages = 0
  for await (const entries of backup.leaves(context)) {
    for (const entry of entries) {
      if (!entry.extents.some(({ pack }) => wants(pack))) continue
      batch.push(entry)
      pages += entry.extents.reduce((count, extent) => count + extent.pages, 0)
    }
    if (pages < batchPages) continue
    yield batch
    batch = []
    pages = 0
  }
  if (batch.length > 0) yield batch
}

const readable = (path: string) => Buffer.from(path, 'latin1').toString('utf8')
