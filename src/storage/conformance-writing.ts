import { isFailure } from '../kernel/failure.ts'
import { demand, demandBytes, demandRefusal, listKeys, noise, outcomeOf, readAll, unevenly } from './conformance-tools.ts'
import type { ConformanceCase } from './conformance-tools.ts'
import type { Storage } from './storage.ts'

/** What a `put` must do, and above all what it must not leave. */
export const writingCases: readonly ConformanceCase[] = [
  {
    name: 'keeps every byte of empty, small and odd-sized objects',
    async run(storage, { prefix }) {
      for (const size of [0, 1, 65_537]) {
        const bytes = noise(size)
        const stored = await storage.put(`${prefix}object-${size}`, bytes)
        demand(
          stored.key === `${prefix}object-${size}` && stored.sizeBytes === size,
          `put reports ${stored.sizeBytes} bytes under "${stored.key}" after storing ${size}`,
        )
        await demandBytes(storage, stored.key, bytes, `reading back ${size} bytes`)
      }
    },
  },
  {
    name: 'keeps every byte of streams of unknown length, also of those that need several parts',
    async run(storage, { prefix, bigBytes }) {
      for (const size of [3, 100_003, bigBytes]) {
        const bytes = noise(size)
        await storage.put(`${prefix}stream-${size}`, unevenly(bytes))
        await demandBytes(storage, `${prefix}stream-${size}`, bytes, `reading back a stream of ${size} bytes`)
      }
      await storage.put(`${prefix}nothing`, unevenly(new Uint8Array(0)))
      await demandBytes(storage, `${prefix}nothing`, new Uint8Array(0), 'reading back an empty stream')
    },
  },
  {
    name: 'replaces an object as a whole',
    async run(storage, { prefix }) {
      for (const bytes of [noise(5000), noise(10), noise(9000)]) {
        const before = await storage.stat(`${prefix}object`)
        const stored = await storage.put(`${prefix}object`, bytes)
        await demandBytes(storage, `${prefix}object`, bytes, 'reading a replaced object')
        demand(before?.version !== stored.version, 'the version of an object is the same after it was replaced')
      }
    },
  },
  {
    name: 'leaves an existing object alone when asked to create it',
    async run(storage, { prefix, bigBytes }) {
      const bytes = noise(100)
      await storage.put(`${prefix}object`, bytes, { ifAbsent: true })
      await demandRefusal(['object-exists'], 'creating what exists', () => storage.put(`${prefix}object`, noise(100), { ifAbsent: true }))
      await demandRefusal(['object-exists'], 'creating what exists, as a long stream', () =>
        storage.put(`${prefix}object`, unevenly(noise(bigBytes)), { ifAbsent: true }),
      )
      await demandBytes(storage, `${prefix}object`, bytes, 'reading what must not have been overwritten')
    },
  },
  {
    name: 'lets exactly one of many create an object',
    async run(storage, { prefix }) {
      for (let round = 0; round < 3; round += 1) {
        const key = `${prefix}race-${round}`
        const bodies = Array.from({ length: 16 }, (_, writer) => Buffer.from(`${writer} `.repeat(writer + 1)))
        const outcomes = await Promise.all(bodies.map((body) => outcomeOf(storage.put(key, body, { ifAbsent: true }))))
        const winners = outcomes.flatMap((outcome, writer) => (outcome.done ? [writer] : []))
        for (const outcome of outcomes) if (!outcome.done && !isFailure(outcome.error, 'object-exists')) throw outcome.error
        demand(winners.length === 1, `${winners.length} of 16 writers were told that they had created the same object`)
        await demandBytes(storage, key, bodies[winners[0] ?? 0] ?? noise(1), 'reading what the winner wrote')
      }
    },
  },
  {
    name: 'shows nothing of an upload while it runs',
    async run(storage, { prefix, bigBytes }) {
      const old = noise(77)
      const fresh = noise(bigBytes)
      await storage.put(`${prefix}old`, old)
      for (const key of [`${prefix}new`, `${prefix}old`]) {
        await storage.put(key, lookingWhile(storage, { prefix, key, bytes: fresh, old: key.endsWith('old') ? old : undefined }))
        await demandBytes(storage, key, fresh, 'reading the finished upload')
      }
    },
  },
  {
    name: 'stores nothing, and keeps what was there, when the source fails',
    async run(storage, { prefix, bigBytes }) {
      const old = noise(50)
      await storage.put(`${prefix}old`, old)
      for (const key of [`${prefix}old`, `${prefix}new`]) {
        for (const size of [10, bigBytes]) {
          const reason = new Error('the source broke')
          const outcome = await outcomeOf(storage.put(key, failing(noise(size), reason)))
          demand(!outcome.done, 'a put succeeded although its source failed')
          demand(outcome.error === reason, 'a put whose source failed does not reject with the error of the source')
        }
      }
      await demandBytes(storage, `${prefix}old`, old, 'reading what a failed put must not have touched')
      await demandOnly(storage, prefix, ['old'])
    },
  },
  {
    name: 'stores nothing, and keeps what was there, when it is cancelled',
    async run(storage, { prefix, bigBytes }) {
      const old = noise(50)
      await storage.put(`${prefix}old`, old)
      for (const key of [`${prefix}old`, `${prefix}new`]) {
        const stop = new AbortController()
        const outcome = await outcomeOf(storage.put(key, abortingAtEnd(noise(bigBytes), stop), { signal: stop.signal }))
        demand(!outcome.done, 'a put succeeded although it was cancelled before its end')
      }
      await demandBytes(storage, `${prefix}old`, old, 'reading what a cancelled put must not have touched')
      await demandOnly(storage, prefix, ['old'])
    },
  },
  {
    name: 'stores nothing when the source is shorter or longer than it promised',
    async run(storage, { prefix, bigBytes }) {
      for (const size of [100, bigBytes]) {
        for (const promised of [size - 1, size + 1]) {
          await demandRefusal(['storage-failed'], `a source of ${size} bytes that promised ${promised}`, () =>
            storage.put(`${prefix}object`, unevenly(noise(size)), { sizeBytes: promised }),
          )
        }
      }
      await demandOnly(storage, prefix, [])
      await storage.put(`${prefix}exact`, unevenly(noise(100)), { sizeBytes: 100 })
    },
  },
  {
    name: 'ends with one whole object when many replace it at once',
    async run(storage, { prefix }) {
      const bodies = Array.from({ length: 8 }, (_, writer) => Buffer.alloc(20_000 + writer, writer))
      await Promise.all(bodies.map((body) => storage.put(`${prefix}object`, body)))
      const found = await readAll(storage, `${prefix}object`)
      demand(
        bodies.some((body) => body.equals(found)),
        'after concurrent puts the object is none of those that were written',
      )
    },
  },
  {
    name: 'copies whole objects and leaves the source',
    async run(storage, { prefix, bigBytes }) {
      for (const size of [0, 1000, bigBytes]) {
        const bytes = noise(size)
        await storage.put(`${prefix}from`, bytes)
        await storage.put(`${prefix}to`, noise(10))
        const copied = await storage.copy(`${prefix}from`, `${prefix}to`)
        demand(copied.key === `${prefix}to` && copied.sizeBytes === size, 'copy reports another object than it made')
        await demandBytes(storage, `${prefix}to`, bytes, 'reading the copy')
        await demandBytes(storage, `${prefix}from`, bytes, 'reading the source of a copy')
      }
      await demandRefusal(['object-missing'], 'copying what is not there', () => storage.copy(`${prefix}absent`, `${prefix}to`))
    },
  },
  {
    name: 'removes objects, and is content when there is nothing to remove',
    async run(storage, { prefix }) {
      await storage.put(`${prefix}object`, noise(10))
      await storage.put(`${prefix}object-kept`, noise(10))
      await storage.delete(`${prefix}object`)
      await storage.delete(`${prefix}object`)
      await storage.delete(`${prefix}never/was`)
      demand((await storage.stat(`${prefix}object`)) === undefined, 'a removed object is still there')
      await demandOnly(storage, prefix, ['object-kept'])
      await storage.put(`${prefix}object`, noise(5), { ifAbsent: true })
    },
  },
]

/** Looks at the storage after half of the bytes went in: neither the key nor anything else may have appeared. */
async function* lookingWhile(
  storage: Storage,
  upload: { prefix: string; key: string; bytes: Uint8Array; old: Uint8Array | undefined },
): AsyncGenerator<Uint8Array> {
  const { prefix, key, bytes, old } = upload
  const before = await listKeys(storage, prefix)
  yield* unevenly(bytes.subarray(0, bytes.length >> 1))
  yield* unevenly(bytes.subarray(bytes.length >> 1, bytes.length - 1))
  const stat = await storage.stat(key)
  demand(stat?.sizeBytes === old?.length, 'an object changes its size while its upload is running')
  if (old === undefined) await demandRefusal(['object-missing'], 'reading an object while its upload is running', () => readAll(storage, key))
  else await demandBytes(storage, key, old, 'reading an object while its replacement is running')
  demand((await listKeys(storage, prefix)).join('\n') === before.join('\n'), 'a listing shows an upload while it is running')
  yield bytes.subarray(bytes.length - 1)
}

async function* failing(bytes: Uint8Array, reason: Error): AsyncGenerator<Uint8Array> {
  yield* unevenly(bytes)
  throw reason
}

async function* abortingAtEnd(bytes: Uint8Array, stop: AbortController): AsyncGenerator<Uint8Array> {
  yield* unevenly(bytes)
  stop.abort()
}

async function demandOnly(storage: Storage, prefix: string, expected: readonly string[]): Promise<void> {
  const found = await listKeys(storage, prefix)
  demand(found.join('\n') === expected.join('\n'), `the storage shows ${JSON.stringify(found)} where ${JSON.stringify(expected)} should be`)
}
