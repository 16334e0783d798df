import { describe, expect, it } from 'vitest'
import type { Event } from '../../src/kernel/event.ts'
import { isFailure } from '../../src/kernel/failure.ts'
import { systemClock } from '../../src/kernel/clock.ts'
import { Secret } from '../../src/kernel/secret.ts'
import { listKeys, noise, outcomeOf, readAll } from '../../src/storage/conformance-tools.ts'
import { probeConditionalCreate } from '../../src/storage/probe.ts'
import { retrying } from '../../src/storage/retrying.ts'
import type { S3Options } from '../../src/storage/s3-session.ts'
import type { Storage } from '../../src/storage/storage.ts'
import { startFakeS3 } from '../support/fake-s3.ts'
import type { FakeS3 } from '../support/fake-s3.ts'
import type { FakeS3Abilities } from '../support/fake-s3-state.ts'
import { patience, s3StorageOn } from '../support/s3-storage.ts'

const partBytes = 64 * 1024
const object = 'some/prefix/key'

interface Bench extends AsyncDisposable {
  readonly fake: FakeS3
  /** The driver alone. */
  readonly driver: Storage
  /** The driver as `openStorage` wraps it. */
  readonly storage: Storage
  readonly events: Event[]
}

async function bench(abilities: Partial<FakeS3Abilities> = {}, overrides: Partial<S3Options> = {}): Promise<Bench> {
  const fake = await startFakeS3({ minPartBytes: 1024, ...abilities })
  const events: Event[] = []
  const emit = (event: Event) => void events.push(event)
  const driver = s3StorageOn(fake, { partBytes, ...overrides }, emit)
  return {
    fake,
    driver,
    events,
    storage: retrying(driver, { clock: systemClock, emit, policy: overrides.retry ?? patience }),
    async [Symbol.asyncDispose]() {
      await driver[Symbol.asyncDispose]()
      await fake[Symbol.asyncDispose]()
    },
  }
}

async function* streamOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

const impatient = { ...patience, totalMs: 20 }

describe('storing in S3 while it fails', () => {
  it.each([
    { kind: 'error', status: 500, code: 'InternalError' },
    { kind: 'error', status: 503, code: 'SlowDown' },
    { kind: 'error', status: 400, code: 'RequestTimeout' },
    { kind: 'reset' },
    { kind: 'lose-answer' },
  ] as const)('repeats each request of an upload in parts after $kind $code', async (fault) => {
    const bytes = noise(5 * partBytes + 3)
    for (const operation of ['CreateMultipartUpload', 'UploadPart', 'CompleteMultipartUpload', 'HeadObject']) {
      await using b = await bench()
      b.fake.fault({ operation, times: 2, fault })
      await b.driver.put('key', streamOf(bytes))
      expect((await readAll(b.driver, 'key')).equals(bytes)).toBe(true)
      expect(b.events.some((event) => event.type === 'retry')).toBe(true)
    }
  })

  it('repeats a small put although its body was a stream that can be drawn once', async () => {
    await using b = await bench()
    b.fake.fault({ operation: 'PutObject', times: 3, fault: { kind: 'reset' } })
    await b.driver.put('key', streamOf(noise(100)))
    expect(b.fake.objects.get(object)?.bytes.length).toBe(100)
  })

  it('gives up in bounded time, says how often it tried, and leaves no upload behind', async () => {
    await using b = await bench({}, { retry: impatient })
    b.fake.fault({ operation: 'UploadPart', times: 1e6, fault: { kind: 'error', status: 503, code: 'SlowDown' } })
    await expect(b.driver.put('key', streamOf(noise(4 * partBytes)))).rejects.toMatchObject({
      code: 'storage-failed',
      message: expect.stringMatching(/slow down.*gave up after \d+ attempts/),
    })
    expect(b.fake.uploads.size).toBe(0)
    expect(b.fake.objects.size).toBe(0)
  })

  it('does not wait for a slow source when a part has failed for good', async () => {
    await using b = await bench({}, { retry: impatient })
    b.fake.fault({ operation: 'UploadPart', times: 1e6, fault: { kind: 'error', status: 403, code: 'AccessDenied' } })
    const never = Promise.withResolvers<void>()
    async function* hanging(): AsyncGenerator<Uint8Array> {
      yield noise(3 * partBytes)
      await never.promise
    }
    await expect(b.driver.put('key', hanging())).rejects.toMatchObject({ code: 'storage-denied' })
  })

  it.each(['', '\n', ' '.repeat(40)])('takes 200 OK with an error in its body for a failure (tail %j)', async (tail) => {
    await using b = await bench({}, { retry: impatient })
    b.fake.fault({ operation: 'CompleteMultipartUpload', times: 1e6, fault: { kind: 'error-in-200', tail } })
    await expect(b.driver.put('key', streamOf(noise(3 * partBytes)))).rejects.toMatchObject({ code: 'storage-failed' })
    expect(b.fake.objects.size).toBe(0)
    expect(b.fake.uploads.size).toBe(0)
  })

  it('completes after 200 OK with an error, when asked again', async () => {
    await using b = await bench()
    b.fake.fault({ operation: 'CompleteMultipartUpload', times: 2, fault: { kind: 'error-in-200', tail: '\n' } })
    await b.driver.put('key', streamOf(noise(3 * partBytes)))
    expect(b.fake.objects.size).toBe(1)
  })

  it.each(['PutObject', 'CompleteMultipartUpload'])('finds out that %s was answered well and nothing was stored', async (operation) => {
    await using b = await bench()
    b.fake.fault({ operation, fault: { kind: 'lie' } })
    await expect(b.driver.put('key', streamOf(noise(operation === 'PutObject' ? 10 : 3 * partBytes)))).rejects.toMatchObject({
      message: expect.stringContaining('the object is not there'),
    })
  })

  it.each(['PutObject', 'UploadPart'])('finds out that %s kept half of the bytes', async (operation) => {
    await using b = await bench({ checksums: 'ignored' })
    b.fake.fault({ operation, fault: { kind: 'store-half' } })
    const outcome = await outcomeOf(b.driver.put('key', streamOf(noise(operation === 'PutObject' ? 1000 : 3 * partBytes))))
    expect(outcome).toMatchObject({ done: false, error: { code: 'storage-failed' } })
  })

  it('gives up on a store that hangs, within the deadline of the request', async () => {
    await using b = await bench({}, { retry: impatient, requestSeconds: 0.05, floorBytesPerSecond: 1e9 })
    b.fake.fault({ operation: 'PutObject', times: 1e6, fault: { kind: 'hang' } })
    await expect(b.driver.put('key', noise(10))).rejects.toMatchObject({ code: 'storage-failed', message: expect.stringContaining('did not answer within') })
  })

  it('ends the upload when it is cancelled', async () => {
    await using b = await bench()
    const stop = new AbortController()
    async function* cancelling(): AsyncGenerator<Uint8Array> {
      yield noise(3 * partBytes)
      stop.abort(new Error('enough'))
      yield noise(3 * partBytes)
    }
    await expect(b.driver.put('key', cancelling(), { signal: stop.signal })).rejects.toThrow('enough')
    expect(b.fake.uploads.size).toBe(0)
  })

  it('says so when an upload cannot be ended, and sweeps it later', async () => {
    await using b = await bench()
    b.fake.fault({ operation: 'AbortMultipartUpload', fault: { kind: 'error', status: 500, code: 'InternalError' } })
    async function* failing(): AsyncGenerator<Uint8Array> {
      yield noise(3 * partBytes)
      throw new Error('the source broke')
    }
    await expect(b.driver.put('key', failing())).rejects.toThrow('the source broke')
    expect(b.events).toContainEqual(expect.objectContaining({ type: 'warning', code: 'upload-left' }))
    expect(b.fake.uploads.size).toBe(1)
    expect(await b.driver.abortStaleUploads?.(24 * 3600_000)).toBe(0)
    b.fake.abilities.clockOffsetMs = 10 * 60_000
    expect(await b.driver.abortStaleUploads?.(5 * 60_000)).toBe(1)
    expect(b.fake.uploads.size).toBe(0)
  })

  it.each(['refused', 'ignored'] as const)('works with a store by which checksums are %s', async (checksums) => {
    await using b = await bench({ checksums })
    const bytes = noise(3 * partBytes + 1)
    await b.driver.put('key', streamOf(bytes))
    await b.driver.put('small', noise(10))
    expect((await readAll(b.driver, 'key')).equals(bytes)).toBe(true)
  })

  it('has bounded memory: it draws the source only a few parts ahead of the wire', async () => {
    await using b = await bench()
    b.fake.fault({ operation: 'UploadPart', times: 1, fault: { kind: 'slow', ms: 200 } })
    b.fake.fault({ operation: 'UploadPart', times: 1e6, fault: { kind: 'slow', ms: 200 } })
    let drawn = 0
    const stop = new AbortController()
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (;;) {
        drawn += 1
        if (b.fake.requests.filter((line) => line.startsWith('UploadPart')).length >= 3) stop.abort()
        yield noise(partBytes)
      }
    }
    await expect(b.driver.put('key', endless(), { signal: stop.signal })).rejects.toThrow()
    expect(drawn).toBeLessThan(9)
  })
})

describe('creating conditionally in S3', () => {
  it.each([10, 3 * partBytes])('recognises its own object of %d bytes when the answer was lost', async (size) => {
    await using b = await bench()
    b.fake.fault({ operation: size > partBytes ? 'CompleteMultipartUpload' : 'PutObject', fault: { kind: 'lose-answer' } })
    await b.driver.put('key', noise(size), { ifAbsent: true })
    await expect(b.driver.put('key', noise(size), { ifAbsent: true })).rejects.toMatchObject({ code: 'object-exists' })
  })

  it('does not take the object of another for its own when its own request failed', async () => {
    await using b = await bench()
    const other = s3StorageOn(b.fake)
    b.fake.fault({ operation: 'PutObject', fault: { kind: 'reset' } })
    const mine = b.driver.put('key', Buffer.from('mine'), { ifAbsent: true })
    await other.put('key', Buffer.from('other'))
    const outcome = await outcomeOf(mine)
    if (!outcome.done) expect(isFailure(outcome.error, 'object-exists')).toBe(true)
    expect((await readAll(b.driver, 'key')).toString()).toBe(outcome.done ? 'mine' : 'other')
    await other[Symbol.asyncDispose]()
  })

  it('repeats a put that met another conditional write (409)', async () => {
    await using b = await bench()
    b.fake.fault({ operation: 'PutObject', times: 2, fault: { kind: 'error', status: 409, code: 'ConditionalRequestConflict' } })
    await b.driver.put('key', noise(10), { ifAbsent: true })
    b.fake.fault({ operation: 'CompleteMultipartUpload', times: 1, fault: { kind: 'error', status: 409, code: 'ConditionalRequestConflict' } })
    await b.driver.put('big', noise(3 * partBytes), { ifAbsent: true })
  })

  it('does not overwrite with a big object where CompleteMultipartUpload ignores the condition', async () => {
    await using b = await bench({ conditionalComplete: 'ignored' })
    const other = s3StorageOn(b.fake)
    async function* overtaken(): AsyncGenerator<Uint8Array> {
      yield noise(3 * partBytes)
      await other.put('key', Buffer.from('other'))
      yield noise(partBytes)
    }
    await expect(b.driver.put('key', overtaken(), { ifAbsent: true })).rejects.toMatchObject({ code: 'object-exists' })
    expect(b.fake.objects.get(object)?.bytes.toString()).toBe('other')
    expect(b.fake.uploads.size).toBe(0)
    await other[Symbol.asyncDispose]()
  })

  it.each([
    ['atomic', 'atomic'],
    ['racy', 'racy'],
    ['ignored', 'unsupported'],
    ['unsupported', 'unsupported'],
  ] as const)('finds by trying that a store whose condition is %s is %s', async (conditionalPut, expected) => {
    await using b = await bench({ conditionalPut })
    expect(await probeConditionalCreate(b.storage, 'probe/')).toBe(expected)
    expect(b.fake.objects.size).toBe(0)
  })
})

describe('reading from S3 while it fails', () => {
  it.each([{ kind: 'cut-body' }, { kind: 'cut-body', gracefully: true }, { kind: 'reset' }, { kind: 'error', status: 503, code: 'SlowDown' }] as const)(
    'goes on where $kind broke off',
    async (fault) => {
      await using b = await bench()
      const bytes = noise(300_000)
      await b.storage.put('key', bytes)
      b.fake.fault({ operation: 'GetObject', times: 3, fault })
      expect((await readAll(b.storage, 'key')).equals(bytes)).toBe(true)
      b.fake.fault({ operation: 'GetObject', times: 2, fault })
      expect((await readAll(b.storage, 'key', { offset: 1000, length: 200_000 })).equals(bytes.subarray(1000, 201_000))).toBe(true)
    },
  )

  it.each([false, true])('never ends a broken read as if it were complete (gracefully closed: %s)', async (gracefully) => {
    await using b = await bench()
    await b.driver.put('key', noise(300_000))
    b.fake.fault({ operation: 'GetObject', fault: { kind: 'cut-body', gracefully } })
    await expect(readAll(b.driver, 'key')).rejects.toMatchObject({ code: 'storage-failed', details: { transient: true } })
  })

  it('refuses to go on in an object that was replaced after the break', async () => {
    await using b = await bench()
    await b.storage.put('key', Buffer.alloc(300_000, 'a'))
    b.fake.fault({ operation: 'GetObject', fault: { kind: 'cut-body' } })
    let first = true
    await expect(
      (async () => {
        for await (const _ of b.storage.read('key')) {
          if (first) await b.driver.put('key', Buffer.alloc(300_000, 'b'))
          first = false
        }
      })(),
    ).rejects.toMatchObject({ code: 'storage-failed', message: expect.stringContaining('replaced while being read') })
  })

  it('refuses a range that is shorter than asked for', async () => {
    await using b = await bench()
    await b.driver.put('key', noise(1000))
    b.fake.fault({ operation: 'GetObject', times: 2, fault: { kind: 'shorten-range' } })
    await expect(readAll(b.driver, 'key', { offset: 10, length: 100 })).rejects.toMatchObject({ code: 'storage-failed' })
    await expect(readAll(b.driver, 'key', { offset: 10 })).rejects.toMatchObject({ code: 'storage-failed' })
  })

  it('shows a listing that breaks between pages as an error, or goes on, but never ends it early', async () => {
    await using b = await bench({ pageSize: 3 })
    for (let number = 0; number < 10; number += 1) await b.driver.put(`key-${number}`, noise(1))
    b.fake.fault({ operation: 'ListObjectsV2', after: 2, times: 1, fault: { kind: 'reset' } })
    await expect(listKeys(b.driver, '')).rejects.toMatchObject({ code: 'storage-failed' })
    b.fake.fault({ operation: 'ListObjectsV2', after: 2, times: 2, fault: { kind: 'reset' } })
    expect(await listKeys(b.storage, '')).toHaveLength(10)
  })

  it('hides what lies in the bucket under names that are no keys', async () => {
    await using b = await bench()
    await b.driver.put('a', noise(1))
    const foreign = b.fake.objects.get('some/prefix/a')
    if (foreign === undefined) throw new Error('the object is not there')
    for (const key of ['some/prefix/folder/', 'some/prefix//x', 'some/prefix/../y', 'some/prefixed', 'other']) b.fake.objects.set(key, foreign)
    expect(await listKeys(b.driver, '')).toEqual(['a'])
  })
})

describe('what S3 refuses is said plainly', () => {
  it.each([
    { status: 403, code: 'AccessDenied', expected: { code: 'storage-denied', message: expect.stringContaining('access denied') } },
    { status: 403, code: 'SignatureDoesNotMatch', expected: { code: 'storage-denied', message: expect.stringContaining('secret access key is wrong') } },
    { status: 507, code: 'XMinioStorageFull', expected: { code: 'storage-full' } },
    { status: 403, code: 'QuotaExceeded', expected: { code: 'storage-full' } },
    { status: 403, code: 'constructor', expected: { code: 'storage-denied' } },
    { status: 403, code: '__proto__', expected: { code: 'storage-denied' } },
  ])('$code', async ({ status, code, expected }) => {
    await using b = await bench()
    b.fake.fault({ operation: 'PutObject', times: 1e6, fault: { kind: 'error', status, code } })
    await expect(b.storage.put('key', noise(10))).rejects.toMatchObject(expected)
  })

  it('a wrong region, with the right one', async () => {
    await using b = await bench({ region: 'eu-central-1' })
    await expect(b.storage.put('key', noise(10))).rejects.toMatchObject({
      message: expect.stringContaining('wrong region'),
      hints: expect.arrayContaining(['the store names the region eu-central-1']),
    })
  })

  it.each(['put', 'stat', 'read', 'list'] as const)('a missing bucket, found by %s', async (operation) => {
    await using b = await bench()
    const storage = s3StorageOn({ ...b.fake, bucket: 'no-such-bucket' })
    const calls = {
      put: () => storage.put('key', noise(1)),
      stat: () => storage.stat('key'),
      read: () => readAll(storage, 'key'),
      list: () => listKeys(storage, ''),
    }
    await expect(calls[operation]()).rejects.toMatchObject({ code: 'storage-failed', message: expect.stringContaining('no such bucket') })
    await storage[Symbol.asyncDispose]()
  })

  it('an unknown access key, without repeating any credential anywhere', async () => {
    await using b = await bench()
    const storage = s3StorageOn({ ...b.fake, accessKeyId: 'CANARYKEY', secretAccessKey: 'canary-secret' })
    const outcome = await outcomeOf(storage.stat('key'))
    const written = await outcomeOf(storage.put('key', noise(10)))
    expect(written).toMatchObject({ error: { code: 'storage-denied', message: expect.stringContaining('does not know this access key') } })
    const { inspect } = await import('node:util')
    for (const shown of [outcome, written]) {
      expect(inspect(shown, { depth: 20, showHidden: true })).not.toMatch(/canary-secret|CANARYKEY/)
      expect(JSON.stringify(shown)).not.toMatch(/canary-secret|CANARYKEY/)
    }
    await storage[Symbol.asyncDispose]()
  })

  it('an expired token that cannot be renewed', async () => {
    const credentials = { accessKeyId: new Secret('FAKEKEY'), secretAccessKey: new Secret('x'), sessionToken: new Secret('old') }
    await using b = await bench({ expiredTokens: new Set(['old']) }, { credentials })
    await expect(b.storage.put('key', noise(1))).rejects.toMatchObject({ code: 'storage-denied', message: expect.stringContaining('expired') })
  })

  it('a clock that is an hour off, and works with the time of the store', async () => {
    await using b = await bench({ clockOffsetMs: 3600_000 })
    await b.storage.put('key', noise(1))
    expect(b.events.filter((event) => event.type === 'warning' && event.code === 'clock-skew')).toHaveLength(1)
  })

  it('an object that a lock retains, with the date', async () => {
    await using b = await bench({ retainUntil: '2030-01-01T00:00:00.000Z' })
    await b.storage.put('key', noise(1))
    await expect(b.storage.delete('key')).rejects.toMatchObject({
      code: 'storage-denied',
      details: { retainedUntil: '2030-01-01T00:00:00.000Z' },
      message: expect.stringContaining('retained by an object lock until'),
    })
    b.fake.abilities.retainUntil = undefined
    b.fake.abilities.deleteDenied = true
    await expect(b.storage.delete('key')).rejects.toMatchObject({ code: 'storage-denied' })
  })

  it('an endpoint where nobody listens', async () => {
    const storage = s3StorageOn({ endpoint: 'http://127.0.0.1:1', bucket: 'b', accessKeyId: 'a', secretAccessKey: 's' }, { retry: impatient })
    await expect(storage.put('key', noise(1))).rejects.toMatchObject({ code: 'storage-failed', message: expect.stringContaining('refuses connections') })
    await storage[Symbol.asyncDispose]()
  })
})
