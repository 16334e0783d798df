import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readlink, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openFiles, storeFiles, type TestBackup, type TestFiles } from '../../../test/support/page-files.ts'
import { systemClock } from '../../kernel/clock.ts'
import type { Context } from '../../kernel/context.ts'
import { memoryStorage } from '../../storage/memory.ts'
import type { FileHead } from './file-part.ts'
import type { PageStore } from './page-store.ts'

const context: Context = { clock: systemClock, emit: () => undefined, signal: new AbortController().signal }
let root = ''
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'tidemark-lane-'))
})
afterEach(() => rm(root, { recursive: true }))

const sizes = [0, 1, 8_191, 8_193, 1 << 20, (1 << 20) + 1, (16 << 20) + 1, (17 << 20) + 5]
const small = 'base/1/3'
const large = 'base/1/7'

async function writeFiles(files: TestFiles): Promise<readonly FileHead[]> {
  for (const [path, bytes] of files) {
    await mkdir(dirname(join(root, path)), { recursive: true })
    await writeFile(join(root, path), bytes)
  }
  return [...files].map(([path, bytes]) => ({ path, mode: 0o600, sizeBytes: bytes.length }))
}

/** Stores the files of a directory by having them read. */
async function storeDirectly(
  store: PageStore,
  heads: readonly FileHead[],
  meanwhile: (path: string) => Promise<void> = async () => undefined,
): Promise<readonly string[]> {
  await using lane = store.directLane({ root, segmentPages: 131_072, checksums: false, newerThan: 0n, read: () => undefined, badPage: () => undefined })
  for (const head of heads) {
    await meanwhile(head.path)
    await lane.file(head, 'exact')
  }
  return (await lane.settle()).map(({ path }) => path)
}

const same = (one: TestFiles, other: TestFiles): boolean => one.size === other.size && [...one].every(([path, bytes]) => other.get(path)?.equals(bytes))

describe('files that the threads read themselves', () => {
  const files: TestFiles = new Map(sizes.map((size, index) => [`base/1/${index}`, randomBytes(size)]))
  const store = (storage: ReturnType<typeof memoryStorage>, run: string, prior: TestBackup | null, meanwhile?: (path: string) => Promise<void>) => {
    const missed: string[] = []
    return storeFiles(storage, files, {
      run,
      prior: prior?.backup ?? null,
      context,
      into: async (pages) => void missed.push(...(await storeDirectly(pages, await writeFiles(files), meanwhile))),
    }).then((backup) => ({ ...backup, missed }))
  }

  it('come back byte for byte, and are not stored again by whoever reads them next', async () => {
    const storage = memoryStorage({ clock: systemClock })
    const direct = await store(storage, 'direct', null)
    expect(same(await openFiles(direct, context), files)).toBe(true)
    const streamed = await storeFiles(storage, files, { run: 'streamed', prior: direct.backup, context })
    expect(streamed.pages.written).toEqual([])
    const again = await store(storage, 'again', streamed)
    expect(again.pages.written).toEqual([])
    expect(same(await openFiles(again, context), files)).toBe(true)
  })

  it('are left out and named where they are gone before they are read, whatever their size', async () => {
    const backup = await store(memoryStorage({ clock: systemClock }), 'run', null, async (path) => {
      if (path === small || path === large) await rm(join(root, path))
    })
    expect(backup.missed.toSorted()).toEqual([small, large])
    expect(same(await openFiles(backup, context), new Map([...files].filter(([path]) => path !== small && path !== large)))).toBe(true)
  })

  it('keep the size that they had when they were opened, with zeros where they were cut meanwhile', async () => {
    // Seen once with its whole size; when it is read, half of it is there.
    const backup = await store(memoryStorage({ clock: systemClock }), 'run', null, async (path) => {
      if (path === small) await truncate(join(root, path), 4_000)
    })
    const found = (await openFiles(backup, context)).get(small)
    expect(found?.length).toBe(8_193)
    expect(found?.subarray(0, 4_000).equals(files.get(small)?.subarray(0, 4_000) ?? Buffer.alloc(0))).toBe(true)
    expect(found?.subarray(4_000).every((byte) => byte === 0)).toBe(true)
  })

  it('are open no longer than they are read', async () => {
    await store(memoryStorage({ clock: systemClock }), 'run', null)
    const open = await Promise.all((await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')))
    expect(open.filter((path) => path.startsWith(root))).toEqual([])
  })
})
