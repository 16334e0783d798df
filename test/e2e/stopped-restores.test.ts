import { readdir } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { beforeAll, describe, expect, test } from 'vitest'
import { sharedCluster, type TestCluster } from '../support/cluster.ts'
import { openShop, type Shop } from '../support/shop.ts'
import type { RunningTidemark } from '../support/tidemark-cli.ts'

/** While `slow()` runs in the copy, the restore is at work; it takes longer than any test waits. */
const slowToRestore = `
CREATE TABLE orders (id int); INSERT INTO orders SELECT generate_series(1, 200);
CREATE FUNCTION slow(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN IF $1 = 1 AND current_database() ~ '_(restor|copy|drill)' THEN PERFORM pg_sleep(300); END IF; RETURN $1; END $$;
CREATE INDEX slowly ON orders (slow(id));
`

let cluster: TestCluster
beforeAll(async () => {
  cluster = await sharedCluster(15)
})

async function loading(shop: Shop, run: RunningTidemark): Promise<void> {
  let ended = false
  void run.end.then(() => (ended = true))
  for (;;) {
    const found = await shop.sql(
      `SELECT pid FROM pg_stat_activity WHERE datname LIKE '${shop.name}%' AND application_name LIKE 'tidemark pg_restore%' AND wait_event = 'PgSleep'`,
      'postgres',
    )
    if (found.length > 0) return
    if (ended) throw new Error(`it ended before it was stopped: ${(await run.end).stderr}`)
    await delay(20)
  }
}

async function expectNothingLeft(shop: Shop): Promise<void> {
  expect(await shop.databases()).toEqual([shop.name])
  expect(
    await shop.sql(
      `SELECT application_name, query FROM pg_stat_activity WHERE application_name LIKE 'tidemark%' AND application_name <> 'tidemark test'`,
      'postgres',
    ),
  ).toEqual([])
  expect(await readdir(shop.room.work)).toEqual([])
}

describe('a stopped', () => {
  test.each([
    ['restore beside the original', (name: string) => ['restore', '--as', `${name}_copy`], 'SIGINT'],
    ['test restore', () => ['restore', '--test'], 'SIGTERM'],
    ['replacement', () => ['restore', '--replace', '--yes'], 'SIGINT'],
    ['drill', () => ['drill', '--server', 'same'], 'SIGINT'],
  ] as const)('%s ends with 130 in time, drops its half copy, ends its sessions, and leaves the original alone', async (_name, args, signal) => {
    await using shop = await openShop(cluster, { sql: slowToRestore })
    await shop.room.json(['backup'])
    const [{ oid } = { oid: 0 }] = await shop.sql<{ oid: number }>(`SELECT oid FROM pg_database WHERE datname = current_database()`)
    const run = shop.room.start([...args(shop.name), '--json'])
    await loading(shop, run)
    const begunAt = performance.now()
    run.child.kill(signal)
    const end = await run.end
    expect(end.exitCode).toBe(130)
    expect(performance.now() - begunAt).toBeLessThan(10_000)
    expect(end.json<{ error: { code: string } }>().error.code).toBe('cancelled')
    await expectNothingLeft(shop)
    expect(await shop.sql(`SELECT oid FROM pg_database WHERE datname = current_database()`)).toEqual([{ oid }])
    expect(await shop.sql('SELECT count(*)::int AS n FROM orders')).toEqual([{ n: 200 }])
  })

  test('test restore that was killed outright leaves a copy that carries our mark: the next one replaces it', async () => {
    await using shop = await openShop(cluster, { sql: slowToRestore })
    await shop.room.json(['backup'])
    const run = shop.room.start(['restore', '--test'])
    await loading(shop, run)
    run.child.kill('SIGKILL')
    await run.end
    expect(await shop.databases()).toEqual([shop.name, `${shop.name}_restore_test`])
    await shop.sql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${shop.name}_restore_test'`, 'postgres')
    const again = shop.room.start(['restore', '--test', '--json'])
    await loading(shop, again)
    again.child.kill('SIGINT')
    expect((await again.end).exitCode).toBe(130)
    await expectNothingLeft(shop)
  })
})
