import { systemClock } from '../../src/kernel/clock.ts'
import type { Emit } from '../../src/kernel/event.ts'
import { Secret } from '../../src/kernel/secret.ts'
import type { RetryPolicy } from '../../src/storage/retry.ts'
import type { S3Options } from '../../src/storage/s3-session.ts'
import { s3Storage } from '../../src/storage/s3.ts'
import type { Storage } from '../../src/storage/storage.ts'

/** Retries that a test does not have to wait for. */
export const patience: RetryPolicy = { totalMs: 2000, firstWaitMs: 1, longestWaitMs: 5, random: () => 0 }

export interface S3Place {
  readonly endpoint: string
  readonly bucket: string
  readonly accessKeyId: string
  readonly secretAccessKey: string
}

/** The bare S3 driver on a store, with settings to override. */
export function s3StorageOn(place: S3Place, overrides: Partial<S3Options> = {}, emit: Emit = () => undefined): Storage {
  return s3Storage(
    {
      bucket: place.bucket,
      prefix: 'some/prefix',
      region: null,
      endpoint: place.endpoint,
      forcePathStyle: true,
      credentials: { accessKeyId: new Secret(place.accessKeyId), secretAccessKey: new Secret(place.secretAccessKey), sessionToken: null },
      profile: null,
      storageClass: null,
      ca: null,
      checksums: 'auto',
      partBytes: 5 * 1024 ** 2,
      retry: patience,
      ...overrides,
    },
    { clock: systemClock, emit },
  )
}
