import { parentPort, workerData } from 'node:worker_threads'
import { systemCodeOf } from '../../kernel/failure.ts'
import { hashBytes } from '../../packs/leaf.ts'
import { createPageHasher } from '../../packs/page-hasher.ts'
import { fetchAgain, fetchPieces, PieceUnreadable } from './fetch-pieces.ts'
import { createPageFrames } from './page-frames.ts'
import type { FromWorker, PackOutput, PageJob, PagesDone, PageWorkerSetup, ToWorker } from './page-job.ts'

/** A thread of a base backup: fetches pages where they are not handed to it, hashes them, drops those that did not change, and makes frames of the others. */

const setup = workerData as PageWorkerSetup
const port = parentPort
if (port === null) throw new Error('page-worker.ts is the program of a worker thread')
const hashOf = createPageHasher(setup.hashKey)
const frames = createPageFrames(setup)
const slots = Buffer.from(setup.slots)

port.on('message', (message: ToWorker) => {
  if (message.kind === 'finish') {
    frames.finish()
    send({ kind: 'finished', output: frames.take() })
  } else void serve(message)
})

/** Does one job. While a bad page waits to be read again, others are done. */
async function serve(job: PageJob): Promise<void> {
  const { slotBytes, pageBytes } = setup
  const bytes = slots.subarray(job.slot * slotBytes, (job.slot + 1) * slotBytes)
  try {
    const fetched = fetchPieces(job, bytes, pageBytes)
    if (fetched.suspects.length > 0) await fetchAgain(job, bytes, { pageBytes, fetched })
    const { missed, suspects } = fetched
    const done = { ...lookAtPages(job, bytes, new Set(missed)), missed, badPages: suspects }
    send({ kind: 'done', done, output: frames.take() }, done)
  } catch (error) {
    if (!(error instanceof PieceUnreadable)) throw error
    const { piece, message } = error
    send({ kind: 'unreadable', unreadable: { job: job.job, piece, message, code: systemCodeOf(error.cause) ?? null }, output: frames.take() })
  }
}

function lookAtPages({ job, pieces, prior, compare }: PageJob, bytes: Buffer, missed: ReadonlySet<number>): Pick<PagesDone, 'job' | 'hashes' | 'runs'> {
  const { pageBytes } = setup
  const pages = pieces.reduce((count, piece) => count + Math.ceil(piece.bytes / pageBytes), 0)
  const hashes = Buffer.allocUnsafeSlow(pages * hashBytes)
  const runs: number[] = []
  let page = 0
  for (const [number, { offset, bytes: length }] of pieces.entries()) {
    if (missed.has(number)) {
      page += Math.ceil(length / pageBytes)
      continue
    }
    const end = offset + length
    // Pages from `keptFrom` to `at` are kept and not in a frame yet.
    let keptFrom = -1
    for (let at = offset; at < end; at += pageBytes, page += 1) {
      hashOf(bytes.subarray(at, Math.min(at + pageBytes, end)), hashes, page * hashBytes)
      const isKnown = compare !== null && compare[page] === 1 && prior !== null && isSameHash(hashes, prior, page * hashBytes)
      if (isKnown && keptFrom >= 0) {
        keep(bytes.subarray(keptFrom, at), page - (at - keptFrom) / pageBytes, runs)
        keptFrom = -1
      } else if (!isKnown && keptFrom < 0) keptFrom = at
    }
    if (keptFrom >= 0) keep(bytes.subarray(keptFrom, end), page - Math.ceil((end - keptFrom) / pageBytes), runs)
  }
  return { job, hashes, runs: Uint32Array.from(runs) }
}

function isSameHash(a: Uint8Array, b: Uint8Array, at: number): boolean {
  for (let index = at; index < at + hashBytes; index += 1) if (a[index] !== b[index]) return false
  return true
}

/** Puts pages into frames: as many as fit into the open one, then the rest. */
function keep(kept: Buffer, firstPage: number, runs: number[]): void {
  const { pageBytes } = setup
  for (let at = 0; at < kept.length;) {
    const room = kept.length - at <= frames.room ? kept.length - at : Math.floor(frames.room / pageBytes) * pageBytes
    const part = kept.subarray(at, at + (room === 0 ? Math.min(kept.length - at, pageBytes) : room))
    const { pack, frame, offset } = frames.add(part)
    runs.push(firstPage + at / pageBytes, Math.ceil(part.length / pageBytes), pack, frame, offset)
    at += part.length
  }
}

/** The bytes go to the main thread without being copied, so none may share its memory with others. */
function send(message: FromWorker, done?: PagesDone): void {
  const output: PackOutput[] = message.output.map((each) => ({ ...each, bytes: own(each.bytes) }))
  const transfer = output.map(({ bytes }) => bytes.buffer as ArrayBuffer)
  if (done !== undefined) transfer.push(done.hashes.buffer as ArrayBuffer, done.runs.buffer as ArrayBuffer)
  port?.postMessage({ ...message, output }, transfer)
}

function own(bytes: Uint8Array): Uint8Array {
  return bytes.byteLength === bytes.buffer.byteLength ? bytes : new Uint8Array(bytes)
}
