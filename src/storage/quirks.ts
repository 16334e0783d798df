/**
 * What is known of stores that speak S3, as data. It chooses first guesses and explains findings; what a store can
 * really do is found by trying (`probe.ts`, and the driver learns from refusals), never by its name.
 */
export interface ProviderQuirks {
  readonly id: string
  readonly name: string
  /** Matches the endpoint's host; null = recognised only by the `Server` header. */
  readonly host: RegExp | null
  /** Matches the `Server` response header. */
  readonly server: RegExp | null
  /** The region to sign for when none is configured. */
  readonly region: string
  /** Buckets are a path segment, not part of the host name. */
  readonly pathStyle: boolean
  readonly notes: readonly string[]
  /** Where we know it from. */
  readonly source: 'measured' | 'documentation'
}

export const providers: readonly ProviderQuirks[] = [
  {
    id: 'aws',
    name: 'Amazon S3',
    host: /(^|\.)s3([.-][a-z0-9-]+)*\.amazonaws\.com(\.cn)?$/,
    server: /^AmazonS3$/,
    region: 'us-east-1',
    pathStyle: false,
    notes: ['conditional create is atomic, on CompleteMultipartUpload too', 'a conditional write that meets another in flight is answered 409 and repeated'],
    source: 'documentation',
  },
  {
    id: 'r2',
    name: 'Cloudflare R2',
    host: /\.r2\.cloudflarestorage\.com$/,
    server: null,
    region: 'auto',
    pathStyle: true,
    notes: ['all parts of a multipart upload but the last must have one size'],
    source: 'documentation',
  },
  {
    id: 'gcs',
    name: 'Google Cloud Storage (interoperability)',
    host: /^storage\.googleapis\.com$/,
    server: /^UploadServer$/,
    region: 'auto',
    pathStyle: true,
    notes: ['has its own precondition headers; whether If-None-Match is honoured must be tried'],
    source: 'documentation',
  },
  {
    id: 'ceph-16',
    name: 'Ceph radosgw 16',
    host: null,
    server: /^Ceph Object Gateway \(pacific\)/i,
    region: 'us-east-1',
    pathStyle: true,
    notes: [
      'knows no CRC32 checksums: parts are confirmed by MD5',
      'CompleteMultipartUpload ignores If-None-Match: big objects are guarded by a HEAD before and after the upload',
      'CopyObject may answer 501: objects are then copied through this machine',
    ],
    source: 'measured',
  },
  {
    id: 'ceph',
    name: 'Ceph radosgw',
    host: null,
    server: /^Ceph Object Gateway/i,
    region: 'us-east-1',
    pathStyle: true,
    notes: ['20.2: CRC32, object lock and atomic conditional create'],
    source: 'measured',
  },
  {
    id: 'swift',
    name: 'OpenStack Swift (s3api)',
    host: null,
    server: null,
    region: 'us-east-1',
    pathStyle: true,
    notes: [
      'conditional create is refused (501) up to 2.30 and accepted but not atomic in 2.38: no place for a repository that several writers use',
      'DeleteObjects is rejected: objects are deleted one by one',
      'object-lock and SSE-C headers are silently ignored',
    ],
    source: 'measured',
  },
  {
    id: 'minio',
    name: 'MinIO',
    host: null,
    server: /^MinIO/,
    region: 'us-east-1',
    pathStyle: true,
    notes: [],
    source: 'documentation',
  },
]

/** Any other store with an endpoint of its own. */
export const unknownProvider: ProviderQuirks = {
  id: 'unknown',
  name: 'an S3-compatible store',
  host: null,
  server: null,
  region: 'us-east-1',
  pathStyle: true,
  notes: ['run tidemark repo test to see what it can do'],
  source: 'documentation',
}

/** The best guess from the endpoint (null = Amazon) and, when one was seen, the `Server` header. */
export function quirksOf(endpoint: string | null, serverHeader?: string): ProviderQuirks {
  const byServer = serverHeader === undefined ? undefined : providers.find((provider) => provider.server?.test(serverHeader))
  if (byServer !== undefined) return byServer
  const host = endpoint === null ? 's3.amazonaws.com' : URL.canParse(endpoint) ? new URL(endpoint).hostname : ''
  return providers.find((provider) => provider.host?.test(host)) ?? unknownProvider
}
