import type { ByteSpan } from './plain-lexer.ts'
import { connectedDatabase, isJudged, statementReach } from './statement-reach.ts'

/** A statement or psql command that can be left out, without which the rest still loads. */
export interface LeavableSpan extends ByteSpan {
  /** `database`: what `pg_dump --create` writes about the database itself; `owner` and `privilege`: owners and grants inside it. */
  readonly on: 'database' | 'owner' | 'privilege'
}

/** What a plain dump does beyond the things in the database that psql is given: psql would do it wherever it is connected. */
export interface PlainReach {
  /** The database that it drops, makes, alters or connects to by name (`pg_dump --create`); null when it names none. */
  readonly database: string | null
  /** Beginnings of the statements and commands about that database, the first few. */
  readonly aboutDatabase: readonly string[]
  readonly leavable: readonly LeavableSpan[]
  /** Beginnings of statements that act on roles, tablespaces, the server or further databases, the first few: these are in no dump of one database. */
  readonly outside: readonly string[]
}

const shown = 10

/** Collects what the statements and psql commands of a plain dump reach. */
export function createPlainReach() {
  const leavable: LeavableSpan[] = []
  const outside: string[] = []
  const aboutDatabase: string[] = []
  let database: string | null = null
  /** `\encoding SQL_ASCII` stands before a `\connect` to an odd name, and nowhere else. */
  let encoding: { text: string; span: ByteSpan } | null = null

  const note = (texts: string[], text: string) => {
    if (texts.length < shown) texts.push(text.replaceAll(/\s+/g, ' ').slice(0, 120))
  }

  const nameDatabase = (name: string, text: string, span: ByteSpan) => {
    database ??= name
    if (name !== database) return note(outside, text)
    note(aboutDatabase, text)
    leavable.push({ ...span, on: 'database' })
  }

  /** An `\encoding` that no `\connect` followed is a command like any other. */
  const takeEncoding = (): readonly string[] => {
    const left = encoding === null ? [] : [encoding.text]
    encoding = null
    return left
  }

  return {
    /** Takes a psql command between two statements. False when it is none of `pg_dump --create`. */
    command: (line: string, span: ByteSpan): boolean => {
      if (/^\\encoding SQL_ASCII\s*$/.test(line) && encoding === null) {
        encoding = { text: line, span }
        return true
      }
      const name = connectedDatabase(line)
      if (name === undefined) return false
      if (encoding !== null) leavable.push({ ...encoding.span, on: 'database' })
      encoding = null
      nameDatabase(name, line, span)
      return true
    },
    /** Takes a statement, as the lexer gives it. Returns psql commands before it that turn out to be none of pg_dump's. */
    statement: (bytes: Buffer, { isWhole, decode, span }: { isWhole: boolean; decode: (bytes: Buffer) => string; span: ByteSpan }): readonly string[] => {
      if (isJudged(bytes.toString('latin1', 0, Math.min(bytes.length, 9)))) {
        // Of rows only the table matters, and there may be millions.
        const text = isOfRows(bytes) ? bytes.toString('latin1', 0, Math.min(bytes.length, 200)) : decode(bytes)
        const reach = statementReach(text, isWhole)
        if (reach.on === 'database') nameDatabase(reach.database, text, span)
        else if (reach.on === 'outside') note(outside, text)
        else if (reach.on !== 'inside') leavable.push({ ...span, on: reach.on })
      }
      return takeEncoding()
    },
    end: takeEncoding,
    result: (): PlainReach => ({ database, aboutDatabase, leavable, outside }),
  }
}

function isOfRows(bytes: Buffer): boolean {
  return /^(?:insert|update|delete|merge)/i.test(bytes.toString('latin1', 0, 6))
}

/** What psql would do with the file beyond the database it is given, for who looks at the file before; null when it stays inside. */
export function beyondItsDatabase({ suspicious, reach }: { readonly suspicious: readonly string[]; readonly reach: PlainReach | null }): string | null {
  if (suspicious.length > 0)
    return `it holds commands that psql would run on the restoring machine, which no pg_dump writes: ${suspicious.slice(0, 3).join(' · ')}; restore refuses it`
  if (reach === null) return null
  if (reach.outside.length > 0)
    return `it acts on more than one database: psql would change the server with ${reach.outside.slice(0, 3).join(' · ')}; restore refuses it`
  if (reach.database === null) return null
  return `it acts on database "${reach.database}" by name, wherever psql is connected (pg_dump --create): ${reach.aboutDatabase.slice(0, 3).join(' · ')}; restore leaves that out, so never give it to psql on a server that has that database`
}
