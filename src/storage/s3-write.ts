import { createHash } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { Failure } from '../kernel/failure.ts'
import { retried } from './retry.ts'
import type { RetryContext } from './retry.ts'
import { mayDislikeChecksums, s3Failure } from './s3-errors.ts'
import { bareETag, headObject, modifiedAtOf } from './s3-head.ts'
import type { S3Session } from './s3-session.ts'
import type { PutOptions, StoredObject } from './storage.ts'

/** The metadata entry by which a write whose answer was lost is recognised as ours. */
export const writeMark = 'tidemark-write'

/** One `put` under way: what every request of it needs. */
export interface S3Write {
  readonly session: S3Session
  readonly key: string
  readonly options: PutOptions
  readonly action: string
  readonly mark: string
}

export function retryContextOf(write: S3Write): RetryContext {
  const { environment, options } = write.session
  return { clock: environment.clock, emit: environment.emit, policy: options.retry, signal: write.options.signal }
}

/** What belongs to the object, however it is sent. */
export function objectHeaders(write: S3Write): { Metadata: Record<string, string>; ContentType?: string; StorageClass?: never } {
  const { storageClass } = write.session.options
  return {
    Metadata: { [writeMark]: write.mark },
    ...(write.options.contentType === undefined ? {} : { ContentType: write.options.contentType }),
    // The SDK's type is the list of classes that Amazon has today; other stores have others.
    ...(storageClass === null ? {} : { StorageClass: storageClass as never }),
  }
}

export interface ConfirmedAnswer {
  ETag?: string | undefined
  ChecksumCRC32?: string | undefined
}

/**
 * Sends bytes with their CRC32 and sees to it that the store says it got them: by the same CRC32 in its answer, else
 * by an ETag that is their MD5. Where it says neither, the length found by HEAD afterwards is all there is.
 * A store that refuses checksum headers is sent plain requests from then on (`checksums: auto`).
 * Returns the version.
 */
export async function sendConfirmed(
  write: S3Write,
  bytes: Uint8Array,
  send: (checksum: { ChecksumCRC32?: string }) => Promise<ConfirmedAnswer>,
): Promise<string | undefined> {
  const { learned } = write.session
  const sent = crc32Base64(bytes)
  const answer = await withoutChecksumsIfRefused(write, (checksums) => send(checksums ? { ChecksumCRC32: sent } : {}))
  if (answer.ChecksumCRC32 !== undefined && answer.ChecksumCRC32 !== sent) {
    throw new Failure('storage-failed', `cannot ${write.action}: the store confirms a checksum of other bytes`, {
      details: { transient: true, ambiguous: true },
    })
  }
  if (answer.ChecksumCRC32 === undefined && !learned.checksums) noteWeakETag(write, bytes, answer.ETag)
  return bareETag(answer.ETag)
}

/** An ETag of MD5's form that is not the MD5 may be legitimate (server-side encryption), so it is only told. */
function noteWeakETag(write: S3Write, bytes: Uint8Array, etag: string | undefined): void {
  const bare = bareETag(etag)
  if (bare === undefined || !/^[0-9a-f]{32}$/i.test(bare) || bare.toLowerCase() === createHash('md5').update(bytes).digest('hex')) return
  write.session.environment.emit({
    type: 'note',
    message: `${write.session.location} confirms neither CRC32 nor MD5 of what is sent: only lengths are checked while storing`,
  })
}

/** Runs a request with checksum headers, and once more without them when the store seems not to know them. */
export async function withoutChecksumsIfRefused<T>(write: S3Write, send: (checksums: boolean) => Promise<T>): Promise<T> {
  const { learned, environment, location } = write.session
  if (!learned.checksums) return send(false)
  try {
    return await send(true)
  } catch (error) {
    if (!mayDislikeChecksums(error)) throw error
    const answer = await send(false)
    if (learned.checksums) environment.emit({ type: 'note', message: `${location} knows no CRC32 checksums: going on without them` })
    learned.checksums = false
    return answer
  }
}

function crc32Base64(bytes: Uint8Array): string {
  const buffer = Buffer.alloc(4)
  buffer.writeUInt32BE(crc32(bytes))
  return buffer.toString('base64')
}

/**
 * Looks at what is stored now: "200 OK" has been said of uploads that failed. A different version means that somebody
 * replaced the object right after us, which `put` allows; the same version of another length is a lie.
 */
export async function confirm(write: S3Write, sizeBytes: number, version: string | undefined): Promise<StoredObject> {
  const { session, key } = write
  const head = await retried(`confirm "${key}" in ${session.location}`, retryContextOf(write), () => headObject(session, key, write.options.signal))
  if (head === undefined) throw new Failure('storage-failed', `cannot ${write.action}: the store said it was done, and the object is not there`)
  const seen = bareETag(head.ETag)
  const ours = head.Metadata?.[writeMark] === write.mark || (version !== undefined && seen === version)
  if (head.ContentLength !== sizeBytes && (ours || version === undefined || seen === undefined)) {
    throw new Failure('storage-failed', `cannot ${write.action}: ${sizeBytes} bytes were sent and ${head.ContentLength ?? 'an unknown number'} are stored`)
  }
  return { key, sizeBytes, modifiedAt: modifiedAtOf(head.LastModified, key), version: (ours ? seen : version) ?? '' }
}

export async function isOurs(write: S3Write): Promise<boolean> {
  const head = await headObject(write.session, write.key, write.options.signal)
  return head?.Metadata?.[writeMark] === write.mark
}

export function failureOf(write: S3Write, error: unknown): unknown {
  return s3Failure(write.action, error, { location: write.session.location })
}

export function conditionUnknown(write: S3Write, error: unknown): Failure {
  return new Failure(
    'storage-unsafe',
    `cannot create "${write.key}" in ${write.session.location} only if it is absent: the store does not know If-None-Match`,
    {
      cause: new Error(s3Cause(error)),
      hints: ['use a store with conditional writes (Amazon S3, Ceph, MinIO, Cloudflare R2) or a local path'],
    },
  )
}

function s3Cause(error: unknown): string {
  const failure = s3Failure('create', error, { location: '' })
  return failure instanceof Error ? failure.message : 'unknown'
}
