import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import { Failure, isFailure, isOutOfSpace, type FailureCode } from '../../kernel/failure.ts'
import { hashBytes, type LeafEntry } from '../../packs/leaf.ts'
import { repositoryBytes } from '../../packs/pack-format.ts'
import type { IndexedPack } from '../../packs/pack-index.ts'
import { readFrames } from '../../packs/read-frames.ts'
import type { OpenBaseBackup } from './open-base-backup.ts'
import type { Repository } from '../repository.ts'
import type { Compared, CompareJob, FrameJob, FrameProblem, FramesDone, FrameWorkerSetup, FromFrameWorker, StoredFrameUse, ToFrameWorker } from './frame-job.ts'
import { planFrames, type FramePlan, type WantedPages } from './plan-frames.ts'

/** Threads that open the frames of a backup, check every page, and write it where it belongs. */
export interface FrameWorkers extends AsyncDisposable {
  /** Fetches the pages of these files. Resolves when all were looked at (and written), with everything that is wrong, packs that are gone included. */
  read(entries: readonly WantedPages[], options: ReadPagesOptions): Promise<readonly PackProblem[]>
  /** Looks which pages of a file in the directory are not those of the backup: null when all are right. What lies behind its end is cut off. */
  compare(entry: LeafEntry): Promise<WantedPages | null>
  /** Closes every file. Resolves when it is done; what was written is not durable by that. */
  close(): Promise<void>
}

export interface ReadPagesOptions {
  /** Only pages that lie in these frames. */
  readonly wants?: (pack: number, frame: number) => boolean
  /** Told of content that was opened. */
  readonly progress: (bytes: number) => void
}

export interface PackProblem extends Omit<FrameProblem, 'frame'> {
  readonly code: FailureCode
  readonly pack: number
  /** Of the storage. */
  readonly object: string
  /** Null where the whole object is concerned. */
  readonly frame: number | null
}

export interface FrameWorkersOptions {
  readonly repository: Repository
  readonly backup: OpenBaseBackup
  readonly threads: number
  /** Where files are written, as a `latin1` text of its bytes; null to check only. */
  readonly directory: string | null
  /** Whose they are to be; null where they stay ours. */
  readonly owner?: FrameWorkerSetup['owner']
  readonly signal: AbortSignal
}

/** Stored bytes of a job: enough that a message costs nothing, few enough that all threads have some. */
const jobBytes = 1 << 20
/** Jobs that wait at a thread while it works. */
const jobsPerThread = 3

interface Thread {
  readonly worker: Worker
  readonly jobs: Map<number, PromiseWithResolvers<FramesDone>>
  readonly comparisons: Map<number, PromiseWithResolvers<Compared>>
  readonly closed: PromiseWithResolvers<void>
}

export function startFrameWorkers({ repository, backup, threads: count, directory, owner = null, signal }: FrameWorkersOptions): FrameWorkers {
  const setup: FrameWorkerSetup = {
    pageBytes: backup.root.server.pageBytes,
    repository: repositoryBytes(repository.id),
    hashKey: backup.hashKey,
    directory,
    owner,
  }
  const threads = Array.from({ length: count }, () => startThread(setup))
  const busy = ({ jobs, comparisons }: Thread): number => jobs.size + comparisons.size
  const leastBusy = (): Thread => threads.reduce((a, b) => (busy(b) < busy(a) ? b : a))
  const post = ({ worker }: Thread, message: ToFrameWorker): void => worker.postMessage(message)
  let nextJob = 0

  return {
    read: async (entries, { wants, progress }) => {
      const problems: PackProblem[] = []
      const running = new Set<Promise<void>>()
      const failed: unknown[] = []
      const start = (place: IndexedPack, key: Uint8Array | null, frames: readonly StoredFrameUse[]): void => {
        const thread = leastBusy()
        const job: FrameJob = { kind: 'frames', job: (nextJob += 1), pack: place.id, key, frames }
        const done = Promise.withResolvers<FramesDone>()
        thread.jobs.set(job.job, done)
        post(thread, job)
        const settle = async (): Promise<void> => {
          try {
            const result = await done.promise
            if (result.failure !== null) throw writeFailure(result.failure)
            for (const problem of result.problems) problems.push({ ...problem, code: 'integrity', pack: backup.packs.numberOf(place.id), object: place.key })
            progress(result.bytes)
          } catch (error) {
            failed.push(error)
          }
        }
        const work = settle().finally(() => running.delete(work))
        running.add(work)
      }
      for (const { pack, plans } of byPack(planFrames(entries, setup.pageBytes, wants))) {
        const place = backup.pack(pack)
        const key = await backup.key(pack)
        try {
          for await (const frames of jobsOf(repository, place, plans, signal)) {
            start(place, key, frames)
            while (running.size >= count * jobsPerThread) await Promise.race(running)
            if (failed.length > 0) break
            signal.throwIfAborted()
          }
        } catch (error) {
          // The other packs are still worth a look.
          if (!isFailure(error, 'object-missing', 'integrity')) failed.push(error)
          else problems.push({ code: error.code, pack, object: place.key, frame: null, path: null, message: error.message })
        }
        if (failed.length > 0) break
      }
      await Promise.all(running)
      if (failed.length > 0) throw failed[0]
      return problems
    },
    compare: async (entry) => {
      const { path, mode, sizeBytes, firstPage, hashes } = entry
      const thread = leastBusy()
      const job: CompareJob = { kind: 'compare', job: (nextJob += 1), path, mode, sizeBytes, fileOffset: firstPage * setup.pageBytes, hashes }
      const done = Promise.withResolvers<Compared>()
      thread.comparisons.set(job.job, done)
      post(thread, job)
      const { wanted, failure } = await done.promise
      if (failure !== null) throw writeFailure(failure)
      return wanted.includes(1) ? { ...entry, wanted } : null
    },
    close: async () => {
      for (const thread of threads) post(thread, { kind: 'close' })
      await Promise.all(threads.map(({ closed }) => closed.promise))
    },
    [Symbol.asyncDispose]: async () => {
      for (const { worker } of threads) worker.removeAllListeners('exit')
      await Promise.all(threads.map(({ worker }) => worker.terminate()))
    },
  }
}

function startThread(setup: FrameWorkerSetup): Thread {
  // Beside this file, and of its kind: .ts as we develop, .js as it is published.
  const worker = new Worker(new URL(`./frame-worker${extname(import.meta.filename)}`, import.meta.url), { workerData: setup })
  const thread: Thread = { worker, jobs: new Map(), comparisons: new Map(), closed: Promise.withResolvers() }
  // Whoever waits for the end hears of it; until somebody does, it must not count as unheard.
  thread.closed.promise.catch(() => undefined)
  const fail = (error: unknown): void => {
    for (const { reject } of [...thread.jobs.values(), ...thread.comparisons.values()]) reject(error)
    thread.jobs.clear()
    thread.comparisons.clear()
    thread.closed.reject(error)
  }
  worker.on('error', fail)
  worker.on('exit', () => fail(new Error('a thread that opens frames ended by itself')))
  worker.on('message', (message: FromFrameWorker) => {
    if (message.kind === 'closed') thread.closed.resolve()
    else if (message.kind === 'compared') {
      thread.comparisons.get(message.job)?.resolve(message)
      thread.comparisons.delete(message.job)
    } else {
      thread.jobs.get(message.job)?.resolve(message)
      thread.jobs.delete(message.job)
    }
  })
  return thread
}

function* byPack(plans: readonly FramePlan[]): Generator<{ readonly pack: number; readonly plans: readonly FramePlan[] }, void, undefined> {
  for (let at = 0; at < plans.length;) {
    const pack = plans[at]?.pack ?? 0
    let end = at
    while (plans[end]?.pack === pack) end += 1
    yield { pack, plans: plans.slice(at, end) }
    at = end
  }
}

async function* jobsOf(
  repository: Repository,
  place: IndexedPack,
  plans: readonly FramePlan[],
  signal: AbortSignal,
): AsyncGenerator<readonly StoredFrameUse[], void, undefined> {
  let job: StoredFrameUse[] = []
  let bytes = 0
  let index = 0
  const frames = plans.map(({ frame }) => frame)
  for await (const { frame, stored, contentBytes } of readFrames(repository.storage, place, frames, { signal })) {
    const uses = plans[index]?.uses ?? []
    index += 1
    for (const use of uses) requireInside(use, contentBytes, place.key)
    job.push({ frame, stored, contentBytes, uses })
    bytes += stored.length
    if (bytes < jobBytes) continue
    yield job
    job = []
    bytes = 0
  }
  if (job.length > 0) yield job
}

function requireInside({ offset, bytes, hashes, path }: FramePlan['uses'][number], contentBytes: number, object: string): void {
  if (bytes < 0 || offset + bytes > contentBytes || hashes.length % hashBytes !== 0) {
    throw new Failure('integrity', `a leaf says that pages of ${path} lie outside of their frame in ${object}`, { details: { object } })
  }
}

function writeFailure(refused: { readonly message: string; readonly code: string | null }): Failure {
  const { message, code } = refused
  if (isOutOfSpace(refused)) return new Failure('space-low', `there is no space left for the restored files: ${message}`)
  return new Failure('storage-failed', `the restored files cannot be written: ${message}`, { details: { code } })
}
