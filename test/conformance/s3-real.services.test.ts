import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { systemClock } from '../../src/kernel/clock.ts'
import { conformanceCases, conformanceTools, removeAll } from '../../src/storage/conformance.ts'
import { outcomeOf } from '../../src/storage/conformance-tools.ts'
import { probeConditionalCreate } from '../../src/storage/probe.ts'
import { retrying } from '../../src/storage/retrying.ts'
import type { Storage } from '../../src/storage/storage.ts'
import { patience, s3StorageOn } from '../support/s3-storage.ts'
import { describeWith } from '../support/services.ts'

// Ceph by default; any other store by TIDEMARK_TEST_S3_…, with the answer to expect of the probe.
const expectedProbe = process.env['TIDEMARK_TEST_S3_PROBE'] ?? 'atomic'
// Where creating conditionally is refused or unsafe these cannot be kept, and `init` refuses the store.
const needsConditions = /creat|removes objects/

describeWith('ceph', 'storage S3 (real)', (place) => {
  const prefix = `conformance-${randomBytes(4).toString('hex')}`
  let storage: Storage

  beforeAll(() => {
    const driver = s3StorageOn(place, { prefix })
    storage = retrying(driver, { clock: systemClock, emit: () => undefined, policy: { ...patience, totalMs: 20_000, longestWaitMs: 200 } })
  })

  afterAll(async () => {
    await removeAll(storage, '')
    await storage[Symbol.asyncDispose]()
  })

  it.each(conformanceCases.filter((experiment) => expectedProbe === 'atomic' || !needsConditions.test(experiment.name)))(
    '$name',
    { timeout: 300_000 },
    async (experiment) => {
      await experiment.run(storage, conformanceTools('conformance/', 11 * 1024 ** 2 + 7))
    },
  )

  it(`is ${expectedProbe} in creating conditionally`, async () => {
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

  it('refuses a wrong secret, saying so, also where the answer has no body', async () => {
    const wrong = s3StorageOn({ ...place, secretAccessKey: 'not-the-secret' })
    for (const call of [() => wrong.put('key', new Uint8Array(1)), () => wrong.stat('key')]) {
      expect(await outcomeOf(call())).toMatchObject({ error: { code: 'storage-denied', message: expect.stringContaining('secret access key is wrong') } })
    }
    await wrong[Symbol.asyncDispose]()
  })

  it('refuses a bucket that does not exist, also when only looking', async () => {
    const elsewhere = s3StorageOn({ ...place, bucket: 'tidemark-no-such-bucket' })
    for (const call of [() => elsewhere.put('key', new Uint8Array(1)), () => elsewhere.stat('key')]) {
      expect(await outcomeOf(call())).toMatchObject({ error: { code: 'storage-failed', message: expect.stringContaining('no such bucket') } })
    }
    await elsewhere[Symbol.asyncDispose]()
  })
})
