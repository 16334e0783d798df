import { Failure } from '../kernel/failure.ts'
import { factsOf, s3Failure } from './s3-errors.ts'
import type { S3Session } from './s3-session.ts'
import type { CallOptions } from './storage.ts'

/** Aborts multipart uploads below our prefix that were begun more than `olderThanMs` ago by the store's clock. */
export async function sweepUploads(session: S3Session, olderThanMs: number, call: CallOptions): Promise<number> {
  const { bucket, prefix } = session.options
  const action = `sweep unfinished uploads in ${session.location}`
  const below = prefix === '' ? '' : `${prefix}/`
  let removed = 0
  let marker: { KeyMarker: string; UploadIdMarker: string } | undefined
  try {
    for (;;) {
      const page = await session.call({ signal: call.signal }, ({ client, sdk, options }) =>
        client.send(new sdk.ListMultipartUploadsCommand({ Bucket: bucket, Prefix: below, ...marker }), options),
      )
      const now = session.storeNow()
      if (now === undefined) throw new Failure('storage-failed', `cannot ${action}: the store does not tell its time`)
      for (const upload of page.Uploads ?? []) {
        if (upload.Key === undefined || upload.UploadId === undefined || upload.Initiated === undefined) continue
        if (now.epochMilliseconds - upload.Initiated.getTime() < olderThanMs || !upload.Key.startsWith(below)) continue
        if (await abortUpload(session, { key: upload.Key, id: upload.UploadId }, call)) removed += 1
      }
      if (page.IsTruncated !== true) return removed
      if (page.NextKeyMarker === undefined || page.NextUploadIdMarker === undefined)
        throw new Failure('storage-failed', `cannot ${action}: the store says that there is more and not how to go on`)
      marker = { KeyMarker: page.NextKeyMarker, UploadIdMarker: page.NextUploadIdMarker }
    }
  } catch (error) {
    throw s3Failure(action, error, { location: session.location })
  }
}

/** False when somebody else ended it meanwhile. */
async function abortUpload(session: S3Session, upload: { key: string; id: string }, call: CallOptions): Promise<boolean> {
  try {
    await session.call({ signal: call.signal }, ({ client, sdk, options }) =>
      client.send(new sdk.AbortMultipartUploadCommand({ Bucket: session.options.bucket, Key: upload.key, UploadId: upload.id }), options),
    )
    return true
  } catch (error) {
    if (factsOf(error).name === 'NoSuchUpload') return false
    throw error
  }
}
