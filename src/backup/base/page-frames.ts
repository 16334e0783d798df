import { createPackBuilder, type PackBuilder } from '../../packs/pack-builder.ts'
import { newPackId, pageFrameBytes } from '../../packs/pack-format.ts'
import type { PackOutput, PageWorkerSetup } from './page-job.ts'

/** Where a page was put. */
export interface PagePlace {
  /** By this thread's count of packs. */
  readonly pack: number
  readonly frame: number
  readonly offset: number
}

/** Gathers pages to frames and frames to packs. A page's place is known when it is added, its frame when that is full. */
export interface PageFrames {
  /** The place of the first byte; `bytes` must be a whole number of pages, or the end of a file, and fit into a frame. */
  add(bytes: Uint8Array): PagePlace
  /** Room that the open frame has left. */
  readonly room: number
  /** What became ready to be stored since the last call. */
  take(): PackOutput[]
  /** Closes the open frame and the open pack. */
  finish(): void
}

export function createPageFrames({ repository, keyKind, key, level }: Pick<PageWorkerSetup, 'repository' | 'keyKind' | 'key' | 'level'>): PageFrames {
  const open = Buffer.allocUnsafeSlow(pageFrameBytes)
  let filled = 0
  let output: PackOutput[] = []
  let builder: PackBuilder | null = null
  let packs = 0

  const current = (): PackBuilder => {
    if (builder !== null) return builder
    const id = newPackId()
    builder = createPackBuilder({ keyKind, epoch: 0, repository: Buffer.from(repository), id }, key, level)
    packs += 1
    output.push({ kind: 'begin', id, bytes: builder.begin() })
    return builder
  }
  const close = (content: Uint8Array): void => {
    const pack = current()
    output.push({ kind: 'frame', bytes: pack.frame(content), content: content.length })
    if (pack.isFull) endPack()
  }
  const endPack = (): void => {
    if (builder === null) return
    output.push({ kind: 'end', bytes: builder.end() })
    builder = null
  }
  const flush = (): void => {
    if (filled > 0) close(open.subarray(0, filled))
    filled = 0
  }
  return {
    get room() {
      return pageFrameBytes - filled
    },
    add: (bytes) => {
      if (bytes.length > pageFrameBytes - filled) flush()
      const pack = current()
      const place = { pack: packs - 1, frame: pack.next, offset: filled }
      // A whole frame is sealed from where it lies.
      if (filled === 0 && bytes.length === pageFrameBytes) close(bytes)
      else {
        open.set(bytes, filled)
        filled += bytes.length
        if (filled === pageFrameBytes) flush()
      }
      return place
    },
    take: () => {
      const ready = output
      output = []
      return ready
    },
    finish: () => {
      flush()
      endPack()
    },
  }
}
