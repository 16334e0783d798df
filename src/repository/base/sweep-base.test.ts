import { randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import {
  cluster,
  collect,
  contextFor,
  cutLog,
  deleteBase,
  digestsOf,
  filesOf,
  garbageIn,
  keysUnder,
  listed,
  newStorage,
  takeBase,
  verifyBase,
  warningsIn,
} from '../../../test/support/base-history.ts'
import type { TestFiles } from '../../../test/support/page-files.ts'
import { takePicture } from '../../../test/support/repository-state.ts'
import { gone } from '../../../test/support/repository-scene.ts'
import type { Context } from '../../kernel/context.ts'
import type { Event } from '../../kernel/event.ts'
import type { Storage } from '../../storage/storage.ts'
import { latestGood } from '../cluster-log.ts'
import { readClusterLog } from '../commit-log.ts'
import { takeLease } from '../lease.ts'

const a = randomBytes(60_000)
const one: TestFiles = new Map([
  ['a', a],
  ['b', randomBytes(40_000)],
])
const two: TestFiles = new Map([
  ['a', a],
  ['c', randomBytes(40_000)],
])

/** What becomes of a repository when the next run takes the lease. */
async function next(storage: Storage, run = 'next'): Promise<readonly string[]> {
  const events: Event[] = []
  const context: Context = contextFor(events)
  const lease = await takeLease(storage, { cluster, run, verb: 'backup', objects: () => [] }, gone, context)
  await lease.end('ok')
  return warningsIn(events)
}

const quiet = contextFor([])
const sameFiles = async (storage: Storage, id: string, files: TestFiles) => expect(digestsOf(await filesOf(storage, id, quiet))).toEqual(digestsOf(files))
/** Number of the entry that commits a backup. */
const entryOf = async (storage: Storage, id: string) => (await readClusterLog(storage, cluster, quiet)).backups.get(id)?.entry ?? 0

describe('a base backup that was killed', () => {
  it('before its root leaves nothing to the next run, and nothing of earlier backups is touched', async () => {
    const storage = newStorage()
    await takeBase(storage, { run: 'one', files: one }, quiet)
    await takeBase(storage, { run: 'dead', files: two, until: 'commit' }, quiet)
    await storage.delete('.tidemark/roots/main/dead.pack')
    expect((await keysUnder(storage, '.tidemark/')).filter((key) => key.includes('dead')).length).toBeGreaterThan(2)
    expect(await next(storage)).toEqual([])
    expect((await keysUnder(storage, '.tidemark/')).filter((key) => key.includes('dead'))).toEqual([])
    expect(await listed(storage, quiet)).toEqual({ one: 'verified' })
    await sameFiles(storage, 'one', one)
  })

  it('between its root and its commit is listed by the next run, as stored', async () => {
    const storage = newStorage()
    await takeBase(storage, { run: 'one', files: one }, quiet)
    await takeBase(storage, { run: 'two', files: two, until: 'commit' }, quiet)
    expect(await next(storage)).toEqual([expect.stringMatching(/^backup-relisted: base backup two .*listed again; read it back with: tidemark verify two$/)])
    expect(await listed(storage, quiet)).toEqual({ two: 'stored', one: 'verified' })
    await sameFiles(storage, 'two', two)
    expect(await verifyBase(storage, 'two', quiet)).toMatchObject({ valid: true, state: 'verified' })
    expect(await next(storage, 'after')).toEqual([])
  })

  it('and has lost a pack since is listed as damaged, and nothing of it is removed', async () => {
    const storage = newStorage()
    await takeBase(storage, { run: 'one', files: one, until: 'commit' }, quiet)
    const [pack = '', ...others] = await keysUnder(storage, '.tidemark/packs/main/one/')
    await storage.delete(pack)
    expect(await next(storage)).toEqual([expect.stringContaining(`as damaged: ${pack}: it is gone`)])
    expect(await listed(storage, quiet)).toEqual({ one: 'damaged' })
    expect(await keysUnder(storage, '.tidemark/packs/main/one/')).toEqual(others)
  })

  it('and writes its root after the next run removed the rest is no backup, and is garbage', async () => {
    const storage = newStorage()
    await takeBase(storage, { run: 'one', files: one }, quiet)
    await takeBase(storage, { run: 'stale', files: two, until: 'commit' }, quiet)
    const { objects } = await takePicture(storage)
    for (const key of await keysUnder(storage, '.tidemark/')) if (key.includes('stale')) await storage.delete(key)
    await next(storage)
    for (const [key, bytes] of objects) if (key.includes('stale')) await storage.put(key, bytes)
    expect(await next(storage, 'after')).toEqual([])
    expect(await listed(storage, quiet)).toEqual({ one: 'verified' })
    await collect(storage, quiet)
    expect(await garbageIn(storage, quiet)).toEqual([])
    expect((await keysUnder(storage, '.tidemark/')).filter((key) => key.includes('stale'))).toEqual([])
  })

  it('and left a root that cannot be read keeps everything, and says so, until it can', async () => {
    const storage = newStorage()
    await takeBase(storage, { run: 'one', files: one }, quiet)
    await takeBase(storage, { run: 'two', files: two, until: 'commit' }, quiet)
    const root = '.tidemark/roots/main/two.pack'
    const { objects } = await takePicture(storage)
    await storage.put(root, (objects.get(root) ?? Buffer.alloc(0)).subarray(1))
    expect(await next(storage)).toEqual([expect.stringMatching(/^root-unlisted: .*two\.pack/), expect.stringMatching(/^orphans-spared: .*two\.pack/)])
    expect((await keysUnder(storage, '.tidemark/')).filter((key) => key.includes('two'))).toEqual(
      [...objects.keys()].filter((key) => key.includes('two')).toSorted(),
    )
    await expect(collect(storage, quiet, { run: 'refused' })).rejects.toMatchObject({
      code: 'target-unsafe',
      message: expect.stringContaining('two.pack') as string,
    })
    await storage.put(root, objects.get(root) ?? Buffer.alloc(0))
    await next(storage, 'later')
    expect(await listed(storage, quiet)).toEqual({ two: 'stored', one: 'verified' })
    await sameFiles(storage, 'two', two)
  })
})

describe('a log that lost its end', () => {
  it.for(['one', 'two', 'three'])('from the commit of backup %s on costs no base backup', async (first) => {
    const storage = newStorage()
    const three: TestFiles = new Map([...two, ['d', randomBytes(10_000)]])
    for (const [run, files] of Object.entries({ one, two, three })) await takeBase(storage, { run, files }, quiet)
    await cutLog(storage, await entryOf(storage, first))
    const before = await keysUnder(storage, '.tidemark/packs/')
    await next(storage)
    const states = await listed(storage, quiet)
    expect(Object.keys(states)).toEqual(['three', 'two', 'one'])
    expect(latestGood(await readClusterLog(storage, cluster, quiet), 'base')?.facts.id).toBe('three')
    expect(await keysUnder(storage, '.tidemark/packs/')).toEqual(before)
    for (const [id, files] of Object.entries({ one, two, three })) await sameFiles(storage, id, files)
    expect(await garbageIn(storage, quiet)).toEqual([])
  })

  it('costs no pack of a backup that was deleted since, where a later one that the log has lost, too, stands on it', async () => {
    const storage = newStorage()
    await takeBase(storage, { run: 'one', files: one }, quiet)
    const commit = await entryOf(storage, 'one')
    await takeBase(storage, { run: 'two', files: two }, quiet)
    await deleteBase(storage, 'one', quiet)
    // The run that took the first backup looks like one that died before its commit.
    await cutLog(storage, commit)
    const before = await keysUnder(storage, '.tidemark/packs/main/one/')
    expect(before.length).toBeGreaterThan(0)
    await next(storage)
    expect(await listed(storage, quiet)).toEqual({ two: 'stored' })
    expect(await keysUnder(storage, '.tidemark/packs/main/one/')).toEqual(before)
    await sameFiles(storage, 'two', two)
    expect(await verifyBase(storage, 'two', quiet)).toMatchObject({ valid: true })
  })

  it('brings back no backup that was deleted', async () => {
    const storage = newStorage()
    await takeBase(storage, { run: 'one', files: one }, quiet)
    await takeBase(storage, { run: 'two', files: two, full: true }, quiet)
    const commit = await entryOf(storage, 'two')
    await deleteBase(storage, 'two', quiet)
    await cutLog(storage, commit)
    await next(storage)
    expect(await listed(storage, quiet)).toEqual({ one: 'verified' })
    await collect(storage, quiet)
    expect(await garbageIn(storage, quiet)).toEqual([])
  })

  it('with the entry of a repack costs nothing of what was moved, though its old place is gone', async () => {
    const storage = newStorage()
    const kept = randomBytes(20_000)
    const much = ['a', 'b', 'c', 'd', 'e', 'f'].map((name): [string, Buffer] => [name, randomBytes(1 << 20)])
    await takeBase(storage, { run: 'full', files: new Map([...much, ['kept', kept]]) }, quiet)
    await takeBase(storage, { run: 'incr', files: new Map([['kept', kept]]) }, quiet)
    await deleteBase(storage, 'full', quiet)
    const { head } = await readClusterLog(storage, cluster, quiet)
    expect((await collect(storage, quiet, { run: 'moving' })).movedObjects).toBeGreaterThan(0)
    await cutLog(storage, head + 1)
    // Until somebody takes the lease, readers see the shorter log.
    expect(await verifyBase(storage, 'incr', quiet)).toMatchObject({ valid: false })
    expect(await next(storage)).toEqual([expect.stringMatching(/^repack-relisted: /)])
    await sameFiles(storage, 'incr', new Map([['kept', kept]]))
    expect(await verifyBase(storage, 'incr', quiet)).toMatchObject({ valid: true })
    expect(await next(storage, 'after')).toEqual([])
    await collect(storage, quiet)
    expect(await garbageIn(storage, quiet)).toEqual([])
  })
})

describe('what is not of this repository and cluster', () => {
  it('is never listed: a root that was copied from another repository stays, and is said', async () => {
    const [here, there] = [newStorage(), newStorage()]
    await takeBase(here, { run: 'one', files: one }, quiet)
    await takeBase(there, { run: 'foreign', files: two }, quiet)
    for (const [key, bytes] of (await takePicture(there)).objects) if (key.includes('foreign')) await here.put(key, bytes)
    expect(await next(here)).toEqual([expect.stringMatching(/^root-unlisted: .*foreign\.pack .*it is of the repository/)])
    expect(await listed(here, quiet)).toEqual({ one: 'verified' })
    expect(await here.stat('.tidemark/roots/main/foreign.pack')).toBeDefined()
  })

  it('is not removed, whatever a tombstone names', async () => {
    const storage = newStorage()
    await takeBase(storage, { run: 'one', files: one }, quiet)
    await takeBase(storage, { run: 'two', files: two }, quiet)
    const forged = ['.tidemark/repository.json', '.tidemark/commits/main/', '.tidemark/packs/other/one/', '.tidemark/packs/main/', '../x', 'nexo.dump']
    await storage.put('nexo.dump', randomBytes(10))
    await storage.put(`.tidemark/packs/other/one/${'0'.repeat(32)}.pack`, randomBytes(10))
    const lease = await takeLease(storage, { cluster, run: 'forger', verb: 'delete', objects: () => [] }, gone, quiet)
    // And what the other backup needs.
    const needed = await keysUnder(storage, '.tidemark/packs/main/one/')
    await lease.append({ kind: 'delete', backup: 'one', reason: 'test', objects: [...forged, ...needed], run: 'forger' })
    const events: Event[] = []
    await lease.end('ok')
    const other = await takeLease(storage, { cluster, run: 'next', verb: 'backup', objects: () => [] }, gone, contextFor(events))
    await other.end('ok')
    expect(warningsIn(events)).toEqual(forged.map((key) => expect.stringContaining(`object-kept: ${key} is not removed`) as string))
    for (const key of ['.tidemark/repository.json', `.tidemark/packs/other/one/${'0'.repeat(32)}.pack`, 'nexo.dump', ...needed])
      expect(await storage.stat(key), key).toBeDefined()
    await sameFiles(storage, 'two', two)
    expect(await storage.stat('.tidemark/roots/main/one.pack')).toBeUndefined()
  })
})
