import type { KeyKind } from '../../packs/pack-format.ts'
import type { BadPage } from '../../pgdata/page-checksum.ts'

/** What is said between the main thread and the threads that look into pages. Plain data. */

export interface PageWorkerSetup {
  readonly pageBytes: number
  /** Of zstd. */
  readonly level: number
  /** The repository's id, 16 bytes. */
  readonly repository: Uint8Array
  readonly keyKind: KeyKind
  readonly key: Uint8Array | null
  readonly hashKey: Uint8Array
  /** Shared memory of all slots; each has `slotBytes`. */
  readonly slots: SharedArrayBuffer
  readonly slotBytes: number
}

/** A row of pages of one file, or the whole of a small one. */
export interface Piece {
  /** Where it lies in the slot; a multiple of 4. */
  readonly offset: number
  readonly bytes: number
  /** From where the thread fetches it; null where its bytes are in the slot already. */
  readonly source: PieceSource | null
}

export interface PieceSource {
  /** The descriptor of an open file, or the path (bytes as `latin1`) of one that is read at once. */
  readonly file: number | string
  /** Where the piece begins in the file. */
  readonly position: number
  /** Whether the file must have exactly the bytes of the piece: one that was replaced by a longer one must not be cut. */
  readonly whole: boolean
  /** The block number of its first page in the whole relation, where its pages have checksums; null where they have none. */
  readonly firstBlock: number | null
}

export interface PageJob {
  readonly kind: 'pages'
  readonly job: number
  readonly slot: number
  readonly pieces: readonly Piece[]
  /** For each page of the pieces, in order: the hash that it had before. Null where nothing is compared. */
  readonly prior: Uint8Array | null
  /** For each page: 1 where an equal page need not be kept. */
  readonly compare: Uint8Array | null
  /** Pages of a higher LSN are not judged by their checksum: WAL writes them anew. */
  readonly newerThan: bigint
}

export type ToWorker = PageJob | { readonly kind: 'finish' }

/** Numbers in a row of `runs`: first page of the job, pages, pack (by the worker's count), frame, offset in its content. */
export const runFields = 5

export interface PagesDone {
  readonly job: number
  readonly hashes: Uint8Array
  /** Where the pages that were kept lie, in their order; a run never goes beyond its piece. */
  readonly runs: Uint32Array
  /** By their number in the job: pieces of files that were not there any more, or had another length. Their pages say nothing. */
  readonly missed: readonly number[]
  readonly badPages: readonly BadPageFound[]
}

/** A page whose checksum is wrong, however often it was read. */
export interface BadPageFound extends BadPage {
  /** By its number in the job. */
  readonly piece: number
}

/** The system refused to read a piece. */
export interface UnreadablePiece {
  readonly job: number
  /** By its number in the job. */
  readonly piece: number
  readonly message: string
  readonly code: string | null
}

/** Bytes of the worker's packs, in order. */
export type PackOutput =
  | { readonly kind: 'begin'; readonly id: Uint8Array; readonly bytes: Uint8Array }
  | { readonly kind: 'frame'; readonly bytes: Uint8Array; readonly content: number }
  | { readonly kind: 'end'; readonly bytes: Uint8Array }

export type FromWorker =
  | { readonly kind: 'done'; readonly done: PagesDone; readonly output: readonly PackOutput[] }
  | { readonly kind: 'unreadable'; readonly unreadable: UnreadablePiece; readonly output: readonly PackOutput[] }
  | { readonly kind: 'finished'; readonly output: readonly PackOutput[] }
