import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { RestoreResult } from '../../src/api/restore-options.ts'
import type { Backup } from '../../src/repository/backup.ts'
import type { RestorePlan } from '../../src/restore/restore-plan.ts'
import { sharedCluster } from '../support/cluster.ts'
import { openShop, type Shop } from '../support/shop.ts'

interface Restored {
  plan: RestorePlan
  result: RestoreResult
}
interface Refused {
  error: { code: string; message: string; hints: string[] }
}

let shop: Shop
let backup: Backup

beforeAll(async () => {
  shop = await openShop(await sharedCluster(15))
  backup = await shop.room.json(['backup'])
})

afterAll(() => shop[Symbol.asyncDispose]())

const one = async (sql: string, database: string) => Object.values((await shop.sql(sql, database))[0] ?? {})[0]

async function emptyDatabase(suffix: string): Promise<string> {
  await shop.sql(`CREATE DATABASE ${shop.name}_${suffix}`, 'postgres')
  return `${shop.name}_${suffix}`
}

describe('a selected table', () => {
  test('comes with its rows, indexes, constraints, sequence, trigger, comment and grants; what it refers to is named as left out', async () => {
    const copy = `${shop.name}_orders`
    const { result } = await shop.room.json<Restored>(['restore', '--table', 'orders', '--as', copy])
    expect(result.tables).toEqual([{ schema: 'public', name: 'orders', rows: 200, restoredRows: 200, match: true }])
    expect(result.warnings.join('\n')).toMatch(/foreign key .* refers to a table that is not selected/)
    expect(
      await one(
        `SELECT string_agg(indexrelid::regclass::text, ',' ORDER BY 1) FROM (SELECT indexrelid FROM pg_index WHERE indrelid = 'orders'::regclass ORDER BY indexrelid::regclass::text) i`,
        copy,
      ),
    ).toBe('orders_pkey,orders_placed')
    expect(
      await one(`SELECT string_agg(contype::text, '' ORDER BY contype::text) FROM pg_constraint WHERE conrelid = 'orders'::regclass AND contype <> 'n'`, copy),
    ).toBe('cp')
    expect(await one(`SELECT tgname FROM pg_trigger WHERE tgrelid = 'orders'::regclass AND NOT tgisinternal`, copy)).toBe('touch')
    expect(await one(`SELECT obj_description('orders'::regclass)`, copy)).toBe('what was bought')
    expect(await one(`SELECT has_table_privilege('pg_monitor', 'orders', 'SELECT')`, copy)).toBe(true)
    expect(await one(`INSERT INTO orders (customer, cents) VALUES (1, 1) RETURNING id`, copy)).toBe(201)
    expect(await one(`SELECT to_regclass('customers')`, copy)).toBeNull()
  })

  test('brings a foreign key when both sides are selected', async () => {
    const copy = `${shop.name}_both`
    const { result } = await shop.room.json<Restored>(['restore', '--table', 'orders', '--table', 'customers', '--as', copy])
    expect(result.warnings).toEqual([])
    expect(await one(`SELECT count(*)::int FROM pg_constraint WHERE contype = 'f'`, copy)).toBe(1)
    expect(await one(`INSERT INTO customers (name) VALUES ('new') RETURNING id`, copy)).toBe(51)
  })

  test('that the backup does not have is named, with those it has (2)', async () => {
    const { error } = await shop.room.json<Refused>(['restore', '--table', 'ordres', '--as', `${shop.name}_x`], { exitCode: 2 })
    expect(error.message).toContain('ordres')
    expect(error.hints.join(' ')).toContain('public.orders')
    expect(await shop.databases()).not.toContain(`${shop.name}_x`)
  })

  test('is refused over an existing one, unless --clean replaces it', async () => {
    const copy = await emptyDatabase('clean')
    await shop.sql('CREATE TABLE orders (mine int); CREATE TABLE keep (a int); INSERT INTO keep VALUES (1)', copy)
    await shop.room.json<Refused>(['restore', '--table', 'orders', '--as', copy], { exitCode: 15 })
    expect(await shop.sql('SELECT mine FROM orders', copy)).toEqual([])
    await shop.room.json(['restore', '--table', 'orders', '--as', copy, '--clean', '--yes'])
    expect(await one('SELECT count(*)::int FROM orders', copy)).toBe(200)
    expect(await one('SELECT a FROM keep', copy)).toBe(1)
  })
})

describe('--table --clean over a table that is in use', () => {
  /** A copy of the shop in which rows were changed and added since the backup. */
  async function usedShop(suffix: string): Promise<string> {
    const copy = `${shop.name}_${suffix}`
    await shop.room.json(['restore', '--as', copy])
    await shop.sql(`UPDATE orders SET cents = 7; INSERT INTO customers (name) VALUES ('since')`, copy)
    return copy
  }
  const state = async (copy: string) => ({
    orders: await one('SELECT array_agg(o ORDER BY id)::text FROM orders o', copy),
    customers: await one('SELECT array_agg(c ORDER BY id)::text FROM customers c', copy),
    constraints: await one(`SELECT array_agg(conname ORDER BY conname)::text FROM pg_constraint WHERE connamespace = 'public'::regnamespace`, copy),
  })

  test('is refused (15) while a view reads it, in the plan and before any question, and nothing is changed', async () => {
    const copy = await usedShop('viewed')
    const before = await state(copy)
    for (const args of [['--dry-run'], ['--yes']]) {
      const { exitCode, stdout, stderr } = await shop.room.run(['restore', '--table', 'orders', '--clean', '--as', copy, ...args])
      expect(exitCode).toBe(15)
      expect(stdout + stderr).toContain('view public.spenders')
      expect(stdout + stderr).toContain('--data-only --truncate')
    }
    expect(await state(copy)).toEqual(before)
  })

  test('is refused (15) while a foreign key, a partition or a function of others hangs on it', async () => {
    const copy = await usedShop('referred')
    const before = await state(copy)
    const refusal = async (table: string) =>
      (await shop.room.json<Refused>(['restore', '--table', table, '--clean', '--as', copy, '--yes'], { exitCode: 15 })).error.message
    expect(await refusal('customers')).toContain('constraint orders_customer_fkey on table public.orders')
    await shop.sql(`DROP VIEW spenders; CREATE FUNCTION newest() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT max(id) FROM orders; END`, copy)
    expect(await refusal('orders')).toContain('function public.newest()')
    await shop.sql(`DROP FUNCTION newest(); CREATE PUBLICATION feed FOR TABLE orders`, copy)
    expect(await refusal('orders')).toContain('publication feed')
    await shop.sql(`DROP PUBLICATION feed; CREATE TABLE older () INHERITS (orders)`, copy)
    expect(await refusal('orders')).toContain('table public.older')
    await shop.sql('DROP TABLE older', copy)
    expect(await state(copy)).toEqual(before)
  })

  test('of a file is refused likewise, once the file was read', async () => {
    const copy = await usedShop('filed')
    const before = await state(copy)
    const path = join('backups', backup.fileName)
    const { error } = await shop.room.json<Refused>(['restore', '--file', path, '--table', 'orders', '--clean', '--as', copy, '--yes'], { exitCode: 15 })
    expect(error.message).toContain('view public.spenders')
    expect(error.message).toContain('was not changed')
    expect((await shop.room.run(['restore', '--file', path, '--table', 'orders', '--clean', '--as', copy, '--dry-run'])).exitCode).toBe(15)
    expect(await state(copy)).toEqual(before)
  })

  test('brings it back with its foreign key to a table that is there, which keeps its newer rows', async () => {
    const copy = await usedShop('back')
    await shop.sql('DROP VIEW spenders', copy)
    const before = await state(copy)
    const dry = await shop.room.run(['restore', '--table', 'orders', '--clean', '--as', copy, '--dry-run'])
    expect(dry.stdout).toMatch(/drop tables orders/)
    const { result } = await shop.room.json<Restored>(['restore', '--table', 'orders', '--clean', '--as', copy, '--yes'])
    expect(result.warnings).toEqual([])
    expect(result.tables).toMatchObject([{ name: 'orders', restoredRows: 200, match: true }])
    const after = await state(copy)
    expect(after).toEqual({ ...before, orders: await one('SELECT array_agg(o ORDER BY id)::text FROM orders o', shop.name) })
  })

  test('both sides of a foreign key come back together', async () => {
    const copy = await usedShop('sides')
    await shop.sql('DROP VIEW spenders', copy)
    await shop.room.json(['restore', '--table', 'orders', '--table', 'customers', '--clean', '--as', copy, '--yes'])
    expect(await one('SELECT count(*)::int FROM customers', copy)).toBe(50)
    expect(await one(`SELECT count(*)::int FROM pg_constraint WHERE contype = 'f'`, copy)).toBe(1)
    expect(await one(`INSERT INTO customers (name) VALUES ('new') RETURNING id`, copy)).toBe(51)
  })

  test('that fails in the middle leaves everything as it was, and says so', async () => {
    const copy = await usedShop('middle')
    await shop.sql(`DROP VIEW spenders; DELETE FROM orders WHERE customer = 3; DELETE FROM customers WHERE id = 3`, copy)
    const before = await state(copy)
    const { error } = await shop.room.json<Refused>(['restore', '--table', 'orders', '--clean', '--as', copy, '--yes'], { exitCode: 1 })
    expect(error.message).toContain('was not changed')
    expect(error.message).toContain('orders_customer_fkey')
    expect(await state(copy)).toEqual(before)
  })

  test('leaves schemas, types and functions that others use, and partitions of another table, alone', async () => {
    await using other = await openShop(shop.cluster, {
      sql: `CREATE SCHEMA app; CREATE TYPE app.mood AS ENUM ('a', 'b'); CREATE FUNCTION app.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE SEQUENCE app.shared;
        CREATE TABLE app.one (id int DEFAULT nextval('app.shared'), m app.mood DEFAULT 'a', CHECK (app.f() = 1)); INSERT INTO app.one DEFAULT VALUES;
        CREATE TABLE app.two (m app.mood, id int DEFAULT nextval('app.shared')); INSERT INTO app.two VALUES ('b');
        CREATE TABLE app.whole (k int) PARTITION BY RANGE (k); CREATE TABLE app.low PARTITION OF app.whole FOR VALUES FROM (0) TO (10); CREATE TABLE app.high PARTITION OF app.whole FOR VALUES FROM (10) TO (20);
        INSERT INTO app.whole VALUES (1), (11)`,
    })
    await other.room.json(['backup'])
    await other.sql('UPDATE app.whole SET k = k + 1')
    await other.room.json(['restore', '--table', 'app.one', '--clean', '--yes'])
    await other.room.json(['restore', '--table', 'app.low', '--clean', '--yes'])
    expect(await other.sql('SELECT k FROM app.whole ORDER BY 1')).toEqual([{ k: 1 }, { k: 12 }])
    expect(await other.sql('SELECT count(*)::int AS n FROM app.one')).toEqual([{ n: 1 }])
    const { error } = await other.room.json<Refused>(['restore', '--table', 'app.whole', '--clean', '--yes'], { exitCode: 15 })
    expect(error.message).toContain('app.high')
    expect(await other.sql('SELECT k FROM app.whole ORDER BY 1')).toEqual([{ k: 1 }, { k: 12 }])
  })
})

describe('--data-only', () => {
  test('--truncate replaces the rows of an existing table and sets its sequence; --append adds to them', async () => {
    const copy = `${shop.name}_rows`
    await shop.room.json(['restore', '--as', copy])
    await shop.sql(`UPDATE orders SET cents = 9999; DELETE FROM orders WHERE id > 5; ALTER TABLE orders ALTER id RESTART WITH 7`, copy)
    await shop.room.json(['restore', '--table', 'orders', '--data-only', '--truncate', '--as', copy, '--yes'])
    expect(await one('SELECT count(*)::int FROM orders WHERE cents = id', copy)).toBe(200)
    expect(await one(`INSERT INTO orders (customer, cents) VALUES (1, 1) RETURNING id`, copy)).toBe(201)

    await shop.sql(`DELETE FROM orders; DELETE FROM customers WHERE id <= 10; INSERT INTO customers (name) VALUES ('kept')`, copy)
    await shop.sql(`DELETE FROM customers WHERE name <> 'kept'`, copy)
    await shop.room.json(['restore', '--table', 'customers', '--data-only', '--append', '--as', copy, '--yes'])
    expect(await one('SELECT count(*)::int FROM customers', copy)).toBe(51)
  })

  test('speaks of no foreign key, for it changes none; a refused TRUNCATE says that nothing was changed', async () => {
    const copy = `${shop.name}_quiet`
    await shop.room.json(['restore', '--as', copy])
    const { result } = await shop.room.json<Restored>(['restore', '--table', 'orders', '--data-only', '--truncate', '--as', copy, '--yes'])
    expect(result.warnings).toEqual([])
    const { error } = await shop.room.json<Refused>(['restore', '--table', 'customers', '--data-only', '--truncate', '--as', copy, '--yes'], { exitCode: 1 })
    expect(error.message).toContain('was not changed')
    expect(await one('SELECT count(*)::int FROM customers', copy)).toBe(50)
  })

  test('that meets a row which is there already says so: exit 3, the error listed', async () => {
    const copy = `${shop.name}_twice`
    await shop.room.json(['restore', '--as', copy])
    const { result } = await shop.room.json<Restored>(['restore', '--table', 'customers', '--data-only', '--append', '--as', copy, '--yes'], { exitCode: 3 })
    expect(result.errors).toMatchObject([{ message: expect.stringContaining('duplicate key') as string }])
    expect(await one('SELECT count(*)::int FROM customers', copy)).toBe(50)
  })
})

describe('an ignored error is never silence', () => {
  test('a role that is not there: exit 3, each statement listed, and --no-owner --no-privileges makes it whole', async () => {
    await using other = await openShop(shop.cluster)
    await other.sql(`CREATE ROLE e2e_gone; ALTER TABLE orders OWNER TO e2e_gone; GRANT SELECT ON customers TO e2e_gone`)
    await other.room.json(['backup'])
    await other.sql(`REASSIGN OWNED BY e2e_gone TO postgres; DROP OWNED BY e2e_gone; DROP ROLE e2e_gone`)
    const { result } = await other.room.json<Restored>(['restore', '--as', `${other.name}_copy`], { exitCode: 3 })
    expect(result.errors.length).toBeGreaterThanOrEqual(2)
    for (const error of result.errors)
      expect(error).toMatchObject({ message: 'role "e2e_gone" does not exist', statement: expect.stringMatching(/ALTER TABLE|GRANT/) as string })
    const text = await other.room.run(['restore', '--as', `${other.name}_text`])
    expect(text.exitCode).toBe(3)
    expect(text.stdout).toContain('role "e2e_gone" does not exist')
    expect(text.stdout).not.toContain('✓ restored')
    const { result: whole } = await other.room.json<Restored>(['restore', '--as', `${other.name}_whole`, '--no-owner', '--no-privileges'])
    expect(whole.errors).toEqual([])
    // The safety net of production: a copy with errors takes nobody's place.
    const { error } = await other.room.json<Refused>(['restore', '--replace', '--yes'], { exitCode: 1 })
    expect(error.code).toBe('check-failed')
    expect(other.name).toBe((await other.databases())[0])
  })

  test('SQL to be run before hand-over fails: the restore fails, and the half copy is removed', async () => {
    await writeFile(join(shop.room.directory, 'bad.sql'), 'UPDATE customers SET nmae = 1')
    await writeFile(join(shop.room.directory, 'good.sql'), "UPDATE customers SET email = NULL, name = 'masked'")
    await shop.room.json(['restore', '--as', `${shop.name}_sql`, '--run-sql', 'bad.sql'], { exitCode: 1 })
    expect(await shop.databases()).not.toContain(`${shop.name}_sql`)
    await shop.room.json(['restore', '--as', `${shop.name}_sql`, '--run-sql', 'good.sql'])
    expect(await one('SELECT count(DISTINCT name)::int FROM customers', `${shop.name}_sql`)).toBe(1)
  })

  test('a `before` command that fails stops everything; the `after` command runs after a failure too', async () => {
    const { error } = await shop.room.json<Refused>(['restore', '--as', `${shop.name}_hook`, '--before', 'false'], { exitCode: 1 })
    expect(error.code).toBe('hook-failed')
    expect(await shop.databases()).not.toContain(`${shop.name}_hook`)
    await shop.room.json(['restore', '--as', `${shop.name}_hook`, '--run-sql', 'bad.sql', '--after', `touch "${shop.room.directory}/after ran"`], {
      exitCode: 1,
    })
    await shop.room.json(['restore', '--file', 'after ran', '--as', 'x'], { exitCode: 1 })
  })
})

describe('a partial dump', () => {
  // The third figure: tables whose rows it holds, or, without rows, whose definitions.
  test.each([
    ['schema only', ['--schema-only'], 2],
    ['data only', ['--data-only'], 2],
    ['one table', ['--table', 'orders'], 1],
    ['one schema', ['--schema', 'public'], 2],
    ['without a table', ['--exclude-table', 'orders'], 1],
  ])('%s is marked and never `latest`', async (_name, args, tables) => {
    const partial = await shop.room.json<Backup>(['backup', ...args])
    expect(partial).toMatchObject({ partial: true, state: 'verified' })
    expect(partial.tables).toHaveLength(tables)
    if (args[0] === '--schema-only') expect(partial.tables.every(({ rows }) => rows === null)).toBe(true)
    expect((await shop.room.run(['latest'])).stdout).toBe(`${backup.id}\n`)
  })

  test('of rows only is refused (15) where there are no tables for them, with the way, and goes into those that are there', async () => {
    const partial = await shop.room.json<Backup>(['backup', '--data-only', '--name', 'only-rows'])
    const before = await shop.databases()
    for (const from of [['only-rows'], ['--file', join('backups', partial.fileName)]]) {
      const { error } = await shop.room.json<Refused>(['restore', ...from, '--as', `${shop.name}_none`], { exitCode: 15 })
      expect(error.message).toContain('--data-only --append')
    }
    expect((await shop.room.run(['restore', 'only-rows', '--as', `${shop.name}_none`, '--dry-run'])).exitCode).toBe(15)
    await shop.room.json<Refused>(['drill', 'only-rows'], { exitCode: 15 })
    expect(await shop.databases()).toEqual(before)
    const copy = `${shop.name}_filled`
    await shop.room.json(['restore', '--as', copy])
    await shop.sql('TRUNCATE orders, customers', copy)
    await shop.room.json(['restore', 'only-rows', '--data-only', '--append', '--as', copy, '--yes'])
    expect(await one('SELECT count(*)::int FROM orders', copy)).toBe(200)
  })

  test('of one table brings all it holds, names the foreign key it cannot bring, and a drill says why it is only partial', async () => {
    const partial = await shop.room.json<Backup>(['backup', '--table', 'orders', '--name', 'only-orders'])
    for (const from of [['only-orders'], ['--file', join('backups', partial.fileName)]]) {
      const copy = `${shop.name}_part_${from.length}`
      const { result } = await shop.room.json<Restored>(['restore', ...from, '--as', copy])
      expect(result.errors).toEqual([])
      expect(result.warnings.join()).toMatch(
        /foreign key orders orders_customer_fkey is left out.*trigger orders touch is left out|trigger orders touch is left out.*foreign key/,
      )
      expect(await one('SELECT count(*)::int FROM orders', copy)).toBe(200)
    }
    const drilled = await shop.room.run(['drill', 'only-orders'])
    expect(drilled.stdout).toMatch(/orders_customer_fkey .*left out/)
    expect(drilled.stdout).toContain('only a part of it: tables orders')
    expect(drilled.stdout).toContain('PARTIAL')
    expect(drilled.exitCode).toBe(3)
  })

  test('of definitions only says in words what was made, and why a drill of it is partial', async () => {
    await shop.room.json(['backup', '--schema-only', '--name', 'words'])
    const restored = await shop.room.run(['restore', 'words', '--as', `${shop.name}_words`])
    expect(restored.stdout).toContain('2 tables made, without rows')
    const drilled = await shop.room.run(['drill', 'words'])
    expect(drilled.stdout).toContain('definitions without rows')
    expect(drilled.exitCode).toBe(3)
  })

  test('without rows is restored as definitions', async () => {
    const partial = await shop.room.json<Backup>(['backup', '--schema-only', '--name', 'only-definitions'])
    const { result } = await shop.room.json<Restored>(['restore', partial.name ?? '', '--as', `${shop.name}_definitions`])
    expect(result.errors).toEqual([])
    expect(await one('SELECT count(*)::int FROM orders', `${shop.name}_definitions`)).toBe(0)
  })
})
