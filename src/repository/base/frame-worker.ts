import { closeSync, constants, fchmodSync, fchownSync, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { isFailure, messageOf, systemCodeOf } from '../../kernel/failure.ts'
import { createFrameCodec, type FrameCodec } from '../../packs/frame.ts'
import { hashBytes } from '../../packs/leaf.ts'
import { createPageHasher } from '../../packs/page-hasher.ts'
import { pathBytes } from '../../pgdata/file-path.ts'
import type { CompareJob, FrameJob, FrameProblem, FramesDone, FrameWorkerSetup, FromFrameWorker, StoredFrameUse, ToFrameWorker } from './frame-job.ts'

/** A thread that opens frames, holds every page against its hash, and where it shall, writes it to its file. */

const setup = workerData as FrameWorkerSetup
const port = parentPort
if (port === null) throw new Error('frame-worker.ts is the program of a worker thread')
const hashOf = createPageHasher(setup.hashKey)
const found = Buffer.alloc(hashBytes)
const openFiles = new Map<string, number>()
const mostOpenFiles = 64
/** Bytes that are read at once from a file that is compared. */
const compareBytes = 1 << 20

port.on('message', (message: ToFrameWorker) => port.postMessage(answer(message)))

function answer(message: ToFrameWorker): FromFrameWorker {
  if (message.kind === 'frames') return { kind: 'done', ...openFrames(message) }
  if (message.kind === 'compare') {
    try {
      return { kind: 'compared', job: message.job, wanted: compare(message), failure: null }
    } catch (error) {
      return { kind: 'compared', job: message.job, wanted: new Uint8Array(0), failure: failureOf(error) }
    }
  }
  for (const file of openFiles.values()) closeSync(file)
  openFiles.clear()
  return { kind: 'closed' }
}

function openFrames({ job, pack, key, frames }: FrameJob): FramesDone {
  const codec = createFrameCodec({ repository: Buffer.from(setup.repository), id: Buffer.from(pack) }, key)
  const problems: FrameProblem[] = []
  let bytes = 0
  try {
    for (const frame of frames) bytes += openFrame(codec, frame, problems)
    return { job, bytes, problems, failure: null }
  } catch (error) {
    return { job, bytes, problems, failure: failureOf(error) }
  }
}

function failureOf(error: unknown): FramesDone['failure'] {
  return { message: messageOf(error), code: systemCodeOf(error) ?? null }
}

function openFrame(codec: FrameCodec, { frame, stored, contentBytes, uses }: StoredFrameUse, problems: FrameProblem[]): number {
  let content: Buffer
  try {
    content = codec.open(frame, stored, { contentBytes })
  } catch (error) {
    if (!isFailure(error, 'integrity')) throw error
    problems.push({ frame, path: null, message: error.message })
    return 0
  }
  let used = 0
  for (const { path, mode, fileOffset, offset, bytes, hashes, into } of uses) {
    const pages = content.subarray(offset, offset + bytes)
    const wrong = pages.length === bytes ? firstWrongPage(pages, hashes) : 0
    if (wrong !== null) problems.push({ frame, path, message: `page ${fileOffset / setup.pageBytes + wrong} is not the one that was backed up` })
    else if (into !== undefined) new Uint8Array(into.buffer, into.offset, bytes).set(pages)
    else if (setup.directory !== null) writePages(fileOf(setup.directory, path, mode), fileOffset, pages)
    used += bytes
  }
  return used
}

/** Null when all are right. */
function firstWrongPage(pages: Buffer, hashes: Uint8Array): number | null {
  for (let page = 0, at = 0; at < pages.length; page += 1, at += setup.pageBytes) {
    if (!isPage(pages.subarray(at, at + setup.pageBytes), hashes, page)) return page
  }
  return null
}

function isPage(bytes: Uint8Array, hashes: Uint8Array, page: number): boolean {
  hashOf(bytes, found, 0)
  for (let index = 0; index < hashBytes; index += 1) if (found[index] !== hashes[page * hashBytes + index]) return false
  return true
}

function writePages(file: number, fileOffset: number, pages: Buffer): void {
  for (let at = 0; at < pages.length;) at += writeSync(file, pages, at, pages.length - at, fileOffset + at)
}

function fileOf(directory: string, path: string, mode: number): number {
  const known = openFiles.get(path)
  if (known !== undefined) return known
  const [oldest] = openFiles
  if (openFiles.size >= mostOpenFiles && oldest !== undefined) {
    closeSync(oldest[1])
    openFiles.delete(oldest[0])
  }
  // Never through a link that somebody put there.
  const file = openSync(pathBytes(`${directory}/${path}`), constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600)
  openFiles.set(path, file)
  if (mode !== 0o600) fchmodSync(file, mode)
  if (setup.owner !== null) fchownSync(file, setup.owner.uid, setup.owner.gid)
  return file
}

/** Which pages of a file are not what they should be; what lies behind the last one is cut off. A file that is not there is made, and wants all. */
function compare({ path, mode, sizeBytes, fileOffset, hashes }: CompareJob): Uint8Array {
  const wanted = new Uint8Array(hashes.length / hashBytes).fill(1)
  if (setup.directory === null) return wanted
  const file = fileOf(setup.directory, path, mode)
  const there = fstatSync(file).size
  if (there > sizeBytes) ftruncateSync(file, sizeBytes)
  const end = Math.min(there, sizeBytes, fileOffset + wanted.length * setup.pageBytes)
  const buffer = Buffer.allocUnsafeSlow(compareBytes)
  for (let at = fileOffset; at < end;) {
    const length = Math.min(compareBytes, end - at)
    let read = 0
    while (read < length) {
      const count = readSync(file, buffer, read, length - read, at + read)
      if (count === 0) return wanted
      read += count
    }
    for (let offset = 0; offset < length; offset += setup.pageBytes) {
      const page = (at + offset - fileOffset) / setup.pageBytes
      const pageEnd = Math.min(at + offset + setup.pageBytes, sizeBytes)
      // A page of which a part is missing is not the page.
      if (pageEnd <= end && isPage(buffer.subarray(offset, pageEnd - at), hashes, page)) wanted[page] = 0
    }
    at += length
  }
  return wanted
}
