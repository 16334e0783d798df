import type { FrameUse } from './plan-frames.ts'

/** What is said between the main thread and the threads that open frames. Plain data. */

export interface FrameWorkerSetup {
  readonly pageBytes: number
  /** The repository's id, 16 bytes. */
  readonly repository: Uint8Array
  readonly hashKey: Uint8Array
  /** Where files are written, an absolute path; null where pages are only held against their hashes. */
  readonly directory: string | null
  /** Whose the files are; null where they stay ours. */
  readonly owner: { readonly uid: number; readonly gid: number } | null
}

/** Asks which pages of a file in the directory are not those of the backup. */
export interface CompareJob {
  readonly kind: 'compare'
  readonly job: number
  readonly path: string
  readonly mode: number
  /** Of the whole file in the backup: what lies behind is cut off. */
  readonly sizeBytes: number
  /** Of the first page that is compared. */
  readonly fileOffset: number
  readonly hashes: Uint8Array
}

export interface Compared {
  readonly job: number
  /** For each page: 1 where it must be fetched. */
  readonly wanted: Uint8Array
  readonly failure: FramesDone['failure']
}

export interface FrameJob {
  readonly kind: 'frames'
  readonly job: number
  readonly pack: Uint8Array
  readonly key: Uint8Array | null
  readonly frames: readonly StoredFrameUse[]
}

export interface StoredFrameUse {
  readonly frame: number
  readonly stored: Uint8Array
  readonly contentBytes: number
  readonly uses: readonly FrameUse[]
}

export type ToFrameWorker = FrameJob | CompareJob | { readonly kind: 'close' }
export type FromFrameWorker = ({ readonly kind: 'done' } & FramesDone) | ({ readonly kind: 'compared' } & Compared) | { readonly kind: 'closed' }

/** A frame that is not what was stored, or a page in it that is not what was backed up. */
export interface FrameProblem {
  readonly frame: number
  /** Null where the frame itself is broken. */
  readonly path: string | null
  readonly message: string
}

export interface FramesDone {
  readonly job: number
  readonly bytes: number
  readonly problems: readonly FrameProblem[]
  /** What the operating system refused: the work cannot go on. */
  readonly failure: { readonly message: string; readonly code: string | null } | null
}
