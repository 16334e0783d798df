import type { Context } from '../kernel/context.ts'
import { isFailure, messageOf } from '../kernel/failure.ts'
import { identifierAsNeeded, quoteIdentifier } from '../postgres/identifiers.ts'
import type { Session } from '../postgres/session.ts'
import type { Proof } from './proof.ts'

export interface Check {
  readonly sql: string
  readonly expect: string | number | boolean | null
}

/** Asks the restored copy the configured questions. The first column of the first row is compared as text; an error is an answer, and a wrong one. */
export async function runChecks(session: Session, checks: readonly Check[], context: Context): Promise<Proof['checks']> {
  const results: Proof['checks'] = []
  for (const check of checks) {
    context.signal.throwIfAborted()
    const expected = asText(check.expect)
    try {
      const [row] = await session.query(check.sql)
      const value = row === undefined ? null : (Object.values(row)[0] ?? null)
      const actual = value === null ? null : asText(value)
      results.push({ sql: check.sql, expected, actual, ok: actual === expected || (actual === null && check.expect === null) })
    } catch (error) {
      context.signal.throwIfAborted()
      requireAnswer(error)
      results.push({ sql: check.sql, expected, actual: `error: ${messageOf(error)}`, ok: false })
    }
  }
  return results
}

/** What the server says to a statement is an answer; that it is gone, or that we went wrong, is none and says nothing about the copy. */
function requireAnswer(error: unknown): void {
  if (!isFailure(error) || isFailure(error, 'connection-lost', 'connection-failed', 'bug')) throw error
}

/** `true` and `t` mean the same to a person; PostgreSQL's booleans come as booleans. */
function asText(value: unknown): string {
  if (value === null) return 'null'
  return typeof value === 'string' ? value : JSON.stringify(value)
}

export interface NewestRows {
  readonly table: string
  readonly by: string
  readonly rows: number
  /** Columns shown as `***`. */
  readonly mask: readonly string[]
}

/** The newest rows of the chosen tables, for a person to recognise; masked columns never leave the server. */
export async function readNewest(
  session: Session,
  wanted: readonly NewestRows[],
  context: Context,
): Promise<{ newest: Proof['newest']; problems: readonly string[] }> {
  const newest: Proof['newest'] = []
  const problems: string[] = []
  for (const { table, by, rows, mask } of wanted) {
    context.signal.throwIfAborted()
    try {
      const name = table.includes('"') ? table : table.split('.').map(quoteIdentifier).join('.')
      const columns = await session.query<{ name: string }>(
        `SELECT attname AS name FROM pg_catalog.pg_attribute WHERE attrelid = $1::pg_catalog.regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum`,
        [name],
      )
      const list = columns.map((column) =>
        mask.includes(column.name) ? `'***' AS ${quoteIdentifier(column.name)}` : `${quoteIdentifier(column.name)}::text AS ${quoteIdentifier(column.name)}`,
      )
      // Without the table's alias ORDER BY would mean the column as text, by which 9 is newer than 50.
      const found = await session.query<Record<string, string | null>>(
        `SELECT ${list.join(', ')} FROM ${name} AS source ORDER BY source.${quoteIdentifier(by)} DESC NULLS LAST LIMIT ${Math.max(1, Math.min(100, rows))}`,
      )
      newest.push({ table: identifierAsNeeded(table), rows: found.map((row) => ({ ...row })) })
    } catch (error) {
      context.signal.throwIfAborted()
      requireAnswer(error)
      problems.push(`the newest rows of ${table} could not be read: ${messageOf(error)}`)
    }
  }
  return { newest, problems }
}
