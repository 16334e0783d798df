import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/kernel/clock.ts'
import { conformanceCases, conformanceTools, removeAll } from '../../src/storage/conformance.ts'
import { outcomeOf } from '../../src/storage/conformance-tools.ts'
import { probeConditionalCreate } from '../../src/storage/probe.ts'
import { retrying } from '../../src/storage/retrying.ts'
import type { Storage } from '../../src/storage/storage.ts'
import { patience, s3StorageOn } from '../support/s3-storage.ts'

// Started by test/services/start-ceph.sh (or any other store): TIDEMARK_TEST_S3_ENDPOINT, _ACCESS_KEY, _SECRET_KEY,
// and _PROBE, the expected answer to the race for one key (default atomic).
const environment = process.env
const endpoint = environment['TIDEMARK_TEST_S3_ENDPOINT']
const place = {
  endpoint: endpoint ?? '',
  bucket: `tidemark-test-${randomBytes(4).toString('hex')}`,
  accessKeyId: environment['TIDEMARK_TEST_S3_ACCESS_KEY'] ?? 'TIDETESTKEY',
  secretAccessKey: environment['TIDEMARK_TEST_S3_SECRET_KEY'] ?? 'tidetestsecrettidetestsecret',
}
const expectedProbe = environment['TIDEMARK_TEST_S3_PROBE'] ?? 'atomic'
// Where conditions are refused, these promises cannot be kept, and `init` refuses the store.
const needConditions = /creat|removes objects/

async function client() {
  const sdk = await import('@aws-sdk/client-s3')
  return { sdk, s3: new sdk.S3Client({ endpoint: place.endpoint, region: 'us-east-1', forcePathStyle: true, credentials: place, requestChecksumCalculation: 'WHEN_REQUIRED' }) }
}

if (endpoint === undefined) {
  // oxlint-disable-next-line no-console
  console.warn('SKIPPED: no real S3 store (set TIDEMARK_TEST_S3_ENDPOINT, see test/services/start-ceph.sh)')
}

describe.skipIf(endpoint === undefined)('storage S3 (real)', () => {
  let storage: Storage

  beforeAll(async () => {
    const { sdk, s3 } = await client()
    await s3.send(new sdk.CreateBucketCommand({ Bucket: place.bucket }))
    s3.destroy()
    const driver = s3StorageOn(place, { partBytes: 5 * 1024 ** 2 })
    storage = retrying(driver, { clock: systemClock, emit: () => undefined, policy: { ...patience, totalMs: 20_000, longestWaitMs: 200 } })
  })

  afterAll(async () => {
    await removeAll(storage, '')
    await storage[Symbol.asyncDispose]()
    const { sdk, s3 } = await client()
    await s3.send(new sdk.DeleteBucketCommand({ Bucket: place.bucket }))
    s3.destroy()
  }, 120_000)

  it.each(conformanceCases.filter((experiment) => expectedProbe === 'atomic' || !needConditions.test(experiment.name)))('$name', { timeout: 300_000 }, async (experiment) => {
    await experiment.run(storage, conformanceTools('conformance/', 11 * 1024 ** 2 + 7))
  })

  it(`is ${expectedProbe} in creating conditionally`, { timeout: 60_000 }, async () => {
    expect(await probeConditionalCreate(storage, 'probe/')).toBe(expectedProbe)
  })

  it('leaves no upload behind when the source fails', async () => {
    async function* failing(): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(11 * 1024 ** 2)
      throw new Error('the source broke')
    }
    expect(await outcomeOf(storage.put('broken', failing()))).toMatchObject({ done: false, error: { message: 'the source broke' } })
    expect(await storage.abortStaleUploads?.(-60_000)).toBe(0)
  })

  it('refuses a wrong secret, saying so', async () => {
    const wrong = s3StorageOn({ ...place, secretAccessKey: 'not-the-secret' })
    for (const call of [() => wrong.put('key', new Uint8Array(1)), () => wrong.stat('key')]) {
      expect(await outcomeOf(call())).toMatchObject({ error: { code: 'storage-denied', message: expect.stringContaining('secret access key is wrong') } })
    }
    await wrong[Symbol.asyncDispose]()
  })
})
