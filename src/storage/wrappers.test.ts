import { describe, expect, it } from 'vitest'
import { faultyStorage } from '../../test/support/faulty-storage.ts'
import type { Clock } from '../kernel/clock.ts'
import { systemClock } from '../kernel/clock.ts'
import type { Event } from '../kernel/event.ts'
import { Failure } from '../kernel/failure.ts'
import { listKeys, noise, readAll } from './conformance-tools.ts'
import { defaultDeadlineLimits, withDeadlines } from './deadline.ts'
import { memoryStorage } from './memory.ts'
import { defaultRetryPolicy, retried, waitBefore } from './retry.ts'
import { retrying } from './retrying.ts'
import type { Storage } from './storage.ts'
import { throttled } from './throttled.ts'

/** A clock on which sleeping takes no time and time passes by sleeping only. */
function sleepyClock(): Clock & { sleeps: number[] } {
  let nowMs = 0
  const sleeps: number[] = []
  return {
    ...systemClock,
    sleeps,
    monotonicMs: () => nowMs,
    async sleep(ms, signal) {
      signal?.throwIfAborted()
      sleeps.push(ms)
      nowMs += ms
      await Promise.resolve()
    },
  }
}

function patient(inner: Storage, events: Event[] = []) {
  const clock = sleepyClock()
  return { clock, storage: retrying(inner, { clock, emit: (event) => void events.push(event), policy: defaultRetryPolicy }) }
}

async function* streamOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

describe('retrying', () => {
  it('waits exponentially longer, with jitter, up to a bound', () => {
    const policy = { ...defaultRetryPolicy, firstWaitMs: 100, longestWaitMs: 1000 }
    expect([1, 2, 3, 4, 5, 9].map((number) => waitBefore(number, { ...policy, random: () => 0 }))).toEqual([50, 100, 200, 400, 500, 500])
    expect([1, 2, 3, 4, 5, 9].map((number) => waitBefore(number, { ...policy, random: () => 0.999 }))).toEqual([100, 200, 400, 800, 1000, 1000])
  })

  it('gives up within its time and says so', async () => {
    const clock = sleepyClock()
    const fail = () => Promise.reject(new Failure('storage-failed', 'no', { details: { transient: true } }))
    await expect(retried('op', { clock, emit: () => undefined, policy: defaultRetryPolicy }, fail)).rejects.toMatchObject({
      message: expect.stringMatching(/^no; gave up after \d+ attempts in \d+ s$/),
    })
    expect(clock.monotonicMs()).toBeLessThanOrEqual(defaultRetryPolicy.totalMs)
    expect(clock.monotonicMs()).toBeGreaterThan(defaultRetryPolicy.totalMs - defaultRetryPolicy.longestWaitMs)
  })

  it('never repeats what is not transient', async () => {
    const inner = faultyStorage(memoryStorage({ clock: systemClock }), { fault: { kind: 'fail' }, at: 1, code: 'storage-denied' })
    const { storage } = patient(inner)
    await expect(storage.put('key', noise(1))).rejects.toMatchObject({ code: 'storage-denied' })
    expect(inner.operations).toHaveLength(1)
  })

  it.each(['bytes', 'factory'])('repeats a put of %s and tells it', async (kind) => {
    const events: Event[] = []
    const bytes = noise(100)
    const { storage } = patient(faultyStorage(memoryStorage({ clock: systemClock }), { fault: { kind: 'cut' }, at: 1, transient: true }), events)
    await storage.put('key', kind === 'bytes' ? bytes : () => streamOf(bytes))
    expect((await readAll(storage, 'key')).equals(bytes)).toBe(true)
    expect(events).toMatchObject([{ type: 'retry', operation: 'store "key"', attempt: 1 }])
  })

  it('never repeats a put whose body can be drawn only once, for it would store the rest as the whole', async () => {
    const inner = faultyStorage(memoryStorage({ clock: systemClock }), { fault: { kind: 'cut' }, at: 1, transient: true })
    await expect(patient(inner).storage.put('key', streamOf(noise(100)))).rejects.toMatchObject({ details: { injected: true } })
    expect(inner.operations).toHaveLength(1)
  })

  it('marks an object that exists as possibly ours after a lost answer, and only then', async () => {
    const inner = memoryStorage({ clock: systemClock })
    const losing = patient(faultyStorage(inner, { fault: { kind: 'fail-after' }, at: 1, transient: true })).storage
    await expect(losing.put('key', noise(1), { ifAbsent: true })).rejects.toMatchObject({ code: 'object-exists', details: { ambiguous: true } })
    await expect(losing.put('key', noise(1), { ifAbsent: true })).rejects.toMatchObject({ code: 'object-exists', details: { key: 'key' } })
    await expect(losing.put('key', noise(1), { ifAbsent: true })).rejects.not.toMatchObject({ details: { ambiguous: true } })
  })

  it('goes on with a read after its last byte and with a listing after its last key', async () => {
    const inner = memoryStorage({ clock: systemClock })
    const bytes = noise(1001)
    for (const key of ['a', 'b', 'c']) await inner.put(key, bytes)
    const reading = faultyStorage(inner, { fault: { kind: 'cut' }, at: 1, transient: true })
    expect((await readAll(patient(reading).storage, 'a')).equals(bytes)).toBe(true)
    expect(
      (await readAll(patient(faultyStorage(inner, { fault: { kind: 'cut' }, at: 1, transient: true })).storage, 'a', { offset: 7, length: 900 })).equals(
        bytes.subarray(7, 907),
      ),
    ).toBe(true)
    expect(await listKeys(patient(faultyStorage(inner, { fault: { kind: 'cut' }, at: 1, transient: true })).storage, '')).toEqual(['a', 'b', 'c'])
  })

  it('stops waiting when it is cancelled', async () => {
    const stop = new AbortController()
    const inner = faultyStorage(memoryStorage({ clock: systemClock }), { fault: { kind: 'fail' }, at: 1, persistent: true, transient: true })
    const storage = retrying(inner, { clock: systemClock, emit: () => stop.abort(), policy: { ...defaultRetryPolicy, firstWaitMs: 60_000 } })
    await expect(storage.stat('key', { signal: stop.signal })).rejects.toMatchObject({ name: 'AbortError' })
  })
})

describe('deadlines', () => {
  const limits = { ...defaultDeadlineLimits, callMs: 40, stallMs: 40, windowMs: 60, floorBytesPerSecond: 100_000 }
  const never = () => new Promise<never>(() => undefined)

  function hanging(parts: Partial<Storage>): Storage {
    return withDeadlines({ ...memoryStorage({ clock: systemClock }), ...parts }, limits, systemClock)
  }

  const neverYields = () => ({ [Symbol.asyncIterator]: () => ({ next: never }) })

  it.each([
    ['stat', (storage: Storage) => storage.stat('key')],
    ['delete', (storage: Storage) => storage.delete('key')],
    ['put', (storage: Storage) => storage.put('key', noise(1))],
    ['read', (storage: Storage) => readAll(storage, 'key')],
    ['list', (storage: Storage) => listKeys(storage, '')],
  ] as const)('end a %s that hangs', async (_, call) => {
    const storage = hanging({ stat: never, delete: never, put: never, read: neverYields, list: neverYields })
    await expect(call(storage)).rejects.toMatchObject({ code: 'storage-failed', details: { transient: true } })
  })

  it('end a read that trickles, though it never stands still', async () => {
    const storage = hanging({
      async *read() {
        for (;;) {
          await systemClock.sleep(5)
          yield new Uint8Array(10)
        }
      },
    })
    await expect(readAll(storage, 'key')).rejects.toMatchObject({ message: expect.stringContaining('bytes per second came through') })
  })

  it('end a put that trickles', async () => {
    const storage = hanging({
      async put(_, body) {
        for await (const _chunk of body as AsyncIterable<Uint8Array>) await systemClock.sleep(5)
        throw new Error('unreachable')
      },
    })
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (;;) yield new Uint8Array(10)
    }
    await expect(storage.put('key', endless())).rejects.toMatchObject({ message: expect.stringContaining('bytes per second came through') })
  })

  it('do not blame the storage for a slow source or a slow consumer', async () => {
    const storage = withDeadlines(memoryStorage({ clock: systemClock }), limits, systemClock)
    async function* slowly(): AsyncGenerator<Uint8Array> {
      for (let turn = 0; turn < 3; turn += 1) {
        await systemClock.sleep(80)
        yield noise(70_000)
      }
    }
    await storage.put('key', slowly())
    for await (const _ of storage.read('key')) await systemClock.sleep(80)
  })
})

describe('throttled', () => {
  it('moves no more than the bandwidth, up and down, streams together', async () => {
    const clock = sleepyClock()
    const storage = throttled(memoryStorage({ clock }), 1000, clock)
    await storage.put('key', noise(10_000))
    await storage.put('stream', streamOf(noise(10_000)))
    await readAll(storage, 'key')
    const seconds = clock.monotonicMs() / 1000
    expect(seconds).toBeGreaterThanOrEqual(29)
    expect(seconds).toBeLessThan(31)
  })

  it('leaves a body that can be sent again such', async () => {
    const clock = sleepyClock()
    const inner = faultyStorage(memoryStorage({ clock }), { fault: { kind: 'cut' }, at: 1, transient: true })
    const storage = throttled(patient(inner).storage, 1e6, clock)
    const bytes = noise(10)
    await storage.put('key', () => streamOf(bytes))
    expect((await readAll(storage, 'key')).equals(bytes)).toBe(true)
  })
})
