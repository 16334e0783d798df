import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { perform } from './fake-s3-operations.ts'
import type { FakeAnswer, FakeBucket, FakeRequest } from './fake-s3-operations.ts'
import { element, S3Refusal, xml } from './fake-s3-state.ts'
import type { FakeFault, FakeObject, FakeS3Abilities, FakeUpload, FaultRule } from './fake-s3-state.ts'

export interface FakeS3 extends AsyncDisposable {
  readonly endpoint: string
  readonly bucket: string
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly abilities: FakeS3Abilities
  readonly objects: Map<string, FakeObject>
  readonly uploads: Map<string, FakeUpload>
  /** Operations in the order of their arrival, `PutObject some/key`. */
  readonly requests: string[]
  /** The first rule that matches a request and is not used up hits it. */
  fault(rule: FaultRule): void
}

/**
 * An S3 in this process, on a free port of the loopback, that does what it is told to do wrong and nothing else: it
 * checks lengths, digests, parts and their order, and never stores bytes other than those that were sent.
 */
export async function startFakeS3(abilities: Partial<FakeS3Abilities> = {}): Promise<FakeS3> {
  const bucket: FakeBucket = {
    name: 'backups',
    objects: new Map(),
    uploads: new Map(),
    snapshot: undefined,
    abilities: {
      conditionalPut: 'atomic',
      conditionalComplete: 'atomic',
      checksums: 'crc32',
      serverCopy: true,
      staleList: false,
      deleteDenied: false,
      retainUntil: undefined,
      pageSize: 1000,
      minPartBytes: 5 * 1024 ** 2,
      region: 'us-east-1',
      clockOffsetMs: 0,
      expiredTokens: new Set(),
      ...abilities,
    },
  }
  const requests: string[] = []
  const rules: FaultRule[] = []
  const server = createServer((incoming, response) => {
    answer({ bucket, rules, requests }, incoming, response).catch((error: unknown) => response.destroy(error instanceof Error ? error : undefined))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the fake store has no port')
  return {
    endpoint: `http://127.0.0.1:${address.port}`,
    bucket: bucket.name,
    accessKeyId: 'FAKEKEY',
    secretAccessKey: 'fake-secret-canary',
    abilities: bucket.abilities,
    objects: bucket.objects,
    uploads: bucket.uploads,
    requests,
    fault: (rule) => void rules.push({ times: 1, after: 0, ...rule }),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

interface Store {
  readonly bucket: FakeBucket
  readonly rules: FaultRule[]
  readonly requests: string[]
}

async function answer(store: Store, incoming: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(incoming.url ?? '/', 'http://fake')
  const [, name = '', ...rest] = url.pathname.split('/')
  const key = decodeURIComponent(rest.join('/'))
  const operation = operationOf(incoming, url.searchParams, key)
  store.requests.push(`${operation} ${key}`)
  const fault = takeFault(store.rules, operation, key)
  if (fault?.kind === 'reset') return void incoming.socket.destroy()
  const chunks: Buffer[] = []
  for await (const chunk of incoming) chunks.push(chunk as Buffer)
  if (fault?.kind === 'hang') return
  if (fault?.kind === 'slow') await delay(fault.ms)
  const headers = Object.fromEntries(Object.entries(incoming.headers).map(([header, value]) => [header, Array.isArray(value) ? value.join(',') : value]))
  const request: FakeRequest = { operation, key, query: url.searchParams, headers, body: Buffer.concat(chunks), fault }
  try {
    checkAccess(store.bucket, name, request)
    if (fault?.kind === 'error') throw new S3Refusal(fault.status, fault.code, fault.message)
    if (fault?.kind === 'error-in-200') {
      return send(store, response, {
        status: 200,
        body: `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>InternalError</Code><Message>after all</Message></Error>${fault.tail ?? ''}`,
      })
    }
    const done = await perform(store.bucket, request)
    if (fault?.kind === 'lose-answer') return void incoming.socket.destroy()
    send(store, response, done, { operation, fault })
  } catch (error) {
    if (!(error instanceof S3Refusal)) throw error
    const extra = Object.entries(error.extra).map(([field, value]) => element(field, value))
    send(
      store,
      response,
      { status: error.status, body: xml('Error', element('Code', error.code) + element('Message', error.message) + extra.join('')) },
      { operation, fault: undefined },
    )
  }
}

function operationOf(incoming: IncomingMessage, query: URLSearchParams, key: string): string {
  const method = incoming.method ?? ''
  if (key === '') return query.has('uploads') ? 'ListMultipartUploads' : method === 'GET' ? 'ListObjectsV2' : `${method} bucket`
  if (method === 'PUT') return query.has('partNumber') ? 'UploadPart' : incoming.headers['x-amz-copy-source'] === undefined ? 'PutObject' : 'CopyObject'
  if (method === 'POST') return query.has('uploads') ? 'CreateMultipartUpload' : 'CompleteMultipartUpload'
  if (method === 'DELETE') return query.has('uploadId') ? 'AbortMultipartUpload' : 'DeleteObject'
  if (method === 'GET') return query.has('retention') ? 'GetObjectRetention' : 'GetObject'
  return method === 'HEAD' ? 'HeadObject' : method
}

function takeFault(rules: FaultRule[], operation: string, key: string): FakeFault | undefined {
  for (const rule of rules) {
    if ((rule.operation ?? operation) !== operation || (rule.key ?? key) !== key || (rule.times ?? 1) <= 0) continue
    if ((rule.after ?? 0) > 0) {
      rule.after = (rule.after ?? 0) - 1
      continue
    }
    rule.times = (rule.times ?? 1) - 1
    return rule.fault
  }
  return undefined
}

function checkAccess(bucket: FakeBucket, name: string, request: FakeRequest): void {
  const scope = /Credential=([^/]+)\/\d{8}\/([^/]+)\/s3\/aws4_request/.exec(request.headers['authorization'] ?? '')
  if (scope === null) throw new S3Refusal(403, 'AccessDenied', 'the request is not signed')
  if (scope[1] !== 'FAKEKEY') throw new S3Refusal(403, 'InvalidAccessKeyId')
  if (bucket.abilities.expiredTokens.has(request.headers['x-amz-security-token'] ?? '')) throw new S3Refusal(400, 'ExpiredToken')
  if (scope[2] !== bucket.abilities.region) throw new S3Refusal(400, 'AuthorizationHeaderMalformed', 'the region is wrong', { Region: bucket.abilities.region })
  const stamp = (request.headers['x-amz-date'] ?? '').replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z')
  if (Math.abs(Date.parse(stamp) - Date.now() - bucket.abilities.clockOffsetMs) > 15 * 60_000) throw new S3Refusal(403, 'RequestTimeTooSkewed')
  if (name !== bucket.name) throw new S3Refusal(404, 'NoSuchBucket')
}

function send(
  store: Store,
  response: ServerResponse,
  answered: FakeAnswer,
  about: { operation: string; fault: FakeFault | undefined } = { operation: '', fault: undefined },
): void {
  const body = typeof answered.body === 'string' ? Buffer.from(answered.body) : (answered.body ?? Buffer.alloc(0))
  const headers = {
    date: new Date(Date.now() + store.bucket.abilities.clockOffsetMs).toUTCString(),
    server: 'FakeS3',
    'content-length': String(body.length),
    ...answered.headers,
  }
  response.sendDate = false
  // 204 and HEAD have no body; the length header of a HEAD is that of the object.
  if (answered.status === 204) Reflect.deleteProperty(headers, 'content-length')
  response.writeHead(answered.status, headers)
  if (about.operation === 'HeadObject') return void response.end()
  if (about.fault?.kind !== 'cut-body') return void response.end(body)
  const { gracefully } = about.fault
  response.write(body.subarray(0, body.length >> 1), () => (gracefully === true ? response.socket?.end() : response.socket?.destroy()))
}
