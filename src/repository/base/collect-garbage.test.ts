import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Storage } from '../../storage/storage.ts'
import {
  collect,
  contextFor,
  deleteBase,
  digestsOf,
  filesOf,
  garbageIn,
  keysUnder,
  listed,
  movableClock,
  newStorage,
  sealedContexts,
  takeBase,
  verifyBase,
  type TestContext,
} from '../../../test/support/base-history.ts'
import type { TestFiles } from '../../../test/support/page-files.ts'

const context = contextFor([])
const packs = (storage: Storage) => keysUnder(storage, '.tidemark/packs/')

/** Everything of base backups. */
async function baseKeys(storage: Storage): Promise<readonly string[]> {
  const folders = ['packs', 'leaves', 'indexes', 'roots', 'repacks', 'keys/runs']
  return (await Promise.all(folders.map((folder) => keysUnder(storage, `.tidemark/${folder}/`)))).flat()
}

describe('deleting a base backup', () => {
  it('removes what no other backup needs, and says before how much that is', async () => {
    const storage = newStorage()
    const [a, b] = [randomBytes(300_000), randomBytes(300_000)]
    await takeBase(storage, { run: 'full', files: new Map([['a', a]]) }, context)
    await takeBase(
      storage,
      {
        run: 'incr',
        files: new Map([
          ['a', a],
          ['b', b],
        ]),
      },
      context,
    )
    const before = await baseKeys(storage)
    const sizes = new Map<string, number>()
    for (const key of before) sizes.set(key, (await storage.stat(key))?.sizeBytes ?? 0)
    const { freedBytes } = await deleteBase(storage, 'incr', context)
    const after = await baseKeys(storage)
    const removed = before.filter((key) => !after.includes(key))
    expect(freedBytes).toBe(removed.reduce((sum, key) => sum + (sizes.get(key) ?? 0), 0))
    expect(freedBytes).toBeGreaterThan(300_000)
    expect(after.every((key) => key.includes('full'))).toBe(true)
    expect(digestsOf(await filesOf(storage, 'full', context))).toEqual(digestsOf(new Map([['a', a]])))
  })

  it('keeps the packs of a full backup that an incremental stands on, until that is deleted, too', async () => {
    const storage = newStorage()
    const a = randomBytes(300_000)
    await takeBase(storage, { run: 'full', files: new Map([['a', a]]) }, context)
    await takeBase(storage, { run: 'incr', files: new Map([['a', a]]) }, context)
    const { freedBytes } = await deleteBase(storage, 'full', context)
    expect(freedBytes).toBeLessThan(10_000)
    expect(digestsOf(await filesOf(storage, 'incr', context))).toEqual(digestsOf(new Map([['a', a]])))
    expect((await verifyBase(storage, 'incr', context)).valid).toBe(true)
    await deleteBase(storage, 'incr', context)
    expect(await baseKeys(storage)).toEqual([])
  })

  it('removes no pack while another root cannot be opened, and says why; the collection takes what is left when it can', async () => {
    const storage = newStorage()
    const a = randomBytes(300_000)
    await takeBase(storage, { run: 'one', files: new Map([['a', a]]) }, context)
    await takeBase(storage, { run: 'two', files: new Map([['a', a]]), full: true }, context)
    const root = await bytesOf(storage, '.tidemark/roots/main/two.pack')
    await storage.put('.tidemark/roots/main/two.pack', flipped(root, 100))
    const before = await packs(storage)
    const plan = await deleteBase(storage, 'one', context)
    expect(plan).toMatchObject({ objects: ['.tidemark/roots/main/one.pack'], warnings: [expect.stringContaining('two.pack cannot be opened') as string] })
    expect(await packs(storage)).toEqual(before)
    await expect(collect(storage, context, { run: 'refused' })).rejects.toMatchObject({
      code: 'target-unsafe',
      message: expect.stringContaining('two.pack') as string,
    })
    await storage.put('.tidemark/roots/main/two.pack', root)
    await collect(storage, context)
    expect((await baseKeys(storage)).every((key) => key.includes('two'))).toBe(true)
    expect((await verifyBase(storage, 'two', context)).valid).toBe(true)
  })
})

describe('collecting garbage', () => {
  it('removes nothing where everything is needed', async () => {
    const storage = newStorage()
    await takeBase(storage, { run: 'full', files: new Map([['a', randomBytes(100_000)]]) }, context)
    const before = await keysUnder(storage, '.tidemark/packs/')
    expect(await collect(storage, context)).toMatchObject({ removedObjects: 0, movedObjects: 0, waitingObjects: 0 })
    expect(await keysUnder(storage, '.tidemark/packs/')).toEqual(before)
  })

  it('removes what a writer that was taken over stored later', async () => {
    const storage = newStorage()
    await takeBase(storage, { run: 'full', files: new Map([['a', randomBytes(100_000)]]) }, context)
    await storage.put(`.tidemark/packs/main/stale/${'0'.repeat(32)}.pack`, randomBytes(10))
    await storage.put('.tidemark/indexes/main/stale.pack', randomBytes(10))
    await storage.put('.tidemark/packs/main/a file of mine', randomBytes(10))
    const collected = await collect(storage, context)
    expect(collected).toMatchObject({ removedObjects: 2, warnings: [expect.stringContaining('a file of mine') as string] })
    expect((await baseKeys(storage)).filter((key) => key.includes('stale'))).toEqual([])
    expect(await storage.stat('.tidemark/packs/main/a file of mine')).toBeDefined()
  })

  it('moves what is live out of packs that are mostly dead, and removes them when nobody can be reading them any more', async () => {
    const clock = movableClock()
    const timed = contextFor([], clock)
    const storage = newStorage(clock)
    const { files } = await sparse(storage)
    const before = await packs(storage)
    const collected = await collect(storage, timed, { graceSeconds: 3_600 })
    expect(collected.movedObjects).toBeGreaterThan(0)
    // Readers that opened the backup before still find everything.
    for (const key of before) expect(await storage.stat(key), key).toBeDefined()
    expect(digestsOf(await filesOf(storage, 'incr', timed))).toEqual(digestsOf(files))
    clock.forward(3_000)
    expect((await collect(storage, timed, { graceSeconds: 3_600 })).removedObjects).toBe(0)
    clock.forward(1_000)
    expect((await collect(storage, timed, { graceSeconds: 3_600 })).removedObjects).toBeGreaterThan(0)
    // Of more than six megabytes: the frame in which the file lies.
    expect(await bytesIn(storage, '.tidemark/packs/')).toBeLessThan(1_500_000)
    expect(digestsOf(await filesOf(storage, 'incr', timed))).toEqual(digestsOf(files))
    expect(await verifyBase(storage, 'incr', timed)).toMatchObject({ valid: true })
    // And an incremental goes on from what was moved.
    const next = new Map([...files, ['new', randomBytes(9_000)]])
    await takeBase(storage, { run: 'next', files: next }, timed)
    expect(await bytesIn(storage, '.tidemark/packs/main/next/')).toBeLessThan(100_000)
    await deleteBase(storage, 'incr', timed)
    expect(digestsOf(await filesOf(storage, 'next', timed))).toEqual(digestsOf(next))
    expect(await verifyBase(storage, 'next', timed)).toMatchObject({ valid: true })
    await deleteBase(storage, 'next', timed)
    await collect(storage, timed)
    await collect(storage, timed)
    expect(await baseKeys(storage)).toEqual([])
  })

  it(
    'keeps every backup readable in any row of full, incremental, deletion and collection, and leaves nothing that nobody needs',
    { timeout: 240_000 },
    async () => {
      // More than a frame has.
      const fileBytes = 1_100_000
      let moved = 0
      // What is moved once is moved again, and an incremental stands on it.
      const moving = (['full', 'incr', 'delete', 'gc', 'incr', 'delete', 'gc', 'incr', 'delete', 'gc'] as const).map((what) => ({ what, which: 0, change: 5 }))
      const step = fc.record({
        what: fc.constantFrom('full', 'incr', 'incr', 'delete', 'delete', 'gc'),
        which: fc.nat(),
        change: fc.constantFrom(0, 1, 5, 5, 6),
      })
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 9 }), async (steps) => {
          const storage = newStorage()
          const living = new Map<string, ReadonlyMap<string, string>>()
          let files = new Map([0, 1, 2, 3, 4, 5].map((file): [string, Buffer] => [`base/${file}`, randomBytes(fileBytes)]))
          for (const [number, { what, which, change }] of steps.entries()) {
            const id = [...living.keys()][which % Math.max(1, living.size)]
            if (what === 'gc') moved += (await collect(storage, context)).movedObjects
            else if (what === 'delete') {
              if (id === undefined) continue
              await deleteBase(storage, id, context, `d${number}`)
              living.delete(id)
            } else {
              files = new Map(files)
              // Most of the files at once, so that packs are left with little.
              for (let file = 0; file < change; file += 1) files.set(`base/${file}`, randomBytes(fileBytes))
              await takeBase(storage, { run: `b${number}`, files, full: what === 'full' }, context)
              living.set(`b${number}`, digestsOf(files))
            }
            for (const [backup, then] of living) expect(digestsOf(await filesOf(storage, backup, context)), backup).toEqual(then)
          }
          moved += (await collect(storage, context)).movedObjects
          expect(await collect(storage, context)).toMatchObject({ removedObjects: 0, movedObjects: 0, waitingObjects: 0 })
          for (const [backup, then] of living) expect(digestsOf(await filesOf(storage, backup, context)), backup).toEqual(then)
          expect(Object.keys(await listed(storage, context)).toSorted()).toEqual([...living.keys()].toSorted())
          for (const backup of living.keys()) expect(await verifyBase(storage, backup, context), backup).toMatchObject({ valid: true })
          if (living.size === 0) expect(await baseKeys(storage)).toEqual([])
        }),
        { numRuns: 8, examples: [[moving]] },
      )
      // Else nothing was tried that is worth to be.
      expect(moved).toBeGreaterThan(0)
    },
  )
})

describe('in a sealed repository', () => {
  const { reading: sealed, writeOnly } = sealedContexts(context)

  it('nothing is removed that somebody without a key would have to know more of, and the key of a run goes with its last page', async () => {
    const storage = newStorage()
    const { files } = await sparse(storage, sealed)
    await expect(collect(storage, context, { run: 'keyless' })).rejects.toMatchObject({
      code: 'target-unsafe',
      message: expect.stringContaining('no key is at hand') as string,
    })
    // Which packs of the run before it had is written where it cannot be read; what its own run stored is known by its name.
    const { objects, warnings } = await deleteBase(storage, 'incr', context, 'keyless-delete')
    expect(objects.filter((key) => key.includes('full'))).toEqual([])
    expect(warnings).toEqual([expect.stringContaining('repo gc') as string])
    expect(await keysUnder(storage, '.tidemark/keys/runs/')).toContain('.tidemark/keys/runs/main/full.age')
    await takeBase(storage, { run: 'new', files, full: true }, sealed)
    await collect(storage, sealed)
    expect(await keysUnder(storage, '.tidemark/keys/runs/')).toEqual(['.tidemark/keys/runs/main/new.age'])
    expect(await garbageIn(storage, sealed)).toEqual([])
  })

  it('a host that may not read data collects garbage all the same, and what it moved is opened by those who may', async () => {
    const storage = newStorage()
    const { files } = await sparse(storage, sealed)
    expect((await collect(storage, writeOnly)).movedObjects).toBeGreaterThan(0)
    expect(digestsOf(await filesOf(storage, 'incr', sealed))).toEqual(digestsOf(files))
    expect(await verifyBase(storage, 'incr', sealed)).toMatchObject({ valid: true })
    expect(await keysUnder(storage, '.tidemark/keys/runs/')).toContain('.tidemark/keys/runs/main/full.age')
  })
})

/** A full backup of much, of which an incremental needs a little, and the full one is gone. */
async function sparse(storage: Storage, within: TestContext = context): Promise<{ readonly files: TestFiles }> {
  const kept = randomBytes(200_000)
  // Frames have a megabyte: what is kept must be alone in one of them.
  const much = new Map([...['a', 'b', 'c', 'd', 'e', 'f'].map((name): [string, Buffer] => [name, randomBytes(1 << 20)]), ['kept', kept] as const])
  await takeBase(storage, { run: 'full', files: much }, within)
  const files = new Map([['kept', kept]])
  await takeBase(storage, { run: 'incr', files }, within)
  await deleteBase(storage, 'full', within)
  return { files }
}

async function bytesIn(storage: Storage, prefix: string): Promise<number> {
  let bytes = 0
  for await (const { sizeBytes } of storage.list(prefix)) bytes += sizeBytes
  return bytes
}

async function bytesOf(storage: Storage, key: string): Promise<Buffer> {
  const parts: Uint8Array[] = []
  for await (const part of storage.read(key)) parts.push(part)
  return Buffer.concat(parts)
}

function flipped(bytes: Buffer, at: number): Buffer {
  const changed = Buffer.from(bytes)
  changed.writeUInt8(changed.readUInt8(at) ^ 1, at)
  return changed
}
