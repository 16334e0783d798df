import { Readable } from 'node:stream'
import { Failure } from '../kernel/failure.ts'
import { beyondEnd, objectMissing, replacedWhileReading, requireRange, shortRead } from './errors.ts'
import { compareKeys, isKey } from './key.ts'
import { factsOf, s3Failure } from './s3-errors.ts'
import { bareETag, headObject, modifiedAtOf } from './s3-head.ts'
import type { S3Session } from './s3-session.ts'
import type { CallOptions, ReadOptions, StoredObject } from './storage.ts'

export async function statObject(session: S3Session, key: string, call: CallOptions): Promise<StoredObject | undefined> {
  const head = await headObject(session, key, call.signal)
  if (head === undefined) return undefined
  if (head.ContentLength === undefined) throw new Failure('storage-failed', `${session.location} does not say how long "${key}" is`)
  return { key, sizeBytes: head.ContentLength, modifiedAt: modifiedAtOf(head.LastModified, key), version: bareETag(head.ETag) ?? '' }
}

/** Streams an object or a range, and counts: what the store promised in its headers and what we asked for must both come. */
export async function* readObject(session: S3Session, key: string, options: ReadOptions): AsyncGenerator<Uint8Array> {
  const { offset = 0, length, signal } = options
  const { location } = session
  requireRange(key, offset, length)
  if (length === 0) return requireInside(session, key, options)
  const ranged = offset > 0 || length !== undefined
  const answer = await getObject(session, key, { ...options, range: ranged ? `bytes=${offset}-${length === undefined ? '' : offset + length - 1}` : undefined })
  // The reason why only part of the range exists, or the end of an object that ends exactly at the offset.
  if (answer === 'out of range') return requireInside(session, key, options)
  const stream: unknown = answer.Body
  if (!(stream instanceof Readable) || answer.ContentLength === undefined)
    throw new Failure('storage-failed', `cannot read "${key}" in ${location}: the store sent no body or no length`)
  const abort = () => stream.destroy(signal?.reason instanceof Error ? signal.reason : undefined)
  signal?.addEventListener('abort', abort, { once: true })
  let found = 0
  try {
    const total = totalOf(answer, ranged, key, location)
    if (length !== undefined && offset + length > total) throw beyondEnd(location, key, { offset, length, sizeBytes: total })
    const expected = length ?? total - offset
    if (answer.ContentLength !== expected) throw shortRead(location, key, { expected, found: answer.ContentLength })
    // Compared here and not by If-Match: Swift answers 412 for its own ETags of objects that came in parts.
    const version = bareETag(answer.ETag) ?? ''
    if (options.ifVersion !== undefined && version !== options.ifVersion) throw replacedWhileReading(location, key)
    options.opened?.({ key, sizeBytes: total, modifiedAt: modifiedAtOf(answer.LastModified, key), version })
    try {
      for await (const chunk of stream as AsyncIterable<Uint8Array>) {
        signal?.throwIfAborted()
        found += chunk.length
        if (found > expected) throw new Failure('storage-failed', `cannot read "${key}" in ${location}: more than the ${expected} bytes asked for came`)
        yield chunk
      }
    } catch (error) {
      signal?.throwIfAborted()
      throw s3Failure(`read "${key}" in ${location} beyond byte ${offset + found}`, error, { location })
    }
    signal?.throwIfAborted()
    if (found !== expected) throw shortRead(location, key, { expected, found })
  } finally {
    signal?.removeEventListener('abort', abort)
    stream.destroy()
  }
}

async function getObject(session: S3Session, key: string, options: ReadOptions & { range: string | undefined }) {
  try {
    return await session.call({ signal: options.signal }, ({ client, sdk, options: call }) =>
      client.send(
        new sdk.GetObjectCommand({
          Bucket: session.options.bucket,
          Key: session.bucketKey(key),
          ...(options.range === undefined ? {} : { Range: options.range }),
        }),
        call,
      ),
    )
  } catch (error) {
    const { name, status } = factsOf(error)
    if (status === 416 || name === 'InvalidRange') return 'out of range'
    throw s3Failure(`read "${key}" in ${session.location}`, error, { location: session.location, key })
  }
}

/** The size of the whole object; refuses answers that ignored the range. */
function totalOf(answer: { ContentRange?: string | undefined; ContentLength?: number | undefined }, ranged: boolean, key: string, location: string): number {
  if (!ranged) return answer.ContentLength ?? 0
  const match = /^bytes \d+-\d+\/(\d+)$/.exec(answer.ContentRange ?? '')
  if (match === null) throw new Failure('storage-failed', `cannot read a part of "${key}" in ${location}: the store ignored the range`)
  return Number(match[1])
}

/** Nothing is to be read, which is fine as long as the range lies within the object. */
async function requireInside(session: S3Session, key: string, options: ReadOptions): Promise<void> {
  const { offset = 0, length } = options
  const object = await statObject(session, key, options)
  if (object === undefined) throw objectMissing(session.location, key)
  if (options.ifVersion !== undefined && object.version !== options.ifVersion) throw replacedWhileReading(session.location, key)
  if (offset + (length ?? 0) > object.sizeBytes) throw beyondEnd(session.location, key, { offset, length, sizeBytes: object.sizeBytes })
  if (offset < object.sizeBytes && length !== 0)
    throw new Failure(
      'storage-failed',
      `cannot read "${key}" in ${session.location}: the store says the range is not there although the object has ${object.sizeBytes} bytes`,
    )
  options.opened?.(object)
}

/** All pages. Ends only where the store says that there is no more, and insists on ascending order, on which merging and resuming rest. */
export async function* listObjects(session: S3Session, prefix: string, call: CallOptions): AsyncGenerator<StoredObject> {
  const { location } = session
  const action = `list "${prefix}" in ${location}`
  const strip = session.bucketKey('').length
  let token: string | undefined
  let last: string | undefined
  do {
    call.signal?.throwIfAborted()
    const page = await listPage(session, { prefix, token, action, signal: call.signal })
    for (const entry of page.Contents ?? []) {
      const full = entry.Key === undefined ? undefined : page.EncodingType === 'url' ? decodeURIComponent(entry.Key.replaceAll('+', ' ')) : entry.Key
      if (full === undefined || entry.Size === undefined)
        throw new Failure('storage-failed', `cannot ${action}: the store lists an object without name or size`)
      if (last !== undefined && compareKeys(last, full) >= 0) throw new Failure('storage-failed', `cannot ${action}: the store lists out of order or twice`)
      last = full
      const key = full.slice(strip)
      if (!full.startsWith(session.bucketKey(prefix))) throw new Failure('storage-failed', `cannot ${action}: the store lists what was not asked for`)
      if (isKey(key)) yield { key, sizeBytes: entry.Size, modifiedAt: modifiedAtOf(entry.LastModified, key), version: bareETag(entry.ETag) ?? '' }
    }
    if (page.IsTruncated === true && (page.NextContinuationToken === undefined || page.NextContinuationToken === token)) {
      throw new Failure('storage-failed', `cannot ${action}: the store says that there is more and not how to go on`)
    }
    token = page.IsTruncated === true ? page.NextContinuationToken : undefined
  } while (token !== undefined)
}

async function listPage(session: S3Session, page: { prefix: string; token: string | undefined; action: string; signal: AbortSignal | undefined }) {
  try {
    return await session.call({ signal: page.signal }, ({ client, sdk, options }) =>
      client.send(
        new sdk.ListObjectsV2Command({
          Bucket: session.options.bucket,
          Prefix: session.bucketKey(page.prefix),
          EncodingType: 'url',
          ...(page.token === undefined ? {} : { ContinuationToken: page.token }),
        }),
        options,
      ),
    )
  } catch (error) {
    throw s3Failure(page.action, error, { location: session.location })
  }
}
