import { Worker } from 'node:worker_threads'
import { extname } from 'node:path'
import type { IndexedPack } from '../../packs/pack-index.ts'
import type { PackIntake } from './pack-intake.ts'
import { runFields, type BadPageFound, type FromWorker, type PageJob, type PageWorkerSetup, type ToWorker, type UnreadablePiece } from './page-job.ts'

/** Threads that look into pages, and the slots of shared memory through which they get them. */
export interface PageWorkers extends AsyncDisposable {
  readonly slotBytes: number
  /** A slot to be filled. Waits while all are in work, or while the storage is slower than we are. */
  slot(): Slot | Promise<Slot>
  /** Hands a slot over, filled but for the pieces that the thread fetches. Rejects with `UnreadableFile` where it cannot. */
  run(slot: Slot, pages: Pick<PageJob, 'pieces' | 'prior' | 'compare' | 'newerThan'>): Promise<LookedAt>
  /** Closes every frame and pack. Resolves when all are durable, with what is in them. */
  finish(): Promise<readonly IndexedPack[]>
}

export interface Slot {
  readonly number: number
  readonly bytes: Buffer
}

export interface LookedAt {
  /** For each page of the pieces, in order. */
  readonly hashes: Buffer
  readonly kept: readonly KeptRun[]
  /** By their number: pieces that were not fetched, for their file is gone or another. */
  readonly missed: readonly number[]
  readonly badPages: readonly BadPageFound[]
}

/** The system refused to read the file of a piece. */
export class UnreadableFile extends Error {
  override readonly name = 'UnreadableFile'
  /** By its number in the job. */
  readonly piece: number
  /** Of the system. */
  readonly code: string | null

  constructor({ piece, message, code }: Omit<UnreadablePiece, 'job'>) {
    super(message)
    this.piece = piece
    this.code = code
  }
}

/** Pages of one piece that were kept, one after the other in a frame. */
export interface KeptRun {
  /** Counted over all pieces of the job. */
  readonly firstPage: number
  readonly pages: number
  readonly pack: number
  readonly frame: number
  readonly offset: number
}

export interface PageWorkersOptions {
  readonly threads: number
  readonly setup: Omit<PageWorkerSetup, 'slots' | 'slotBytes'>
  /** Makes the place for a thread's packs. */
  readonly intake: (failed: (error: unknown) => void) => PackIntake
  readonly signal: AbortSignal
}

export const slotBytes = 1 << 20
/** Sealed bytes that may wait for the storage, for each thread, before no more pages are taken. */
const waitingBytes = 8 << 20

interface Thread {
  readonly worker: Worker
  readonly intake: PackIntake
  readonly jobs: Map<number, { readonly slot: Slot; readonly resolve: (looked: LookedAt) => void; readonly reject: (error: unknown) => void }>
  readonly finished: PromiseWithResolvers<void>
}

export function startPageWorkers({ threads: count, setup, intake, signal }: PageWorkersOptions): PageWorkers {
  const slotCount = 3 * count + 2
  const memory = new SharedArrayBuffer(slotCount * slotBytes)
  const free: Slot[] = Array.from({ length: slotCount }, (_, number) => ({ number, bytes: Buffer.from(memory, number * slotBytes, slotBytes) }))
  const waiting: { resolve: (slot: Slot) => void; reject: (error: unknown) => void }[] = []
  let failure: { readonly error: unknown } | null = null
  let nextJob = 0

  const fail = (error: unknown): void => {
    failure ??= { error }
    for (const { reject } of waiting.splice(0)) reject(error)
    for (const thread of threads) {
      for (const { reject } of thread.jobs.values()) reject(error)
      thread.jobs.clear()
      thread.finished.reject(error)
    }
  }
  const threads = Array.from({ length: count }, () => startThread({ ...setup, slots: memory, slotBytes }, intake(fail)))
  for (const thread of threads) {
    // Whoever waits for the end hears of it; until somebody does, it must not count as unheard.
    thread.finished.promise.catch(() => undefined)
    thread.worker.on('error', fail)
    thread.worker.on('exit', () => fail(new Error('a thread that looks into pages ended by itself')))
    thread.worker.on('message', (message: FromWorker) => {
      thread.intake.take(message.output)
      if (message.kind === 'finished') {
        thread.finished.resolve()
        return
      }
      const { job } = message.kind === 'done' ? message.done : message.unreadable
      const waited = thread.jobs.get(job)
      thread.jobs.delete(job)
      if (waited === undefined) return
      release(waited.slot)
      if (message.kind === 'unreadable') {
        waited.reject(new UnreadableFile(message.unreadable))
        return
      }
      const { hashes, runs, missed, badPages } = message.done
      waited.resolve({ hashes: Buffer.from(hashes.buffer, hashes.byteOffset, hashes.byteLength), kept: keptRuns(runs, thread.intake), missed, badPages })
    })
  }
  const release = (slot: Slot): void => {
    const next = waiting.shift()
    if (next === undefined) free.push(slot)
    else next.resolve(slot)
  }
  const stop = (): void => fail(signal.reason)
  signal.addEventListener('abort', stop, { once: true })

  const leastBusy = (): Thread => threads.reduce((a, b) => (b.jobs.size < a.jobs.size ? b : a))
  const post = (thread: Thread, message: ToWorker): void => thread.worker.postMessage(message)
  return {
    slotBytes,
    slot: () => {
      if (failure !== null) throw failure.error
      const isStorageSlow = threads.some((thread) => thread.intake.waitingBytes > waitingBytes)
      return (isStorageSlow ? undefined : free.pop()) ?? waitForSlot()
    },
    run: (slot, pages) => {
      const thread = leastBusy()
      const job: PageJob = { kind: 'pages', job: (nextJob += 1), slot: slot.number, ...pages }
      return new Promise((resolve, reject) => {
        if (failure !== null) {
          reject(failure.error)
          return
        }
        thread.jobs.set(job.job, { slot, resolve, reject })
        post(thread, job)
      })
    },
    finish: async () => {
      for (const thread of threads) post(thread, { kind: 'finish' })
      await Promise.all(threads.map(({ finished }) => finished.promise))
      return (await Promise.all(threads.map((thread) => thread.intake.end()))).flat()
    },
    [Symbol.asyncDispose]: async () => {
      signal.removeEventListener('abort', stop)
      for (const { worker } of threads) worker.removeAllListeners('exit')
      await Promise.all(threads.map(({ worker }) => worker.terminate()))
      await Promise.all(threads.map((thread) => thread.intake.abandon(failure?.error ?? new Error('the backup ended'))))
    },
  }

  async function waitForSlot(): Promise<Slot> {
    for (const thread of threads) await thread.intake.room(waitingBytes)
    if (failure !== null) throw failure.error
    return free.pop() ?? new Promise((resolve, reject) => waiting.push({ resolve, reject }))
  }
}

function startThread(setup: PageWorkerSetup, intake: PackIntake): Thread {
  // Beside this file, and of its kind: .ts as we develop, .js as it is published.
  const worker = new Worker(new URL(`./page-worker${extname(import.meta.filename)}`, import.meta.url), { workerData: setup })
  return { worker, intake, jobs: new Map(), finished: Promise.withResolvers() }
}

function keptRuns(runs: Uint32Array, intake: PackIntake): KeptRun[] {
  const kept: KeptRun[] = []
  for (let at = 0; at < runs.length; at += runFields) {
    const [firstPage = 0, pages = 0, pack = 0, frame = 0, offset = 0] = runs.subarray(at, at + runFields)
    kept.push({ firstPage, pages, pack: intake.numberOf(pack), frame, offset })
  }
  return kept
}
