import { beforeAll, describe, expect, test } from 'vitest'
import type { Backup } from '../../src/repository/backup.ts'
import { sharedCluster, type TestCluster } from '../support/cluster.ts'
import { openShop, type Shop } from '../support/shop.ts'

let cluster: TestCluster
beforeAll(async () => {
  cluster = await sharedCluster(15)
})

const backupsOf = async (shop: Shop) => (await shop.room.json<{ backups: Backup[] }>(['list'])).backups

/** Runs it with readers that hang up: at once, or at the first byte, as `head -c 1` does. */
async function unheard(
  shop: Shop,
  args: readonly string[],
  streams: readonly ('stdout' | 'stderr')[],
  when: 'at once' | 'at the first byte',
): Promise<number | null> {
  const { child, end } = shop.room.start(args)
  for (const name of streams) {
    const hangUp = () => child[name]?.destroy()
    if (when === 'at once') hangUp()
    else child[name]?.once('data', hangUp)
  }
  return (await end).exitCode
}

describe('a run whose output nobody reads any more', () => {
  test.each([
    ['a backup, its progress', ['backup', '--progress', 'json'], ['stderr'], 'at the first byte'],
    ['a backup, its progress and result', ['backup', '--progress', 'json', '--json'], ['stdout', 'stderr'], 'at once'],
    ['a backup, its result', ['backup'], ['stdout'], 'at once'],
  ] as const)('%s: goes on, commits, gives its lease back, and ends with 0', async (_name, args, streams, when) => {
    await using shop = await openShop(cluster)
    expect(await unheard(shop, args, streams, when)).toBe(0)
    expect((await backupsOf(shop)).map(({ state }) => state)).toEqual(['verified'])
    // The next run finds nothing to take over.
    expect((await shop.room.run(['backup', '--verbose'])).stderr).not.toMatch(/interrupted|taken over|killed/)
  })

  test('a replacement, everything: swaps, records, and can be undone', async () => {
    await using shop = await openShop(cluster)
    await shop.room.json(['backup'])
    expect(await unheard(shop, ['restore', '--replace', '--yes', '--progress', 'json'], ['stdout', 'stderr'], 'at once')).toBe(0)
    await shop.room.json(['undo', '--yes'])
  })

  test('a failure keeps its exit code', async () => {
    await using shop = await openShop(cluster)
    expect(await unheard(shop, ['restore', '--test', '--json'], ['stdout', 'stderr'], 'at once')).toBe(10)
  })
})
