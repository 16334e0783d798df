import { hash, randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { systemClock } from '../../kernel/clock.ts'
import type { Context } from '../../kernel/context.ts'
import { memoryStorage } from '../../storage/memory.ts'
import { openFiles, storeFiles, type TestFiles } from '../../../test/support/page-files.ts'

const context: Context = { clock: systemClock, emit: () => undefined, signal: new AbortController().signal }
const pageBytes = 8_192

const digestsOf = (files: TestFiles) =>
  new Map([...files].map(([path, bytes]): [string, string] => [path, hash('sha256', bytes)]).toSorted(([a], [b]) => (a < b ? -1 : 1)))

/** Keys of a repository that is sealed. */
function sealed() {
  const metadata = { epoch: 1, key: randomBytes(32) }
  const run = randomBytes(32)
  return { seal: { run, metadata }, open: { metadata: async () => metadata.key, run: async () => run } }
}

describe('the pages of a backup', () => {
  it('come back byte for byte, whatever the sizes of the files', async () => {
    const storage = memoryStorage({ clock: systemClock })
    const sizes = [0, 1, 100, 8_191, 8_192, 8_193, 1 << 20, (1 << 20) + 1, (16 << 20) + 1, (17 << 20) + 5]
    const files: TestFiles = new Map(sizes.map((size, index) => [`base/1/${index}`, randomBytes(size)]))
    const full = await storeFiles(storage, files, { run: 'full', prior: null, context, keys: sealed() })
    expect(digestsOf(await openFiles(full, context))).toEqual(digestsOf(files))
  })

  it('are not stored again when nothing changed, leaves included', async () => {
    const storage = memoryStorage({ clock: systemClock })
    const files: TestFiles = new Map([1, 8_192, 3 << 20, 17 << 20].map((size, index) => [`base/1/${index}`, randomBytes(size)]))
    const full = await storeFiles(storage, files, { run: 'full', prior: null, context })
    const again = await storeFiles(storage, files, { run: 'again', prior: full.backup, context })
    expect(again.pages.written).toEqual([])
    expect(again.pages.storedBytes).toBeLessThan(300)
    expect(digestsOf(await openFiles(again, context))).toEqual(digestsOf(files))
  })

  it(
    'of any backup in a row of incrementals are those that the files had then, however files grow, shrink, vanish and change',
    { timeout: 120_000 },
    async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.array(change, { maxLength: 6 }), { minLength: 1, maxLength: 6 }),
          fc.integer({ min: 1, max: 3_000_000 }),
          async (rounds, chunkBytes) => {
            const storage = memoryStorage({ clock: systemClock })
            const keys = sealed()
            let files = new Map<string, Buffer>()
            let prior: Awaited<ReturnType<typeof storeFiles>> | null = null
            const taken: { readonly files: ReadonlyMap<string, string>; readonly run: Awaited<ReturnType<typeof storeFiles>> }[] = []
            for (const [round, changes] of rounds.entries()) {
              files = new Map(files)
              for (const { file, ...how } of changes) apply(files, `f/${file}`, how)
              const reopened: Awaited<ReturnType<typeof storeFiles>> = await storeFiles(storage, new Map(files), {
                run: `r${round}`,
                prior: prior?.backup ?? null,
                context,
                keys,
                chunkBytes,
              })
              taken.push({ files: digestsOf(files), run: reopened })
              prior = reopened
            }
            for (const { files: then, run } of taken) expect(digestsOf(await openFiles(run, context))).toEqual(then)
          },
        ),
        { numRuns: 10 },
      )
    },
  )

  it('that are needed by few are written again, so that the fortieth incremental is read from few frames', { timeout: 120_000 }, async () => {
    const storage = memoryStorage({ clock: systemClock })
    const file = randomBytes(4 << 20)
    let run = await storeFiles(storage, new Map([['f', file]]), { run: 'r0', prior: null, context })
    for (let round = 1; round <= 40; round += 1) {
      for (let page = round % 7; page < 512; page += 37) randomBytes(16).copy(file, page * pageBytes)
      run = await storeFiles(storage, new Map([['f', Buffer.from(file)]]), { run: `r${round}`, prior: run.backup, context })
    }
    expect((await openFiles(run, context)).get('f')?.equals(file)).toBe(true)
    let content = 0
    for (const [pack, { live }] of run.backup.tables.packs.entries())
      for (const [frame, share] of live.entries()) if (share > 0) content += run.backup.pack(pack).frames[frame]?.content ?? 0
    expect(content).toBeLessThan(3 * file.length)
  })
})

const change = fc.record({
  file: fc.integer({ min: 0, max: 4 }),
  what: fc.constantFrom('write', 'grow', 'shrink', 'remove'),
  at: fc.integer({ min: 0, max: 2_000_000 }),
  bytes: fc.integer({ min: 0, max: 1_500_000 }),
})

function apply(files: Map<string, Buffer>, path: string, { what, at, bytes }: { readonly what: string; readonly at: number; readonly bytes: number }): void {
  const before = files.get(path) ?? Buffer.alloc(0)
  if (what === 'remove') files.delete(path)
  else if (what === 'shrink') files.set(path, before.subarray(0, at))
  else if (what === 'grow') files.set(path, Buffer.concat([before, randomBytes(bytes)]))
  else {
    const after = Buffer.from(before)
    randomBytes(Math.min(bytes, 20_000)).copy(after, at)
    files.set(path, after)
  }
}
