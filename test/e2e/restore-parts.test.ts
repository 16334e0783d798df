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

  test('without rows is restored as definitions', async () => {
    const partial = await shop.room.json<Backup>(['backup', '--schema-only', '--name', 'only-definitions'])
    const { result } = await shop.room.json<Restored>(['restore', partial.name ?? '', '--as', `${shop.name}_definitions`])
    expect(result.errors).toEqual([])
    expect(await one('SELECT count(*)::int FROM orders', `${shop.name}_definitions`)).toBe(0)
  })
})
