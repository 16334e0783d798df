import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { quoteIdentifier } from '../../src/postgres/identifiers.ts'
import { systemClock } from '../../src/kernel/clock.ts'
import type { Context } from '../../src/kernel/context.ts'
import type { Proof } from '../../src/drill/proof.ts'
import type { Backup } from '../../src/repository/backup.ts'
import { readClusterLog } from '../../src/repository/commit-log.ts'
import { findBackup } from '../../src/repository/find-backup.ts'
import { readManifest } from '../../src/repository/manifest.ts'
import { openRepository } from '../../src/repository/repository.ts'
import { stageBackup } from '../../src/restore/staged-dump.ts'
import { compareWithFingerprint, type Validation } from '../../src/restore/validate-copy.ts'
import { openStorage } from '../../src/storage/open.ts'
import { sharedCluster } from '../support/cluster.ts'
import { embeddedDrills } from '../support/embedded-drills.ts'
import { openShop, type Shop } from '../support/shop.ts'

const context: Context = { clock: systemClock, emit: () => undefined, signal: new AbortController().signal }

const content = `
CREATE TABLE people (id int PRIMARY KEY, name text, paid numeric, photo bytea, note text);
INSERT INTO people SELECT g, 'name ' || g, g * 1.50, decode(lpad(to_hex(g), 8, '0'), 'hex'), CASE WHEN g % 7 = 0 THEN NULL WHEN g % 7 = 1 THEN '' ELSE 'note' END FROM generate_series(1, 500) g;
CREATE TABLE heap (a int, b int); INSERT INTO heap SELECT g % 10, g % 5 FROM generate_series(1, 100) g;
CREATE TABLE "Odd ""table""" (v text); INSERT INTO "Odd ""table""" VALUES ('only');
CREATE TABLE parts (k int, v int) PARTITION BY RANGE (k); CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (50); CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (50) TO (100);
INSERT INTO parts SELECT g, g FROM generate_series(0, 99) g;
CREATE SEQUENCE counter; SELECT setval('counter', 41);
CREATE INDEX people_name ON people (name); ALTER TABLE people ADD CONSTRAINT once UNIQUE (paid);
CREATE VIEW names AS SELECT name FROM people; CREATE MATERIALIZED VIEW sums AS SELECT sum(paid) FROM people;
SELECT lo_from_bytea(4711, 'a large object');
`

describe('a restored copy that is not what was dumped', () => {
  let shop: Shop
  let backup: Backup
  beforeAll(async () => {
    shop = await openShop(await sharedCluster(15), { sql: content })
    backup = await shop.room.json(['backup'])
    await shop.room.json(['restore', '--as', `${shop.name}_copy`])
  })
  afterAll(() => shop[Symbol.asyncDispose]())

  /** A copy of the good copy, changed, and compared as every drill and swap compares. */
  async function compared(change: string): Promise<Validation> {
    const name = `${shop.name}_tampered`
    await shop.sql(`CREATE DATABASE ${name} TEMPLATE ${shop.name}_copy`, 'postgres')
    try {
      await shop.sql(change, name)
      await using storage = await openStorage({ kind: 'posix', path: shop.room.repository, dirMode: 0o700, fileMode: 0o600, owner: null, group: null }, context)
      const repository = await openRepository('local', storage)
      const record = findBackup(await readClusterLog(storage, shop.name, context), backup.id)
      const manifest = await readManifest(storage, record)
      const stage = join(shop.room.work, 'stage')
      await mkdir(stage, { recursive: true })
      await using staged = await stageBackup(repository, manifest, stage, context)
      if (manifest.fingerprint === null) throw new Error('the backup has no fingerprint')
      await using one = await shop.cluster.session(name)
      await using two = await shop.cluster.session(name)
      return await compareWithFingerprint([one, two], manifest.fingerprint, staged, context)
    } finally {
      await shop.sql(`DROP DATABASE ${quoteIdentifier(name)} WITH (FORCE)`, 'postgres')
    }
  }

  test.each([
    ['nothing', 'SELECT 1'],
    ['the order of rows on disk', `UPDATE people SET name = name WHERE id < 100; UPDATE heap SET a = a WHERE a = 3`],
  ])('is told from one that is: %s changed', async (_name, change) => {
    const verdict = await compared(change)
    expect(verdict.problems).toEqual([])
    expect(verdict.outcome).toBe('equal')
    expect(verdict.tables.map((table) => table.match)).toEqual([true, true, true, true, true])
  })

  test.each([
    ['one value', `UPDATE people SET name = 'name 7 ' WHERE id = 7`, 'public.people'],
    ['a row', `DELETE FROM people WHERE id = 500`, 'public.people'],
    ['a duplicate for a lost row', `DELETE FROM heap WHERE ctid = '(0,1)'; INSERT INTO heap SELECT * FROM heap LIMIT 1`, 'public.heap'],
    ['a row too many', `INSERT INTO heap VALUES (1, 1)`, 'public.heap'],
    ['two values swapped between rows', `UPDATE people SET name = CASE id WHEN 7 THEN 'name 8' ELSE 'name 7' END WHERE id IN (7, 8)`, 'public.people'],
    ['two columns swapped', `UPDATE heap SET a = b, b = a WHERE a = 7`, 'public.heap'],
    ['NULL for an empty text', `UPDATE people SET note = NULL WHERE id = 1`, 'public.people'],
    ['a trailing zero', `UPDATE people SET paid = 1.5 WHERE id = 1`, 'public.people'],
    ['one bit of a byte', `UPDATE people SET photo = '\\x00000006' WHERE id = 7`, 'public.people'],
    ['an emptied table', `TRUNCATE "Odd ""table"""`, 'public."Odd ""table"""'],
    ['a missing table', `DROP TABLE "Odd ""table"""`, 'public."Odd ""table"""'],
    ['a row of a partition', `UPDATE parts SET v = 0 WHERE k = 77`, 'public.parts_2'],
    ['a sequence', `SELECT setval('counter', 40)`, 'public.counter'],
    ['a sequence not called', `SELECT setval('counter', 41, false)`, 'public.counter'],
    ['a byte of a large object', `SELECT lo_put(4711, 0, 'A')`, 'large objects'],
    ['a missing large object', `SELECT lo_unlink(4711)`, 'large objects'],
    ['a missing index', `DROP INDEX people_name`, 'people_name'],
    ['an invalid index', `UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'people_name'::regclass`, 'people_name'],
    ['a missing constraint', `ALTER TABLE people DROP CONSTRAINT once`, 'once'],
    ['a missing view', `DROP VIEW names`, 'names'],
    ['a materialised view without rows', `REFRESH MATERIALIZED VIEW sums WITH NO DATA`, 'sums'],
  ])('is found, and the object named: %s', async (_name, change, object) => {
    const verdict = await compared(change)
    expect(verdict.outcome).toBe('different')
    expect(verdict.problems.map((problem) => `${problem.object}: ${problem.message}`).join('\n')).toContain(object)
    const names = verdict.tables.filter((table) => !table.match).map((table) => `${table.schema}.${quoteWhereNeeded(table.name)}`)
    if (verdict.tables.some((table) => object === `${table.schema}.${quoteWhereNeeded(table.name)}`)) expect(names).toEqual([object])
    else expect(names).toEqual([])
  })
})

const quoteWhereNeeded = (name: string) => (/^[a-z_0-9]+$/.test(name) ? name : quoteIdentifier(name))

describe('tidemark drill', () => {
  test('fails (1) when a check gives another answer, and condemns the data, not the backup', async () => {
    const config = `
clusters:
  shop:
    url: env:DATABASE_URL
    repositories: [local]
    drill: { server: same, newest: [{ table: customers, by: id, rows: 2, mask: [email] }] }
    checks:
      - { sql: "select count(*) > 0 from orders", expect: true }
      - { sql: "select count(*) from orders", expect: 201 }
      - { sql: "select 1 from missing", expect: 1 }
repositories:
  local: { path: ./backups }
`
    await using shop = await openShop(await sharedCluster(15), { config })
    await shop.room.json(['backup'])
    const { proof } = await shop.room.json<{ proof: Proof }>(['drill'], { exitCode: 1 })
    expect(proof.outcome).toBe('failed')
    expect(proof.tables.every((table) => table.match)).toBe(true)
    expect(proof.checks).toEqual([
      { sql: 'select count(*) > 0 from orders', expected: 'true', actual: 'true', ok: true },
      { sql: 'select count(*) from orders', expected: '201', actual: '200', ok: false },
      { sql: 'select 1 from missing', expected: '1', actual: expect.stringContaining('does not exist') as string, ok: false },
    ])
    expect(proof.newest).toEqual([
      {
        table: 'customers',
        rows: [
          { id: '50', name: 'name 50', email: '***' },
          { id: '49', name: 'name 49', email: '***' },
        ],
      },
    ])
    expect(JSON.stringify(proof)).not.toContain('@example.com')
    expect(proof.problems.join('\n')).toContain('201')
    expect(await shop.room.json<Backup>(['show'])).toMatchObject({ state: 'verified', problems: [] })
    expect(await shop.databases()).toEqual([shop.name])
    const text = await shop.room.run(['drill'])
    expect(text.exitCode).toBe(1)
    expect(text.stdout).toContain('FAILED')
  })

  test("fails (1), names the table and condemns the backup when the copy's content is another: here the source's own event trigger changes it while it is restored", async () => {
    await using shop = await openShop(await sharedCluster(15), {
      sql: `CREATE TABLE orders (id int, cents int); INSERT INTO orders SELECT g, g FROM generate_series(1, 200) g; CREATE TABLE same (a int); CREATE MATERIALIZED VIEW totals AS SELECT count(*) FROM orders;
        CREATE FUNCTION meddle() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE public.orders SET cents = 201 - cents WHERE cents IN (100, 101); END $$;
        CREATE EVENT TRIGGER meddle ON ddl_command_end WHEN TAG IN ('REFRESH MATERIALIZED VIEW') EXECUTE FUNCTION meddle()`,
    })
    const backup = await shop.room.json<Backup>(['backup'])
    const { proof } = await shop.room.json<{ proof: Proof }>(['drill', '--server', 'same', '--jobs', '1'], { exitCode: 1 })
    expect(proof.outcome).toBe('failed')
    expect(proof.tables).toEqual([
      { name: 'public.orders', rows: 200, restoredRows: 200, match: false },
      { name: 'public.same', rows: 0, restoredRows: 0, match: true },
    ])
    expect(proof.problems.join('\n')).toContain('public.orders')
    expect(await shop.room.json<Backup>(['show', backup.id])).toMatchObject({ state: 'damaged' })
    expect((await shop.room.run(['latest'])).exitCode).toBe(1)
    expect(await shop.databases()).toEqual([shop.name])
    // A copy for people to look at is restored, and says that it differs.
    expect(
      (
        await shop.room.json<{ result: { warnings: string[] } }>(['restore', backup.id, '--as', `${shop.name}_look`, '--validate', 'content', '--jobs', '1'], {
          exitCode: 3,
        })
      ).result.warnings.join('\n'),
    ).toContain('public.orders')
  })

  test('is partial (3) without a fingerprint or for a part of a database, never proven', async () => {
    await using shop = await openShop(await sharedCluster(15))
    await shop.room.json(['backup'])
    const bare = await shop.room.json<Backup>(['backup', '--no-fingerprint'])
    const { proof } = await shop.room.json<{ proof: Proof }>(['drill', '--backup', bare.id, '--server', 'same'], { exitCode: 3 })
    expect(proof).toMatchObject({
      outcome: 'partial',
      notCompared: expect.arrayContaining([expect.objectContaining({ why: 'this backup was taken without a fingerprint' })]) as unknown,
    })
    expect((await shop.room.json<Backup>(['show', bare.id])).state).toBe('verified')
    const part = await shop.room.json<Backup>(['backup', '--table', 'customers'])
    expect((await shop.room.json<{ proof: Proof }>(['drill', '--backup', part.id, '--server', 'same'], { exitCode: 3 })).proof.outcome).toBe('partial')
    expect((await shop.room.json<Backup>(['show', part.id])).state).toBe('verified')
    expect((await shop.room.json<Backup>(['backup', '--no-verify'])).state).toBe('stored')
  })

  test('proves on a private server that has nothing but what the backup brings: roles, owners and grants included; nothing of it stays', async () => {
    await using shop = await openShop(await sharedCluster(15))
    await shop.sql(
      `DO $$ BEGIN CREATE ROLE e2e_owner; EXCEPTION WHEN duplicate_object THEN NULL; END $$; ALTER TABLE orders OWNER TO e2e_owner; GRANT SELECT ON customers TO e2e_owner`,
    )
    await shop.room.json(['backup'])
    const { proof } = await shop.room.json<{ proof: Proof }>(['drill', '--server', 'embedded'], { env: await embeddedDrills() })
    expect(proof).toMatchObject({ outcome: 'proven', problems: [], notCompared: [], server: 'embedded PostgreSQL 15' })
    expect(await shop.room.json<Backup>(['show'])).toMatchObject({ state: 'proven', provenAt: expect.any(String) as string })
  })
})
