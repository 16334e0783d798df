import type { HeadObjectCommandOutput } from '@aws-sdk/client-s3'
import { createHash, randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { crc32 } from 'node:zlib'
import { Failure, isFailure } from '../kernel/failure.ts'
import { checkedChunks } from './body.ts'
import { objectExists } from './errors.ts'
import { retried } from './retry.ts'
import type { RetryContext } from './retry.ts'
import { factsOf, isNotImplemented, isPreconditionFailed, mayDislikeChecksums, s3Failure } from './s3-errors.ts'
import { putInParts } from './s3-multipart.ts'
import { partSize, partsOf } from './s3-parts.ts'
import type { S3Session } from './s3-session.ts'
import type { Body, PutOptions, StoredObject } from './storage.ts'

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

/** Stores a body of any length with bounded memory: one PUT when it fits into a part, else an upload in parts. */
export async function putObject(session: S3Session, key: string, body: Body, options: PutOptions): Promise<StoredObject> {
  const write: S3Write = { session, key, options, action: `store "${key}" in ${session.location}`, mark: randomBytes(12).toString('hex') }
  options.signal?.throwIfAborted()
  const plan = { partBytes: session.options.partBytes, sizeBytes: body instanceof Uint8Array ? body.length : options.sizeBytes }
  const parts = partsOf(checkedChunks(key, body, options), (number) => partSize(number, plan))
  // Also reached when the body throws or the upload fails: the source learns that nobody draws any more.
  try {
    const first = await parts.next()
    const second = first.done === true ? first : await parts.next()
    if (second.done === true) return await putWhole(write, first.done === true ? new Uint8Array(0) : first.value)
    if (first.done === true) throw new Error('unreachable: a second part without a first')
    return await putInParts(write, [first.value, second.value], parts)
  } finally {
    // Not awaited: a source that hangs must not hold the failure back.
    parts.return(undefined).catch(() => undefined)
  }
}

export function retryContextOf(write: S3Write): RetryContext {
  const { environment, options } = write.session
  return { clock: environment.clock, emit: environment.emit, policy: options.retry, signal: write.options.signal }
}

async function putWhole(write: S3Write, bytes: Uint8Array): Promise<StoredObject> {
  const { session, key, options } = write
  const version = await retried(write.action, retryContextOf(write), async (attempt) => {
    try {
      return await sendConfirmed(write, bytes, (checksum) =>
        session.call({ bytes: bytes.length, signal: options.signal }, ({ client, sdk, options: call }) =>
          client.send(
            new sdk.PutObjectCommand({
              Bucket: session.options.bucket,
              Key: session.bucketKey(key),
              Body: bytes,
              ContentLength: bytes.length,
              ...objectHeaders(write),
              ...checksum,
              ...(options.ifAbsent === true ? { IfNoneMatch: '*' } : {}),
            }),
            call,
          ),
        ),
      )
    } catch (error) {
      if (options.ifAbsent === true && isPreconditionFailed(error)) {
        if (attempt.afterLostAnswer && (await isOurs(write))) return undefined
        throw objectExists(session.location, key)
      }
      if (options.ifAbsent === true && isNotImplemented(error)) throw conditionUnknown(write, error)
      throw failureOf(write, error)
    }
  })
  return confirm(write, bytes.length, version)
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
    throw new Failure('storage-failed', `cannot ${write.action}: the store confirms a checksum of other bytes`, { details: { transient: true, ambiguous: true } })
  }
  if (answer.ChecksumCRC32 === undefined && learned.checksums === false) noteWeakETag(write, bytes, answer.ETag)
  return bareETag(answer.ETag)
}

/** An ETag of MD5's form that is not the MD5 may be legitimate (server-side encryption), so it is only told. */
function noteWeakETag(write: S3Write, bytes: Uint8Array, etag: string | undefined): void {
  const bare = bareETag(etag)
  if (bare === undefined || !/^[0-9a-f]{32}$/i.test(bare) || bare.toLowerCase() === createHash('md5').update(bytes).digest('hex')) return
  write.session.environment.emit({ type: 'note', message: `${write.session.location} confirms neither CRC32 nor MD5 of what is sent: only lengths are checked while storing` })
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

export function bareETag(etag: string | undefined): string | undefined {
  return etag?.replace(/^W\//, '').replaceAll('"', '')
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

/** The object's headers, or undefined when there is no object. A missing bucket is an error, not an absent object. */
export async function headObject(session: S3Session, key: string, signal: AbortSignal | undefined): Promise<HeadObjectCommandOutput | undefined> {
  const place = { Bucket: session.options.bucket, Key: session.bucketKey(key) }
  const head = () => session.call({ signal }, ({ client, sdk, options }) => client.send(new sdk.HeadObjectCommand(place), options))
  try {
    try {
      return await head()
    } catch (error) {
      if (![400, 403, 301].includes(factsOf(error).status ?? 0)) throw error
      await askWhy(session, place, signal)
      return await head().catch((again: unknown) => {
        throw factsOf(again).status === 400 ? new Failure('storage-failed', `the store refuses to tell the facts of "${key}" and sends its bytes`, { details: { transient: true } }) : again
      })
    }
  } catch (error) {
    const failure = s3Failure(`look at "${key}" in ${session.location}`, error, { location: session.location, key })
    if (!isFailure(failure, 'object-missing')) throw failure
    if (!session.learned.bucketSeen) await requireBucket(session, signal)
    return undefined
  }
}

/**
 * The answer to a HEAD has no body, so it cannot say why: wrong region, expired token and wrong clock are all "400" or
 * "403". A GET of one byte is told the reason, which is thrown; when it is not refused, neither should the HEAD be now.
 */
async function askWhy(session: S3Session, place: { Bucket: string; Key: string }, signal: AbortSignal | undefined): Promise<void> {
  try {
    await session.call({ signal }, async ({ client, sdk, options }) => {
      const answer = await client.send(new sdk.GetObjectCommand({ ...place, Range: 'bytes=0-0' }), options)
      if (answer.Body instanceof Readable) answer.Body.destroy()
    })
  } catch (error) {
    // An empty object has no first byte; it is there all the same.
    if (factsOf(error).status !== 416) throw error
  }
}

/** HEAD has no body, so a 404 for want of a bucket looks like one for want of the object. */
async function requireBucket(session: S3Session, signal: AbortSignal | undefined): Promise<void> {
  try {
    await session.call({ signal }, ({ client, sdk, options }) =>
      client.send(new sdk.ListObjectsV2Command({ Bucket: session.options.bucket, Prefix: session.bucketKey('x'), MaxKeys: 1 }), options),
    )
  } catch (error) {
    const failure = s3Failure(`look into ${session.location}`, error, { location: session.location })
    // Whoever may not list learns of a missing bucket with the first write.
    if (!isFailure(failure, 'storage-denied')) throw failure
  }
}

export function modifiedAtOf(date: Date | undefined, key: string): Temporal.Instant {
  if (date === undefined || Number.isNaN(date.getTime())) throw new Failure('storage-failed', `the store does not say when "${key}" was last changed`)
  return Temporal.Instant.fromEpochMilliseconds(date.getTime())
}

export function failureOf(write: S3Write, error: unknown): unknown {
  return s3Failure(write.action, error, { location: write.session.location })
}

export function conditionUnknown(write: S3Write, error: unknown): Failure {
  return new Failure('storage-unsafe', `cannot create "${write.key}" in ${write.session.location} only if it is absent: the store does not know If-None-Match`, {
    cause: new Error(s3Cause(error)),
    hints: ['use a store with conditional writes (Amazon S3, Ceph, MinIO, Cloudflare R2) or a local path'],
  })
}

function s3Cause(error: unknown): string {
  const failure = s3Failure('create', error, { location: '' })
  return failure instanceof Error ? failure.message : 'unknown'
}
