import pg from 'pg'

/** OIDs of pg_type.dat. They are the same in every PostgreSQL. */
const oids: Readonly<Record<string, number>> = {
  boolean: 16,
  smallint: 21,
  integer: 23,
  oid: 26,
  real: 700,
  'double precision': 701,
  json: 114,
  jsonb: 3802,
  'boolean[]': 1000,
  'name[]': 1003,
  'smallint[]': 1005,
  'integer[]': 1007,
  'text[]': 1009,
  'character varying[]': 1015,
  'bigint[]': 1016,
  'double precision[]': 1022,
  'oid[]': 1028,
}

/** Its types list only the scalar OIDs. */
const parserOfDriver = pg.types.getTypeParser as (oid: number) => (text: string) => unknown

const parsers = new Map<number, (text: string) => unknown>([
  [16, (text) => text === 't'],
  ...[21, 23, 26, 700, 701].map((oid) => [oid, Number] as const),
  ...[114, 3802].map((oid) => [oid, (text: string): unknown => JSON.parse(text)] as const),
  ...[1000, 1005, 1007, 1009, 1015, 1016, 1022, 1028].map((oid) => [oid, parserOfDriver(oid)] as const),
  // node-postgres knows no name[]; its text form is that of text[].
  [1003, parserOfDriver(1009)],
])

/** How the text of a value of this type becomes a JavaScript value; see `Session` for the rule. */
export function parserOfType(oid: number): (text: string) => unknown {
  return parsers.get(oid) ?? ((text) => text)
}

/** The same by the name that format_type() and psql's \gdesc show. */
export function parserOfTypeName(name: string): (text: string) => unknown {
  const oid = oids[name]
  return oid === undefined ? (text) => text : parserOfType(oid)
}
