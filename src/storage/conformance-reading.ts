import { isFailure } from '../kernel/failure.ts'
import { demand, demandBytes, demandRefusal, listKeys, noise, readAll } from './conformance-tools.ts'
import type { ConformanceCase } from './conformance-tools.ts'
import type { StoredObject } from './storage.ts'

/** What is read must be what was stored, whole, or an error. */
export const readingCases: readonly ConformanceCase[] = [
  {
    name: 'reads exactly the range that was asked for',
    async run(storage, { prefix }) {
      const bytes = noise(200_000)
      await storage.put(`${prefix}object`, bytes)
      const ranges: readonly [number, number | undefined][] = [
        [0, 1],
        [0, 200_000],
        [1, undefined],
        [65_535, 70_001],
        [199_999, 1],
        [199_999, undefined],
        [100, 0],
        [200_000, 0],
        [200_000, undefined],
      ]
      for (const [offset, length] of ranges) {
        const found = await readAll(storage, `${prefix}object`, { offset, ...(length === undefined ? {} : { length }) })
        demand(
          found.equals(bytes.subarray(offset, length === undefined ? undefined : offset + length)),
          `reading ${length ?? 'all'} bytes from ${offset} gave ${found.length} bytes or other ones`,
        )
      }
    },
  },
  {
    name: 'refuses to read beyond the end',
    async run(storage, { prefix }) {
      await storage.put(`${prefix}object`, noise(1000))
      for (const [offset, length] of [
        [0, 1001],
        [999, 2],
        [1001, 0],
        [5000, 10],
      ] as const) {
        await demandRefusal(['storage-failed'], `reading ${length} bytes from byte ${offset} of 1000`, () =>
          readAll(storage, `${prefix}object`, { offset, length }),
        )
      }
      await demandRefusal(['storage-failed'], 'reading on from byte 1001 of 1000', () => readAll(storage, `${prefix}object`, { offset: 1001 }))
    },
  },
  {
    name: 'says that an object is missing',
    async run(storage, { prefix }) {
      await storage.put(`${prefix}folder/object`, noise(10))
      for (const key of [`${prefix}absent`, `${prefix}folder`, `${prefix}folder/object/below`, `${prefix}no/such/folder`]) {
        demand((await storage.stat(key)) === undefined, `stat finds "${key}", which was never stored`)
        await demandRefusal(['object-missing'], 'reading an absent object', () => readAll(storage, key))
        await demandRefusal(['object-missing'], 'reading a part of an absent object', () => readAll(storage, key, { offset: 5, length: 5 }))
      }
    },
  },
  {
    name: 'tells the same facts in put, stat, list and read',
    async run(storage, { prefix }) {
      const stored = await storage.put(`${prefix}object`, noise(1234))
      const stat = await storage.stat(`${prefix}object`)
      const listed: StoredObject[] = []
      for await (const object of storage.list(prefix)) listed.push(object)
      const read: StoredObject[] = []
      for await (const _ of storage.read(`${prefix}object`, { offset: 10, length: 10, opened: (object) => read.push(object) })) continue
      const seen = [stored, stat, listed[0], read[0]]
      demand(listed.length === 1 && read.length === 1, 'one object was stored, and another number was listed or opened')
      for (const object of seen) {
        demand(
          object !== undefined && object.key === stored.key && object.sizeBytes === 1234,
          'put, stat, list and read differ about the name or size of an object',
        )
        demand(object.version === stored.version, 'put, stat, list and read differ about the version of an object')
        // HTTP dates have seconds only.
        demand(
          Math.abs(object.modifiedAt.epochMilliseconds - stored.modifiedAt.epochMilliseconds) <= 1000,
          'put, stat, list and read differ about the time of an object',
        )
      }
    },
  },
  {
    name: 'tells times by one clock that does not go backwards',
    async run(storage, { prefix }) {
      const first = await storage.put(`${prefix}first`, noise(1))
      const second = await storage.put(`${prefix}second`, noise(1))
      const behindMs = first.modifiedAt.epochMilliseconds - second.modifiedAt.epochMilliseconds
      demand(behindMs <= 1000, `an object stored later is ${behindMs} ms older than one stored before it`)
    },
  },
  {
    name: 'never mixes two versions of an object in one read',
    async run(storage, { prefix }) {
      const [old, fresh] = [Buffer.alloc(3_000_000, 'o'), Buffer.alloc(3_000_000, 'n')]
      await storage.put(`${prefix}object`, old)
      const found: Uint8Array[] = []
      try {
        for await (const chunk of storage.read(`${prefix}object`)) {
          if (found.length === 0) await storage.put(`${prefix}object`, fresh)
          found.push(chunk)
        }
        const whole = Buffer.concat(found)
        demand(whole.equals(old) || whole.equals(fresh), 'a read that met a put gave bytes of both objects')
      } catch (error) {
        // Refusing is fine; a broken promise found above is not.
        if (!isFailure(error, 'storage-failed') || /bytes of both/.test(error.message)) throw error
      }
      await demandBytes(storage, `${prefix}object`, fresh, 'reading the object that replaced another')
    },
  },
  {
    name: 'reads on only in the version that was begun',
    async run(storage, { prefix }) {
      const first = await storage.put(`${prefix}object`, noise(100))
      const found = await readAll(storage, `${prefix}object`, { offset: 50, ifVersion: first.version })
      demand(found.length === 50, 'reading on in the same version gave another number of bytes')
      await storage.put(`${prefix}object`, noise(100))
      await demandRefusal(['storage-failed'], 'reading on in a version that is gone', () =>
        readAll(storage, `${prefix}object`, { offset: 50, ifVersion: first.version }),
      )
    },
  },
  {
    name: 'goes on working after reads that were left or cancelled',
    async run(storage, { prefix }) {
      const bytes = noise(2_000_000)
      await storage.put(`${prefix}object`, bytes)
      for (let turn = 0; turn < 20; turn += 1) {
        for await (const chunk of storage.read(`${prefix}object`)) {
          demand(chunk.length > 0, 'a read yields an empty chunk')
          break
        }
      }
      const stop = new AbortController()
      let cancelled = false
      try {
        for await (const _ of storage.read(`${prefix}object`, { signal: stop.signal })) stop.abort()
      } catch {
        cancelled = true
      }
      demand(cancelled, 'a cancelled read ends as if it were complete')
      await demandBytes(storage, `${prefix}object`, bytes, 'reading after cancelled reads')
    },
  },
  {
    name: 'follows aliases in reads and hides them in listings',
    async run(storage, { prefix }) {
      if (storage.setAlias === undefined || storage.readAlias === undefined) return
      const [first, second] = [noise(100), noise(100)]
      await storage.put(`${prefix}2026/first`, first)
      await storage.put(`${prefix}2026/second`, second)
      demand((await storage.readAlias(`${prefix}latest`)) === undefined, 'there is an alias that nobody made')
      for (const [name, bytes] of [
        ['first', first],
        ['second', second],
      ] as const) {
        await storage.setAlias(`${prefix}latest`, `${prefix}2026/${name}`)
        demand((await storage.readAlias(`${prefix}latest`)) === `${prefix}2026/${name}`, 'an alias points at something else than it was given')
        await demandBytes(storage, `${prefix}latest`, bytes, 'reading through an alias')
      }
      demand((await storage.stat(`${prefix}latest`)) === undefined, 'stat shows an alias as an object')
      demand((await listKeys(storage, prefix)).join() === '2026/first,2026/second', 'a listing shows an alias')
      await demandRefusal(['object-exists'], 'replacing an object by an alias', async () => storage.setAlias?.(`${prefix}2026/first`, `${prefix}2026/second`))
      await storage.delete(`${prefix}latest`)
      demand((await storage.readAlias(`${prefix}latest`)) === undefined, 'a removed alias is still there')
      await demandBytes(storage, `${prefix}2026/second`, second, 'reading what a removed alias pointed at')
    },
  },
  {
    name: 'sweeps only uploads that are old',
    async run(storage, { prefix, bigBytes }) {
      const { abortStaleUploads } = storage
      if (abortStaleUploads === undefined) return
      const bytes = noise(bigBytes)
      async function* sweepingMeanwhile(): AsyncGenerator<Uint8Array> {
        yield bytes.subarray(0, bytes.length - 1)
        await abortStaleUploads?.call(storage, 24 * 3600_000)
        yield bytes.subarray(bytes.length - 1)
      }
      await storage.put(`${prefix}object`, sweepingMeanwhile())
      await demandBytes(storage, `${prefix}object`, bytes, 'reading an upload that ran during a sweep')
    },
  },
]
