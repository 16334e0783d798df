import { quoteIdentifier } from '../../src/postgres/identifiers.ts'
import type { Session } from '../../src/postgres/session.ts'
import type { TestCluster } from './cluster.ts'

/**
 * A database with everything of faults.md §1.5 that a dump of one database can carry. Roles belong to the whole server, so they are made
 * beside it and have names of their own (`wl_…`).
 */

/** Roles with memberships, settings and a comment; a server has them once. */
const roles = `
DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['wl_owner', 'wl_reader', 'wl_writer', 'wl "odd" role', 'wl_group'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN EXECUTE format('CREATE ROLE %I', name); END IF;
  END LOOP;
END $$;
GRANT wl_group TO wl_reader, wl_writer;
GRANT wl_reader TO wl_owner WITH ADMIN OPTION;
ALTER ROLE wl_owner SET search_path = wl, public;
COMMENT ON ROLE wl_group IS 'a group; with ''quotes'' and "more"';
`

const types = `
CREATE SCHEMA wl;
CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION btree_gist SCHEMA wl; CREATE EXTENSION pg_trgm;
CREATE TYPE wl.mood AS ENUM ('sad', 'ok', 'happy'); ALTER TYPE wl.mood ADD VALUE 'a''b' BEFORE 'ok'; COMMIT;
CREATE TYPE wl.pair AS (a int, b text);
CREATE DOMAIN wl.positive AS int DEFAULT 7 CHECK (VALUE > 0);
CREATE DOMAIN wl.odd AS text CHECK (VALUE <> 'COPY x FROM stdin;');
CREATE TYPE wl.floatrange AS RANGE (subtype = float8, subtype_diff = float8mi);
CREATE COLLATION wl.icu (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE COLLATION wl.german (provider = icu, locale = 'de-u-co-phonebk');
CREATE TABLE wl.types (
  id int PRIMARY KEY, n numeric, n2 numeric(20,5), by bytea, j jsonb, js json, arr text[], arr2 int[][], r int4range, tr tstzrange, fr wl.floatrange, c wl.pair, cs wl.pair[],
  e wl.mood, es wl.mood[], d wl.positive, ts tsvector, tq tsquery, x xml, b bit(5), vb bit varying, pt point, ln line, seg lseg, bx box, ph path, poly polygon, ci circle,
  t timestamp, tz timestamptz, i interval, m money, f4 float4, f8 float8, u uuid, ip inet, net cidr, mac macaddr, mac8 macaddr8, ch char(5), v varchar(10), dt date, tm time,
  tmz timetz, reg regclass, lsn pg_lsn, bo boolean, ch1 "char", na name, h hstore, ct citext, o oid, sm smallint, bi bigint, jp jsonpath
);
INSERT INTO wl.types VALUES
 (1, 'NaN', -0.5, '\\x00ff0a5c', '{"a":[1,2,{"b":"\\u00e9"}],"k":null}', '{"k" :  1, "k": 2}', '{a,"b,c",NULL,"q\\"uote","NULL"}', '{{1,2},{3,4}}', '[1,5)', '[2026-01-01 00:00+00,infinity)', '[1.5,2.5)',
  '(1,"x,y")', '{"(1,a)","(,)"}', 'happy', '{sad,"a''b"}', 3, 'fat:1A cat:2', 'fat & !rat:*', '<a b="1">&lt;é</a>', B'10101', B'1', '(1.5,-2)', '{1,2,3}', '[(0,0),(1,1)]', '(1,1),(0,0)',
  '[(0,0),(1,1)]', '((0,0),(1,1),(1,0))', '<(0,0),1.1>', 'infinity', '-infinity', '1 year 2 mons -3 days 04:05:06.7', '12.34', 1.1::float4, 0.1::float8, '00000000-0000-0000-0000-000000000001',
  '10.0.0.1/8', '10.0.0.0/8', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', 'ab', E'tab\\tx', '2026-02-28', '23:59:60', '12:00+02', 'wl.types', '0/16B3748', true, 'c', 'nm',
  '"a b"=>"1", c=>NULL', 'MixedCase', 4294967295, -32768, -9223372036854775808, '$.a[*] ? (@ > 1)'),
 (2, 12345678901234567890123456789.123456789, 0, '', 'null', '[]', '{}', '{}', 'empty', 'empty', '(,)', NULL, NULL, NULL, '{}', NULL, '', '', NULL, NULL, '', NULL, NULL, NULL, NULL, NULL, NULL, NULL,
  '0044-03-15 00:00:00 BC', '2026-10-25 02:30:00+02', '-1 days', '-1', 'NaN', '-Infinity', NULL, '::1', '::/0', NULL, NULL, '', '', 'infinity', '00:00', '00:00-15:59', 'pg_class', '0/0',
  false, '', '', '', '', 0, 32767, 9223372036854775807, NULL),
 (3, 1e-300, 99999.99999, '\\x5c2e0a', '"\\\\."', '"\\\\."', E'{"line\\nbreak","\\\\\\\\."}', NULL, NULL, NULL, NULL, '(,)', NULL, 'sad', NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
  '0001-01-01 BC', '2026-03-29 02:30:00+01', '0', '0', 1e-30, 1e300, NULL, NULL, NULL, NULL, NULL, E'\\\\.', E'\\\\N', '0001-01-01 BC', '00:00:00.000001', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO wl.types (id, tz) SELECT 10 + g, '2026-03-28 20:00:00+00'::timestamptz + g * interval '1 hour' FROM generate_series(0, 30) g;
CREATE TABLE wl.tricky (id serial PRIMARY KEY, txt text COLLATE wl.icu);
INSERT INTO wl.tricky (txt) VALUES (E'\\\\.'), (E'line\\n\\\\.\\nline'), (''), (NULL), (E'\\t\\r\\n\\b\\f\\v'), ('COPY x FROM stdin;'), ('-- PostgreSQL database dump complete'), ('emoji 🐘 ü א'), (E'trailing backslash \\\\'), (E'\\u0001\\u007f\\u0085\\u2028');
CREATE TABLE wl.toasted (id int, body text STORAGE_CLAUSE, blob bytea);
INSERT INTO wl.toasted SELECT g, (SELECT string_agg(md5((g * 100000 + k)::text), '') FROM generate_series(1, 12000) k), decode(repeat(lpad(to_hex(g), 2, '0'), 300000), 'hex') FROM generate_series(1, 4) g;
`

const tables = `
CREATE SCHEMA "Weird ""schema""; --" AUTHORIZATION "wl ""odd"" role";
CREATE TABLE "Weird ""schema""; --"."ta.ble'
with newline $$ (x)" ("co""l 1" int, "SELECT" text, "tab	ulator" int, "é🐘" int, "${'c'.repeat(63)}" int);
INSERT INTO "Weird ""schema""; --"."ta.ble'
with newline $$ (x)" SELECT g, 'r' || g, g, g, g FROM generate_series(1, 100) g;
CREATE TABLE wl."${'t'.repeat(63)}" (a int); INSERT INTO wl."${'t'.repeat(63)}" VALUES (1);
CREATE TABLE wl."--option" (a int); INSERT INTO wl."--option" VALUES (1);
CREATE TABLE wl."\\." (a int); INSERT INTO wl."\\." VALUES (1);
CREATE TABLE wl.zero_columns (); INSERT INTO wl.zero_columns DEFAULT VALUES; INSERT INTO wl.zero_columns DEFAULT VALUES; INSERT INTO wl.zero_columns DEFAULT VALUES;
CREATE TABLE wl.empty (a int, b text);
CREATE TABLE wl.dropped (gone0 int, a int, gone text, b int); INSERT INTO wl.dropped SELECT 0, g, 'x', g FROM generate_series(1, 50) g;
ALTER TABLE wl.dropped DROP COLUMN gone, DROP COLUMN gone0, ADD COLUMN late text DEFAULT 'not rewritten';
CREATE TABLE wl.generated (a int, twice int GENERATED ALWAYS AS (a * 2) STORED, b text); INSERT INTO wl.generated (a, b) SELECT g, 'g' || g FROM generate_series(1, 20) g;
CREATE TABLE wl.only_generated (g int GENERATED ALWAYS AS (1) STORED); INSERT INTO wl.only_generated DEFAULT VALUES;
CREATE TABLE wl.identity_always (id bigint GENERATED ALWAYS AS IDENTITY (START WITH 5 INCREMENT BY 7), v text); INSERT INTO wl.identity_always (v) VALUES ('a'), ('b');
CREATE TABLE wl.identity_default (id int GENERATED BY DEFAULT AS IDENTITY, v text); INSERT INTO wl.identity_default (v) VALUES ('a');
CREATE TABLE wl.by_range (k int NOT NULL, v text, PRIMARY KEY (k)) PARTITION BY RANGE (k);
CREATE TABLE wl.by_range_1 PARTITION OF wl.by_range FOR VALUES FROM (0) TO (100);
CREATE TABLE wl.by_range_2 (v text, k int NOT NULL); ALTER TABLE wl.by_range ATTACH PARTITION wl.by_range_2 FOR VALUES FROM (100) TO (200);
CREATE TABLE wl.by_range_deep PARTITION OF wl.by_range FOR VALUES FROM (200) TO (250) PARTITION BY RANGE (k);
CREATE TABLE wl.by_range_deep_1 PARTITION OF wl.by_range_deep FOR VALUES FROM (200) TO (250);
CREATE TABLE wl.by_range_default PARTITION OF wl.by_range DEFAULT;
INSERT INTO wl.by_range SELECT g, 'v' || g FROM generate_series(0, 299) g;
CREATE INDEX by_range_v ON wl.by_range (v);
CREATE TABLE wl.by_list (e wl.mood, v int) PARTITION BY LIST (e);
CREATE TABLE wl.by_list_sad PARTITION OF wl.by_list FOR VALUES IN ('sad', NULL); CREATE TABLE wl.by_list_other PARTITION OF wl.by_list DEFAULT;
INSERT INTO wl.by_list SELECT (ARRAY['sad','ok',NULL,'happy']::wl.mood[])[1 + g % 4], g FROM generate_series(1, 80) g;
CREATE TABLE wl.by_hash (k text, v int) PARTITION BY HASH (k);
CREATE TABLE wl.by_hash_0 PARTITION OF wl.by_hash FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE TABLE wl.by_hash_1 PARTITION OF wl.by_hash FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO wl.by_hash SELECT 'k' || g, g FROM generate_series(1, 60) g;
CREATE TABLE wl.by_enum (e wl.mood, v int) PARTITION BY HASH (e);
CREATE TABLE wl.by_enum_0 PARTITION OF wl.by_enum FOR VALUES WITH (MODULUS 3, REMAINDER 0); CREATE TABLE wl.by_enum_1 PARTITION OF wl.by_enum FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE wl.by_enum_2 (v int, e wl.mood); ALTER TABLE wl.by_enum ATTACH PARTITION wl.by_enum_2 FOR VALUES WITH (MODULUS 3, REMAINDER 2);
INSERT INTO wl.by_enum SELECT (ARRAY['sad','ok','happy']::wl.mood[])[1 + g % 3], g FROM generate_series(1, 90) g;
CREATE TABLE wl.parent (a int, note text); CREATE TABLE wl.child (b int) INHERITS (wl.parent); CREATE TABLE wl.grandchild (c int) INHERITS (wl.child);
INSERT INTO wl.parent VALUES (1, 'p'); INSERT INTO wl.child VALUES (2, 'c', 3); INSERT INTO wl.grandchild VALUES (4, 'g', 5, 6);
CREATE UNLOGGED TABLE wl.unlogged (a int); INSERT INTO wl.unlogged VALUES (1), (2);
CREATE TABLE wl.exclusive (room int, during int4range, EXCLUDE USING gist (room WITH =, during WITH &&)); INSERT INTO wl.exclusive VALUES (1, '[1,2)'), (1, '[5,6)'), (2, '[1,9)');
CREATE TABLE wl.chicken (id int PRIMARY KEY, egg int); CREATE TABLE wl.egg (id int PRIMARY KEY, chicken int REFERENCES wl.chicken DEFERRABLE INITIALLY DEFERRED);
ALTER TABLE wl.chicken ADD FOREIGN KEY (egg) REFERENCES wl.egg DEFERRABLE INITIALLY DEFERRED;
BEGIN; INSERT INTO wl.chicken SELECT g, g FROM generate_series(1, 10) g; INSERT INTO wl.egg SELECT g, 11 - g FROM generate_series(1, 10) g; COMMIT;
CREATE TABLE wl.tree (id int PRIMARY KEY, parent int REFERENCES wl.tree ON DELETE CASCADE); INSERT INTO wl.tree SELECT g, nullif(g / 2, 0) FROM generate_series(1, 30) g;
CREATE TABLE wl.checked (a int NOT NULL DEFAULT 3 CHECK (a > 0)); INSERT INTO wl.checked VALUES (1); ALTER TABLE wl.checked ADD CONSTRAINT later CHECK (a < 100) NOT VALID;
CREATE TABLE wl.words (w citext UNIQUE, h hstore); INSERT INTO wl.words VALUES ('Word', 'a=>1'); CREATE INDEX words_trgm ON wl.words USING gin ((w::text) gin_trgm_ops);
DO $$ BEGIN EXECUTE 'CREATE TABLE wl.wide (' || (SELECT string_agg(format('c%s int', g), ', ') FROM generate_series(1, 1600) g) || ')'; END $$;
INSERT INTO wl.wide (c1, c800, c1600) VALUES (1, 2, 3), (NULL, NULL, NULL);
DO $$ BEGIN FOR g IN 1..120 LOOP EXECUTE format('CREATE TABLE wl.many_%s (id int PRIMARY KEY)', g); END LOOP; END $$;
INSERT INTO wl.many_77 SELECT generate_series(1, 5);
`

const programs = `
CREATE FUNCTION wl.fooler(text, VARIADIC integer[]) RETURNS void LANGUAGE plpgsql AS $fn$
BEGIN
  PERFORM $q$
COPY public.trap (a) FROM stdin;
1
\\.
\\! touch /tmp/never
-- PostgreSQL database dump complete
$q$;
END;
$fn$;
CREATE FUNCTION wl.stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.v := coalesce(NEW.v, 'stamped'); RETURN NEW; END $$;
CREATE TRIGGER stamp BEFORE INSERT ON wl.identity_default FOR EACH ROW EXECUTE FUNCTION wl.stamp();
CREATE TRIGGER off BEFORE UPDATE ON wl.identity_default FOR EACH ROW EXECUTE FUNCTION wl.stamp(); ALTER TABLE wl.identity_default DISABLE TRIGGER off;
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON wl.egg DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wl.stamp();
CREATE FUNCTION wl.watch() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;
CREATE EVENT TRIGGER wl_watch ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION wl.watch();
CREATE PROCEDURE wl.a_procedure(a integer) LANGUAGE plpgsql AS 'BEGIN NULL; END';
CREATE AGGREGATE wl.total(integer) (SFUNC = int4pl, STYPE = integer);
CREATE FUNCTION wl.same(wl.pair, wl.pair) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1.a = $2.a';
CREATE OPERATOR wl.=== (FUNCTION = wl.same, LEFTARG = wl.pair, RIGHTARG = wl.pair, COMMUTATOR = OPERATOR(wl.===));
CREATE CAST (wl.pair AS text) WITH INOUT;
CREATE TEXT SEARCH CONFIGURATION wl.plain (COPY = pg_catalog.simple); CREATE TEXT SEARCH DICTIONARY wl.dict (TEMPLATE = pg_catalog.simple, STOPWORDS = english);
CREATE VIEW wl.a_view AS SELECT id, txt FROM wl.tricky WHERE id > 0 WITH CASCADED CHECK OPTION;
CREATE VIEW wl.counted AS WITH RECURSIVE numbers (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM numbers WHERE n < 3) SELECT n FROM numbers;
CREATE MATERIALIZED VIEW wl.filled AS SELECT e, count(*) AS n FROM wl.by_list GROUP BY e; CREATE UNIQUE INDEX filled_e ON wl.filled (e);
CREATE MATERIALIZED VIEW wl.filled_again AS SELECT sum(n) AS n FROM wl.filled;
CREATE MATERIALIZED VIEW wl.unfilled AS SELECT 1 AS one WITH NO DATA;
CREATE RULE no_delete AS ON DELETE TO wl.dropped DO INSTEAD NOTHING;
CREATE INDEX tricky_md5 ON wl.tricky (md5(txt)) WHERE id > 1; CREATE INDEX types_gin ON wl.types USING gin (j); CREATE STATISTICS wl.stx (ndistinct) ON a, b FROM wl.dropped;
ALTER TABLE wl.checked ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY own ON wl.checked FOR SELECT TO wl_reader USING (a > 0);
ALTER TABLE wl.tricky REPLICA IDENTITY FULL; ALTER TABLE wl.tricky ALTER COLUMN txt SET STATISTICS 42; ALTER TABLE wl.by_hash_0 SET (fillfactor = 55, autovacuum_enabled = false);
CREATE FOREIGN DATA WRAPPER wl_wrapper; CREATE SERVER wl_server FOREIGN DATA WRAPPER wl_wrapper OPTIONS (host 'x''y'); CREATE USER MAPPING FOR wl_reader SERVER wl_server OPTIONS (password 'p''w');
CREATE FOREIGN TABLE wl.far (a int OPTIONS (column_name 'b')) SERVER wl_server OPTIONS (t 'u');
CREATE PUBLICATION wl_some FOR TABLE wl.types, wl.tricky WITH (publish = 'insert'); CREATE PUBLICATION wl_all FOR ALL TABLES WITH (publish = 'insert');
CREATE SEQUENCE wl.mid START 10 INCREMENT 3; SELECT nextval('wl.mid'), nextval('wl.mid');
CREATE SEQUENCE wl.down INCREMENT -1 MINVALUE -9223372036854775808 START -5; SELECT nextval('wl.down');
CREATE SEQUENCE wl.never_called START 42; CREATE SEQUENCE wl.cached CACHE 50 CYCLE MAXVALUE 1000; SELECT nextval('wl.cached');
CREATE SEQUENCE "Weird ""schema""; --"."se'q""x"; SELECT setval('"Weird ""schema""; --"."se''q""x"', 9223372036854775807);
SELECT lo_from_bytea(4000000000, '\\x00010203'), lo_from_bytea(16999, decode(repeat('ab', 100000), 'hex')), lo_create(17001), lo_from_bytea(17002, '\\x5c2e0a');
COMMENT ON LARGE OBJECT 17001 IS 'empty'; GRANT SELECT ON LARGE OBJECT 16999 TO wl_reader; ALTER LARGE OBJECT 17002 OWNER TO wl_owner;
ALTER TABLE wl.types OWNER TO wl_owner; ALTER TABLE wl.by_list OWNER TO "wl ""odd"" role"; ALTER FUNCTION wl.total(integer) OWNER TO wl_owner;
GRANT USAGE ON SCHEMA wl TO wl_reader, "wl ""odd"" role"; GRANT SELECT ON wl.types TO wl_reader WITH GRANT OPTION; GRANT UPDATE (id) ON wl.types TO wl_writer; REVOKE ALL ON FUNCTION wl.same(wl.pair, wl.pair) FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE wl_owner IN SCHEMA wl GRANT SELECT ON TABLES TO wl_reader; ALTER DEFAULT PRIVILEGES FOR ROLE wl_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
COMMENT ON TABLE wl.tricky IS E'a comment\\nCOPY public.trap FROM stdin;\\n\\\\.\\n'; COMMENT ON COLUMN wl.types.id IS 'it''s "quoted" \\ and ends with a backslash \\'; COMMENT ON SCHEMA wl IS '🐘';
`

const since14 = `
CREATE TABLE wl.multi (r int4multirange, z tstzmultirange); INSERT INTO wl.multi VALUES ('{[1,2),[5,9)}', '{[2026-01-01 00:00+00,infinity)}'), ('{}', NULL);
CREATE FUNCTION wl.atomic(a int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN a > 0 THEN 1 ELSE 2 END; SELECT 3; END;
CREATE PROCEDURE wl.with_out(IN a integer, OUT b integer) LANGUAGE plpgsql AS 'BEGIN b := a; END';
CREATE TABLE wl.compressed (t text COMPRESSION pglz); INSERT INTO wl.compressed SELECT repeat('abc', 100000);
`

const since15 = `
CREATE TABLE wl.nulls (a int, UNIQUE NULLS NOT DISTINCT (a)); INSERT INTO wl.nulls VALUES (NULL), (1);
CREATE PUBLICATION wl_filtered FOR TABLE wl.dropped (a, b) WHERE (a > 10); CREATE PUBLICATION wl_schema FOR TABLES IN SCHEMA "Weird ""schema""; --";
CREATE VIEW wl.invoker WITH (security_invoker = true) AS SELECT * FROM wl.empty;
`

const since18 = `
CREATE TABLE wl.virtual (a int, twice int GENERATED ALWAYS AS (a * 2) VIRTUAL); INSERT INTO wl.virtual (a) VALUES (1), (2);
CREATE TABLE wl.temporal (id int, valid daterange, PRIMARY KEY (id, valid WITHOUT OVERLAPS)); INSERT INTO wl.temporal VALUES (1, '[2026-01-01,2026-02-01)');
CREATE TABLE wl.unenforced (a int, CONSTRAINT soft CHECK (a > 0) NOT ENFORCED); INSERT INTO wl.unenforced VALUES (-1);
`

/** Leaves whose rows may lie in another one after a restore, since the hash of an enum comes from its OIDs; and their root. */
export const movingLeaves = ['wl.by_enum_0', 'wl.by_enum_1', 'wl.by_enum_2']

/** Creates the database `name` with the workload in it. */
export async function createWorkload(cluster: TestCluster, name: string): Promise<void> {
  await using admin = await cluster.session()
  await admin.query(roles)
  await createDatabase(admin, name, `TEMPLATE template0`)
  await admin.query(
    `GRANT CONNECT ON DATABASE ${quoteIdentifier(name)} TO wl_reader WITH GRANT OPTION; REVOKE CONNECT, TEMPORARY ON DATABASE ${quoteIdentifier(name)} FROM PUBLIC; ALTER DATABASE ${quoteIdentifier(name)} OWNER TO wl_owner;
     COMMENT ON DATABASE ${quoteIdentifier(name)} IS 'the workload''s "database"'`,
  )
  // Statements of their own: these and CREATE DATABASE cannot share an implicit transaction with others everywhere.
  for (const setting of [
    `"DateStyle" TO 'German, DMY'`,
    `"TimeZone" TO 'Asia/Kolkata'`,
    `search_path TO wl, public`,
    `extra_float_digits TO '-10'`,
    `"my.setting" TO 'it''s'`,
  ]) {
    await admin.query(`ALTER DATABASE ${quoteIdentifier(name)} SET ${setting}`)
  }
  await admin.query(`ALTER ROLE wl_reader IN DATABASE ${quoteIdentifier(name)} SET work_mem TO '8MB'`)
  await admin.query(`ALTER ROLE wl_writer IN DATABASE ${quoteIdentifier(name)} SET search_path TO ''`)
  await admin.query(`ALTER ROLE wl_group IN DATABASE ${quoteIdentifier(name)} SET search_path TO "$user", 'a, b', "q""uote", public`)
  await using session = await cluster.session(name)
  await session.query(`SET TimeZone = 'UTC'; SET "DateStyle" = 'ISO, MDY'; SET search_path = public`)
  const storage = cluster.major >= 16 ? 'STORAGE EXTERNAL' : ''
  await session.query(types.replace('STORAGE_CLAUSE', storage))
  await session.query(tables)
  await session.query(programs)
  if (cluster.major >= 14) await session.query(since14)
  if (cluster.major >= 15) await session.query(since15)
  if (cluster.major >= 18) await session.query(since18)
}

/** A database in which characters are single bytes; the text has every character of Latin-1. */
export async function createLatin1(cluster: TestCluster, name: string): Promise<void> {
  await using admin = await cluster.session()
  await createDatabase(admin, name, `TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'`)
  await using session = await cluster.session(name)
  await session.query(
    `CREATE TABLE "tablé" ("colümn" text); INSERT INTO "tablé" SELECT chr(g) || 'x' FROM generate_series(1, 255) g; COMMENT ON TABLE "tablé" IS 'Übersicht'`,
  )
}

/** A database that knows no encoding; its text is bytes that are valid in none. */
export async function createSqlAscii(cluster: TestCluster, name: string): Promise<void> {
  await using admin = await cluster.session()
  await createDatabase(admin, name, `TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'`)
  await using session = await cluster.session(name)
  await session.query(String.raw`CREATE TABLE bytes (t text); INSERT INTO bytes VALUES (E'\xff\xfe'), (E'caf\xe9'), (E'\xc3\xa9'), (E'\x80\n\\.')`)
}

async function createDatabase(admin: Session, name: string, options: string): Promise<void> {
  await admin.query(`CREATE DATABASE ${quoteIdentifier(name)} ${options}`)
}
