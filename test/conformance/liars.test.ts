import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { systemClock } from '../../src/kernel/clock.ts'
import { Failure } from '../../src/kernel/failure.ts'
import { chunksOf } from '../../src/storage/body.ts'
import { listAll } from '../../src/storage/conformance-tools.ts'
import { runConformance } from '../../src/storage/conformance.ts'
import { memoryStorage } from '../../src/storage/memory.ts'
import { probeConditionalCreate } from '../../src/storage/probe.ts'
import type { PutOptions, Storage } from '../../src/storage/storage.ts'
import { faultyStorage, WorldStopped } from '../support/faulty-storage.ts'

// Storages that break one promise each. A suite that does not notice them says nothing about the honest ones.
const liars: readonly { name: string; lie: (honest: Storage) => Partial<Storage>; caughtBy: string | RegExp }[] = [
  {
    name: 'shows an object while it is written',
    lie: (honest) => ({
      async put(key, body, options) {
        if (body instanceof Uint8Array) return honest.put(key, body, options)
        let written = Buffer.alloc(0)
        for await (const chunk of chunksOf(body)) {
          written = Buffer.concat([written, chunk])
          if (options?.ifAbsent !== true) await honest.put(key, written)
        }
        return honest.put(key, written, options)
      },
    }),
    caughtBy: 'shows nothing of an upload while it runs',
  },
  {
    name: 'keeps the beginning of an upload that failed',
    lie: (honest) => ({
      async put(key, body, options) {
        const chunks: Uint8Array[] = []
        try {
          for await (const chunk of chunksOf(body)) chunks.push(chunk)
        } catch (error) {
          await honest.put(key, Buffer.concat(chunks))
          throw error
        }
        return honest.put(key, Buffer.concat(chunks), options)
      },
    }),
    caughtBy: /when the source fails/,
  },
  {
    name: 'takes the failure of a source for its end',
    lie: (honest) => ({
      async put(key, body, options) {
        const chunks: Uint8Array[] = []
        try {
          for await (const chunk of chunksOf(body)) chunks.push(chunk)
        } catch {
          // This is the lie.
        }
        return honest.put(key, Buffer.concat(chunks), options)
      },
    }),
    caughtBy: /when the source fails/,
  },
  {
    name: 'finishes what was cancelled',
    lie: (honest) => ({ put: (key, body, options) => honest.put(key, body, without(options, 'signal')) }),
    caughtBy: /when it is cancelled/,
  },
  {
    name: 'does not count',
    lie: (honest) => ({ put: (key, body, options) => honest.put(key, body, without(options, 'sizeBytes')) }),
    caughtBy: /shorter or longer than it promised/,
  },
  {
    name: 'ends long reads early without a word',
    lie: (honest) => ({
      async *read(key, options) {
        let left = 100_000
        for await (const chunk of honest.read(key, options)) {
          yield chunk.subarray(0, left)
          left -= chunk.length
          if (left <= 0) return
        }
      },
    }),
    caughtBy: /keeps every byte of streams/,
  },
  {
    name: 'reads one byte less of a range',
    lie: (honest) => ({
      read: (key, options = {}) => honest.read(key, options.length === undefined || options.length < 2 ? options : { ...options, length: options.length - 1 }),
    }),
    caughtBy: 'reads exactly the range that was asked for',
  },
  {
    name: 'gives what there is beyond the end',
    lie: (honest) => ({
      async *read(key, options = {}) {
        const size = (await honest.stat(key))?.sizeBytes ?? 0
        const offset = Math.min(options.offset ?? 0, size)
        yield* honest.read(key, { ...options, offset, ...(options.length === undefined ? {} : { length: Math.min(options.length, size - offset) }) })
      },
    }),
    caughtBy: 'refuses to read beyond the end',
  },
  {
    name: 'changes one bit of long objects',
    lie: (honest) => ({
      async *read(key, options) {
        for await (const chunk of honest.read(key, options)) {
          const changed = Uint8Array.from(chunk)
          if (changed.length > 1000) changed[999] = (changed[999] ?? 0) ^ 1
          yield changed
        }
      },
    }),
    caughtBy: /keeps every byte/,
  },
  {
    name: 'reads an absent object as an empty one',
    lie: (honest) => ({
      async *read(key, options) {
        if ((await honest.stat(key)) !== undefined || (await honest.readAlias?.(key)) !== undefined) yield* honest.read(key, options)
      },
    }),
    caughtBy: 'says that an object is missing',
  },
  {
    name: 'mixes two versions in one read',
    lie: (honest) => ({
      async *read(key, options = {}) {
        const size = (await honest.stat(key))?.sizeBytes
        if (size === undefined || options.offset !== undefined || size < 1_000_000) return yield* honest.read(key, options)
        for (let offset = 0; offset < size; offset += 500_000) yield* honest.read(key, { ...options, offset, length: Math.min(500_000, size - offset) })
      },
    }),
    caughtBy: 'never mixes two versions of an object in one read',
  },
  {
    name: 'ends listings early',
    lie: (honest) => ({
      async *list(prefix, options) {
        let left = 30
        for await (const object of honest.list(prefix, options)) {
          if (left === 0) return
          left -= 1
          yield object
        }
      },
    }),
    caughtBy: 'lists every object of a few dozen',
  },
  {
    name: 'lists one page of a thousand only',
    lie: (honest) => ({
      async *list(prefix, options) {
        let left = 1000
        for await (const object of honest.list(prefix, options)) {
          if (left === 0) return
          left -= 1
          yield object
        }
      },
    }),
    caughtBy: /paging/,
  },
  {
    name: 'sorts like JavaScript',
    lie: (honest) => ({
      async *list(prefix) {
        const objects = [...(await listAll(honest, prefix))]
        yield* objects.sort((left, right) => (left.key < right.key ? -1 : 1))
      },
    }),
    caughtBy: 'lists in ascending order of bytes what begins with the prefix',
  },
  {
    name: 'lists what was a moment ago',
    lie: (honest) => {
      let stale: { key: string; sizeBytes: number; modifiedAt: Temporal.Instant; version: string }[] = []
      return {
        async *list(prefix) {
          const seen = stale
          stale = [...(await listAll(honest, ''))]
          yield* seen.filter((object) => object.key.startsWith(prefix))
        },
      }
    },
    caughtBy: 'shows at once what was stored and removed',
  },
  {
    name: 'looks before it creates, and then creates anyway',
    lie: (honest) => ({
      async put(key, body, { ifAbsent, ...options } = {}) {
        if (ifAbsent === true && (await honest.stat(key)) !== undefined) throw new Failure('object-exists', 'it exists')
        await nextTurn()
        return honest.put(key, body, options)
      },
    }),
    caughtBy: 'lets exactly one of many create an object',
  },
  {
    name: 'overwrites what it should have created',
    lie: (honest) => ({ put: (key, body, options) => honest.put(key, body, without(options, 'ifAbsent')) }),
    caughtBy: 'leaves an existing object alone when asked to create it',
  },
  { name: 'removes nothing', lie: () => ({ delete: async () => undefined }), caughtBy: /removes objects/ },
  {
    name: 'moves instead of copying',
    lie: (honest) => ({
      async copy(from, to, options) {
        const copied = await honest.copy(from, to, options)
        await honest.delete(from)
        return copied
      },
    }),
    caughtBy: 'copies whole objects and leaves the source',
  },
  {
    name: 'decodes names',
    lie: (honest) => ({ put: (key, body, options) => honest.put(key.replaceAll('+', ' '), body, options) }),
    caughtBy: 'keeps awkward names exactly',
  },
  {
    name: 'lets names climb out',
    lie: (honest) => ({ put: (key, body, options) => honest.put(key.includes('..') ? 'escaped' : key, body, options) }),
    caughtBy: 'refuses names that could escape or deceive',
  },
  {
    name: 'has versions that do not change',
    lie: (honest) => ({
      async put(key, body, options) {
        return { ...(await honest.put(key, body, options)), version: 'one' }
      },
    }),
    caughtBy: /tells the same facts|replaces an object as a whole/,
  },
]

function without(options: PutOptions = {}, name: keyof PutOptions): PutOptions {
  return Object.fromEntries(Object.entries(options).filter(([key]) => key !== name))
}

function liar(lie: (honest: Storage) => Partial<Storage>): Storage {
  const honest = memoryStorage({ clock: systemClock })
  return { ...honest, ...lie(honest) }
}

describe('the conformance suite', () => {
  it('finds nothing wrong with an honest storage and leaves it empty', async () => {
    const storage = memoryStorage({ clock: systemClock })
    const results = await runConformance(storage, { clock: systemClock, prefix: 'test/', slow: true, bigBytes: 200_003 })
    expect(results.filter((result) => result.problem !== undefined)).toEqual([])
    expect(await listAll(storage, '')).toEqual([])
  })

  it.each(liars)('catches a storage that $name', async ({ lie, caughtBy }) => {
    const results = await runConformance(liar(lie), { clock: systemClock, prefix: 'test/', slow: true, bigBytes: 200_003 })
    const broken = results.flatMap((result) => (result.problem === undefined ? [] : [result.name]))
    expect(broken).toContainEqual(typeof caughtBy === 'string' ? caughtBy : expect.stringMatching(caughtBy))
  })
})

describe('the probe for conditional creation', () => {
  const answers = [
    ['looks before it creates, and then creates anyway', 'racy'],
    ['overwrites what it should have created', 'unsupported'],
  ] as const

  it.each(answers)('finds that a storage which %s is %s', async (name, expected) => {
    const found = liars.find((entry) => entry.name === name)
    if (found === undefined) throw new Error('no such liar')
    expect(await probeConditionalCreate(liar(found.lie), 'probe/')).toBe(expected)
  })

  it('throws, rather than judging, when the storage does not answer', async () => {
    const storage = faultyStorage(memoryStorage({ clock: systemClock }), { fault: { kind: 'fail' }, at: 3, operation: 'put' })
    await expect(probeConditionalCreate(storage, 'probe/')).rejects.toMatchObject({ code: 'storage-failed', details: { injected: true } })
  })

  it('removes what it wrote even when it fails', async () => {
    const inner = memoryStorage({ clock: systemClock })
    await expect(probeConditionalCreate(faultyStorage(inner, { fault: { kind: 'fail' }, at: 5, operation: 'put' }), 'probe/')).rejects.toThrow()
    expect(await listAll(inner, '')).toEqual([])
  })
})

describe('the faulty storage of the crash sweeps', () => {
  it('refuses everything after the world has stopped and lets no put under way finish', async () => {
    const inner = memoryStorage({ clock: systemClock })
    const storage = faultyStorage(inner, { fault: { kind: 'stop' }, at: 2, operation: 'put' })
    const gate = Promise.withResolvers<void>()
    const slow = storage.put('slow', async function* () {
      yield Buffer.from('half')
      await gate.promise
    })
    await expect(storage.put('second', Buffer.from('x'))).rejects.toBeInstanceOf(WorldStopped)
    gate.resolve()
    await expect(slow).rejects.toBeInstanceOf(WorldStopped)
    await expect(storage.stat('slow')).rejects.toBeInstanceOf(WorldStopped)
    expect(await listAll(inner, '')).toEqual([])
  })

  it('can lose the answer of a put that happened', async () => {
    const inner = memoryStorage({ clock: systemClock })
    const storage = faultyStorage(inner, { fault: { kind: 'fail-after' }, at: 1 })
    await expect(storage.put('key', Buffer.from('x'))).rejects.toMatchObject({ details: { ambiguous: true } })
    expect(await inner.stat('key')).toBeDefined()
    await storage.put('other', Buffer.from('y'))
    expect(storage.operations.map((operation) => operation.name)).toEqual(['put', 'put'])
  })

  it('breaks reads and puts in their middle', async () => {
    const inner = memoryStorage({ clock: systemClock })
    await inner.put('key', Buffer.from('0123456789'))
    const reading = faultyStorage(inner, { fault: { kind: 'cut' }, at: 1 })
    const seen: Uint8Array[] = []
    await expect(
      (async () => {
        for await (const chunk of reading.read('key')) seen.push(chunk)
      })(),
    ).rejects.toMatchObject({ code: 'storage-failed' })
    expect(Buffer.concat(seen).toString()).toBe('01234')
    await expect(faultyStorage(inner, { fault: { kind: 'cut' }, at: 1 }).put('new', Buffer.from('0123456789'))).rejects.toMatchObject({
      code: 'storage-failed',
    })
    expect(await inner.stat('new')).toBeUndefined()
  })
})
