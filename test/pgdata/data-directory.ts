import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathBytes, pathFromBytes } from '../../src/pgdata/file-path.ts'
import type { Session } from '../../src/postgres/session.ts'

/** Everything under a data directory, as paths relative to it; links are followed, so tablespaces are in it. Directories end with a slash. */
export async function pathsIn(dataDirectory: string, below = ''): Promise<string[]> {
  const entries = await readdir(Buffer.concat([Buffer.from(`${dataDirectory}/`), pathBytes(below)]), { withFileTypes: true, encoding: 'buffer' })
  const paths: string[] = []
  for (const entry of entries) {
    const path = below + pathFromBytes(entry.name)
    if (entry.isFile()) paths.push(path)
    else paths.push(`${path}/`, ...(await pathsIn(dataDirectory, `${path}/`)))
  }
  return paths
}

export function readIn(dataDirectory: string, path: string): Promise<Buffer> {
  return readFile(Buffer.concat([Buffer.from(`${dataDirectory}/`), pathBytes(path)]))
}

/** Tables of every kind that has files of its own kind: TOAST, indexes, sequences, unlogged, empty, with all forks. */
export async function fill(session: Session, tablespace?: string): Promise<void> {
  await session.query(`CREATE TABLE orders AS SELECT g AS id, repeat('o', g % 500) AS note FROM generate_series(1, 20000) g`)
  await session.query(
    `CREATE TABLE wide AS SELECT g, string_agg(md5((g * k)::text), '') AS body FROM generate_series(1, 40) g, generate_series(1, 400) k GROUP BY g`,
  )
  await session.query(
    'CREATE INDEX ON orders (id); CREATE SEQUENCE numbers; CREATE TABLE nothing (id int); CREATE MATERIALIZED VIEW seen AS SELECT * FROM orders',
  )
  await session.query('CREATE UNLOGGED TABLE passing AS SELECT * FROM orders; CREATE INDEX ON passing (id)')
  await session.query('DELETE FROM orders WHERE id % 3 = 0')
  if (tablespace !== undefined) {
    await session.query(`CREATE TABLESPACE apart LOCATION '${tablespace.replaceAll("'", "''")}'`)
    await session.query('CREATE TABLE elsewhere TABLESPACE apart AS SELECT * FROM orders')
  }
  // Twice: 17 marks the pages that CREATE TABLE AS filled as visible to all only then.
  for (const command of ['VACUUM FREEZE', 'VACUUM FREEZE']) await session.query(command)
  await session.query('CHECKPOINT')
}

export const debianPrograms = '/usr/lib/postgresql/15/bin'
export const newerPrograms = (major: number) => join('/var/cache/tidemark-test/clients', String(major), 'bin')
