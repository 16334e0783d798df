import type { S3Client, S3ClientConfig } from '@aws-sdk/client-s3'
import type { Clock } from '../kernel/clock.ts'
import type { Emit } from '../kernel/event.ts'
import { Failure } from '../kernel/failure.ts'
import type { Secret } from '../kernel/secret.ts'
import { checkEndpoint, guardedLookup } from './endpoint.ts'
import { quirksOf } from './quirks.ts'
import type { RetryPolicy } from './retry.ts'
import { factsOf, isExpiredCredential } from './s3-errors.ts'

export interface S3Options {
  readonly bucket: string
  /** Without leading or trailing slash; '' for none. */
  readonly prefix: string
  readonly region: string | null
  readonly endpoint: string | null
  readonly forcePathStyle: boolean
  readonly credentials: { readonly accessKeyId: Secret; readonly secretAccessKey: Secret; readonly sessionToken: Secret | null } | null
  readonly profile: string | null
  readonly storageClass: string | null
  /** PEM text of the CA bundle for private endpoints, or null. */
  readonly ca: string | null
  readonly checksums: 'auto' | 'when-required'
  /** Bodies of at most this size are one PUT; larger ones go in parts of it, at least 5 MiB on real stores. */
  readonly partBytes: number
  /** Parts under way at once, default 3; memory is about (this + 1) × the part size. */
  readonly partsInFlight?: number
  /** A request may take this long plus what its bytes take at the floor; defaults 60 s, 64 KiB/s. */
  readonly requestSeconds?: number
  readonly floorBytesPerSecond?: number
  readonly retry: RetryPolicy
}

export interface S3Environment {
  readonly clock: Clock
  readonly emit: Emit
}

type Sdk = typeof import('@aws-sdk/client-s3')

export interface S3Call {
  readonly sdk: Sdk
  readonly client: S3Client
  readonly options: { readonly abortSignal: AbortSignal }
}

/** One bucket as one set of credentials sees it, and what has been learned about the store so far. */
export interface S3Session extends AsyncDisposable {
  readonly options: S3Options
  readonly environment: S3Environment
  readonly location: string
  /** Facts that requests find out and later requests go by. */
  readonly learned: { checksums: boolean; conditionalComplete: boolean; serverCopy: boolean; bucketSeen: boolean }
  /** The key in the bucket. */
  bucketKey(key: string): string
  /** Runs one request within its deadline. Throws the SDK's error as it is; see `s3Failure`. */
  call<T>(request: { readonly bytes?: number; readonly signal?: AbortSignal | undefined }, run: (call: S3Call) => Promise<T>): Promise<T>
  /** The store's own time, from the `Date` of its last answer; undefined before the first one. */
  storeNow(): Temporal.Instant | undefined
}

export function openS3Session(options: S3Options, environment: S3Environment): S3Session {
  if (options.endpoint !== null) checkEndpoint(options.endpoint)
  const { clock, emit } = environment
  let opened: Promise<{ sdk: Sdk; client: S3Client }> | undefined
  let storeClock: { instant: Temporal.Instant; atMs: number } | undefined
  let refreshed = false
  let warnedOfSkew = false

  async function open(): Promise<{ sdk: Sdk; client: S3Client }> {
    // 100 ms and 30 MiB that a run without S3 should not pay.
    const sdk = await import('@aws-sdk/client-s3')
    const client = new sdk.S3Client(clientConfiguration(options))
    client.middlewareStack.add(
      (next) => async (args) => {
        const result = await next(args)
        const date = dateOf(result.response)
        if (date !== undefined) storeClock = { instant: date, atMs: clock.monotonicMs() }
        return result
      },
      { step: 'deserialize', priority: 'low', name: 'tidemarkStoreClock' },
    )
    return { sdk, client }
  }

  async function once<T>(request: { bytes?: number; signal?: AbortSignal | undefined }, run: (call: S3Call) => Promise<T>): Promise<T> {
    request.signal?.throwIfAborted()
    opened ??= open()
    const { sdk, client } = await opened
    const seconds = (options.requestSeconds ?? 60) + (request.bytes ?? 0) / (options.floorBytesPerSecond ?? 64 * 1024)
    const late = new Failure('storage-failed', `the store did not answer within ${Math.round(seconds)} s`, { details: { transient: true, ambiguous: true } })
    const deadline = new AbortController()
    const timer = new AbortController()
    clock.sleep(seconds * 1000, timer.signal).then(
      () => deadline.abort(late),
      () => undefined,
    )
    const abortSignal = request.signal === undefined ? deadline.signal : AbortSignal.any([deadline.signal, request.signal])
    try {
      const result = await run({ sdk, client, options: { abortSignal } })
      session.learned.bucketSeen = true
      return result
    } catch (error) {
      request.signal?.throwIfAborted()
      if (deadline.signal.aborted) throw late
      throw error
    } finally {
      timer.abort()
    }
  }

  async function renew(): Promise<void> {
    const old = opened
    opened = undefined
    ;(await old)?.client.destroy()
  }

  const session: S3Session = {
    options,
    environment,
    location: `s3://${options.bucket}${options.prefix === '' ? '' : `/${options.prefix}`}`,
    learned: { checksums: options.checksums === 'auto', conditionalComplete: true, serverCopy: true, bucketSeen: false },
    bucketKey: (key) => (options.prefix === '' ? key : `${options.prefix}/${key}`),
    async call(request, run) {
      try {
        return await once(request, run)
      } catch (error) {
        const { name } = factsOf(error)
        if (name === 'RequestTimeTooSkewed') {
          // The SDK has just learned the store's time and signs by it from now on.
          if (!warnedOfSkew)
            emit({ type: 'warning', code: 'clock-skew', message: `the clock of this machine differs from that of ${session.location} by more than 15 minutes` })
          warnedOfSkew = true
          return once(request, run)
        }
        // Credentials from a chain may have been rotated under us; fixed ones cannot. Once only, or a dead role loops.
        if (!isExpiredCredential(error) || options.credentials !== null || refreshed) throw error
        refreshed = true
        emit({ type: 'note', message: `the credentials for ${session.location} have expired: asking for new ones` })
        await renew()
        const result = await once(request, run)
        refreshed = false
        return result
      }
    },
    storeNow() {
      return storeClock?.instant.add({ milliseconds: Math.round(clock.monotonicMs() - storeClock.atMs) })
    },
    async [Symbol.asyncDispose]() {
      const old = opened
      opened = undefined
      await old?.then(({ client }) => client.destroy())
    },
  }
  return session
}

function clientConfiguration(options: S3Options): S3ClientConfig {
  const { credentials } = options
  const region = options.region ?? (options.endpoint === null ? undefined : quirksOf(options.endpoint).region)
  const agent = { keepAlive: true, maxSockets: 64, lookup: guardedLookup }
  return {
    ...(region === undefined ? {} : { region }),
    ...(options.endpoint === null ? {} : { endpoint: options.endpoint }),
    ...(options.profile === null ? {} : { profile: options.profile }),
    ...(credentials === null
      ? {}
      : {
          credentials: {
            accessKeyId: credentials.accessKeyId.reveal(),
            secretAccessKey: credentials.secretAccessKey.reveal(),
            ...(credentials.sessionToken === null ? {} : { sessionToken: credentials.sessionToken.reveal() }),
          },
        }),
    forcePathStyle: options.forcePathStyle,
    // We retry ourselves, visibly and within one bound; redirects would carry the signature elsewhere.
    maxAttempts: 1,
    followRegionRedirects: false,
    // Checksums are handed over explicitly, so that a store that dislikes them is met with a plain request.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    logger: silent,
    requestHandler: {
      connectionTimeout: 15_000,
      httpAgent: agent,
      httpsAgent: options.ca === null ? agent : { ...agent, ca: options.ca },
    },
  }
}

// The SDK would write to the console.
const silent = { trace() {}, debug() {}, info() {}, warn() {}, error() {} }

function dateOf(response: unknown): Temporal.Instant | undefined {
  if (typeof response !== 'object' || response === null || !('headers' in response)) return undefined
  const { headers } = response
  const text: unknown = typeof headers === 'object' && headers !== null && 'date' in headers ? headers.date : undefined
  const ms = typeof text === 'string' ? Date.parse(text) : Number.NaN
  return Number.isNaN(ms) ? undefined : Temporal.Instant.fromEpochMilliseconds(ms)
}
