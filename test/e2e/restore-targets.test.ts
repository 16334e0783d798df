import { beforeAll, describe, expect, test } from 'vitest'
import type { RestoreResult } from '../../src/api/restore-options.ts'
import { quoteIdentifier } from '../../src/postgres/identifiers.ts'
import type { Backup } from '../../src/repository/backup.ts'
import type { RestorePlan } from '../../src/restore/restore-plan.ts'
import { sharedCluster, type TestCluster } from '../support/cluster.ts'
import { openShop, type Shop } from '../support/shop.ts'

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

const rowsOf = async (shop: Shop, database = shop.name) => Number((await shop.sql<{ n: string }>('SELECT count(*) AS n FROM orders', database))[0]?.n)
const oidOf = async (shop: Shop, database: string) =>
  (await shop.sql<{ oid: number }>(`SELECT oid FROM pg_database WHERE datname = '${database}'`, 'postgres'))[0]?.oid
const commentOf = async (shop: Shop, database: string) =>
  (
    await shop.sql<{ comment: string | null }>(
      `SELECT shobj_description(oid, 'pg_database') AS comment FROM pg_database WHERE datname = '${database}'`,
      'postgres',
    )
  )[0]?.comment

/** What belongs to the database itself and is in no dump. */
const factsOf = (shop: Shop) =>
  shop.sql(
    `SELECT pg_get_userbyid(datdba) AS owner, (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(datacl) a) AS acl, datconnlimit AS "limit", shobj_description(d.oid, 'pg_database') AS comment, (SELECT setconfig FROM pg_db_role_setting WHERE setdatabase = d.oid) AS settings FROM pg_database d WHERE datname = '${shop.name}'`,
    'postgres',
  )

describe('restore', () => {
  test('makes a new database beside the original by default, and undo drops exactly that', async () => {
    await using shop = await openShop(cluster)
    await shop.room.json(['backup'])
    const { result } = await shop.room.json<Restored>(['restore'])
    expect(result.database).toMatch(new RegExp(`^${shop.name}_restore_\\d{8}_\\d{6}$`))
    expect(await rowsOf(shop, result.database)).toBe(200)
    await shop.room.json(['undo', result.run, '--yes'])
    expect(await shop.databases()).toEqual([shop.name])
    expect((await shop.room.json<Refused>(['undo', result.run, '--yes'], { exitCode: 1 })).error.code).toBe('already-done')
  })

  test('never puts anything over the source or another configured database, nor over what is not empty', async () => {
    await using other = await openShop(cluster)
    await using shop = await openShop(cluster, {
      config: `clusters:\n  shop: { url: "env:DATABASE_URL", repositories: [local] }\n  other: { url: "env:OTHER_URL", repositories: [local] }\nrepositories:\n  local: { path: ./backups }\n`,
    })
    const env = { OTHER_URL: `postgresql://postgres:x@127.0.0.1:${shop.target.port}/${other.name}` }
    await shop.room.json(['backup', 'shop'], { env })
    const before = [await oidOf(shop, shop.name), await oidOf(shop, other.name)]
    for (const args of [
      ['--as', shop.name],
      ['--as', shop.name, '--drop-existing', '--yes'],
      ['--as', shop.name, '--clean', '--yes'],
      ['--as', other.name, '--drop-existing', '--yes'],
      ['--as', 'template0', '--drop-existing', '--yes'],
      ['--as', 'x'.repeat(64)],
    ]) {
      const { error } = await shop.room.json<Refused>(['restore', 'shop', ...args], { exitCode: 15, env })
      expect(error.code).toBe('target-unsafe')
    }
    await shop.sql(`CREATE DATABASE ${shop.name}_full`, 'postgres')
    await shop.sql('CREATE TABLE mine (a int)', `${shop.name}_full`)
    const { error } = await shop.room.json<Refused>(['restore', 'shop', '--as', `${shop.name}_full`], { exitCode: 15, env })
    expect(error.message).toContain('not empty')
    expect([await oidOf(shop, shop.name), await oidOf(shop, other.name)]).toEqual(before)
    expect(await shop.sql('SELECT * FROM mine', `${shop.name}_full`)).toEqual([])
  })

  test('is not undone where its copy was taken into use: a renamed one, or one of a configured name, is named with the SQL and left alone', async () => {
    await using shop = await openShop(cluster)
    await shop.room.json(['backup'])
    const { result } = await shop.room.json<Restored>(['restore', '--as', `${shop.name}_new`])
    await shop.sql(`ALTER DATABASE ${shop.name} RENAME TO ${shop.name}_old`, 'postgres')
    await shop.sql(`ALTER DATABASE ${shop.name}_new RENAME TO ${shop.name}`, 'postgres')
    const oid = await oidOf(shop, shop.name)
    const renamed = await shop.room.json<Refused>(['undo', result.run, '--yes'], { exitCode: 15 })
    expect([renamed.error.message, ...renamed.error.hints].join('\n')).toContain(`DROP DATABASE "${shop.name}"`)
    // It is production now, also to a backup of everything.
    const all = await shop.room.json<{ backups: { database: string }[] }>(['backup', '--all-databases'])
    expect(all.backups.map(({ database }) => database)).toContain(shop.name)
    // Even where its mark has that name: somebody copied the comment, or the configuration changed after the restore.
    const mark = (await commentOf(shop, shop.name))?.replace(`"name":"${shop.name}_new"`, `"name":"${shop.name}"`) ?? ''
    await shop.sql(`COMMENT ON DATABASE ${shop.name} IS '${mark}'`, 'postgres')
    const configured = await shop.room.json<Refused>(['undo', result.run, '--yes'], { exitCode: 15 })
    expect([configured.error.message, ...configured.error.hints].join('\n')).toContain('configured database')
    expect(await oidOf(shop, shop.name)).toBe(oid)
  })

  test('and drills work whatever the owner of some database writes into its comment', async () => {
    await using shop = await openShop(cluster)
    await shop.room.json(['backup'])
    await shop.sql(`CREATE DATABASE ${shop.name}_mine`, 'postgres')
    const comment = JSON.stringify({ kind: 'drill', run: 'x', backup: null, name: `${shop.name}_mine`, at: '', expires: 'x' })
    await shop.sql(`COMMENT ON DATABASE ${shop.name}_mine IS 'tidemark:${comment}'`, 'postgres')
    await shop.room.json(['restore', '--test', '--drop'])
    await shop.room.json(['drill', '--server', 'same'])
    expect(await shop.databases()).toEqual([shop.name, `${shop.name}_mine`])
  })

  test('fills an existing empty database without a flag, and leaves it when undone', async () => {
    await using shop = await openShop(cluster)
    await shop.room.json(['backup'])
    await shop.sql(`CREATE DATABASE ${shop.name}_empty`, 'postgres')
    const oid = await oidOf(shop, `${shop.name}_empty`)
    const { plan } = await shop.room.json<Restored>(['restore', '--as', `${shop.name}_empty`])
    expect(plan.action).toBe('use-empty')
    expect(await oidOf(shop, `${shop.name}_empty`)).toBe(oid)
    expect(await rowsOf(shop, `${shop.name}_empty`)).toBe(200)
  })

  test('--drop-existing drops the named database first, and asks', async () => {
    await using shop = await openShop(cluster)
    await shop.room.json(['backup'])
    await shop.sql(`CREATE DATABASE ${shop.name}_old`, 'postgres')
    await shop.sql('CREATE TABLE mine (a int)', `${shop.name}_old`)
    await shop.room.json(['restore', '-d', `${shop.name}_old`, '-D'], { exitCode: 15 })
    expect(await shop.sql('SELECT * FROM mine', `${shop.name}_old`)).toEqual([])
    await shop.room.json(['restore', '-d', `${shop.name}_old`, '-D', '-f'])
    expect(await rowsOf(shop, `${shop.name}_old`)).toBe(200)
  })

  test('--test twice replaces its own copy, and only its own; --test --drop leaves nothing', async () => {
    await using shop = await openShop(cluster)
    await shop.room.json(['backup'])
    const name = `${shop.name}_restore_test`
    const first = await shop.room.run(['restore', '--test'])
    expect(first.exitCode).toBe(0)
    expect(first.stdout).toContain(`connect: postgresql://postgres@127.0.0.1:${shop.target.port}/${name}`)
    expect(first.stdout).toContain('tidemark undo')
    const oid = await oidOf(shop, name)
    await shop.sql('DELETE FROM orders', name)
    const { plan, result } = await shop.room.json<Restored>(['restore', '--test'])
    expect(plan).toMatchObject({ action: 'replace-own-test', existing: { name, madeByUs: true } })
    expect(result).toMatchObject({ database: name, dropped: false })
    expect(await oidOf(shop, name)).not.toBe(oid)
    expect(await rowsOf(shop, name)).toBe(200)
    expect((await shop.room.json<Restored>(['restore', '--test', '--drop'])).result).toMatchObject({
      dropped: true,
      tables: [{ match: true }, { match: true }],
    })
    expect(await shop.databases()).toEqual([shop.name])

    await shop.sql(`CREATE DATABASE ${name}`, 'postgres')
    const { error } = await shop.room.json<Refused>(['restore', '--test'], { exitCode: 15 })
    expect(error.message).toContain('was not made by an earlier test restore')
    expect(await shop.databases()).toEqual([shop.name, name])
  })

  test('a copy with a subscription can be dropped again: it neither keeps the copy alive nor takes the slot of the original', async () => {
    await using shop = await openShop(cluster)
    await shop.sql(`CREATE SUBSCRIPTION ${shop.name}_sub CONNECTION 'host=127.0.0.1 dbname=elsewhere' PUBLICATION p WITH (connect = false)`)
    await shop.room.json(['backup'])
    await shop.room.json(['restore', '--test', '--drop'])
    const { proof } = await shop.room.json<{ proof: { outcome: string } }>(['drill', '--server', 'same'])
    expect(proof.outcome).toBe('proven')
    expect(await shop.databases()).toEqual([shop.name])
    expect(await shop.sql('SELECT subslotname FROM pg_subscription')).toEqual([{ subslotname: `${shop.name}_sub` }])
    await shop.sql(`ALTER SUBSCRIPTION ${shop.name}_sub SET (slot_name = NONE); DROP SUBSCRIPTION ${shop.name}_sub`)
  })
})

describe('restore --replace', () => {
  test('takes a safety backup, swaps, and undo puts everything back; owner, settings, grants and comment stay', async () => {
    await using shop = await openShop(cluster)
    await shop.sql(`DO $$ BEGIN CREATE ROLE e2e_owner; EXCEPTION WHEN duplicate_object THEN NULL; END $$`)
    await shop.sql(`ALTER DATABASE ${shop.name} OWNER TO e2e_owner`)
    await shop.sql(
      `ALTER DATABASE ${shop.name} SET statement_timeout TO '42s'; COMMENT ON DATABASE ${shop.name} IS 'the live one'; REVOKE CONNECT ON DATABASE ${shop.name} FROM PUBLIC; ALTER DATABASE ${shop.name} CONNECTION LIMIT 50`,
    )
    const backup = await shop.room.json<Backup>(['backup'])
    const facts = () => factsOf(shop)
    const before = await facts()
    await shop.sql('DELETE FROM orders WHERE id > 10')
    const oid = await oidOf(shop, shop.name)
    // Somebody is at work; the session is ended, not waited for.
    await using busy = await cluster.session(shop.name)

    const { plan, result } = await shop.room.json<Restored>(['restore', 'latest', '--replace', '--yes'])
    expect(plan).toMatchObject({ action: 'swap', database: shop.name, safetyBackup: true, existing: { name: shop.name, oid } })
    expect(result).toMatchObject({ database: shop.name, validation: 'content', keptAs: plan.keptAs })
    expect(await rowsOf(shop)).toBe(200)
    expect(await oidOf(shop, result.keptAs ?? '')).toBe(oid)
    expect(await rowsOf(shop, result.keptAs ?? '')).toBe(10)
    expect(await facts()).toEqual(before)
    await expect(busy.query('SELECT 1')).rejects.toThrow()

    // The safety backup holds what was replaced, and is never `latest`.
    const safety = await shop.room.json<Backup>(['show', result.safetyBackup ?? ''])
    expect(safety).toMatchObject({ safety: true, state: 'verified', tables: [{ rows: 50 }, { rows: 10 }] })
    expect((await shop.room.run(['latest'])).stdout).toBe(`${backup.id}\n`)

    const dry = await shop.room.json<{ plan: { lines: string[]; kind: string }; done: boolean }>(['undo', '--dry-run'])
    expect(dry).toMatchObject({ done: false, plan: { kind: 'swap-back' } })
    const undone = await shop.room.json<{ plan: { setAside: string }; done: boolean }>(['undo', '--yes'])
    expect(undone.done).toBe(true)
    expect(await oidOf(shop, shop.name)).toBe(oid)
    expect(await rowsOf(shop)).toBe(10)
    expect(await rowsOf(shop, undone.plan.setAside)).toBe(200)
    expect(await commentOf(shop, shop.name)).toBe('the live one')
    expect(await facts()).toEqual(before)
  })

  test('undo refuses when what it would bring back is gone', async () => {
    await using shop = await openShop(cluster)
    await shop.room.json(['backup'])
    const { result } = await shop.room.json<Restored>(['restore', '--replace', '--yes'])
    await shop.sql(`DROP DATABASE ${result.keptAs ?? ''}`, 'postgres')
    const { error } = await shop.room.json<Refused>(['undo', '--yes'], { exitCode: 15 })
    expect(error.message).toContain('gone')
    expect(await rowsOf(shop)).toBe(200)
  })

  test('=drop makes room first, after a verified safety backup', async () => {
    await using shop = await openShop(cluster)
    await shop.room.json(['backup'])
    await shop.sql('DELETE FROM orders')
    await shop.sql(`DO $$ BEGIN CREATE ROLE e2e_owner; EXCEPTION WHEN duplicate_object THEN NULL; END $$`)
    await shop.sql(
      `ALTER DATABASE ${shop.name} OWNER TO e2e_owner; ALTER DATABASE ${shop.name} SET statement_timeout TO '42s'; COMMENT ON DATABASE ${shop.name} IS 'the live one'; REVOKE CONNECT ON DATABASE ${shop.name} FROM PUBLIC; ALTER DATABASE ${shop.name} CONNECTION LIMIT 50`,
    )
    const before = await factsOf(shop)
    const { plan, result } = await shop.room.json<Restored>(['restore', '--replace=drop', '--yes'])
    // What belongs to it and was changed since the backup is in no dump.
    expect(await factsOf(shop)).toEqual(before)
    // `undo` names only what it can do: production is no copy to be dropped.
    const { error } = await shop.room.json<Refused>(['undo', '--yes'], { exitCode: 1 })
    expect(error.hints).toContainEqual(expect.stringContaining(`tidemark restore ${result.safetyBackup ?? ''} --replace`))
    expect(error.hints.join('\n')).not.toContain('to drop the copy')
    await shop.room.json(['undo', result.run, '--yes'], { exitCode: 15 })
    expect(plan).toMatchObject({ action: 'drop-and-restore', safetyBackup: true, keptAs: null })
    expect(await rowsOf(shop)).toBe(200)
    expect(await shop.databases()).toEqual([shop.name])
    expect(await shop.room.json<Backup>(['show', result.safetyBackup ?? ''])).toMatchObject({ safety: true, state: 'verified' })
  })

  test('swaps nothing when the copy is not what was dumped: the live database is the same, and no copy stays', async () => {
    // The event trigger comes back with the dump and fires when the materialised view is filled, the last step of all: what somebody's own triggers may do to a restore.
    await using shop = await openShop(cluster, {
      sql: `CREATE TABLE orders (id int); INSERT INTO orders SELECT generate_series(1, 200); CREATE MATERIALIZED VIEW totals AS SELECT count(*) FROM orders;
        CREATE FUNCTION meddle() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE public.orders SET id = 0 WHERE id = 7; END $$;
        CREATE EVENT TRIGGER meddle ON ddl_command_end WHEN TAG IN ('REFRESH MATERIALIZED VIEW') EXECUTE FUNCTION meddle()`,
    })
    await shop.room.json(['backup'])
    const oid = await oidOf(shop, shop.name)
    const { error } = await shop.room.json<Refused>(['restore', '--replace', '--jobs', '1', '--yes'], { exitCode: 1 })
    expect(error.code).toBe('check-failed')
    expect(`${error.message} ${error.hints.join(' ')}`).toContain('public.orders')
    expect(await oidOf(shop, shop.name)).toBe(oid)
    expect(await shop.databases()).toEqual([shop.name])
  })

  test('goes on without a safety backup only when told so', async () => {
    await using shop = await openShop(cluster, {
      config: 'clusters:\n  shop: { url: "env:DATABASE_URL", repositories: [local], dump: { lockWait: 1s } }\nrepositories:\n  local: { path: ./backups }\n',
    })
    await shop.room.json(['backup'])
    await using blocker = await cluster.session(shop.name)
    await blocker.query('BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE')
    const { error } = await shop.room.json<Refused>(['restore', '--replace', '--yes'], { exitCode: 15 })
    expect(error.message).toContain('safety backup failed')
    expect(error.hints.join(' ')).toContain('--no-safety-backup')
    const { result } = await shop.room.json<Restored>(['restore', '--replace', '--no-safety-backup', '--yes'])
    expect(result).toMatchObject({ safetyBackup: null, keptAs: expect.any(String) as string })
    expect(await rowsOf(shop)).toBe(200)
  })
})

test('a name of 63 bytes: its test copy, its new copy and its kept original have other names, and production stays what it is', async () => {
  await using shop = await openShop(cluster, { name: `p${'ü'.repeat(31)}` })
  expect(Buffer.byteLength(shop.name)).toBe(63)
  const oid = await oidOf(shop, shop.name)
  await shop.room.json(['backup'])
  const { result: copy } = await shop.room.json<Restored>(['restore', '--test'])
  const { result: fresh } = await shop.room.json<Restored>(['restore'])
  for (const { database } of [copy, fresh]) {
    expect(database).not.toBe(shop.name)
    expect(Buffer.byteLength(database)).toBeLessThanOrEqual(63)
    expect(await rowsOf(shop, database)).toBe(200)
  }
  expect(await oidOf(shop, shop.name)).toBe(oid)
  const { result } = await shop.room.json<Restored>(['restore', '--replace', '--yes'])
  expect(await oidOf(shop, result.keptAs ?? '')).toBe(oid)
  await shop.sql(`DROP DATABASE ${quoteIdentifier(result.keptAs ?? '')}; `, 'postgres')
  expect(await rowsOf(shop)).toBe(200)
  for (const database of [copy.database, fresh.database]) await shop.sql(`DROP DATABASE ${quoteIdentifier(database)}`, 'postgres')
})
