/** What is said between the main thread and the threads that open frames. Plain data. */

export interface FrameWorkerSetup {
  readonly pageBytes: number
  /** The repository's id, 16 bytes. */
  readonly repository: Uint8Array
  readonly hashKey: Uint8Array
  /** Where files are written, an absolute path; null where pages are only held against their hashes. */
  readonly directory: string | null
}

export interface FrameJob {
  readonly job: number
  readonly pack: Uint8Array
  readonly key: Uint8Array | null
  readonly frames: readonly StoredFrameUse[]
}

export interface StoredFrameUse {
  readonly frame: number
  readonly stored: Uint8Array
  readonly contentBytes: number
  readonly uses: readonly { readonly path: string; readonly fileOffset: number; readonly offset: number; readonly bytes: number; readonly hashes: Uint8Array }[]
}

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
