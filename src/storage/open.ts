import { readFile } from 'node:fs/promises'
import type { Context } from '../kernel/context.ts'
import { Failure, messageOf } from '../kernel/failure.ts'
import { defaultDeadlineLimits, withDeadlines } from './deadline.ts'
import { checkEndpoint } from './endpoint.ts'
import { idOf } from './posix-owner.ts'
import { posixStorage } from './posix.ts'
import { defaultRetryPolicy } from './retry.ts'
import type { RetryPolicy } from './retry.ts'
import { retrying } from './retrying.ts'
import { s3Storage } from './s3.ts'
import type { S3Settings, StorageSettings } from './settings.ts'
import type { Storage } from './storage.ts'
import { throttled } from './throttled.ts'

export interface OpenStorageOptions {
  /** Bytes per second, or null for no limit. */
  bandwidth?: number | null
  retry?: RetryPolicy
}

/**
 * The storage that the settings describe, with time limits, retries and bandwidth around it. Nothing is contacted yet:
 * the first call finds out. Rejects with `config-invalid` for settings that cannot be meant.
 */
export async function openStorage(settings: StorageSettings, context: Pick<Context, 'clock' | 'emit'>, options: OpenStorageOptions = {}): Promise<Storage> {
  const { clock, emit } = context
  const policy = options.retry ?? defaultRetryPolicy
  const driver = settings.kind === 'posix' ? await openPosix(settings) : s3Storage(await s3OptionsOf(settings, policy), { clock, emit })
  if (settings.kind === 's3') warnIfReadable(settings, context)
  const limited = withDeadlines(driver, { ...defaultDeadlineLimits, watchPuts: settings.kind === 'posix' }, clock)
  const patient = retrying(limited, { clock, emit, policy })
  const bandwidth = options.bandwidth ?? null
  return bandwidth === null ? patient : throttled(patient, bandwidth, clock)
}

async function openPosix(settings: Extract<StorageSettings, { kind: 'posix' }>): Promise<Storage> {
  const uid = await idOf('user', settings.owner)
  const gid = await idOf('group', settings.group)
  return posixStorage({ root: settings.path, access: { dirMode: settings.dirMode, fileMode: settings.fileMode, uid, gid } })
}

async function s3OptionsOf(settings: S3Settings, retry: RetryPolicy) {
  const { accessKeyId, secretAccessKey, sessionToken } = settings
  if ((accessKeyId === null) !== (secretAccessKey === null)) {
    throw new Failure(
      'config-invalid',
      `cannot use the bucket "${settings.bucket}": ${accessKeyId === null ? 'the access key id' : 'the secret access key'} is missing`,
      {
        hints: ['set both accessKeyId and secretAccessKey, or neither to use the profile or role of this machine'],
      },
    )
  }
  return {
    bucket: settings.bucket,
    prefix: settings.prefix,
    region: settings.region,
    endpoint: settings.endpoint,
    forcePathStyle: settings.forcePathStyle,
    credentials: accessKeyId === null || secretAccessKey === null ? null : { accessKeyId, secretAccessKey, sessionToken },
    profile: settings.profile,
    storageClass: settings.storageClass,
    ca: settings.caFile === null ? null : await readCa(settings.caFile),
    checksums: settings.checksums,
    partBytes: settings.multipartBytes,
    retry,
  }
}

async function readCa(path: string): Promise<string> {
  try {
    const text = await readFile(path, 'utf8')
    if (text.includes('-----BEGIN CERTIFICATE-----')) return text
  } catch (error) {
    throw new Failure('config-invalid', `cannot read the CA bundle "${path}": ${messageOf(error)}`, { cause: error })
  }
  throw new Failure('config-invalid', `cannot use the CA bundle "${path}": it contains no PEM certificate`)
}

/** Signatures protect the credentials, but the backups themselves would travel in clear. */
function warnIfReadable(settings: S3Settings, context: Pick<Context, 'emit'>): void {
  if (settings.endpoint === null) return
  const url = checkEndpoint(settings.endpoint)
  if (url.protocol === 'https:' || /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(url.hostname)) return
  context.emit({ type: 'warning', code: 'storage-unencrypted', message: `backups travel unencrypted to ${url.origin}: use https` })
}
