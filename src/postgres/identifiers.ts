import { createHash } from 'node:crypto'
import { Failure } from '../kernel/failure.ts'

/** NAMEDATALEN − 1: PostgreSQL silently cuts longer names, so `<63 bytes>_restore_test` *is* the first 63 bytes. */
export const longestNameBytes = 63

/** Keywords that must be quoted as names: every category but "unreserved" of pg_get_keywords() in 13 to 18. */
const keywords = new Set(
  `
all analyse analyze and any array as asc asymmetric authorization between bigint binary bit boolean both case cast char character check coalesce
collate collation column concurrently constraint create cross current_catalog current_date current_role current_schema current_time current_timestamp
current_user dec decimal default deferrable desc distinct do else end except exists extract false fetch float for foreign freeze from full grant
greatest group grouping having ilike in initially inner inout int integer intersect interval into is isnull join json json_array json_arrayagg
json_exists json_object json_objectagg json_query json_scalar json_serialize json_table json_value lateral leading least left like limit localtime
localtimestamp merge_action national natural nchar none normalize not notnull null nullif numeric offset on only or order out outer overlaps overlay
placing position precision primary real references returning right row select session_user setof similar smallint some substring symmetric
system_user table tablesample then time timestamp to trailing treat trim true union unique user using values varchar variadic verbose when where
window with xmlattributes xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable
`
    .trim()
    .split(/\s+/),
)

/** Always in double quotes. Refuses NUL, which no name can hold. */
export function quoteIdentifier(name: string): string {
  refuseNul(name)
  return `"${name.replaceAll('"', '""')}"`
}

/** Quoted only where PostgreSQL's own quote_ident would. */
export function identifierAsNeeded(name: string): string {
  return /^[a-z_][a-z0-9_]*$/.test(name) && !keywords.has(name) ? name : quoteIdentifier(name)
}

/** `schema.name`, each part quoted only where needed (the form of table names in JSON). */
export function qualifiedName(schema: string, name: string): string {
  return `${identifierAsNeeded(schema)}.${identifierAsNeeded(name)}`
}

/** A string constant that means the same whatever `standard_conforming_strings` says. */
export function quoteLiteral(text: string): string {
  refuseNul(text)
  const doubled = text.replaceAll("'", "''")
  return text.includes('\\') ? ` E'${doubled.replaceAll('\\', '\\\\')}'` : `'${doubled}'`
}

/** A value of a libpq connection string (`dbname='…'`): there only `'` and `\` are special. */
export function quoteConninfo(value: string): string {
  refuseNul(value)
  return `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
}

/** A name for a file or log line: control and direction-changing characters shown as `\u{…}`. */
export function printableName(name: string): string {
  return name.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`)
}

/**
 * `name` + `suffix` in at most 63 bytes. Where they do not fit the name is cut (never inside a character) and six hex
 * digits of its SHA-256 tell two long names apart: stem + hash + suffix.
 */
export function derivedName(name: string, suffix: string): string {
  const whole = name + suffix
  if (Buffer.byteLength(whole) <= longestNameBytes) return whole
  const ending = '_' + createHash('sha256').update(name).digest('hex').slice(0, 6) + suffix
  const room = longestNameBytes - Buffer.byteLength(ending)
  if (room < 1) throw new Failure('usage-invalid', `cannot derive a database name: the suffix "${suffix}" leaves no room in ${longestNameBytes} bytes`)
  return cutToBytes(name, room) + ending
}

/** Refuses a name that PostgreSQL would cut, or that no name can be. `what` is said in the message ("database name"). */
export function requireUsableName(name: string, what: string): void {
  refuseNul(name)
  if (name === '') throw new Failure('target-unsafe', `cannot use an empty ${what}`)
  const bytes = Buffer.byteLength(name)
  if (bytes > longestNameBytes) {
    throw new Failure(
      'target-unsafe',
      `cannot use this ${what}: it has ${bytes} bytes, PostgreSQL would cut it to ${longestNameBytes} and so mean another one`,
      {
        hints: [`choose at most ${longestNameBytes} bytes, for example ${cutToBytes(name, longestNameBytes)}`],
        details: { name, bytes },
      },
    )
  }
}

function cutToBytes(text: string, bytes: number): string {
  let cut = ''
  let used = 0
  for (const character of text) {
    used += Buffer.byteLength(character)
    if (used > bytes) break
    cut += character
  }
  return cut
}

function refuseNul(text: string): void {
  if (text.includes('\0')) throw new Failure('usage-invalid', 'a name or value holds a NUL character, which PostgreSQL cannot store')
}
