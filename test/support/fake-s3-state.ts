import { createHash } from 'node:crypto'
import { crc32 } from 'node:zlib'

/** What the fake store can do; change it at any time. */
export interface FakeS3Abilities {
  /** `racy` looks and writes in two steps; `ignored` overwrites; `unsupported` answers 501. */
  conditionalPut: 'atomic' | 'racy' | 'ignored' | 'unsupported'
  conditionalComplete: 'atomic' | 'ignored' | 'unsupported'
  /** `ignored` neither checks nor returns them (Ceph 16), `refused` answers 400. */
  checksums: 'crc32' | 'ignored' | 'refused'
  serverCopy: boolean
  /** Listings show the objects as they were when this was set to true. */
  staleList: boolean
  deleteDenied: boolean
  retainUntil: string | undefined
  pageSize: number
  minPartBytes: number
  region: string
  /** Difference of the store's clock from the machine's. */
  clockOffsetMs: number
  expiredTokens: Set<string>
}

export type FakeFault =
  | { kind: 'error'; status: number; code: string; message?: string }
  /** The connection breaks before the request has any effect. */
  | { kind: 'reset' }
  /** The request has its effect, and the answer is lost. */
  | { kind: 'lose-answer' }
  /** Half of the body of a GET comes, then the connection breaks (or, `gracefully`, is closed). */
  | { kind: 'cut-body'; gracefully?: boolean }
  | { kind: 'hang' }
  | { kind: 'slow'; ms: number }
  /** 200 OK with an error as its body; nothing is done. */
  | { kind: 'error-in-200'; tail?: string }
  /** 200 OK as if all were well; nothing is done. */
  | { kind: 'lie' }
  /** Only the first half of the body is stored, and its ETag is returned. */
  | { kind: 'store-half' }
  /** A ranged GET is answered with a shorter range. */
  | { kind: 'shorten-range' }

export interface FaultRule {
  readonly operation?: string
  readonly key?: string
  /** How many requests it hits, default 1. */
  times?: number
  /** How many matching requests pass first, default 0. */
  after?: number
  readonly fault: FakeFault
}

export interface FakeObject {
  readonly bytes: Buffer
  readonly etag: string
  readonly crc32: string | undefined
  readonly modifiedAt: Date
  readonly metadata: Readonly<Record<string, string>>
}

export interface FakeUpload {
  readonly key: string
  readonly initiated: Date
  readonly metadata: Readonly<Record<string, string>>
  readonly parts: Map<number, { bytes: Buffer; etag: string; crc32: string | undefined }>
}

export class S3Refusal extends Error {
  readonly status: number
  readonly code: string
  readonly extra: Readonly<Record<string, string>>

  constructor(status: number, code: string, message = code, extra: Readonly<Record<string, string>> = {}) {
    super(message)
    this.status = status
    this.code = code
    this.extra = extra
  }
}

export function md5Hex(bytes: Uint8Array): string {
  return createHash('md5').update(bytes).digest('hex')
}

export function crc32Base64(bytes: Uint8Array): string {
  const buffer = Buffer.alloc(4)
  buffer.writeUInt32BE(crc32(bytes))
  return buffer.toString('base64')
}

export function xml(name: string, content: string): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n<${name} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${content}</${name}>`
}

export function element(name: string, value: string | number | boolean): string {
  return `<${name}>${String(value).replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')}</${name}>`
}
