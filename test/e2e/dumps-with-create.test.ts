import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { RestoreResult } from '../../src/api/restore-options.ts'
import type { RestorePlan } from '../../src/restore/restore-plan.ts'
import { sharedCluster } from '../support/cluster.ts'
import { openShop, type Shop } from '../support/shop.ts'
import { debianClients, stockClient } from '../support/stock-tools.ts'

interface Restored {
  plan: RestorePlan
  result: RestoreResult
}
interface Refused {
  error: { code: string; message: string; hints: string[] }
}

const clients = (major: number) => `/var/cache/tidemark-test/clients/${major}/bin`

/** The live database of the server that the file names: its rows, its OID, and what is set for it. */
const live = async (shop: Shop) => ({
  rows: await shop.sql('SELECT count(*)::int AS orders, (SELECT count(*)::int FROM customers) AS customers FROM orders'),
  database: await shop.sql(
    `SELECT d.oid, datconnlimit, shobj_description(d.oid, 'pg_database') AS comment, (SELECT setconfig FROM pg_db_role_setting WHERE setdatabase = d.oid AND setrole = 0)
     FROM pg_database d WHERE datname = current_database()`,
  ),
})

describe.each([
  ['PostgreSQL 15', 15, debianClients, undefined],
  ['PostgreSQL 17, with \\restrict', 17, clients(17), undefined],
  ['a database of an odd name', 15, debianClients, `it's "My" \\ shop; x ${process.pid}`],
])('a plain dump that names its own database, of %s', (_title, major, bin, name) => {
  let shop: Shop
  beforeAll(async () => {
    shop = await openShop(await sharedCluster(major), { env: { TIDEMARK_PG_BIN: bin }, ...(name === undefined ? {} : { name }) })
    await shop.sql(`COMMENT ON DATABASE "${shop.name.replaceAll('"', '""')}" IS 'DROP DATABASE x; the shop'`)
    const environment = { PATH: `${bin}:/usr/bin:/bin` }
    const target = { PGDATABASE: shop.name }
    await writeFile(join(shop.room.directory, 'create.sql'), await stockClient(bin, 'pg_dump', ['--create'], shop.target, { ...environment, ...target }))
    await writeFile(join(shop.room.directory, 'clean.sql.gz'), gzipSync(await stockClient(bin, 'pg_dump', ['--clean', '--create'], shop.target, target)))
    // What was dumped is old by now; every row that is there after a restore besides it is still there.
    await shop.sql(`INSERT INTO orders (customer, cents) SELECT 1, g FROM generate_series(1, 90) g`)
    await shop.sql(`ALTER DATABASE "${shop.name.replaceAll('"', '""')}" CONNECTION LIMIT 77`)
    await shop.sql(`COMMENT ON DATABASE "${shop.name.replaceAll('"', '""')}" IS 'newer'`)
  })
  afterAll(() => shop[Symbol.asyncDispose]())

  describe.each(['create.sql', 'clean.sql.gz'])('%s', (file) => {
    test('--as restores it there, and the live database of that name is not touched; what was left out is said', async () => {
      const before = await live(shop)
      const copy = `copy_${major}_${file.slice(0, 5)}_${process.pid}`
      const { result } = await shop.room.json<Restored>(['restore', '--file', file, '--as', copy])
      expect(result.tables.map(({ name: table, restoredRows }) => [table, restoredRows])).toEqual([
        ['customers', 50],
        ['orders', 200],
      ])
      expect(result.warnings.join('\n')).toContain('CREATE DATABASE')
      expect(await shop.sql('SELECT count(*)::int AS n FROM orders', copy)).toEqual([{ n: 200 }])
      expect(await live(shop)).toEqual(before)
    })

    test('--test and --dry-run leave it alone, too, and the plan says what it is', async () => {
      const before = await live(shop)
      const { plan } = await shop.room.json<Restored>(['restore', '--file', file, '--test', '--dry-run'])
      expect(plan.warnings.join('\n')).toContain('pg_dump --create')
      await shop.room.json(['restore', '--file', file, '--test'])
      expect(await live(shop)).toEqual(before)
    })
  })

  test('verify says that such a file is whole, and what psql would do with it', async () => {
    const { exitCode, stderr } = await shop.room.run(['verify', '--file', 'clean.sql.gz'])
    expect(exitCode).toBe(0)
    expect(stderr).toContain('DROP DATABASE')
  })

  test('--replace swaps it in beside the live one, whose rows are kept and come back by undo', async () => {
    await shop.room.json(['restore', '--file', 'clean.sql.gz', '--replace', '--yes'])
    expect((await live(shop)).rows).toEqual([{ orders: 200, customers: 50 }])
    await shop.room.json(['undo', '--yes'])
    expect((await live(shop)).rows).toEqual([{ orders: 290, customers: 50 }])
  })

  test('adopted it is shown for what it is, proven by a drill, and restored; the live database stays', async () => {
    const before = await live(shop)
    await mkdir(join(shop.room.directory, 'old'))
    await writeFile(
      join(shop.room.directory, 'old', 'old_20260101_000000.sql'),
      await stockClient(bin, 'pg_dump', ['--clean', '--create'], shop.target, { PGDATABASE: shop.name }),
    )
    const adopted = await shop.room.run(['repo', 'adopt', 'old', '--yes'])
    expect(adopted.stdout + adopted.stderr).toContain('DROP DATABASE')
    const { id } = (await shop.room.json<{ backups: { id: string; adopted: boolean }[] }>(['list'])).backups.find((each) => each.adopted) ?? { id: '' }
    const shown = await shop.room.run(['show', id])
    expect(shown.stderr).toContain('DROP DATABASE')
    expect(shown.stdout).not.toContain('psql')
    const drilled = await shop.room.run(['drill', id])
    expect(drilled.stdout).toContain('PROVEN')
    expect(await live(shop)).toEqual(before)
    await shop.room.json(['restore', id, '--as', `adopted_${major}_${process.pid}`])
    expect(await live(shop)).toEqual(before)
  })
})

describe('a plain dump that acts on more than a database', () => {
  let shop: Shop
  beforeAll(async () => {
    shop = await openShop(await sharedCluster(15))
  })
  afterAll(() => shop[Symbol.asyncDispose]())

  const plain = async () => (await stockClient(debianClients, 'pg_dump', [], shop.target)).toString()

  test.each([
    ['another database', 'DROP DATABASE victim_other;\nCREATE DATABASE third;'],
    ['a second database', '\\connect one\n\\connect two'],
    ['a role', "ALTER ROLE postgres SET work_mem TO '5MB';"],
    ['a membership', 'GRANT pg_monitor TO postgres;'],
    ['the settings of the server', "ALTER SYSTEM SET work_mem TO '5MB';"],
    ['another server', '\\connect postgres postgres other.example 5432'],
  ])('%s: refused (15) by --dry-run, --as and --drop-existing, before anything is made or dropped', async (_what, statement) => {
    await writeFile(
      join(shop.room.directory, 'wide.sql'),
      (await plain()).replace('CREATE TABLE public.customers', `${statement}\nCREATE TABLE public.customers`),
    )
    const other = `${shop.name}_keep`
    await shop.sql(`CREATE DATABASE ${other}`, 'postgres').catch(() => undefined)
    const before = await shop.sql('SELECT oid, datname FROM pg_database ORDER BY 1', 'postgres')
    for (const args of [
      ['--as', `${shop.name}_wide`],
      ['--as', other, '--drop-existing', '--yes'],
    ]) {
      const { error } = await shop.room.json<Refused>(['restore', '--file', 'wide.sql', ...args], { exitCode: 15 })
      expect(error.message + error.hints.join()).toContain(statement.split('\n').at(-1)?.slice(0, 20) ?? '')
    }
    expect((await shop.room.run(['restore', '--file', 'wide.sql', '--as', 'x', '--dry-run'])).exitCode).toBe(15)
    expect(await shop.sql('SELECT oid, datname FROM pg_database ORDER BY 1', 'postgres')).toEqual(before)
  })

  test('what pg_dumpall wrote is refused as such', async () => {
    await writeFile(join(shop.room.directory, 'all.sql'), await stockClient(debianClients, 'pg_dumpall', [], shop.target))
    const { error } = await shop.room.json<Refused>(['restore', '--file', 'all.sql', '--as', `${shop.name}_all`], { exitCode: 15 })
    expect(error.message).toContain('CREATE ROLE')
    expect(await shop.databases()).not.toContain(`${shop.name}_all`)
  })

  test('one that only speaks of it in names, comments, bodies, strings and rows is restored', async () => {
    await using harmless = await openShop(shop.cluster, {
      sql: `CREATE TABLE "DROP DATABASE x;" (role text); INSERT INTO "DROP DATABASE x;" VALUES ('DROP DATABASE x;'), (E'\\\\connect y'), ('ALTER SYSTEM;');
        COMMENT ON TABLE "DROP DATABASE x;" IS E'a\n\\\\connect y\nDROP ROLE postgres; -- it''s';
        CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $body$ SELECT $x$
DROP DATABASE x;
\\connect y
$x$ $body$;
        CREATE FUNCTION g() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END;
        CREATE VIEW v AS SELECT 'é; DROP DATABASE x;' AS "CREATE ROLE é;";`,
    })
    for (const encoding of ['UTF8', 'LATIN1']) {
      await writeFile(
        join(harmless.room.directory, 'words.sql'),
        await stockClient(debianClients, 'pg_dump', ['--create', `--encoding=${encoding}`], harmless.target),
      )
      const { result } = await harmless.room.json<Restored>(['restore', '--file', 'words.sql', '--as', `${harmless.name}_${encoding}`])
      expect(result.tables).toMatchObject([{ name: 'DROP DATABASE x;', restoredRows: 3 }])
      expect(await harmless.sql(`SELECT obj_description('"DROP DATABASE x;"'::regclass) AS c, f() AS f`, `${harmless.name}_${encoding}`)).toEqual([
        { c: "a\n\\connect y\nDROP ROLE postgres; -- it's", f: '\nDROP DATABASE x;\n\\connect y\n' },
      ])
    }
  })
})

describe('a plain dump whose roles are not here', () => {
  test('is restored with --no-owner --no-privileges, whoever it belonged to', async () => {
    await using shop = await openShop(await sharedCluster(15))
    await shop.sql(`CREATE ROLE e2e_ada; CREATE ROLE e2e_eve; ALTER TABLE orders OWNER TO e2e_ada; GRANT SELECT ON orders TO e2e_eve WITH GRANT OPTION;
      ALTER DEFAULT PRIVILEGES FOR ROLE e2e_ada GRANT SELECT ON TABLES TO e2e_eve; SET ROLE e2e_eve; GRANT SELECT ON orders TO pg_monitor; RESET ROLE;
      GRANT CREATE ON SCHEMA public TO e2e_ada; SELECT lo_from_bytea(4712, 'x'); ALTER LARGE OBJECT 4712 OWNER TO e2e_ada`)
    await shop.room.json(['backup', '--format', 'plain'])
    for (const [name, args] of [
      ['owners.sql', []],
      ['sessions.sql', ['--use-set-session-authorization']],
    ] as const)
      await writeFile(join(shop.room.directory, name), await stockClient(debianClients, 'pg_dump', [...args], shop.target))
    await shop.sql('DROP OWNED BY e2e_eve; REASSIGN OWNED BY e2e_ada TO postgres; DROP OWNED BY e2e_ada; DROP ROLE e2e_ada, e2e_eve')
    for (const [index, what] of [['latest'], ['--file', 'owners.sql'], ['--file', 'sessions.sql']].entries()) {
      await shop.room.json(['restore', ...what, '--as', `${shop.name}_no_${index}`], { exitCode: 1 })
      const { result } = await shop.room.json<Restored>(['restore', ...what, '--as', `${shop.name}_no_${index}`, '--no-owner', '--no-privileges'])
      expect(result).toMatchObject({ errors: [], tables: [{ match: true }, { match: true }] })
      expect(await shop.sql(`SELECT pg_get_userbyid(relowner) AS owner, relacl FROM pg_class WHERE relname = 'orders'`, `${shop.name}_no_${index}`)).toEqual([
        { owner: 'postgres', relacl: null },
      ])
    }
  })
})
