import { describe, expect, test } from 'vitest'
import { connectedDatabase, isJudged, statementReach } from './statement-reach.ts'

const judge = (sql: string, isWhole = true) => {
  const reach = statementReach(sql, isWhole)
  return reach.on === 'database' ? `database ${reach.database}` : reach.on
}

describe('what a statement acts on', () => {
  test.each([
    ['DROP DATABASE shop;', 'shop'],
    ['drop\n database if exists "Shop";', 'Shop'],
    [`CREATE DATABASE shop WITH TEMPLATE = template0 ENCODING = 'UTF8';`, 'shop'],
    ['ALTER DATABASE shop OWNER TO ada;', 'shop'],
    ['ALTER DATABASE "it\'s ""My"" \\ shop; x" CONNECTION LIMIT = 9;', 'it\'s "My" \\ shop; x'],
    [`COMMENT ON DATABASE shop IS 'a;b';`, 'shop'],
    [`SECURITY LABEL FOR "sel" ON DATABASE shop IS 'x';`, 'shop'],
    ['GRANT CONNECT,TEMPORARY ON DATABASE shop TO ada WITH GRANT OPTION;', 'shop'],
    ['REVOKE ALL ON DATABASE shop FROM PUBLIC;', 'shop'],
    [`ALTER ROLE ada IN DATABASE shop SET work_mem TO '6MB';`, 'shop'],
    [`ALTER ROLE ALL IN DATABASE shop SET work_mem TO '6MB';`, 'shop'],
  ])('%s acts on that database as a whole', (sql, name) => {
    expect(judge(sql)).toBe(`database ${name}`)
    expect(isJudged(sql.slice(0, 9))).toBe(true)
  })

  test.each([
    'CREATE ROLE ada;',
    'CREATE USER ada;',
    'ALTER ROLE ada SUPERUSER;',
    'ALTER USER ada IN GROUP x;',
    'DROP GROUP IF EXISTS ada;',
    'ALTER SYSTEM SET fsync TO off;',
    `CREATE TABLESPACE x LOCATION '/x';`,
    `COMMENT ON ROLE ada IS 'x';`,
    `SECURITY LABEL ON ROLE ada IS 'x';`,
    'GRANT ada TO eve;',
    'REVOKE ADMIN OPTION FOR ada FROM eve;',
    'GRANT CONNECT ON DATABASE shop, other TO ada;',
    'GRANT CREATE ON TABLESPACE x TO ada;',
    'GRANT SET ON PARAMETER work_mem TO ada;',
    'REASSIGN OWNED BY ada TO eve;',
    'DROP OWNED BY ada;',
    'DROP DATABASE :name;',
    `UPDATE pg_catalog.pg_database SET datallowconn = false;`,
    'DELETE FROM pg_authid;',
  ])('%s acts outside of every database', (sql) => {
    expect(judge(sql)).toBe('outside')
  })

  test.each([
    'CREATE TABLE public.database (role text, "DROP DATABASE" text);',
    `COMMENT ON TABLE public.x IS 'DROP DATABASE shop; ALTER SYSTEM';`,
    'CREATE USER MAPPING FOR ada SERVER s;',
    'DROP USER MAPPING IF EXISTS FOR ada SERVER s;',
    'ALTER TABLE public.x SET TABLESPACE fast;',
    "ALTER TABLE ONLY public.x ADD CONSTRAINT y CHECK ((role <> 'owner to;'::text));",
    `CREATE FUNCTION public.f() RETURNS void LANGUAGE sql AS $$ DROP DATABASE shop; $$;`,
    'CREATE ROLE_THING x;',
    `UPDATE public.pg_database_list SET a = 'x';`,
    'INSERT INTO public.role VALUES (1);',
    'SET SESSION AUTHORIZATION DEFAULT;',
    "SET client_encoding = 'UTF8';",
    'DROP TABLE IF EXISTS public.database;',
    "CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p WITH (connect = false);",
  ])('%s acts inside', (sql) => {
    expect(judge(sql)).toBe('inside')
  })

  test.each([
    ['ALTER TABLE public."owner to x" OWNER TO ada;', 'owner'],
    ['ALTER FUNCTION public.f(a integer, OUT "x;" text) OWNER TO "Ada";', 'owner'],
    [`SET SESSION AUTHORIZATION 'ada';`, 'owner'],
    ['GRANT SELECT(a),INSERT ON TABLE public.x TO ada;', 'privilege'],
    ['GRANT USAGE ON FOREIGN SERVER s TO ada;', 'privilege'],
    ['ALTER DEFAULT PRIVILEGES FOR ROLE ada IN SCHEMA public GRANT SELECT ON TABLES TO eve;', 'privilege'],
    ['SET SESSION AUTHORIZATION ada;', 'privilege'],
    ['RESET SESSION AUTHORIZATION;', 'privilege'],
  ])('%s is about an %s', (sql, on) => {
    expect(judge(sql)).toBe(on)
  })

  test('a grant too long to be seen whole is not taken for a harmless one', () => {
    expect(judge(`GRANT ${'a,'.repeat(10_000)}`, false)).toBe('outside')
  })
})

describe('\\connect', () => {
  test.each([
    ['\\connect shop', 'shop'],
    ['\\connect "Upper"', 'Upper'],
    ['\\c shop\r', 'shop'],
    [`\\connect -reuse-previous=on "dbname='it\\'s ""My"" \\\\ shop; x'"`, 'it\'s "My" \\ shop; x'],
  ])('%s leads to one database of the same server', (line, name) => {
    expect(connectedDatabase(line)).toBe(name)
  })

  test.each([
    '\\connect shop ada other.host 5432',
    '\\connect -',
    '\\connect `date`',
    '\\connect shop \\! ls',
    "\\connect -reuse-previous=on \"dbname='x' host='y'\"",
    '\\connect :name',
    '\\connect "host=evil dbname=x"',
    '\\connect postgresql://evil/x',
    '\\cd /',
  ])('%s may lead anywhere', (line) => {
    expect(connectedDatabase(line)).toBeUndefined()
  })
})
