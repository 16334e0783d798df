import { randomBytes } from 'node:crypto'
import { checkedChunks } from './body.ts'
import { objectExists } from './errors.ts'
import { retried } from './retry.ts'
import { isNotImplemented, isPreconditionFailed } from './s3-errors.ts'
import { putInParts } from './s3-multipart.ts'
import { partSize, partsOf } from './s3-parts.ts'
import type { S3Session } from './s3-session.ts'
import { conditionUnknown, confirm, failureOf, isOurs, objectHeaders, retryContextOf, sendConfirmed } from './s3-write.ts'
import type { S3Write } from './s3-write.ts'
import type { Body, PutOptions, StoredObject } from './storage.ts'

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
