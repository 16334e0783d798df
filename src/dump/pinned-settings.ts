/**
 * What the text of a value depends on besides the value. Pinned in the session of pg_dump and in the one that reads a
 * restored copy, so that equal values have equal text on every server. pg_dump sets some of these itself,
 * but neither the time zone nor the money format.
 *
 * `client_encoding` is not here because it is not one value: both sides use the encoding of the *source database*
 * (`pg_dump --encoding`, COPY's ENCODING option). That needs no conversion while dumping, so it works for SQL_ASCII and for
 * characters that UTF8 lacks, and a server's own encodings never hide a line feed or backslash inside a character.
 */
export const fingerprintSettings: Readonly<Record<string, string>> = Object.freeze({
  TimeZone: 'UTC',
  DateStyle: 'ISO, MDY',
  IntervalStyle: 'postgres',
  bytea_output: 'hex',
  extra_float_digits: '3',
  lc_monetary: 'C',
  xmlbinary: 'base64',
  xmloption: 'content',
  search_path: '',
  synchronize_seqscans: 'off',
  quote_all_identifiers: 'off',
  standard_conforming_strings: 'on',
})

/** Further settings of the session that reads a copy: they decide whether rows come at all, not what they look like. */
export const readBackSettings: Readonly<Record<string, string>> = Object.freeze({
  row_security: 'off',
  statement_timeout: '0',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
})

/** Statement that sets `settings` in a session, in one round trip. */
export function settingStatement(settings: Readonly<Record<string, string>>): string {
  const literal = (text: string) => `'${text.replaceAll("'", "''")}'`
  const calls = Object.entries(settings).map(([name, value]) => `pg_catalog.set_config(${literal(name)}, ${literal(value)}, false)`)
  return `SELECT ${calls.join(', ')}`
}
