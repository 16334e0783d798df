import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { beforeAll, describe, expect, it } from 'vitest'
import type { Backup } from '../../src/repository/backup.ts'
import { sharedCluster, type TestCluster } from '../support/cluster.ts'
import { openShop } from '../support/shop.ts'
import { tidemarkRoom, urlOf } from '../support/tidemark-cli.ts'

interface FailureDocument {
  readonly error: { readonly code: string; readonly message: string; readonly hints: readonly string[] }
}
interface PlanDocument {
  readonly plan: { readonly lines: readonly string[]; readonly warnings: readonly string[]; readonly databases: readonly string[] }
}

let cluster: TestCluster
beforeAll(async () => {
  cluster = await sharedCluster(15)
})

describe('backup --dry-run fails as the run would', () => {
  it('where nobody listens, and where the database does not exist', async () => {
    await using room = await tidemarkRoom()
    const down = await room.json<FailureDocument>(['backup', '--dry-run'], { exitCode: 1, env: { DATABASE_URL: 'postgresql://u:p@127.0.0.1:9/shop' } })
    expect(down.error.code).toBe('connection-failed')
    const missing = await room.json<FailureDocument>(['backup', '--dry-run'], {
      exitCode: 1,
      env: { DATABASE_URL: urlOf({ ...cluster.target, database: 'never_made' }) },
    })
    expect(missing.error.code).toBe('database-missing')
    expect(await readdir(room.directory)).toEqual(['work'])
  })

  it('where the role may not read a table: with the statement that lets it', async () => {
    await using shop = await openShop(cluster)
    await shop.sql(
      `DO $$ BEGIN CREATE ROLE plan_reader LOGIN PASSWORD 'r'; EXCEPTION WHEN duplicate_object THEN NULL; END $$; GRANT SELECT ON orders TO plan_reader`,
    )
    const env = { DATABASE_URL: urlOf({ ...shop.target, user: 'plan_reader', password: { reveal: () => 'r' } }) }
    const { error } = await shop.room.json<FailureDocument>(['backup', '--dry-run'], { exitCode: 1, env })
    expect(error.code).toBe('permission-denied')
    expect(error.hints.join('\n')).toContain('GRANT SELECT ON TABLE public.customers TO plan_reader;')
    // Of a part it is only a warning, for it may not need them.
    expect((await shop.room.json<PlanDocument>(['backup', '--table', 'orders', '--dry-run'], { exitCode: 3, env })).plan.warnings.join()).toContain('customers')
  })

  it('where the name is taken, and where another run holds the lease', async () => {
    await using shop = await openShop(cluster)
    await shop.room.json(['backup', '--name', 'before-v5'])
    expect((await shop.room.json<FailureDocument>(['backup', '--name', 'before-v5', '--dry-run'], { exitCode: 1 })).error.code).toBe('name-taken')
    await shop.room.json(['backup', '--name', 'before-v5', '--name-unique', '--dry-run'])
    await using blocker = await cluster.session(shop.name)
    await blocker.query('BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE')
    const first = shop.room.start(['backup'])
    const waits = `SELECT FROM pg_stat_activity WHERE datname = '${shop.name}' AND application_name LIKE 'tidemark pg_dump%' AND wait_event_type = 'Lock'`
    while ((await shop.sql(waits, 'postgres')).length === 0) await delay(20)
    expect((await shop.room.json<FailureDocument>(['backup', '--dry-run'], { exitCode: 11 })).error.code).toBe('locked')
    await blocker.query('ROLLBACK')
    expect((await first.end).exitCode).toBe(0)
  })

  it('where no repository can be made; and with 3 where one of two cannot', async () => {
    const config = 'clusters:\n  shop: { url: "env:DATABASE_URL" }\nrepositories:\n  local: { path: ./backups }\n  second: { path: ./occupied/by/a/file }\n'
    await using shop = await openShop(cluster, { config })
    await writeFile(join(shop.room.directory, 'occupied'), 'a file')
    const { plan } = await shop.room.json<PlanDocument>(['backup', '--dry-run'], { exitCode: 3 })
    expect(plan.warnings.join()).toContain('second')
    await shop.room.json(['backup', '--repo', 'second', '--dry-run'], { exitCode: 1 })
  })
})

it('backup --dry-run writes nothing, and says what would be made and how it would be called', async () => {
  await using shop = await openShop(cluster)
  const { plan } = await shop.room.json<PlanDocument>(['backup', '--name', 'first', '--dry-run'])
  expect(plan.lines.join('\n')).toMatch(
    /would create repository local\n.*would dump all of database ".*" \(2 tables\) with pg_dump 1[5-9].* into local: first\.dump\.zst/,
  )
  expect((await readdir(shop.room.directory)).toSorted()).toEqual(['work'])
  expect(await readdir(shop.room.work)).toEqual([])
  const backup = await shop.room.json<Backup>(['backup'])
  const before = await readdir(shop.room.repository, { recursive: true })
  await shop.room.json(['backup', '--dry-run'])
  expect(await readdir(shop.room.repository, { recursive: true })).toEqual(before)
  expect(before).toContain(backup.fileName)
})
