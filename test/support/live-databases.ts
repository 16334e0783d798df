import { quoteIdentifier } from '../../src/postgres/identifiers.ts'
import type { Session } from '../../src/postgres/session.ts'
import { findDatabase, listOwnedDatabases, type FoundDatabase } from '../../src/restore/owned-database.ts'
import type { TestCluster } from './cluster.ts'

/** What stands on the server under the name of production: its OID, and its content as text. */
export interface Production {
  readonly oid: number
  readonly rows: string
  readonly comment: string | null
}

/** Null when there is no database of that name: the one thing that must never be. */
export async function lookAtProduction(server: TestCluster, name: string): Promise<Production | null> {
  await using admin = await server.session()
  const found = await findDatabase(admin, name)
  if (found === undefined) return null
  await using inside = await server.session(name)
  const [row] = await inside.query<{ rows: string }>(
    `SELECT count(*) || ' rows, ' || md5(string_agg(id || ' ' || item, ',' ORDER BY id)) AS rows FROM public.orders`,
  )
  return { oid: found.oid, rows: row?.rows ?? 'no orders', comment: found.comment }
}

/** Databases that carry our mark, production aside, whose names begin with production's. */
export async function copiesOf(server: TestCluster, name: string): Promise<readonly FoundDatabase[]> {
  await using admin = await server.session()
  return (await listOwnedDatabases(admin)).filter((each) => each.name !== name && each.name.startsWith(name))
}

export async function dropDatabases(session: Session, databases: readonly FoundDatabase[]): Promise<void> {
  for (const { name } of databases) await session.query(`DROP DATABASE IF EXISTS ${quoteIdentifier(name)} WITH (FORCE)`)
}
