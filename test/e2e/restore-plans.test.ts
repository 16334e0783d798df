import { open, rm, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import type { RestoreResult } from '../../src/api/restore-options.ts'
import type { RestorePlan } from '../../src/restore/restore-plan.ts'
import { sharedCluster, type TestCluster } from '../support/cluster.ts'
import { openShop, type Shop } from '../support/shop.ts'
import { urlOf } from '../support/tidemark-cli.ts'

interface Restored {
  plan: RestorePlan
  result: RestoreResult
}
interface Refused {
  plan: RestorePlan
  error: { code: string; message: string; hints: string[] }
}

let cluster: TestCluster
beforeAll(async () => {
  cluster = await sharedCluster(15)
})

const planOf = async (shop: Shop, args: readonly string[]) =>
  (await shop.room.run(['restore', ...args, '--dry-run', '--no-verify', '--json'])).json<Restored>().plan
const saidBy = ({ error }: Refused) => [error.message, ...error.hints].join('\n')

describe('a plan promises what the restore then does, and no more:', () => {
  test('how the copy is looked at is the same in plan and result, and a weaker look than was asked for is said', async () => {
    await using shop = await openShop(cluster)
    await shop.room.json(['backup'])
    await shop.room.json(['restore', '--as', `${shop.name}_rows`])
    for (const [args, validation, step] of [
      [['--as', `${shop.name}_a`], 'rows', /^count the rows of every table$/],
      [['--as', `${shop.name}_b`, '--validate', 'content'], 'content', /^compare the content of every table/],
      [['--as', `${shop.name}_c`, '--validate', 'none'], 'none', null],
      [['--as', `${shop.name}_d`, '--table', 'orders', '--validate', 'content'], 'rows', /^count the rows of tables orders$/],
      [['--as', `${shop.name}_rows`, '--table', 'orders', '--data-only', '--truncate', '--yes'], 'none', null],
    ] as const) {
      const { plan, result } = await shop.room.json<Restored>(['restore', ...args])
      const looks = plan.steps.filter((each) => /count|compare/.test(each))
      expect([args, plan.validation, result.validation, looks]).toEqual([
        args,
        validation,
        validation,
        step === null ? [] : [expect.stringMatching(step) as string],
      ])
      expect(plan.warnings.some((warning) => warning.includes('cannot be compared'))).toBe(args.includes('content' as never) && validation === 'rows')
    }
  })

  test('rows that are only added are never validated, so asking for it is refused (2)', async () => {
    await using shop = await openShop(cluster)
    await shop.room.json(['backup'])
    await shop.room.json(['restore', '--table', 'orders', '--data-only', '--append', '--validate', 'rows', '--yes'], { exitCode: 2 })
  })

  test('a directory dump without a fingerprint is counted, too, and not called equal unseen', async () => {
    await using shop = await openShop(cluster)
    await shop.room.json(['backup', '--format', 'directory', '--no-fingerprint'])
    const { result } = await shop.room.json<Restored>(['restore', '--as', `${shop.name}_copy`])
    expect(result.tables.map(({ name, restoredRows }) => [name, restoredRows])).toEqual([
      ['customers', 50],
      ['orders', 200],
    ])
  })
})

describe('what PostgreSQL would refuse in the middle is refused before anything is done:', () => {
  test('a drop of a database with a subscription, and the SQL that is named clears the way', async () => {
    await using shop = await openShop(cluster)
    await shop.room.json(['backup'])
    await using _subscriptions = dropSubscriptions(shop)
    await shop.room.json(['restore', '--as', `${shop.name}_old`])
    for (const database of [shop.name, `${shop.name}_old`])
      await shop.sql(`CREATE SUBSCRIPTION ${database}_sub CONNECTION 'host=127.0.0.1 dbname=elsewhere' PUBLICATION p WITH (connect = false)`, database)

    for (const [database, args] of [
      [shop.name, ['--replace=drop', '--yes']],
      [`${shop.name}_old`, ['--as', `${shop.name}_old`, '--drop-existing', '--yes']],
    ] as const) {
      expect((await planOf(shop, args)).refusals.join('\n')).toContain(`${database}_sub`)
      const backups = (await shop.room.json<{ backups: unknown[] }>(['list'])).backups.length
      const refused = await shop.room.json<Refused>(['restore', ...args], { exitCode: 15 })
      expect((await shop.room.json<{ backups: unknown[] }>(['list'])).backups).toHaveLength(backups)
      const [, sql = ''] = /in "[^"]+": (ALTER SUBSCRIPTION .*; DROP SUBSCRIPTION "\w+")/.exec(saidBy(refused)) ?? []
      for (const statement of sql.split('; ')) await shop.sql(statement, database)
      await shop.room.json(['restore', ...args])
    }
  })

  test('a swap while a subscription feeds the database; disabled, as the refusal says, it is let through', async () => {
    await using shop = await openShop(cluster)
    await using _subscriptions = dropSubscriptions(shop)
    await shop.room.json(['backup'])
    await shop.sql(`CREATE SUBSCRIPTION ${shop.name}_sub CONNECTION 'host=127.0.0.1 port=1 dbname=elsewhere' PUBLICATION p WITH (connect = false)`)
    await shop.sql(`ALTER SUBSCRIPTION ${shop.name}_sub ENABLE`)
    const refused = await shop.room.json<Refused>(['restore', '--replace', '--yes'], { exitCode: 15 })
    const [, sql = ''] = /in "[^"]+": (ALTER SUBSCRIPTION "\w+" DISABLE)/.exec(saidBy(refused)) ?? []
    await shop.sql(sql)
    await shop.room.json<Restored>(['restore', '--replace', '--yes'])
  })

  test('a health URL that nobody could ask', async () => {
    await using shop = await openShop(cluster)
    await shop.room.json(['backup'])
    await shop.room.json(['restore', '--as', `${shop.name}_copy`, '--health-url', 'localhost:8080/health'], { exitCode: 2 })
    expect(await shop.databases()).toEqual([shop.name])
  })

  test('a drop of somebody else’s database', async () => {
    await using shop = await openShop(cluster)
    await shop.room.json(['backup'])
    await shop.sql(`CREATE ROLE ${shop.name}_maker LOGIN CREATEDB PASSWORD 'x'`, 'postgres')
    await shop.sql(`CREATE DATABASE ${shop.name}_theirs`, 'postgres')
    const url = urlOf({ ...shop.target, user: `${shop.name}_maker` }).replace(/:[^:@/]*@/, ':x@')
    const args = ['restore', '--as', `${shop.name}_theirs`, '--drop-existing', '--server', 'env:OTHER_URL', '--yes']
    const refused = await shop.room.json<Refused>(args, { exitCode: 15, env: { OTHER_URL: url } })
    expect(saidBy(refused)).toContain(`does not own "${shop.name}_theirs" and cannot drop it`)
    await shop.sql(`DROP ROLE ${shop.name}_maker`, 'postgres')
  })
})

describe('room on the server', () => {
  test('is told from the file system of its data directory, and what a database takes from the backup', async () => {
    await using shop = await openShop(cluster)
    await shop.room.json(['backup'])
    const { serverSpace } = await planOf(shop, ['--as', `${shop.name}_copy`])
    const data = cluster.server.dataDirectory
    const { bavail, bsize } = await statfs(data)
    expect(serverSpace).toMatchObject({ path: data, freedBytes: 0, unknown: null })
    expect(Math.abs((serverSpace.freeBytes ?? 0) - bavail * bsize)).toBeLessThan(1024 ** 3)
    const [{ bytes } = { bytes: '0' }] = await shop.sql<{ bytes: string }>('SELECT pg_database_size(current_database())::text AS bytes')
    expect(Math.abs((serverSpace.neededBytes ?? 0) - Number(bytes))).toBeLessThan(1024 ** 2)
    const text = await shop.room.run(['restore', '--as', `${shop.name}_copy`, '--dry-run', '--no-verify'])
    expect(text.stdout).toMatch(/Needs +about .* MiB on the server, .* GiB free \(.*data\)\n +about .* MiB in the work directory, .* free/)
  })

  test('that is too little is refused before the safety backup; where dropping first would make it, --replace=drop is named', async () => {
    await using shop = await openShop(cluster)
    const hole = await hugeFile(shop)
    await shop.room.json(['backup'])
    const beside = await shop.room.json<Refused>(['restore', '--as', `${shop.name}_copy`], { exitCode: 15 })
    expect(saidBy(beside)).toMatch(/no room for the restored database on the server: .* are missing/)
    const swap = await shop.room.json<Refused>(['restore', '--replace', '--yes'], { exitCode: 15 })
    expect(saidBy(swap)).toMatch(/no room for both databases .*: --replace=drop/)
    expect((await shop.room.json<{ backups: unknown[] }>(['list'])).backups).toHaveLength(1)
    expect((await planOf(shop, ['--replace=drop'])).refusals).toEqual([])

    await rm(hole)
    const small = await shop.room.json<Refused>(['restore', '--replace', '--yes'], { exitCode: 15 })
    expect(saidBy(small)).toContain(`and dropping "${shop.name}" first would not be enough`)
    await shop.room.json<Refused>(['restore', '--replace=drop', '--yes'], { exitCode: 15 })
    expect(await shop.databases()).toEqual([shop.name])
    // Dead rows count with the source, so whoever knows better has the last word.
    const { plan } = await shop.room.json<Restored>(['restore', '--as', `${shop.name}_copy`, '--no-space-check'])
    expect(plan.warnings.join('\n')).toContain('no room for the restored database')
  })

  test('is unknown, and said to be, for a role that may not know where the server keeps its files, and for single tables', async () => {
    await using shop = await openShop(cluster)
    await hugeFile(shop)
    await shop.room.json(['backup'])
    await shop.sql(`CREATE ROLE ${shop.name}_maker LOGIN CREATEDB PASSWORD 'x'`, 'postgres')
    const url = urlOf({ ...shop.target, user: `${shop.name}_maker` }).replace(/:[^:@/]*@/, ':x@')
    const args = ['restore', '--as', `${shop.name}_copy`, '--dry-run', '--no-verify', '--server', 'env:OTHER_URL']
    const { plan } = await shop.room.json<Restored>(args, { env: { OTHER_URL: url } })
    expect(plan).toMatchObject({ refusals: [], serverSpace: { freeBytes: null, unknown: expect.stringContaining('pg_read_all_settings') as string } })
    await shop.sql(`DROP ROLE ${shop.name}_maker`, 'postgres')
    const ofTable = await planOf(shop, ['--as', `${shop.name}_copy`, '--table', 'orders'])
    expect(ofTable).toMatchObject({ refusals: [], serverSpace: { neededBytes: null, unknown: expect.stringContaining('a part') as string } })
  })
})

test('room in the work directory is looked at before a byte is copied', async () => {
  await using shop = await openShop(cluster)
  const { bavail, bsize } = await statfs(shop.room.work)
  await using huge = await open(join(shop.room.directory, 'huge.dump'), 'w')
  await huge.write('PGDMP')
  await huge.truncate(bavail * bsize * 2)
  const begunAt = performance.now()
  for (const args of [['--yes'], ['--dry-run']]) {
    const end = await shop.room.run(['restore', '--file', 'huge.dump', '--as', `${shop.name}_copy`, ...args])
    expect(end.exitCode).toBe(15)
    expect(end.stdout + end.stderr).toMatch(/work directory .* GiB free, and the unpacked dump needs .*TIDEMARK_WORK_DIR/)
  }
  expect(performance.now() - begunAt).toBeLessThan(20_000)
})

/** While there is one, the shop's databases cannot be dropped. */
function dropSubscriptions(shop: Shop): AsyncDisposable {
  return {
    [Symbol.asyncDispose]: async () => {
      for (const database of await shop.databases())
        for (const { name } of await shop.sql<{ name: string }>(
          'SELECT subname::text AS name FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())',
          database,
        ))
          for (const statement of [`ALTER SUBSCRIPTION ${name} DISABLE`, `ALTER SUBSCRIPTION ${name} SET (slot_name = NONE)`, `DROP SUBSCRIPTION ${name}`])
            await shop.sql(statement, database)
    },
  }
}

/** A file of holes in the database's directory, which PostgreSQL counts as its size: twice what is free. */
async function hugeFile(shop: Shop): Promise<string> {
  const [{ oid } = { oid: 0 }] = await shop.sql<{ oid: number }>('SELECT oid FROM pg_database WHERE datname = current_database()')
  const data = cluster.server.dataDirectory
  const { bavail, bsize } = await statfs(data)
  const path = join(data, 'base', String(oid), 'holes')
  await using file = await open(path, 'w', 0o644)
  await file.truncate(bavail * bsize * 2)
  return path
}
