import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
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
  error: { code: string; message: string; hints: string[] }
}

/** Names that would be taken for SQL or for an ACL's punctuation where they are not quoted. */
const old = `ol"d; TO 'x'r*/`
const heir = `new " FROM heir`
const clerk = 'clerk'
const roles = [old, heir, clerk]
const quoted = (name: string) => `"${name.replaceAll('"', '""')}"`

/** Everything that can belong to a role in a database, or be granted to it or by it. */
const everything = `
CREATE SCHEMA theirs AUTHORIZATION OLD;
ALTER SCHEMA public OWNER TO OLD;
CREATE TABLE theirs.orders (id serial PRIMARY KEY, "to" int, "fr""om" text);
INSERT INTO theirs.orders ("to") SELECT generate_series(1, 100);
CREATE TABLE mine (a int);
CREATE TABLE parted (a int) PARTITION BY RANGE (a);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE VIEW theirs.seen AS SELECT * FROM theirs.orders;
CREATE MATERIALIZED VIEW theirs.kept AS SELECT * FROM theirs.orders;
CREATE FUNCTION theirs.f(a int, "TO" text DEFAULT 'GRANT x TO y;') RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE AGGREGATE theirs.total (int) (SFUNC = int4pl, STYPE = int);
CREATE TYPE theirs.colour AS ENUM ('red', 'blue');
CREATE DOMAIN theirs.positive AS int CHECK (VALUE > 0);
CREATE COLLATION theirs.plain FROM "C";
CREATE TEXT SEARCH DICTIONARY theirs.words (TEMPLATE = simple);
CREATE OPERATOR theirs.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);
CREATE STATISTICS theirs.stats ON id, "to" FROM theirs.orders;
CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER far FOREIGN DATA WRAPPER nowhere;
CREATE USER MAPPING FOR OLD SERVER far OPTIONS (name 'FOR nobody SERVER x');
CREATE USER MAPPING FOR PUBLIC SERVER far;
CREATE PUBLICATION news FOR TABLE theirs.orders;
CREATE FUNCTION theirs.seen_by() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER watcher ON sql_drop EXECUTE FUNCTION theirs.seen_by();
SELECT lo_from_bytea(4711, 'large'), lo_from_bytea(4712, 'larger'), lo_from_bytea(4713, 'largest');
DO $do$ DECLARE x record; BEGIN
  FOR x IN SELECT c.oid::regclass AS name, relkind FROM pg_class c WHERE relnamespace = 'theirs'::regnamespace AND relkind IN ('r', 'v', 'm') LOOP
    EXECUTE format('ALTER TABLE %s OWNER TO %s', x.name, $role$OLD$role$);
  END LOOP; END $do$;
ALTER TABLE parted_1 OWNER TO OLD;
ALTER FUNCTION theirs.f OWNER TO OLD; ALTER AGGREGATE theirs.total(int) OWNER TO OLD; ALTER TYPE theirs.colour OWNER TO OLD; ALTER DOMAIN theirs.positive OWNER TO OLD;
ALTER COLLATION theirs.plain OWNER TO OLD; ALTER TEXT SEARCH DICTIONARY theirs.words OWNER TO OLD; ALTER OPERATOR theirs.=== (int, int) OWNER TO OLD;
ALTER STATISTICS theirs.stats OWNER TO OLD; ALTER SERVER far OWNER TO OLD; ALTER PUBLICATION news OWNER TO OLD; ALTER LARGE OBJECT 4711 OWNER TO OLD;
GRANT ALL ON SCHEMA theirs TO clerk; GRANT SELECT, UPDATE ON theirs.orders TO clerk WITH GRANT OPTION;
SET ROLE clerk; GRANT SELECT ON theirs.orders TO HEIR; RESET ROLE;
REVOKE DELETE ON theirs.orders FROM OLD;
GRANT SELECT ON mine TO OLD WITH GRANT OPTION;
SET ROLE OLD; GRANT SELECT ON mine TO clerk; RESET ROLE;
GRANT UPDATE ("to"), REFERENCES ("fr""om") ON theirs.orders TO OLD, clerk;
GRANT INSERT (a) ON mine TO OLD;
GRANT USAGE ON SEQUENCE theirs.orders_id_seq TO clerk; GRANT EXECUTE ON FUNCTION theirs.f TO clerk; REVOKE ALL ON FUNCTION theirs.f FROM PUBLIC;
GRANT USAGE ON TYPE theirs.colour TO OLD; GRANT USAGE ON FOREIGN DATA WRAPPER nowhere TO OLD; GRANT USAGE ON FOREIGN SERVER far TO clerk;
GRANT SELECT ON LARGE OBJECT 4711 TO clerk; GRANT SELECT, UPDATE ON LARGE OBJECT 4712 TO OLD; GRANT SELECT, UPDATE ON LARGE OBJECT 4713 TO OLD;
GRANT USAGE ON LANGUAGE plpgsql TO OLD;
ALTER DEFAULT PRIVILEGES FOR ROLE OLD IN SCHEMA theirs GRANT SELECT ON TABLES TO clerk;
ALTER DEFAULT PRIVILEGES FOR ROLE OLD REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE clerk GRANT ALL ON SEQUENCES TO OLD WITH GRANT OPTION;
ALTER TABLE theirs.orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY "TO be" ON theirs.orders AS RESTRICTIVE FOR SELECT TO OLD, clerk USING ("to" > 0 AND 'TO clerk' <> '');
CREATE POLICY everybody ON theirs.orders USING (true) WITH CHECK ("to" < 1000);
CREATE POLICY own ON theirs.orders FOR UPDATE TO OLD USING (current_user = 'x');
`

/** Who owns what, who granted what to whom, and where else roles stand: rows of text, with the roles' names between ⟨ and ⟩. */
const rightsQuery = `
WITH classes(class, oid, owner, acl) AS (
  SELECT 'class', c.oid, c.relowner, c.relacl FROM pg_class c UNION ALL SELECT 'namespace', oid, nspowner, nspacl FROM pg_namespace UNION ALL SELECT 'proc', oid, proowner, proacl FROM pg_proc
  UNION ALL SELECT 'type', oid, typowner, typacl FROM pg_type UNION ALL SELECT 'language', oid, lanowner, lanacl FROM pg_language UNION ALL SELECT 'foreign_data_wrapper', oid, fdwowner, fdwacl FROM pg_foreign_data_wrapper
  UNION ALL SELECT 'foreign_server', oid, srvowner, srvacl FROM pg_foreign_server UNION ALL SELECT 'largeobject', oid, lomowner, lomacl FROM pg_largeobject_metadata
  UNION ALL SELECT 'collation', oid, collowner, NULL FROM pg_collation UNION ALL SELECT 'ts_dict', oid, dictowner, NULL FROM pg_ts_dict UNION ALL SELECT 'operator', oid, oprowner, NULL FROM pg_operator
  UNION ALL SELECT 'statistic_ext', oid, stxowner, NULL FROM pg_statistic_ext UNION ALL SELECT 'publication', oid, pubowner, NULL FROM pg_publication UNION ALL SELECT 'event_trigger', oid, evtowner, NULL FROM pg_event_trigger),
named AS (SELECT *, pg_describe_object(('pg_' || class)::regclass, oid, 0) AS name FROM classes WHERE (oid >= 16384 OR class IN ('largeobject', 'language') OR (class = 'namespace' AND oid::regnamespace::text = 'public'))),
wanted AS (SELECT * FROM named WHERE name !~ 'pg_toast|pg_temp')
SELECT name || ' is owned by ⟨' || pg_get_userbyid(owner) || '⟩' AS line FROM wanted
UNION SELECT format('%s: ⟨%s⟩ %s %s from ⟨%s⟩', name, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END, privilege_type, is_grantable, pg_get_userbyid(grantor)) FROM wanted, aclexplode(acl)
UNION SELECT format('%s.%s: ⟨%s⟩ %s %s from ⟨%s⟩', attrelid::regclass, attname, pg_get_userbyid(grantee), privilege_type, is_grantable, pg_get_userbyid(grantor)) FROM pg_attribute, aclexplode(attacl) WHERE attrelid >= 16384
UNION SELECT format('default of ⟨%s⟩ in %s for %s: ⟨%s⟩ %s %s', pg_get_userbyid(defaclrole), defaclnamespace::regnamespace, defaclobjtype, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END, privilege_type, is_grantable) FROM pg_default_acl, aclexplode(defaclacl)
UNION SELECT format('policy %s: ⟨%s⟩ %s', polname, CASE role WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(role) END, pg_get_expr(polqual, polrelid)) FROM pg_policy, unnest(polroles) AS role
UNION SELECT format('mapping on %s: ⟨%s⟩ %s', srvname, usename, umoptions) FROM pg_user_mappings
ORDER BY 1`

let cluster: TestCluster
let shop: Shop
/** A copy that was restored without another word: pg_dump leaves out what is the default anyway, so the source itself has more. */
let unmapped: string
beforeAll(async () => {
  cluster = await sharedCluster(15)
  await using admin = await cluster.session()
  for (const role of roles) await admin.query(`CREATE ROLE ${quoted(role)}`)
  shop = await openShop(cluster, { sql: everything.replaceAll('OLD', quoted(old)).replaceAll('HEIR', quoted(heir)) })
  await shop.sql(`ALTER DATABASE ${shop.name} OWNER TO ${quoted(old)}; GRANT CREATE ON DATABASE ${shop.name} TO clerk`)
  await shop.sql(`ALTER ROLE ${quoted(old)} IN DATABASE ${shop.name} SET work_mem TO '7MB'`)
  await shop.room.json(['backup', '--name', 'custom'])
  await shop.room.json(['backup', '--format', 'directory', '--name', 'directory'])
  await shop.room.json(['backup', '--format', 'plain', '--name', 'plain'])
  // Written into a file, not a pipe, an archive says where its data blocks begin.
  unmapped = `${shop.name}_unmapped`
  await shop.room.json(['restore', 'custom', '--as', unmapped])
  await promisify(execFile)('pg_dump', ['--format=custom', `--file=${join(shop.room.directory, 'foreign.dump')}`, `--dbname=${urlOf(shop.target)}`])
})
afterAll(async () => {
  await shop[Symbol.asyncDispose]()
  await using admin = await cluster.session()
  for (const role of roles) await admin.query(`DROP ROLE ${quoted(role)}`)
})

const rightsIn = async (database: string) => (await shop.sql<{ line: string }>(rightsQuery, database)).map(({ line }) => line)
/** The rights that a copy must have, from those of a copy whose roles stayed: who is both giver and taker of a grant, or has one twice, needs it once. */
const expected = (lines: readonly string[], map: Readonly<Record<string, string>>) =>
  [...new Set(lines.map((line) => line.replaceAll(/⟨([^⟩]*)⟩/g, (_, name: string) => `⟨${map[name] ?? name}⟩`)))].toSorted()
const flags = (map: Readonly<Record<string, string>>) => Object.entries(map).flatMap(([from, to]) => ['--role-map', `${from}=${to}`])

describe('--role-map puts one role in the place of another everywhere in the copy, and nowhere else', () => {
  test.each([
    ['a backup', ['custom']],
    ['a directory dump', ['directory', '--jobs', '2']],
    ['an archive that names positions, read by several workers', ['--file', 'foreign.dump', '--jobs', '2']],
  ])('of %s', async (_name, wanted) => {
    const copy = `${shop.name}_${wanted[0]?.replaceAll(/\W/g, '')}`
    const before = [await rightsIn(shop.name), await shop.sql('SELECT rolname, oid::int FROM pg_roles ORDER BY 1')]
    // Of what is mapped to a third role nothing may be merged with what that role has, so that every line can be told.
    await shop.sql(`CREATE ROLE e2e_third`, 'postgres')
    const map = { [old]: 'e2e_third' }
    const { result } = await shop.room.json<Restored>(['restore', ...wanted, '--as', copy, ...flags(map), '--validate', 'content'])
    expect([result.errors, result.tables.every(({ match }) => match)]).toEqual([[], true])
    expect((await rightsIn(copy)).toSorted()).toEqual(expected(await rightsIn(unmapped), map))
    await shop.sql(`DROP DATABASE ${copy}`, 'postgres')
    await shop.sql('DROP ROLE e2e_third', 'postgres')
    expect([await rightsIn(shop.name), await shop.sql('SELECT rolname, oid::int FROM pg_roles ORDER BY 1')]).toEqual(before)
  })

  test('of two roles at once, which change places; the database’s owner, grants and settings, too', async () => {
    const copy = `${shop.name}_swapped`
    const map = { [old]: heir, [heir]: old }
    const { result } = await shop.room.json<Restored>(['restore', 'custom', '--as', copy, ...flags(map)])
    expect(result.errors).toEqual([])
    expect((await rightsIn(copy)).toSorted()).toEqual(expected(await rightsIn(unmapped), map))
    const facts = (database: string) =>
      shop.sql(
        `SELECT '⟨' || pg_get_userbyid(datdba) || '⟩' AS owner, (SELECT string_agg(setconfig::text || '⟨' || pg_get_userbyid(setrole) || '⟩', ',') FROM pg_db_role_setting WHERE setdatabase = d.oid) AS settings, (SELECT array_agg('⟨' || pg_get_userbyid(grantee) || '⟩' || privilege_type ORDER BY 1) FROM aclexplode(datacl) WHERE grantee <> 0) AS acl FROM pg_database d WHERE datname = '${database}'`,
        'postgres',
      )
    expect(JSON.stringify(await facts(copy))).toBe(
      expected([JSON.stringify(await facts(shop.name)).replaceAll('\\"', '"')], map)[0]?.replaceAll(
        /⟨([^⟩]*)⟩/g,
        (_, name: string) => `⟨${name.replaceAll('"', '\\"')}⟩`,
      ),
    )
  })

  test('of a role that does not exist here: the restore is whole, and none is made', async () => {
    await using other = await openShop(cluster)
    await other.sql(`CREATE ROLE e2e_moved; ALTER TABLE orders OWNER TO e2e_moved; GRANT SELECT ON customers TO e2e_moved`)
    await other.room.json(['backup'])
    await other.sql(`REASSIGN OWNED BY e2e_moved TO postgres; DROP OWNED BY e2e_moved; DROP ROLE e2e_moved`)
    const { plan, result } = await other.room.json<Restored>(['restore', '--as', `${other.name}_copy`, '--role-map', `e2e_moved=${clerk}`])
    expect(plan.warnings).toEqual([])
    expect(plan.steps).toContain(`in its owners and grants put "${clerk}" for "e2e_moved"`)
    expect([result.errors, result.warnings]).toEqual([[], []])
    expect(await other.sql(`SELECT pg_get_userbyid(relowner) AS owner FROM pg_class WHERE relname = 'orders'`, `${other.name}_copy`)).toEqual([
      { owner: clerk },
    ])
    expect(await other.sql(`SELECT FROM pg_roles WHERE rolname = 'e2e_moved'`)).toEqual([])
    // In the place of the original, too: it compares the content before it swaps.
    expect((await other.room.json<Restored>(['restore', '--replace', '--yes', '--role-map', `e2e_moved=${clerk}`])).result.validation).toBe('content')
  })
})

test('--role-map goes with single tables, and into a database that is there', async () => {
  const copy = `${shop.name}_part`
  const owner = async () => (await shop.sql(`SELECT pg_get_userbyid(relowner) AS owner FROM pg_class WHERE oid = 'theirs.orders'::regclass`, copy))[0]
  // One worker: several give grants in no order, and one that is given by a role needs that role's right on the schema first.
  await shop.room.json(['restore', 'custom', '--table', 'theirs.orders', '--jobs', '1', '--as', copy, ...flags({ [old]: heir })])
  expect(await owner()).toEqual({ owner: heir })
  await shop.room.json(['restore', 'custom', '--table', 'theirs.orders', '--jobs', '1', '--as', copy, '--clean', '--yes', ...flags({ [old]: clerk })])
  expect(await owner()).toEqual({ owner: clerk })
})

test('a dry run tries the roles, too, and changes nothing', async () => {
  const { plan } = await shop.room.json<Restored>(['restore', 'custom', '--as', `${shop.name}_dry`, '--role-map', `nobody=${clerk}`, '--dry-run'])
  expect(plan.warnings).toContain('role "nobody" of --role-map does not occur in the dump')
  expect(await shop.databases()).not.toContain(`${shop.name}_dry`)
})

describe('--role-map does nothing silently:', () => {
  test('a role that does not occur is named', async () => {
    const { result } = await shop.room.json<Restored>(['restore', 'custom', '--as', `${shop.name}_none`, '--role-map', `nobody=${clerk}`])
    expect(result.warnings).toContain('role "nobody" of --role-map does not occur in the dump')
  })

  test('what is granted to the old role by something other than the dump is told', async () => {
    await shop.room.json(['backup', '--name', 'again'])
    await writeFile(join(shop.room.directory, 'grant.sql'), `GRANT DELETE ON mine TO ${quoted(old)}`)
    const { result } = await shop.room.json<Restored>([
      'restore',
      'again',
      '--as',
      `${shop.name}_granted`,
      ...flags({ [old]: clerk }),
      '--run-sql',
      'grant.sql',
    ])
    expect(result.warnings.join('\n')).toContain(`1 objects or grants in the copy still name role "${old}"`)
  })

  test('a function that takes on the old role while it runs is told; a setting of the database is replaced', async () => {
    await using other = await openShop(cluster)
    await other.sql(`CREATE ROLE e2e_runner; CREATE FUNCTION acts(int) RETURNS int LANGUAGE sql SET role TO 'e2e_runner' SET work_mem TO '8MB' AS 'SELECT 1'`)
    await other.sql(`ALTER ROLE ${clerk} IN DATABASE ${other.name} SET role TO 'e2e_runner'`)
    await other.room.json(['backup'])
    const copy = `${other.name}_copy`
    const { result } = await other.room.json<Restored>(['restore', '--as', copy, '--role-map', `e2e_runner=${clerk}`])
    expect(result.warnings.join('\n')).toContain('function public.acts(integer) still has SET role TO e2e_runner')
    expect(
      await other.sql(`SELECT setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase WHERE datname = '${copy}'`, 'postgres'),
    ).toEqual([{ setconfig: [`role=${clerk}`] }])
    for (const database of [other.name, copy]) await other.sql(`DROP DATABASE "${database}" WITH (FORCE)`, 'postgres')
    await other.sql('DROP ROLE e2e_runner', 'postgres')
  })

  test.each([
    ['a role in whose place none is here', ['custom', '--role-map', 'postgres=nobody'], 15, /role "nobody" of --role-map does not exist/],
    ['a plain backup', ['plain', '--role-map', 'postgres=clerk'], 15, /plain SQL/],
    ['two heirs of one role', ['custom', '--role-map', 'a=clerk', '--role-map', 'a=postgres'], 2, /two roles/],
    ['half a pair', ['custom', '--role-map', 'a='], 2, /OLD=NEW/],
    ['a pair that could be cut in two places', ['custom', '--role-map', 'a=b=c'], 2, /OLD=NEW/],
    ['everybody', ['custom', '--role-map', 'public=clerk'], 2, /no role/],
  ])('%s is refused', async (_name, args, exitCode, message) => {
    const { error } = await shop.room.json<Refused>(['restore', ...args, '--as', `${shop.name}_never`], { exitCode })
    expect([error.message, ...error.hints].join('\n')).toMatch(message)
    expect(await shop.databases()).not.toContain(`${shop.name}_never`)
  })
})
