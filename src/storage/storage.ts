/**
 * Bytes under keys. A Storage knows nothing of PostgreSQL or of backups; a Repository sits on one.
 * Every driver passes `test/conformance/`, and `tidemark repo test` runs the same suite for users.
 *
 * What every driver promises:
 * - A key is what `key.ts` accepts: a relative path of `/`-separated, non-empty segments of at most 255 bytes, none
 *   of them `.` or `..`, at most 1,024 bytes of UTF-8, without control characters or backslashes, not in the reserved
 *   `.tidemark-tmp/`. Anything else is refused before any I/O. Things lying there under names that are no keys
 *   (folder markers, foreign files, symbolic links) are not objects: nothing shows or follows them.
 * - Read after write: once `put` resolved, `read`, `stat` and `list` of any client see the object.
 * - Atomicity: an object appears whole or not at all; nothing is visible while its upload runs, and
 *   after a failed or cancelled `put` the previous object (or none) is there. Nothing partial is left
 *   that `list` shows.
 * - Durability: when `put` resolves, the bytes survive a power cut (posix: file and directory fsynced).
 * - The source decides: when the body throws, `put` rejects with that error and stores nothing.
 * - Cancelled means cancelled: when `signal` aborts, the call rejects with the signal's reason.
 * - Errors are `Failure`s: `object-missing`, `object-exists`, `storage-denied`, `storage-full`, `storage-failed`, and
 *   `storage-unsafe` where the store cannot do `ifAbsent`. Those worth retrying carry `details.transient === true`.
 *   `details.ambiguous === true` means that the answer was lost: the write may have happened all the same, so an
 *   `object-exists` so marked may be our own object. Whoever creates names must then read it and compare.
 */
export interface Storage {
  readonly kind: StorageKind
  /** Where it is, for people: a path or `s3://bucket/prefix`. Never carries credentials. */
  readonly location: string

  /**
   * Stores one object. With `ifAbsent`, an existing object is left alone and the call rejects with
   * `object-exists`; of several concurrent `ifAbsent` puts exactly one resolves (where
   * `probeConditionalCreate` says `atomic`). Without it, an existing object is replaced atomically.
   */
  put(key: string, body: Body, options?: PutOptions): Promise<StoredObject>

  /**
   * Streams an object or a range of it. Rejects with `object-missing`. A short read is an error, never an early end,
   * and an object that is replaced meanwhile is an error or read to its old end, never a mixture.
   */
  read(key: string, options?: ReadOptions): AsyncIterable<Uint8Array>

  /** Size and times of an object, or undefined when there is none. */
  stat(key: string, options?: CallOptions): Promise<StoredObject | undefined>

  /**
   * All objects whose key begins with `prefix` (which may end inside a segment), in ascending order of
   * UTF-8 bytes, however many there are. A listing that cannot be completed rejects; it never ends early.
   */
  list(prefix: string, options?: CallOptions): AsyncIterable<StoredObject>

  /** Removes an object (or an alias); removing an absent one succeeds. Held by an object lock: `storage-denied`, `details.retainedUntil`. */
  delete(key: string, options?: CallOptions): Promise<void>

  /** Copies inside the storage, without the bytes passing through us where the store can. Replaces the target. */
  copy(from: string, to: string, options?: CallOptions): Promise<StoredObject>

  /** Absolute path of the object's file, where objects are files that other programs can open. */
  localPath?(key: string): string

  /**
   * Makes `key` an alias of `target`, atomically replacing an earlier alias (posix: relative symlink). An object of
   * that name is never replaced: `object-exists`. Absent where the store has no such thing.
   * `list` and `stat` do not show aliases; `read` and `copy` follow them, one step; `put` replaces them.
   */
  setAlias?(key: string, target: string): Promise<void>
  /** The target of an alias, or undefined when there is none. */
  readAlias?(key: string): Promise<string | undefined>

  /** Bytes that can still be written, where the store can tell. */
  freeBytes?(): Promise<number>

  /** Removes leftovers of uploads that this driver began and never ended, older than `olderThanMs`. Returns how many. */
  abortStaleUploads?(olderThanMs: number, options?: CallOptions): Promise<number>

  /** Frees sockets and the like. */
  [Symbol.asyncDispose](): Promise<void>
}

export type StorageKind = 'posix' | 's3' | 'memory'

/**
 * What is stored. A chunk must not be changed after it was yielded, for the driver may keep it for a while.
 * Bytes and a factory can be sent again when a transfer breaks; a bare iterable can be drawn once only, so breaks
 * are survived only where the driver itself keeps the piece it was sending (S3 parts).
 */
export type Body = Uint8Array | AsyncIterable<Uint8Array> | BodyFactory

/** Begins the same bytes anew at every call. */
export type BodyFactory = () => AsyncIterable<Uint8Array>

export interface CallOptions {
  signal?: AbortSignal
}

export interface PutOptions extends CallOptions {
  ifAbsent?: boolean
  /** When given, a body of any other length fails with `storage-failed` and stores nothing. */
  sizeBytes?: number
  contentType?: string
}

export interface ReadOptions extends CallOptions {
  /** First byte, default 0. */
  offset?: number
  /** Number of bytes, default to the end. Reading past the end is `storage-failed`. */
  length?: number
  /** Refuses (`storage-failed`) an object whose `version` is another, so that a read can be resumed without mixing two. */
  ifVersion?: string
  /** Told once, before the first byte, what is being read (the whole object's size, also for a range). */
  opened?: (object: StoredObject) => void
}

export interface StoredObject {
  readonly key: string
  readonly sizeBytes: number
  /** By the storage's own clock; leases are judged by it, never by ours. */
  readonly modifiedAt: Temporal.Instant
  /** Changes whenever the object is replaced; compare it, never parse it. S3: the ETag. posix: inode, size and time. */
  readonly version: string
}

/** How far `ifAbsent` can be trusted, as found by trying (`probe.ts`), not by the provider's name. */
export type ConditionalCreate = 'atomic' | 'racy' | 'unsupported'
