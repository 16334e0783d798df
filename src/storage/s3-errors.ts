import { Failure, messageOf, systemCodeOf } from '../kernel/failure.ts'
import type { FailureCode } from '../kernel/failure.ts'
import { objectMissing } from './errors.ts'

interface Meaning {
  readonly code: FailureCode
  readonly why: string
  readonly hint?: string
  readonly transient?: true
}

// Error codes as S3 names them (docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html), plus those of MinIO and Ceph.
const meanings: Readonly<Record<string, Meaning>> = {
  NoSuchBucket: { code: 'storage-failed', why: 'there is no such bucket', hint: 'check the name of the bucket and the endpoint, or create the bucket' },
  InvalidBucketName: { code: 'storage-failed', why: 'that is no name of a bucket', hint: 'check the name of the bucket' },
  AccessDenied: {
    code: 'storage-denied',
    why: 'access denied',
    hint: 'check the policy of the user and of the bucket: GetObject, PutObject, DeleteObject, AbortMultipartUpload, ListMultipartUploadParts on the objects; ListBucket, ListBucketMultipartUploads on the bucket',
  },
  Forbidden: {
    code: 'storage-denied',
    why: 'access denied',
    hint: 'the credentials are wrong or lack the right; without ListBucket S3 also answers so when an object is missing',
  },
  AllAccessDisabled: { code: 'storage-denied', why: 'all access to the bucket is disabled' },
  AccountProblem: { code: 'storage-denied', why: 'the provider has blocked the account' },
  InvalidAccessKeyId: {
    code: 'storage-denied',
    why: 'the store does not know this access key',
    hint: 'check the access key id, and that it belongs to this endpoint',
  },
  SignatureDoesNotMatch: {
    code: 'storage-denied',
    why: 'the secret access key is wrong (or a proxy changes requests)',
    hint: 'check the secret access key; copy it again without spaces or line ends',
  },
  ExpiredToken: { code: 'storage-denied', why: 'the session token has expired', hint: 'renew the credentials (for a profile: aws sso login)' },
  TokenRefreshRequired: { code: 'storage-denied', why: 'the session token must be renewed', hint: 'renew the credentials' },
  InvalidToken: { code: 'storage-denied', why: 'the session token is wrong', hint: 'an AWS_SESSION_TOKEN of other credentials may be left in the environment' },
  RequestTimeTooSkewed: {
    code: 'storage-denied',
    why: "this machine's clock differs from the store's by more than 15 minutes",
    hint: 'set the clock (timedatectl, chronyc tracking)',
  },
  RequestExpired: {
    code: 'storage-denied',
    why: "this machine's clock differs too much from the store's",
    hint: 'set the clock (timedatectl, chronyc tracking)',
  },
  CredentialsProviderError: {
    code: 'storage-denied',
    why: 'there are no credentials',
    hint: 'set accessKeyId and secretAccessKey, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile, or run where the machine has a role',
  },
  PermanentRedirect: { code: 'storage-failed', why: 'the bucket is in another region', hint: 'set region: to the region of the bucket' },
  AuthorizationHeaderMalformed: { code: 'storage-failed', why: 'the request was signed for the wrong region', hint: 'set region: to the region of the bucket' },
  IllegalLocationConstraintException: { code: 'storage-failed', why: 'the bucket is in another region', hint: 'set region: to the region of the bucket' },
  EntityTooLarge: { code: 'storage-full', why: 'the object is larger than the store allows' },
  QuotaExceeded: { code: 'storage-full', why: 'the quota is used up', hint: 'raise the quota or free space' },
  XMinioStorageFull: { code: 'storage-full', why: 'no space is left', hint: 'add space to the store' },
  InvalidObjectState: {
    code: 'storage-failed',
    why: 'the object is archived (Glacier) and must be restored first',
    hint: 'restore the object in the provider’s console, and use a storage class that can be read at once',
  },
  KeyTooLongError: { code: 'storage-failed', why: 'the name is too long' },
  InvalidRange: { code: 'storage-failed', why: 'the object is shorter than that' },
  MethodNotAllowed: { code: 'storage-failed', why: 'the store does not allow this method' },
  SlowDown: { code: 'storage-failed', why: 'the store asks to slow down', transient: true },
  Throttling: { code: 'storage-failed', why: 'the store asks to slow down', transient: true },
  RequestTimeout: { code: 'storage-failed', why: 'the store waited too long for our bytes', transient: true },
  BadDigest: { code: 'storage-failed', why: 'the bytes that arrived were not those that were sent', transient: true },
  XAmzContentSHA256Mismatch: { code: 'storage-failed', why: 'the bytes that arrived were not those that were sent', transient: true },
  XAmzContentChecksumMismatch: { code: 'storage-failed', why: 'the bytes that arrived were not those that were sent', transient: true },
  IncompleteBody: { code: 'storage-failed', why: 'the store did not get all bytes', transient: true },
  OperationAborted: { code: 'storage-failed', why: 'another operation on it is in progress', transient: true },
  ConditionalRequestConflict: { code: 'storage-failed', why: 'another conditional write of it is in progress', transient: true },
  InternalError: { code: 'storage-failed', why: 'the store had an internal error', transient: true },
  ServiceUnavailable: { code: 'storage-failed', why: 'the store is not available', transient: true },
}

const networkMeanings: Readonly<Record<string, Meaning>> = {
  ENOTFOUND: { code: 'storage-failed', why: 'the name of the endpoint cannot be resolved', hint: 'check the endpoint and the DNS of this machine' },
  EAI_AGAIN: { code: 'storage-failed', why: 'the DNS does not answer', transient: true },
  ECONNREFUSED: { code: 'storage-failed', why: 'the endpoint refuses connections', hint: 'check host and port of the endpoint', transient: true },
  ECONNRESET: { code: 'storage-failed', why: 'the connection was reset', transient: true },
  ECONNABORTED: { code: 'storage-failed', why: 'the connection was aborted', transient: true },
  EPIPE: { code: 'storage-failed', why: 'the connection was closed while sending', transient: true },
  ETIMEDOUT: { code: 'storage-failed', why: 'the endpoint does not answer', transient: true },
  EHOSTUNREACH: { code: 'storage-failed', why: 'the endpoint cannot be reached', transient: true },
  ENETUNREACH: { code: 'storage-failed', why: 'the network cannot be reached', transient: true },
  ERR_STREAM_PREMATURE_CLOSE: { code: 'storage-failed', why: 'the connection ended too early', transient: true },
  EPROTO: { code: 'storage-failed', why: 'the endpoint does not speak TLS there', hint: 'http:// or https://? check the endpoint' },
  CERT_HAS_EXPIRED: { code: 'storage-failed', why: 'the certificate of the endpoint has expired' },
  ERR_TLS_CERT_ALTNAME_INVALID: {
    code: 'storage-failed',
    why: 'the certificate of the endpoint is for another name',
    hint: 'with private endpoints try forcePathStyle: true',
  },
  DEPTH_ZERO_SELF_SIGNED_CERT: { code: 'storage-failed', why: 'the certificate of the endpoint is signed by itself', hint: 'name its CA bundle: caFile' },
  SELF_SIGNED_CERT_IN_CHAIN: { code: 'storage-failed', why: 'the certificate of the endpoint is of a private CA', hint: 'name its CA bundle: caFile' },
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: { code: 'storage-failed', why: 'the certificate of the endpoint cannot be verified', hint: 'name the CA bundle: caFile' },
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: { code: 'storage-failed', why: 'the certificate of the endpoint is of an unknown CA', hint: 'name the CA bundle: caFile' },
}

/** What an SDK error says about itself; the error object is never passed on, for it holds the request with its signature. */
export interface S3ErrorFacts {
  readonly name: string
  readonly status: number | undefined
  readonly message: string
  readonly region: string | undefined
  readonly systemCode: string | undefined
  readonly requestId: string | undefined
}

interface ErrorBag {
  name?: unknown
  Code?: unknown
  Region?: unknown
  BucketRegion?: unknown
  $metadata?: { httpStatusCode?: unknown; requestId?: unknown }
  $response?: { statusCode?: unknown }
}

export function factsOf(error: unknown): S3ErrorFacts {
  const bag: ErrorBag = typeof error === 'object' && error !== null ? error : {}
  const text = (value: unknown) => (typeof value === 'string' ? value : undefined)
  return {
    name: text(bag.Code) ?? text(bag.name) ?? 'Error',
    status: [bag.$metadata?.httpStatusCode, bag.$response?.statusCode].find((status) => typeof status === 'number'),
    message: plain(messageOf(error)),
    region: text(bag.Region) ?? text(bag.BucketRegion),
    systemCode: systemCodeOf(error) ?? (error instanceof Error ? systemCodeOf(error.cause) : undefined),
    requestId: text(bag.$metadata?.requestId),
  }
}

/** One line without control characters: servers choose these words, and they end up in logs. */
function plain(text: string): string {
  return text.replaceAll(/[\p{Cc}\u2028-\u202e\u2066-\u2069]+/gu, ' ').slice(0, 300)
}

/** Refusals after which a write has surely not happened; after any other transient error it may have. */
const neverReached = new Set([
  'ECONNREFUSED',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'SlowDown',
  'Throttling',
  'BadDigest',
  'XAmzContentSHA256Mismatch',
  'XAmzContentChecksumMismatch',
  'IncompleteBody',
  'ConditionalRequestConflict',
  'OperationAborted',
])

/** An SDK or network error as a Failure that begins `cannot <action>`; aborts and Failures pass unchanged. */
export function s3Failure(action: string, error: unknown, options: { location: string; key?: string } = { location: '' }): unknown {
  if (error instanceof Failure || (error instanceof Error && error.name === 'AbortError')) return error
  const facts = factsOf(error)
  if (options.key !== undefined && (facts.name === 'NoSuchKey' || (facts.status === 404 && facts.name === 'NotFound')))
    return objectMissing(options.location, options.key)
  if (/region is missing/i.test(facts.message))
    return new Failure('config-invalid', `cannot ${action}: no region is set`, { hints: ['set region: or AWS_REGION'] })
  if (!isOfTheStore(error, facts)) return error
  const meaning = meaningOf(facts)
  const hints = [...(facts.region === undefined ? [] : [`the store names the region ${facts.region}`]), ...(meaning.hint === undefined ? [] : [meaning.hint])]
  const details = {
    s3Code: facts.name,
    ...(facts.status === undefined ? {} : { status: facts.status }),
    ...(facts.systemCode === undefined ? {} : { systemCode: facts.systemCode }),
    ...(facts.requestId === undefined ? {} : { requestId: facts.requestId }),
    ...(meaning.transient === true ? { transient: true } : {}),
    ...(meaning.transient === true && !neverReached.has(facts.systemCode ?? facts.name) ? { ambiguous: true } : {}),
  }
  const label = facts.systemCode ?? (facts.status === undefined ? facts.name : `${facts.name}, status ${facts.status}`)
  return new Failure(meaning.code, `cannot ${action}: ${meaning.why} (${label})`, { hints, details, cause: new Error(`${facts.name}: ${facts.message}`) })
}

function meaningOf(facts: S3ErrorFacts): Meaning {
  const network = facts.systemCode === undefined ? undefined : own(networkMeanings, facts.systemCode)
  if (network !== undefined && facts.status === undefined) return network
  const known = own(meanings, facts.name)
  if (known !== undefined) return known
  const { status } = facts
  if (status === 301 || status === 307)
    return { code: 'storage-failed', why: 'the store redirects to another region or endpoint', hint: 'set region: and endpoint: to those of the bucket' }
  if (status === 401 || status === 403)
    return { code: 'storage-denied', why: `access denied: ${facts.message}`, hint: 'check the credentials and the policy of the bucket' }
  if (status === 507) return { code: 'storage-full', why: 'no space is left' }
  if (status === 429 || status === 408 || (status !== undefined && status >= 500 && status !== 501))
    return { code: 'storage-failed', why: `the store answered ${facts.message}`, transient: true }
  if (facts.name === 'TimeoutError' || brokenConnection.test(facts.message)) return { code: 'storage-failed', why: 'the connection broke', transient: true }
  if (notS3.test(facts.message))
    return { code: 'storage-failed', why: 'the endpoint answered something that is not S3', hint: 'check the endpoint: is a proxy or a web page in between?' }
  return { code: 'storage-failed', why: facts.message }
}

/** The names come from servers; `constructor` must not find anything. */
function own(table: Readonly<Record<string, Meaning>>, name: string): Meaning | undefined {
  return Object.hasOwn(table, name) ? table[name] : undefined
}

/** Errors that are ours (a TypeError, say) must stay visible as bugs. */
function isOfTheStore(error: unknown, facts: S3ErrorFacts): boolean {
  if (facts.status !== undefined || facts.systemCode !== undefined || facts.name === 'TimeoutError' || own(meanings, facts.name) !== undefined) return true
  return (typeof error === 'object' && error !== null && '$metadata' in error) || brokenConnection.test(facts.message) || notS3.test(facts.message)
}

const brokenConnection = /socket hang up|aborted|network socket disconnected|premature close/i
const notS3 = /deserialization error/i

/** The store says that it cannot do this at all. */
export function isNotImplemented(error: unknown): boolean {
  const { name, status } = factsOf(error)
  return status === 501 || name === 'NotImplemented' || name === 'MethodNotAllowed'
}

/** The condition `If-None-Match: *` did not hold. */
export function isPreconditionFailed(error: unknown): boolean {
  const { name, status } = factsOf(error)
  return status === 412 || name === 'PreconditionFailed'
}

/** Two conditional writes met; neither has been decided for this one. */
export function isConditionalConflict(error: unknown): boolean {
  const { name, status } = factsOf(error)
  return status === 409 && (name === 'ConditionalRequestConflict' || name === 'OperationAborted' || name === 'Conflict')
}

/** Refusals that a store which does not know checksum headers may give to a request that has them. */
export function mayDislikeChecksums(error: unknown): boolean {
  const { name, status } = factsOf(error)
  if (status === 411 || status === 501) return true
  return (
    status === 400 &&
    ['InvalidRequest', 'InvalidArgument', 'NotImplemented', 'MalformedXML', 'UnsupportedArgument', 'InvalidDigest', 'BadRequest'].includes(name)
  )
}

export function isExpiredCredential(error: unknown): boolean {
  return ['ExpiredToken', 'TokenRefreshRequired', 'InvalidToken', 'RequestExpired', 'ExpiredTokenException'].includes(factsOf(error).name)
}
