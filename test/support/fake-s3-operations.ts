import { createHash, randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { crc32Base64, element, md5Hex, S3Refusal, xml } from './fake-s3-state.ts'
import type { FakeFault, FakeObject, FakeS3Abilities, FakeUpload } from './fake-s3-state.ts'

export interface FakeRequest {
  readonly operation: string
  readonly key: string
  readonly query: URLSearchParams
  readonly headers: Readonly<Record<string, string | undefined>>
  readonly body: Buffer
  readonly fault: FakeFault | undefined
}

export interface FakeAnswer {
  readonly status: number
  readonly headers?: Record<string, string>
  readonly body?: Buffer | string
}

export interface FakeBucket {
  readonly name: string
  readonly abilities: FakeS3Abilities
  readonly objects: Map<string, FakeObject>
  readonly uploads: Map<string, FakeUpload>
  /** What stale listings show. */
  snapshot: Map<string, FakeObject> | undefined
}

export async function perform(bucket: FakeBucket, request: FakeRequest): Promise<FakeAnswer> {
  switch (request.operation) {
    case 'PutObject':
      return putObject(bucket, request)
    case 'CopyObject':
      return copyObject(bucket, request)
    case 'GetObject':
    case 'HeadObject':
      return getObject(bucket, request)
    case 'DeleteObject':
      return deleteObject(bucket, request)
    case 'GetObjectRetention':
      if (bucket.abilities.retainUntil === undefined) throw new S3Refusal(404, 'NoSuchObjectLockConfiguration')
      return { status: 200, body: xml('Retention', element('Mode', 'COMPLIANCE') + element('RetainUntilDate', bucket.abilities.retainUntil)) }
    case 'ListObjectsV2':
      return listObjects(bucket, request)
    case 'CreateMultipartUpload':
      return createUpload(bucket, request)
    case 'UploadPart':
      return uploadPart(bucket, request)
    case 'CompleteMultipartUpload':
      return completeUpload(bucket, request)
    case 'AbortMultipartUpload':
      if (!bucket.uploads.delete(request.query.get('uploadId') ?? '')) throw new S3Refusal(404, 'NoSuchUpload')
      return { status: 204 }
    case 'ListMultipartUploads':
      return listUploads(bucket, request)
    default:
      throw new S3Refusal(501, 'NotImplemented', `the fake store does not know ${request.operation}`)
  }
}

function now(bucket: FakeBucket): Date {
  return new Date(Date.now() + bucket.abilities.clockOffsetMs)
}

function checkConditionSupport(bucket: FakeBucket, request: FakeRequest): boolean {
  if (request.headers['if-none-match'] === undefined) return false
  if (bucket.abilities.conditionalPut === 'unsupported') throw new S3Refusal(501, 'NotImplemented')
  return bucket.abilities.conditionalPut !== 'ignored'
}

/** Everything the client said about its bytes must be true. Returns the CRC32 if it is to be kept. */
function checkBytes(bucket: FakeBucket, request: FakeRequest): string | undefined {
  const { headers, body } = request
  if (headers['content-encoding']?.includes('aws-chunked') === true) throw new S3Refusal(501, 'NotImplemented', 'chunked signatures')
  if (headers['content-length'] === undefined) throw new S3Refusal(411, 'MissingContentLength')
  if (Number(headers['content-length']) !== body.length) throw new S3Refusal(400, 'IncompleteBody')
  const sha = headers['x-amz-content-sha256']
  if (sha !== undefined && /^[0-9a-f]{64}$/.test(sha) && sha !== createHash('sha256').update(body).digest('hex'))
    throw new S3Refusal(400, 'XAmzContentSHA256Mismatch')
  const md5 = headers['content-md5']
  if (md5 !== undefined && md5 !== createHash('md5').update(body).digest('base64')) throw new S3Refusal(400, 'BadDigest')
  const crc = headers['x-amz-checksum-crc32']
  if (crc === undefined) return undefined
  if (bucket.abilities.checksums === 'refused') throw new S3Refusal(400, 'InvalidRequest', 'unknown header x-amz-checksum-crc32')
  if (bucket.abilities.checksums === 'ignored') return undefined
  if (crc !== crc32Base64(body)) throw new S3Refusal(400, 'BadDigest', 'the CRC32 does not match')
  return crc
}

function metadataOf(headers: FakeRequest['headers']): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).flatMap(([name, value]) => (name.startsWith('x-amz-meta-') && value !== undefined ? [[name, value]] : [])))
}

async function putObject(bucket: FakeBucket, request: FakeRequest): Promise<FakeAnswer> {
  const conditional = checkConditionSupport(bucket, request)
  const crc32 = checkBytes(bucket, request)
  if (conditional && bucket.objects.has(request.key)) throw new S3Refusal(412, 'PreconditionFailed')
  if (conditional && bucket.abilities.conditionalPut === 'racy') await delay(20)
  const bytes = request.fault?.kind === 'store-half' ? request.body.subarray(0, request.body.length >> 1) : request.body
  const object = { bytes, etag: md5Hex(bytes), crc32, modifiedAt: now(bucket), metadata: metadataOf(request.headers) }
  if (request.fault?.kind !== 'lie') bucket.objects.set(request.key, object)
  return { status: 200, headers: { etag: `"${object.etag}"`, ...(crc32 === undefined ? {} : { 'x-amz-checksum-crc32': crc32 }) } }
}

function getObject(bucket: FakeBucket, request: FakeRequest): FakeAnswer {
  const object = bucket.objects.get(request.key)
  if (object === undefined) throw new S3Refusal(404, 'NoSuchKey')
  const match = request.headers['if-match']
  if (match !== undefined && match !== `"${object.etag}"`) throw new S3Refusal(412, 'PreconditionFailed')
  const headers: Record<string, string> = {
    etag: `"${object.etag}"`,
    'last-modified': object.modifiedAt.toUTCString(),
    'accept-ranges': 'bytes',
    ...object.metadata,
  }
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers['range'] ?? '')
  if (range === null) return { status: 200, headers: { ...headers, 'content-length': String(object.bytes.length) }, body: object.bytes }
  const from = Number(range[1])
  if (from >= object.bytes.length) throw new S3Refusal(416, 'InvalidRange')
  let to = Math.min(range[2] === '' ? object.bytes.length - 1 : Number(range[2]), object.bytes.length - 1)
  if (request.fault?.kind === 'shorten-range') to = Math.max(from, to - 1)
  const body = object.bytes.subarray(from, to + 1)
  return { status: 206, headers: { ...headers, 'content-length': String(body.length), 'content-range': `bytes ${from}-${to}/${object.bytes.length}` }, body }
}

function deleteObject(bucket: FakeBucket, request: FakeRequest): FakeAnswer {
  if (bucket.abilities.deleteDenied || bucket.abilities.retainUntil !== undefined) throw new S3Refusal(403, 'AccessDenied')
  bucket.objects.delete(request.key)
  return { status: 204 }
}

function copyObject(bucket: FakeBucket, request: FakeRequest): FakeAnswer {
  if (!bucket.abilities.serverCopy) throw new S3Refusal(501, 'NotImplemented')
  const source = decodeURIComponent(request.headers['x-amz-copy-source'] ?? '').replace(/^\//, '')
  const object = source.startsWith(`${bucket.name}/`) ? bucket.objects.get(source.slice(bucket.name.length + 1)) : undefined
  if (object === undefined) throw new S3Refusal(404, 'NoSuchKey')
  if (request.headers['x-amz-copy-source-if-match'] !== `"${object.etag}"`) throw new S3Refusal(412, 'PreconditionFailed')
  const copied = { ...object, modifiedAt: now(bucket) }
  bucket.objects.set(request.key, copied)
  return { status: 200, body: xml('CopyObjectResult', element('ETag', `"${object.etag}"`) + element('LastModified', copied.modifiedAt.toISOString())) }
}

function listObjects(bucket: FakeBucket, request: FakeRequest): FakeAnswer {
  if (bucket.abilities.staleList) bucket.snapshot ??= new Map(bucket.objects)
  else bucket.snapshot = undefined
  const objects = bucket.snapshot ?? bucket.objects
  const prefix = request.query.get('prefix') ?? ''
  const after = Buffer.from(request.query.get('continuation-token') ?? '', 'base64url')
  const keys = [...objects.keys()]
    .filter((key) => key.startsWith(prefix) && (after.length === 0 || Buffer.compare(Buffer.from(key), after) > 0))
    .sort((left, right) => Buffer.compare(Buffer.from(left), Buffer.from(right)))
  const size = Math.min(bucket.abilities.pageSize, Number(request.query.get('max-keys') ?? 1000))
  const page = keys.slice(0, size)
  const url = request.query.get('encoding-type') === 'url'
  const contents = page.map((key) => {
    const object = objects.get(key)
    if (object === undefined) return ''
    const name = url ? encodeURIComponent(key).replaceAll('%2F', '/').replaceAll('%20', '+') : key
    return `<Contents>${element('Key', name)}${element('Size', object.bytes.length)}${element('ETag', `"${object.etag}"`)}${element('LastModified', object.modifiedAt.toISOString())}</Contents>`
  })
  const more = keys.length > size
  const token = more ? element('NextContinuationToken', Buffer.from(page.at(-1) ?? '').toString('base64url')) : ''
  return { status: 200, body: xml('ListBucketResult', element('IsTruncated', more) + token + (url ? element('EncodingType', 'url') : '') + contents.join('')) }
}

function createUpload(bucket: FakeBucket, request: FakeRequest): FakeAnswer {
  if (request.headers['x-amz-checksum-algorithm'] !== undefined && bucket.abilities.checksums === 'refused') throw new S3Refusal(400, 'InvalidRequest')
  const id = randomBytes(8).toString('hex')
  bucket.uploads.set(id, { key: request.key, initiated: now(bucket), metadata: metadataOf(request.headers), parts: new Map() })
  return { status: 200, body: xml('InitiateMultipartUploadResult', element('Bucket', bucket.name) + element('Key', request.key) + element('UploadId', id)) }
}

function uploadOf(bucket: FakeBucket, request: FakeRequest): FakeUpload {
  const upload = bucket.uploads.get(request.query.get('uploadId') ?? '')
  if (upload === undefined || upload.key !== request.key) throw new S3Refusal(404, 'NoSuchUpload')
  return upload
}

function uploadPart(bucket: FakeBucket, request: FakeRequest): FakeAnswer {
  const upload = uploadOf(bucket, request)
  const number = Number(request.query.get('partNumber'))
  if (!(number >= 1 && number <= 10_000)) throw new S3Refusal(400, 'InvalidArgument')
  const crc32 = checkBytes(bucket, request)
  const bytes = request.fault?.kind === 'store-half' ? request.body.subarray(0, request.body.length >> 1) : request.body
  const part = { bytes, etag: md5Hex(bytes), crc32 }
  upload.parts.set(number, part)
  return { status: 200, headers: { etag: `"${part.etag}"`, ...(crc32 === undefined ? {} : { 'x-amz-checksum-crc32': crc32 }) } }
}

function completeUpload(bucket: FakeBucket, request: FakeRequest): FakeAnswer {
  const upload = uploadOf(bucket, request)
  if (request.headers['if-none-match'] !== undefined) {
    if (bucket.abilities.conditionalComplete === 'unsupported') throw new S3Refusal(501, 'NotImplemented')
    if (bucket.abilities.conditionalComplete === 'atomic' && bucket.objects.has(request.key)) throw new S3Refusal(412, 'PreconditionFailed')
  }
  const named = [...request.body.toString().matchAll(/<Part>(.*?)<\/Part>/gs)].map((match) => {
    const text = match[1] ?? ''
    const field = (name: string) => new RegExp(`<${name}>(.*?)</${name}>`, 's').exec(text)?.[1]?.replaceAll('&quot;', '"').replaceAll('"', '')
    return { number: Number(field('PartNumber')), etag: field('ETag'), crc32: field('ChecksumCRC32') }
  })
  if (named.length === 0) throw new S3Refusal(400, 'MalformedXML')
  const pieces = named.map((part, index) => {
    if (part.number <= (named[index - 1]?.number ?? 0)) throw new S3Refusal(400, 'InvalidPartOrder')
    const stored = upload.parts.get(part.number)
    if (stored === undefined || stored.etag !== part.etag || (stored.crc32 !== undefined && stored.crc32 !== part.crc32))
      throw new S3Refusal(400, 'InvalidPart')
    if (index < named.length - 1 && stored.bytes.length < bucket.abilities.minPartBytes) throw new S3Refusal(400, 'EntityTooSmall')
    return stored
  })
  const etag = `${md5Hex(Buffer.concat(pieces.map((piece) => Buffer.from(piece.etag, 'hex'))))}-${pieces.length}`
  if (request.fault?.kind !== 'lie') {
    bucket.objects.set(request.key, {
      bytes: Buffer.concat(pieces.map((piece) => piece.bytes)),
      etag,
      crc32: undefined,
      modifiedAt: now(bucket),
      metadata: upload.metadata,
    })
    bucket.uploads.delete(request.query.get('uploadId') ?? '')
  }
  return {
    status: 200,
    body: xml('CompleteMultipartUploadResult', element('Bucket', bucket.name) + element('Key', request.key) + element('ETag', `"${etag}"`)),
  }
}

function listUploads(bucket: FakeBucket, request: FakeRequest): FakeAnswer {
  const prefix = request.query.get('prefix') ?? ''
  const uploads = [...bucket.uploads].filter(([, upload]) => upload.key.startsWith(prefix))
  const items = uploads.map(
    ([id, upload]) => `<Upload>${element('Key', upload.key)}${element('UploadId', id)}${element('Initiated', upload.initiated.toISOString())}</Upload>`,
  )
  return { status: 200, body: xml('ListMultipartUploadsResult', element('IsTruncated', false) + items.join('')) }
}
