import { quoteIdentifier } from '../../src/postgres/identifiers.ts'
import type { Session } from '../../src/postgres/session.ts'
import type { ConnectionTarget } from '../../src/postgres/target.ts'
import type { TestCluster } from './cluster.ts'
import { tidemarkRoom, type RoomOptions, type TidemarkRoom } from './tidemark-cli.ts'

/** A small database with what single tables drag along: keys, indexes, sequences, a trigger, a view, grants. */
const shop = `
CREATE TABLE customers (id serial PRIMARY KEY, name text NOT NULL, email text UNIQUE);
INSERT INTO customers (name, email) SELECT 'name ' || g, g || '@example.com' FROM generate_series(1, 50) g;
CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer int NOT NULL REFERENCES customers, cents int NOT NULL CHECK (cents > 0), placed timestamptz DEFAULT '2026-01-01 00:00+00');
INSERT INTO orders (customer, cents) SELECT 1 + g % 50, g FROM generate_series(1, 200) g;
CREATE INDEX orders_placed ON orders (placed);
COMMENT ON TABLE orders IS 'what was bought';
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touch();
GRANT SELECT ON orders TO PUBLIC;
CREATE VIEW spenders AS SELECT customer, sum(cents) AS cents FROM orders GROUP BY customer;
`

/** A database of a server, the room of somebody who backs it up, and ways to look. Everything is removed in the end. */
export interface Shop extends AsyncDisposable {
  readonly name: string
  readonly cluster: TestCluster
  readonly target: ConnectionTarget
  readonly room: TidemarkRoom
  /** Runs SQL in the shop, or in another database, as superuser. */
  sql<Row extends object = Record<string, unknown>>(text: string, database?: string): Promise<readonly Row[]>
  /** The names of all databases of the server that begin with the shop's. */
  databases(): Promise<readonly string[]>
}

let count = 0

/** Opens a shop. Its name is `name`, else one that no other test has; `sql` replaces what is in it. */
export async function openShop(cluster: TestCluster, options: RoomOptions & { name?: string; sql?: string } = {}): Promise<Shop> {
  const name = options.name ?? `shop_${(count += 1)}_${process.pid}`
  await using admin = await cluster.session()
  await admin.query(`CREATE DATABASE ${quoteIdentifier(name)} TEMPLATE template0`)
  const target = { ...cluster.target, database: name }
  const room = await tidemarkRoom({ target, ...options })
  const sql = async <Row extends object>(text: string, database = name) => {
    await using session: Session = await cluster.session(database)
    return await session.query<Row>(text)
  }
  await sql(options.sql ?? shop)
  return {
    name,
    cluster,
    target,
    room,
    sql,
    databases: async () =>
      (await sql<{ datname: string }>(`SELECT datname FROM pg_database ORDER BY 1`, 'postgres'))
        .map((row) => row.datname)
        .filter((each) => each.startsWith(name)),
    [Symbol.asyncDispose]: async () => {
      await room[Symbol.asyncDispose]()
      await using session = await cluster.session()
      const made = await session.query<{ datname: string }>(
        `SELECT datname FROM pg_database WHERE starts_with(datname, $1) OR shobj_description(oid, 'pg_database') LIKE 'tidemark:%'`,
        [name],
      )
      for (const { datname } of made) await session.query(`DROP DATABASE IF EXISTS ${quoteIdentifier(datname)} WITH (FORCE)`)
    },
  }
}
