import type { ReadingSession } from '../../src/dump/read-back-session.ts'
import type { QualifiedName } from '../../src/dump/sink.ts'
import { quoteIdentifier } from '../../src/postgres/identifiers.ts'

/** A table as the server itself counts and digests it: a judge that shares no code with the fingerprint. */
export interface ServerSideDigest extends QualifiedName {
  readonly rows: string
  /** Two sums of halves of MD5 over each row's text, regardless of order. */
  readonly digest: string
}

export interface ServerSideRequest extends QualifiedName {
  readonly columns: readonly string[] | null
  /** Reads all partitions and children too; otherwise only the table itself. */
  readonly withChildren?: boolean
}

/**
 * SQL that counts a table's rows and digests them without order. The same on source and copy when both sessions have
 * `fingerprintSettings` and both databases the same encoding. Columns whose type has
 * no stable text (none of PostgreSQL's own) would differ here and not in the fingerprint.
 */
export function serverSideSql({ schema, name, columns, withChildren = false }: ServerSideRequest): string {
  const table = `${withChildren ? '' : 'ONLY '}${quoteIdentifier(schema)}.${quoteIdentifier(name)}`
  // A row's text quotes its fields and tells NULL from '', so no two different rows share one.
  const row = `ROW(${(columns ?? []).map(quoteIdentifier).join(', ')})::text`
  const half = (from: number) => `coalesce(sum(('x' || substr(hash, ${from}, 16))::bit(64)::bigint::numeric), 0)::text`
  return `SELECT count(*)::text AS rows, ${half(1)} || '/' || ${half(17)} AS digest FROM (SELECT md5(${row}) AS hash FROM ${table}) AS hashed`
}

export async function readServerSide(session: ReadingSession, request: ServerSideRequest): Promise<ServerSideDigest> {
  const [row] = await session.query<{ rows: string; digest: string }>(serverSideSql(request))
  if (row === undefined) throw new Error('the server answered without a row')
  return { schema: request.schema, name: request.name, rows: row.rows, digest: row.digest }
}
