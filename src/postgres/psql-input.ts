import { quoteLiteral } from './identifiers.ts'
import type { Parameter } from './session.ts'

/**
 * psql input that sends exactly this text to the server. Text in which psql could see something of its own (backslashes,
 * colons, quotes left open) is wrapped in \gexec, which runs a query's result without looking at it. Plain text goes as it is:
 * ROLLBACK must work in a failed transaction, and SET TRANSACTION SNAPSHOT only before any query.
 */
export function literally(sql: string): string {
  const text = sql.trim().replace(/;\s*$/, '')
  const quotes = (text.match(/'/g) ?? []).length
  if (/^[A-Za-z0-9_ ,='().*-]*$/.test(text) && !text.includes('--') && quotes % 2 === 0) return `${text}\n\\g\n`
  return `SELECT pg_catalog.convert_from(pg_catalog.decode('${Buffer.from(text).toString('hex')}', 'hex'), 'UTF8')\n\\gexec\n`
}

/** A parameter as a constant for EXECUTE. */
export function constantOf(parameter: Parameter): string {
  if (parameter === null) return 'NULL'
  if (Array.isArray(parameter))
    return quoteLiteral(`{${parameter.map((item) => `"${String(item).replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`).join(',')}}`)
  return quoteLiteral(String(parameter))
}
