import { closeSync, constants, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { parentPort, workerData } from 'node:worker_threads'
import { isFailure, messageOf, systemCodeOf } from '../../kernel/failure.ts'
import { createFrameCodec, type FrameCodec } from '../../packs/frame.ts'
import { hashBytes } from '../../packs/leaf.ts'
import { createPageHasher } from '../../packs/page-hasher.ts'
import type { FrameJob, FrameProblem, FramesDone, FrameWorkerSetup, StoredFrameUse } from './frame-job.ts'

/** A thread that opens frames, holds every page against its hash, and where it shall, writes it to its file. */

const setup = workerData as FrameWorkerSetup
const port = parentPort
if (port === null) throw new Error('frame-worker.ts is the program of a worker thread')
const hashOf = createPageHasher(setup.hashKey)
const found = Buffer.alloc(hashBytes)
const openFiles = new Map<string, number>()
const mostOpenFiles = 64

port.on('message', (job: FrameJob | 'close') => {
  if (job === 'close') {
    for (const file of openFiles.values()) closeSync(file)
    openFiles.clear()
    port.postMessage('closed')
    return
  }
  port.postMessage(open(job))
})

function open({ job, pack, key, frames }: FrameJob): FramesDone {
  const codec = createFrameCodec({ repository: Buffer.from(setup.repository), id: Buffer.from(pack) }, key)
  const problems: FrameProblem[] = []
  let bytes = 0
  try {
    for (const frame of frames) bytes += openFrame(codec, frame, problems)
    return { job, bytes, problems, failure: null }
  } catch (error) {
    return { job, bytes, problems, failure: { message: messageOf(error), code: systemCodeOf(error) ?? null } }
  }
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
  for (const { path, fileOffset, offset, bytes, hashes } of uses) {
    const pages = content.subarray(offset, offset + bytes)
    const wrong = pages.length === bytes ? wrongPage(pages, hashes) : 0
    if (wrong !== null) problems.push({ frame, path, message: `page ${fileOffset / setup.pageBytes + wrong} is not the one that was backed up` })
    else if (setup.directory !== null) writePages(setup.directory, path, fileOffset, pages)
  }
  return content.length
}

/** The first page that has another hash; null when all are right. */
function wrongPage(pages: Buffer, hashes: Uint8Array): number | null {
  for (let page = 0, at = 0; at < pages.length; page += 1, at += setup.pageBytes) {
    hashOf(pages.subarray(at, at + setup.pageBytes), found, 0)
    for (let index = 0; index < hashBytes; index += 1) if (found[index] !== hashes[page * hashBytes + index]) return page
  }
  return null
}

function writePages(directory: string, path: string, fileOffset: number, pages: Buffer): void {
  const file = fileOf(directory, path)
  for (let at = 0; at < pages.length;) at += writeSync(file, pages, at, pages.length - at, fileOffset + at)
}

function fileOf(directory: string, path: string): number {
  const known = openFiles.get(path)
  if (known !== undefined) return known
  const [oldest] = openFiles
  if (openFiles.size >= mostOpenFiles && oldest !== undefined) {
    closeSync(oldest[1])
    openFiles.delete(oldest[0])
  }
  // Never through a link that somebody put there.
  const file = openSync(Buffer.from(join(directory, path), 'latin1'), constants.O_WRONLY | constants.O_CREAT | constants.O_NOFOLLOW, 0o600)
  openFiles.set(path, file)
  return file
}
