/** A believable little shop: foreign keys, an enum, jsonb, a partitioned table, a generated column, a large object and odd names. Some 25 MB. */
export const shopSql: readonly string[] = [
  `CREATE TYPE order_state AS ENUM ('new', 'paid', 'shipped', 'returned')`,
  `CREATE TABLE customers (
     id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
     email text NOT NULL UNIQUE CHECK (email LIKE '%@%'),
     name text NOT NULL,
     country char(2) NOT NULL,
     since timestamptz NOT NULL,
     preferences jsonb NOT NULL DEFAULT '{}')`,
  `CREATE TABLE products (
     id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
     name text NOT NULL,
     price numeric(10, 2) NOT NULL,
     price_with_tax numeric(12, 2) GENERATED ALWAYS AS (price * 1.19) STORED,
     tags text[] NOT NULL DEFAULT '{}')`,
  `CREATE TABLE orders (
     id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
     customer_id bigint NOT NULL REFERENCES customers,
     placed_at timestamptz NOT NULL,
     state order_state NOT NULL,
     note text)`,
  `CREATE TABLE order_items (
     order_id bigint NOT NULL REFERENCES orders ON DELETE CASCADE,
     line int NOT NULL,
     product_id int NOT NULL REFERENCES products,
     quantity int NOT NULL CHECK (quantity > 0),
     unit_price numeric(10, 2) NOT NULL,
     PRIMARY KEY (order_id, line))`,
  `CREATE TABLE visits (at timestamptz NOT NULL, path text NOT NULL, customer_id bigint, agent inet) PARTITION BY RANGE (at)`,
  `CREATE TABLE visits_2026_10 PARTITION OF visits FOR VALUES FROM ('2026-10-01') TO ('2026-11-01')`,
  `CREATE TABLE visits_2026_11 PARTITION OF visits FOR VALUES FROM ('2026-11-01') TO ('2026-12-01')`,
  `CREATE TABLE "Größe & Menge" ("maß (cm)" numeric, "semi;colon" text, "select" bytea)`,
  `CREATE INDEX orders_customer ON orders (customer_id, placed_at)`,
  `CREATE INDEX customers_preferences ON customers USING gin (preferences)`,
  `INSERT INTO customers (email, name, country, since, preferences)
     SELECT 'customer' || n || '@example.com', (ARRAY['Ada', 'Grace', 'Edsger', 'Barbara', 'Alan', 'Radia'])[1 + n % 6] || ' ' || md5(n::text)::varchar(8),
            (ARRAY['DE', 'FR', 'NL', 'PL', 'IT'])[1 + n % 5], timestamptz '2024-01-01' + n * interval '37 minutes',
            jsonb_build_object('newsletter', n % 3 = 0, 'size', (ARRAY['S', 'M', 'L'])[1 + n % 3], 'visits', n % 100)
     FROM generate_series(1, 20000) n`,
  `INSERT INTO products (name, price, tags) SELECT 'Product ' || n, (n % 997) / 10.0 + 1, ARRAY['tag' || n % 7, 'tag' || n % 11] FROM generate_series(1, 800) n`,
  `INSERT INTO orders (customer_id, placed_at, state, note)
     SELECT 1 + (n * 7919) % 20000, timestamptz '2025-06-01' + n * interval '5 minutes', (ARRAY['new', 'paid', 'shipped', 'returned']::order_state[])[1 + n % 4],
            CASE WHEN n % 50 = 0 THEN E'line one\\nline two\\t"quoted" \\\\ backslash ' || n END
     FROM generate_series(1, 60000) n`,
  `INSERT INTO order_items SELECT o.id, line, 1 + (o.id * 31 + line * 17) % 800, 1 + (o.id + line) % 5, ((o.id + line) % 997) / 10.0 + 1 FROM orders o, generate_series(1, 1 + o.id % 3) line`,
  `INSERT INTO visits SELECT timestamptz '2026-10-01' + n * interval '50 seconds', '/product/' || n % 800, CASE WHEN n % 4 = 0 THEN 1 + n % 20000 END, ('10.' || n % 250 || '.' || n % 199 || '.7')::inet FROM generate_series(0, 99999) n`,
  `INSERT INTO "Größe & Menge" VALUES ('NaN', NULL, '\\x00ff10'), (12.50, E'tab\\there', '\\x'), (0.1, '\\.', NULL)`,
  `CREATE MATERIALIZED VIEW revenue_by_country AS
     SELECT c.country, count(*) AS orders, sum(i.quantity * i.unit_price) AS revenue FROM orders o JOIN customers c ON c.id = o.customer_id JOIN order_items i ON i.order_id = o.id GROUP BY 1`,
  `CREATE VIEW open_orders AS SELECT * FROM orders WHERE state IN ('new', 'paid')`,
  `SELECT lo_from_bytea(0, decode(repeat('89504e470d0a1a0a', 4096), 'hex'))`,
  `COMMENT ON TABLE customers IS 'people who bought something; it''s all made up'`,
]

/** What the accident destroys, and what a person would look at to notice. */
export const accidentSql = `DELETE FROM customers WHERE country = 'DE'`
export const cascadeSql = `DELETE FROM orders o USING customers c WHERE c.id = o.customer_id AND c.country = 'DE'`
