import { Failure, isFailure } from '../kernel/failure.ts'
import type { CallOptions, Storage } from '../storage/storage.ts'
import { ByteCursor } from '../stream/byte-cursor.ts'
import type { IndexedPack } from './pack-index.ts'

/** Frames that lie closer than this are fetched by one request, with what is between them. */
const joinedGapBytes = 256 << 10
/** A request asks for no more, so that none waits long for its place, and a broken one has little to repeat. */
const longestRequestBytes = 16 << 20

export interface StoredFrame {
  readonly frame: number
  readonly stored: Buffer
  readonly contentBytes: number
}

/** The stored bytes of some frames of a pack, given in ascending order. Rejects with `object-missing` where the pack is gone, with `integrity` where it is shorter than its index says. */
export async function* readFrames(
  storage: Storage,
  pack: IndexedPack,
  frames: readonly number[],
  options: CallOptions = {},
): AsyncGenerator<StoredFrame, void, undefined> {
  for (const request of planRequests(pack, frames)) yield* readRequest(storage, pack, request, options)
}

interface FrameRequest {
  readonly offset: number
  readonly length: number
  readonly frames: readonly { readonly frame: number; readonly offset: number; readonly stored: number; readonly content: number }[]
}

/** Which ranges to ask for. Pure. */
export function planRequests(pack: IndexedPack, frames: readonly number[]): readonly FrameRequest[] {
  const requests: { offset: number; length: number; frames: { frame: number; offset: number; stored: number; content: number }[] }[] = []
  let offset = pack.offset
  let next = 0
  for (const frame of frames) {
    for (; next < frame; next += 1) offset += pack.frames[next]?.stored ?? 0
    const lengths = pack.frames[frame]
    if (lengths === undefined) throw noSuchFrame(pack, frame)
    const last = requests.at(-1)
    const end = offset + lengths.stored
    const place = { frame, offset, stored: lengths.stored, content: lengths.content }
    if (last !== undefined && offset - (last.offset + last.length) <= joinedGapBytes && end - last.offset <= longestRequestBytes) {
      last.length = end - last.offset
      last.frames.push(place)
    } else requests.push({ offset, length: lengths.stored, frames: [place] })
  }
  return requests
}

async function* readRequest(storage: Storage, pack: IndexedPack, request: FrameRequest, options: CallOptions): AsyncGenerator<StoredFrame, void, undefined> {
  const cursor = new ByteCursor(storage.read(pack.key, { ...options, offset: request.offset, length: request.length }))
  try {
    for (const { frame, offset, stored, content } of request.frames) {
      let gap = offset - request.offset - cursor.offset
      while (gap > 0) {
        await need(cursor, 1, pack)
        const step = Math.min(gap, cursor.available)
        cursor.skip(step)
        gap -= step
      }
      await need(cursor, stored, pack)
      yield { frame, stored: cursor.take(stored), contentBytes: content }
    }
  } catch (error) {
    if (isFailure(error, 'object-missing')) throw gone(pack, error)
    // A storage refuses to read beyond an end: that the object was cut is damage, not a storage that fails.
    if (isFailure(error, 'storage-failed') && (await isCut(storage, pack.key, request, options))) throw cut(pack, error)
    throw error
  } finally {
    await cursor.close()
  }
}

async function need(cursor: ByteCursor, bytes: number, pack: IndexedPack): Promise<void> {
  if (!(await cursor.need(bytes))) throw cut(pack)
}

async function isCut(storage: Storage, key: string, { offset, length }: FrameRequest, options: CallOptions): Promise<boolean> {
  const found = await storage.stat(key, options)
  return found !== undefined && found.sizeBytes < offset + length
}

function cut(pack: IndexedPack, cause?: unknown): Failure {
  return new Failure('integrity', `${pack.key} is shorter than its index says`, { cause, details: { object: pack.key } })
}

function gone(pack: IndexedPack, cause: unknown): Failure {
  return new Failure('object-missing', `${pack.key} is gone, and with it pages that the backup needs`, { cause, details: { object: pack.key } })
}

function noSuchFrame(pack: IndexedPack, frame: number): Failure {
  return new Failure('integrity', `a backup refers to frame ${frame} of ${pack.key}, which has ${pack.frames.length}`, { details: { object: pack.key } })
}
