import type { CompletedPart } from '@aws-sdk/client-s3'
import { Failure } from '../kernel/failure.ts'
import { objectExists } from './errors.ts'
import { retried } from './retry.ts'
import { factsOf, isConditionalConflict, isNotImplemented, isPreconditionFailed, s3Failure } from './s3-errors.ts'
import { bareETag, headObject } from './s3-head.ts'
import { conditionUnknown, confirm, failureOf, isOurs, objectHeaders, retryContextOf, sendConfirmed, withoutChecksumsIfRefused } from './s3-write.ts'
import type { ConfirmedAnswer, S3Write } from './s3-write.ts'
import type { StoredObject } from './storage.ts'

/** Sends parts as they come, a few at a time, each repeated on its own when its transfer breaks; then completes. */
export async function putInParts(write: S3Write, begun: readonly Uint8Array[], rest: AsyncGenerator<Uint8Array>): Promise<StoredObject> {
  if (write.options.ifAbsent === true) await refuseExisting(write)
  await using upload = await beginUpload(write)
  const { parts, sizeBytes } = await sendParts(write, upload, begun, rest)
  write.options.signal?.throwIfAborted()
  // Once more right before it counts: some stores ignore the condition of the completing request.
  if (write.options.ifAbsent === true) await refuseExisting(write)
  const version = await complete(write, upload, parts)
  upload.completed = true
  return await confirm(write, sizeBytes, version)
}

interface Upload extends AsyncDisposable {
  readonly id: string
  completed: boolean
}

async function beginUpload(write: S3Write): Promise<Upload> {
  const { session, key } = write
  const { bucket } = session.options
  const answer = await retried(write.action, retryContextOf(write), async () => {
    try {
      return await withoutChecksumsIfRefused(write, (checksums) =>
        session.call({ signal: write.options.signal }, ({ client, sdk, options }) =>
          client.send(
            new sdk.CreateMultipartUploadCommand({
              Bucket: bucket,
              Key: session.bucketKey(key),
              ...objectHeaders(write),
              ...(checksums ? { ChecksumAlgorithm: 'CRC32' } : {}),
            }),
            options,
          ),
        ),
      )
    } catch (error) {
      throw failureOf(write, error)
    }
  })
  const id = answer.UploadId
  if (id === undefined) throw new Failure('storage-failed', `cannot ${write.action}: the store began an upload without giving it an id`)
  const upload: Upload = {
    id,
    completed: false,
    async [Symbol.asyncDispose]() {
      if (upload.completed) return
      // Not under the caller's signal: it may be the reason why we are here.
      try {
        await session.call({}, ({ client, sdk, options }) =>
          client.send(new sdk.AbortMultipartUploadCommand({ Bucket: bucket, Key: session.bucketKey(key), UploadId: id }), options),
        )
      } catch (error) {
        const { name } = factsOf(error)
        if (name === 'NoSuchUpload') return
        // Must not hide why the upload failed; the sweep of stale uploads ends it later.
        session.environment.emit({
          type: 'warning',
          code: 'upload-left',
          message: `an unfinished upload of "${key}" stays in ${session.location} until it is swept (${name})`,
        })
      }
    },
  }
  return upload
}

async function sendParts(
  write: S3Write,
  upload: Upload,
  begun: readonly Uint8Array[],
  rest: AsyncGenerator<Uint8Array>,
): Promise<{ parts: CompletedPart[]; sizeBytes: number }> {
  const parts: CompletedPart[] = []
  const underWay = new Set<Promise<void>>()
  const stop = new AbortController()
  const failed = Promise.withResolvers<never>()
  failed.promise.catch(() => undefined)
  const signal = write.options.signal === undefined ? stop.signal : AbortSignal.any([stop.signal, write.options.signal])
  let sizeBytes = 0
  let number = 0

  async function start(bytes: Uint8Array): Promise<void> {
    number += 1
    sizeBytes += bytes.length
    const transfer = sendPart(write, { upload, number, bytes, signal })
      .then((part) => void parts.push(part))
      .catch((error: unknown) => failed.reject(error))
      .finally(() => underWay.delete(transfer))
    underWay.add(transfer)
    while (underWay.size >= (write.session.options.partsInFlight ?? 3)) await Promise.race([...underWay, failed.promise])
  }

  try {
    for (const bytes of begun) await start(bytes)
    for (;;) {
      // A part that failed for good must not wait for a source that is slow.
      const next = await Promise.race([rest.next(), failed.promise])
      if (next.done === true) break
      await start(next.value)
    }
    while (underWay.size > 0) await Promise.race([...underWay, failed.promise])
    await Promise.race([failed.promise, Promise.resolve()])
  } catch (error) {
    stop.abort()
    await Promise.all(underWay)
    throw error
  }
  if (parts.length !== number) throw new Failure('bug', `${number} parts were begun and ${parts.length} sent`)
  parts.sort((left, right) => (left.PartNumber ?? 0) - (right.PartNumber ?? 0))
  return { parts, sizeBytes }
}

async function sendPart(write: S3Write, part: { upload: Upload; number: number; bytes: Uint8Array; signal: AbortSignal }): Promise<CompletedPart> {
  const { session, key } = write
  return retried(`${write.action}, part ${part.number}`, { ...retryContextOf(write), signal: part.signal }, async () => {
    try {
      let answer: ConfirmedAnswer = {}
      const etag = await sendConfirmed(write, part.bytes, async (checksum) => {
        answer = await session.call({ bytes: part.bytes.length, signal: part.signal }, ({ client, sdk, options }) =>
          client.send(
            new sdk.UploadPartCommand({
              Bucket: session.options.bucket,
              Key: session.bucketKey(key),
              UploadId: part.upload.id,
              PartNumber: part.number,
              Body: part.bytes,
              ContentLength: part.bytes.length,
              ...checksum,
            }),
            options,
          ),
        )
        return answer
      })
      if (etag === undefined) throw new Failure('storage-failed', `cannot ${write.action}: the store confirms part ${part.number} without an ETag`)
      return { PartNumber: part.number, ETag: answer.ETag, ...(answer.ChecksumCRC32 === undefined ? {} : { ChecksumCRC32: answer.ChecksumCRC32 }) }
    } catch (error) {
      throw failureOf(write, error)
    }
  })
}

async function refuseExisting(write: S3Write): Promise<void> {
  const { session, key } = write
  const head = await retried(`look at "${key}" in ${session.location}`, retryContextOf(write), () => headObject(session, key, write.options.signal))
  if (head !== undefined) throw objectExists(session.location, key)
}

/** Returns the version of the finished object, or undefined when the answer was lost and the object found to be ours. */
async function complete(write: S3Write, upload: Upload, parts: readonly CompletedPart[]): Promise<string | undefined> {
  const { session, key, options } = write
  const send = (conditional: boolean) =>
    session.call({ signal: options.signal }, ({ client, sdk, options: call }) =>
      client.send(
        new sdk.CompleteMultipartUploadCommand({
          Bucket: session.options.bucket,
          Key: session.bucketKey(key),
          UploadId: upload.id,
          MultipartUpload: { Parts: [...parts] },
          ...(conditional ? { IfNoneMatch: '*' } : {}),
        }),
        call,
      ),
    )
  return retried(`complete "${key}" in ${session.location}`, retryContextOf(write), async (attempt) => {
    try {
      const answer = await send(options.ifAbsent === true && session.learned.conditionalComplete)
      // The SDK looks for an error in the body's last bytes only; an answer without an ETag is no success either.
      if (answer.ETag === undefined)
        throw new Failure('storage-failed', `cannot ${write.action}: the store did not say that the upload is complete`, {
          details: { transient: true, ambiguous: true },
        })
      return bareETag(answer.ETag)
    } catch (error) {
      if (options.ifAbsent === true && session.learned.conditionalComplete && isNotImplemented(error)) {
        session.learned.conditionalComplete = false
        throw new Failure('storage-failed', conditionUnknown(write, error).message, { details: { transient: true } })
      }
      if (attempt.afterLostAnswer && (isPreconditionFailed(error) || factsOf(error).name === 'NoSuchUpload') && (await isOurs(write))) return undefined
      if (options.ifAbsent === true && isPreconditionFailed(error)) throw objectExists(session.location, key)
      if (options.ifAbsent === true && isConditionalConflict(error) && (await headObject(session, key, options.signal)) !== undefined)
        throw objectExists(session.location, key)
      throw s3Failure(write.action, error, { location: session.location })
    }
  })
}
