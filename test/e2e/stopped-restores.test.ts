import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { beforeAll, describe, expect, test } from 'vitest'
import type { Backup } from '../../src/repository/backup.ts'
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

interface Refused {
  error: { code: string; message: string; hints: string[] }
}
const saidBy = ({ error }: Refused) => [error.message, ...error.hints].join('\n')

let count = 0

/** A shop whose copies take longer than any test waits to be loaded, until `hurry`. */
async function slowShop() {
  const name = `halted_${(count += 1)}_${process.pid}`
  const shop = await openShop(cluster, {
    name,
    sql: slowToRestore.replace('$1 = 1 AND', `$1 = 1 AND EXISTS (SELECT FROM pg_roles WHERE rolname = '${name}_slow') AND`),
  })
  await shop.sql(`CREATE ROLE ${name}_slow`)
  return {
    shop,
    hurry: () => shop.sql(`DROP ROLE IF EXISTS ${name}_slow`, 'postgres'),
    async [Symbol.asyncDispose]() {
      await shop.sql(`DROP ROLE IF EXISTS ${name}_slow`, 'postgres')
      await shop[Symbol.asyncDispose]()
    },
  }
}

/** Kills the main process alone; pg_restore works on, as it would. */
async function killWhileLoading(shop: Shop, args: readonly string[]): Promise<void> {
  const run = shop.room.start(args)
  await loading(shop, run)
  run.child.kill('SIGKILL')
  await run.end
}

describe('a restore that drops first and is killed outright', () => {
  test('leaves no half database under the live name: no backup is taken of it, `latest` stays, undo tells the way back, and the same restore works again', async () => {
    await using slow = await slowShop()
    const { shop } = slow
    const good = await shop.room.json<Backup>(['backup'])
    await shop.sql(`COMMENT ON DATABASE ${shop.name} IS 'the live one'`)
    await killWhileLoading(shop, ['restore', '--replace=drop', '--yes'])
    const [half, ...others] = await shop.databases()
    expect([half, ...others]).toEqual([expect.stringMatching(new RegExp(`^${shop.name}_restoring_`))])

    expect((await shop.room.json<Refused>(['backup'], { exitCode: 1 })).error.message).toContain('does not exist')
    expect((await shop.room.run(['latest'])).stdout).toBe(`${good.id}\n`)
    const { backups } = await shop.room.json<{ backups: Backup[] }>(['list'])
    const safety = backups.find((each) => each.safety)
    const told = saidBy(await shop.room.json<Refused>(['undo', '--yes'], { exitCode: 15 }))
    expect(told).toContain(`dropped the database "${shop.name}"`)
    expect(told).toContain(`tidemark restore ${safety?.id ?? '?'} --replace`)

    // The orphaned pg_restore is still at work in the half copy; the room of both is needed.
    await slow.hurry()
    await shop.room.json(['restore', good.id, '--replace=drop', '--yes'])
    expect(await shop.databases()).toEqual([shop.name])
    expect(await shop.sql('SELECT count(*)::int AS n FROM orders')).toEqual([{ n: 200 }])
    await shop.room.json(['restore', safety?.id ?? '', '--replace', '--yes'])
    expect((await shop.room.json<Backup>(['backup'])).state).toBe('verified')
  })

  test('leaves none under the name of --drop-existing either', async () => {
    await using slow = await slowShop()
    const { shop } = slow
    await shop.room.json(['backup'])
    await shop.sql(`CREATE DATABASE ${shop.name}_copy`, 'postgres')
    await shop.sql('CREATE TABLE mine (a int)', `${shop.name}_copy`)
    const args = ['restore', '--as', `${shop.name}_copy`, '--drop-existing', '--yes']
    await killWhileLoading(shop, args)
    expect(await shop.databases()).toEqual([shop.name, expect.stringMatching(/_copy_restoring_/)])
    await slow.hurry()
    const { result } = await shop.room.json<{ result: { run: string } }>(args)
    expect(await shop.databases()).toEqual([shop.name, `${shop.name}_copy`])
    await shop.room.json(['undo', result.run, '--yes'])
    expect(await shop.databases()).toEqual([shop.name])
  })

  test('and another that is at work are told apart: a living copy is not touched', async () => {
    await using slow = await slowShop()
    const { shop } = slow
    await shop.room.json(['backup'])
    const living = shop.room.start(['restore', '--replace', '--yes'])
    await loading(shop, living)
    const before = await shop.databases()
    await slow.hurry()
    await shop.room.json(['drill', '--server', 'same'])
    await shop.room.json(['restore', '--test', '--drop'])
    expect(await shop.databases()).toEqual(before)
    living.child.kill('SIGINT')
    await living.end
  })
})

test('a half copy under a name that was asked for is no good backup: it is said, exit 3, and never `latest`', async () => {
  await using slow = await slowShop()
  const { shop } = slow
  const good = await shop.room.json<Backup>(['backup'])
  await killWhileLoading(shop, ['restore', '--as', `${shop.name}_copy`])
  await shop.sql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${shop.name}_copy'`, 'postgres')
  const half = await shop.room.json<Backup & { warnings: string[] }>(['backup', `--database=${shop.name}_copy`], { exitCode: 3 })
  expect(half.partial).toBe(true)
  expect((await shop.room.run(['latest'])).stdout).toBe(`${good.id}\n`)
  const told = await shop.room.run(['backup', `--database=${shop.name}_copy`])
  expect(told.stdout + told.stderr).toContain('a restore has not finished')
  await shop.sql(`COMMENT ON DATABASE ${shop.name}_copy IS NULL`, 'postgres')
  expect((await shop.room.json<Backup>(['backup', `--database=${shop.name}_copy`])).partial).toBe(false)
})

test('a database that somebody makes under the name meanwhile is left alone, and so is the whole copy, which says how it gets its name', async () => {
  await using shop = await openShop(cluster)
  await shop.room.json(['backup'])
  const wait = `DO $$ BEGIN WHILE EXISTS (SELECT FROM pg_roles WHERE rolname = '${shop.name}_slow') LOOP PERFORM pg_sleep(0.02); END LOOP; END $$`
  await writeFile(join(shop.room.directory, 'wait.sql'), wait)
  await shop.sql(`CREATE ROLE ${shop.name}_slow`)
  const run = shop.room.start(['restore', '--replace=drop', '--yes', '--run-sql', 'wait.sql', '--json'])
  for (let waiting = 0; waiting === 0; await delay(20))
    waiting = (await shop.sql(`SELECT FROM pg_stat_activity WHERE datname LIKE '${shop.name}_restoring%' AND wait_event = 'PgSleep'`, 'postgres')).length
  await shop.sql(`CREATE DATABASE ${shop.name}`, 'postgres')
  await shop.sql('CREATE TABLE theirs (a int)')
  await shop.sql(`DROP ROLE ${shop.name}_slow`, 'postgres')
  const end = await run.end
  expect(end.exitCode).toBe(15)
  const [, copy = '', sql = ''] = /kept as "([^"]+)"; when the name is free: (ALTER DATABASE .*)/.exec(saidBy(end.json<Refused>())) ?? []
  expect(await shop.sql('SELECT count(*)::int AS n FROM orders', copy)).toEqual([{ n: 200 }])
  // Nothing of ours removes it from now on.
  await shop.room.json(['restore', '--test', '--drop'])
  expect(await shop.sql('SELECT * FROM theirs')).toEqual([])
  await shop.sql(`DROP DATABASE ${shop.name}`, 'postgres')
  await shop.sql(sql, 'postgres')
  expect(await shop.sql('SELECT count(*)::int AS n FROM orders')).toEqual([{ n: 200 }])
})
