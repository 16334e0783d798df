import { Failure, isFailure } from '../kernel/failure.ts'
import { objectMissing } from './errors.ts'
import { requireKey, requirePrefix } from './key.ts'
import { factsOf, isNotImplemented, isPreconditionFailed, s3Failure } from './s3-errors.ts'
import { headObject } from './s3-head.ts'
import { putObject } from './s3-put.ts'
import { listObjects, readObject, statObject } from './s3-read.ts'
import { openS3Session } from './s3-session.ts'
import type { S3Environment, S3Options, S3Session } from './s3-session.ts'
import { sweepUploads } from './s3-sweep.ts'
import type { CallOptions, Storage, StoredObject } from './storage.ts'

/** The largest object that CopyObject takes. */
const copyBytesMax = 5 * 1024 ** 3

/** Objects in a bucket of Amazon S3 or of any store that speaks its protocol. Nothing is asked of it before the first call. */
export function s3Storage(options: S3Options, environment: S3Environment): Storage {
  const session = openS3Session(options, environment)
  return {
    kind: 's3',
    location: session.location,
    async put(key, body, put = {}) {
      requireKey(key)
      return putObject(session, key, body, put)
    },
    read(key, read = {}) {
      requireKey(key)
      return readObject(session, key, read)
    },
    async stat(key, call = {}) {
      requireKey(key)
      return statObject(session, key, call)
    },
    list(prefix, call = {}) {
      requirePrefix(prefix)
      return listObjects(session, prefix, call)
    },
    async delete(key, call = {}) {
      requireKey(key)
      await deleteObject(session, key, call)
    },
    async copy(from, to, call = {}) {
      requireKey(from)
      requireKey(to)
      return copyObject(session, { from, to }, call)
    },
    abortStaleUploads: (olderThanMs, call = {}) => sweepUploads(session, olderThanMs, call),
    async [Symbol.asyncDispose]() {
      await session[Symbol.asyncDispose]()
    },
  }
}

/** One object, never a batch: some stores refuse the batch request, and its answer hides single refusals. */
async function deleteObject(session: S3Session, key: string, call: CallOptions): Promise<void> {
  try {
    await session.call({ signal: call.signal }, ({ client, sdk, options }) =>
      client.send(new sdk.DeleteObjectCommand({ Bucket: session.options.bucket, Key: session.bucketKey(key) }), options),
    )
  } catch (error) {
    if (factsOf(error).name === 'NoSuchKey') return
    const failure = s3Failure(`remove "${key}" in ${session.location}`, error, { location: session.location })
    if (isFailure(failure, 'storage-denied')) throw await withRetention(session, key, failure)
    throw failure
  }
}

/** Says until when an object lock holds the object, if that is why it cannot be removed. */
async function withRetention(session: S3Session, key: string, denied: Failure): Promise<Failure> {
  const place = { Bucket: session.options.bucket, Key: session.bucketKey(key) }
  try {
    const { Retention } = await session.call({}, ({ client, sdk, options }) => client.send(new sdk.GetObjectRetentionCommand(place), options))
    const until = Retention?.RetainUntilDate
    if (until === undefined) return denied
    const retainedUntil = until.toISOString()
    return new Failure('storage-denied', `cannot remove "${key}" in ${session.location}: it is retained by an object lock until ${retainedUntil}`, {
      cause: denied.cause,
      details: { ...denied.details, retainedUntil },
    })
  } catch {
    // Asking may be denied, too; the refusal itself is what counts.
    return denied
  }
}

async function copyObject(session: S3Session, keys: { from: string; to: string }, call: CallOptions): Promise<StoredObject> {
  const { from, to } = keys
  const source = await statObject(session, from, call)
  if (source === undefined) throw objectMissing(session.location, from)
  if (from === to) return source
  if (source.sizeBytes <= copyBytesMax && session.learned.serverCopy && (await copyByStore(session, keys, { ...call, source }))) {
    const copied = await statObject(session, to, call)
    if (copied?.sizeBytes === source.sizeBytes) return copied
    throw new Failure(
      'storage-failed',
      `cannot copy "${from}" to "${to}" in ${session.location}: the store said it was done, and ${copied === undefined ? 'there is no copy' : 'the copy has another length'}`,
    )
  }
  const body = () => readObject(session, from, { ...call, ifVersion: source.version })
  return putObject(session, to, body, { ...call, sizeBytes: source.sizeBytes })
}

/** False when the store cannot copy it by itself. */
async function copyByStore(session: S3Session, keys: { from: string; to: string }, call: CallOptions & { source: StoredObject }): Promise<boolean> {
  const { bucket, storageClass } = session.options
  try {
    const answer = await session.call({ bytes: call.source.sizeBytes, signal: call.signal }, ({ client, sdk, options }) =>
      client.send(
        new sdk.CopyObjectCommand({
          Bucket: bucket,
          Key: session.bucketKey(keys.to),
          CopySource: `${bucket}/${session.bucketKey(keys.from)}`.split('/').map(encodeURIComponent).join('/'),
          CopySourceIfMatch: `"${call.source.version}"`,
          ...(storageClass === null ? {} : { StorageClass: storageClass as never }),
        }),
        options,
      ),
    )
    if (answer.CopyObjectResult?.ETag === undefined)
      throw new Failure('storage-failed', `cannot copy "${keys.from}" in ${session.location}: the store did not say that the copy is complete`, {
        details: { transient: true },
      })
    return true
  } catch (error) {
    if (isNotImplemented(error)) {
      session.learned.serverCopy = false
      return false
    }
    // Replaced meanwhile, or a store that does not know its own ETag again (Swift, for objects that came in parts):
    // reading it ourselves tells which.
    if (isPreconditionFailed(error)) return false
    const failure = s3Failure(`copy "${keys.from}" to "${keys.to}" in ${session.location}`, error, { location: session.location })
    if (factsOf(error).status === 404 && (await headObject(session, keys.from, call.signal)) === undefined) throw objectMissing(session.location, keys.from)
    throw failure
  }
}
