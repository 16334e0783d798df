import type { HeadObjectCommandOutput } from '@aws-sdk/client-s3'
import { Readable } from 'node:stream'
import { Failure, isFailure } from '../kernel/failure.ts'
import { factsOf, s3Failure } from './s3-errors.ts'
import type { S3Session } from './s3-session.ts'

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
        throw factsOf(again).status === 400
          ? new Failure('storage-failed', `the store refuses to tell the facts of "${key}" and sends its bytes`, { details: { transient: true } })
          : again
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

export function bareETag(etag: string | undefined): string | undefined {
  return etag?.replace(/^W\//, '').replaceAll('"', '')
}
