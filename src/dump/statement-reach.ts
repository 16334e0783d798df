import { sqlWords, type SqlWord } from './sql-words.ts'

/**
 * What a statement of a plain dump acts on, beyond the things inside the database that it is loaded into.
 * `database`: on the database of that name as a whole, as `pg_dump --create` writes it; `outside`: on roles, tablespaces, settings of the server or
 * several databases, which no dump of one database does; `owner` and `privilege`: on owners and grants inside the database.
 */
export type StatementReach = { readonly on: 'inside' | 'outside' | 'owner' | 'privilege' } | { readonly on: 'database'; readonly database: string }

const inside: StatementReach = { on: 'inside' }
const outside: StatementReach = { on: 'outside' }
const privilege: StatementReach = { on: 'privilege' }

/** What the server has once, for all its databases. USER MAPPING is another thing than USER. */
const ofServer = new Set(['role', 'user', 'group', 'tablespace', 'system', 'owned', 'parameter'])
const judged = new Set([
  'alter',
  'comment',
  'create',
  'delete',
  'drop',
  'grant',
  'insert',
  'merge',
  'reassign',
  'reset',
  'revoke',
  'security',
  'set',
  'truncate',
  'update',
])
/** Changing their rows is changing the server (catalogue, "shared"). */
const sharedCatalogs =
  /^(?:UPDATE|DELETE\s+FROM|INSERT\s+INTO|TRUNCATE(?:\s+TABLE)?|MERGE\s+INTO)\s+(?:ONLY\s+)?(?:"?pg_catalog"?\s*\.\s*)?"?pg_(?:database|authid|auth_members|tablespace|db_role_setting|parameter_acl|shdepend|shdescription|shseclabel|subscription|replication_origin)"?[\s;]/i

/** Names are at most 63 characters, and what decides stands at the beginning; owners stand at the end. */
const headCharacters = 8192

/** Whether a statement that begins like this is one to be judged; all others act inside the database. Cheap, for there may be millions. */
export function isJudged(beginning: string): boolean {
  return judged.has(/^[a-z]+/i.exec(beginning)?.[0].toLowerCase() ?? '')
}

/** Judges one statement, given without its comments, up to and with its semicolon (`isWhole`) or cut. */
export function statementReach(text: string, isWhole: boolean): StatementReach {
  const first = /^[a-z]+/i.exec(text)?.[0].toLowerCase() ?? ''
  if (!judged.has(first)) return inside
  if (['update', 'delete', 'insert', 'truncate', 'merge'].includes(first)) return sharedCatalogs.test(text.slice(0, 200)) ? outside : inside
  const words = sqlWords(text.slice(0, headCharacters))
  switch (first) {
    case 'create':
      return ofObject(words, 1)
    case 'drop':
      return ofObject(words, isWord(words[2], 'if') && isWord(words[3], 'exists') ? 3 : 1, 1)
    case 'alter':
      return ofAlter(words, text, isWhole)
    case 'comment':
      return ofObject(words, 2)
    case 'security':
      return ofObject(words, words.findIndex((word) => isWord(word, 'on')) + 1)
    case 'reassign':
      return outside
    case 'grant':
    case 'revoke':
      return ofGrant(words)
    default:
      return ofSession(words, first)
  }
}

/** `kind name`, the kind at `kindAt` (or at `at`, with words between it and the name). */
function ofObject(words: readonly SqlWord[], at: number, kindAt = at): StatementReach {
  const kind = wordAt(words, kindAt)
  if (kind === 'database') return ofDatabase(words[at + 1])
  if (kind === 'user' && wordAt(words, kindAt + 1) === 'mapping') return inside
  return ofServer.has(kind) ? outside : inside
}

function ofAlter(words: readonly SqlWord[], text: string, isWhole: boolean): StatementReach {
  const kind = wordAt(words, 1)
  if (kind === 'default' && wordAt(words, 2) === 'privileges') return privilege
  // ALTER ROLE … IN DATABASE … SET: a setting of that database (DATABASE PROPERTIES).
  if ((kind === 'role' || kind === 'user') && wordAt(words, 3) === 'in' && wordAt(words, 4) === 'database') return ofDatabase(words[5])
  const object = ofObject(words, 1)
  if (object.on !== 'inside' || !isWhole) return object
  const tail = text.length <= headCharacters ? words : sqlWords(text.slice(-headCharacters))
  const [owner, to, name, end] = tail.slice(-4)
  return isWord(owner, 'owner') && isWord(to, 'to') && isName(name) && end?.text === ';' ? { on: 'owner' } : inside
}

function ofGrant(words: readonly SqlWord[]): StatementReach {
  const at = words.findIndex((word) => isWord(word, 'on'))
  // Without ON it makes a role a member of another.
  if (at < 0) return outside
  const kind = wordAt(words, at + 1)
  if (kind === 'database') return isWord(words[at + 3], 'to') || isWord(words[at + 3], 'from') ? ofDatabase(words[at + 2]) : outside
  return ofServer.has(kind) ? outside : privilege
}

/** pg_dump writes the role of an owner as a string (`--use-set-session-authorization`), and that of a grantor as a name. */
function ofSession(words: readonly SqlWord[], first: string): StatementReach {
  if (wordAt(words, 1) !== 'session' || wordAt(words, 2) !== 'authorization') return inside
  if (first === 'reset') return privilege
  const role = words[3]
  if (role?.kind === 'string') return { on: 'owner' }
  return isName(role) && !isWord(role, 'default') ? privilege : inside
}

function ofDatabase(name: SqlWord | undefined): StatementReach {
  return isName(name) ? { on: 'database', database: name.text } : outside
}

function wordAt(words: readonly SqlWord[], at: number): string {
  const word = words[at]
  return word?.kind === 'word' ? word.text : ''
}

function isWord(word: SqlWord | undefined, text: string): boolean {
  return word?.kind === 'word' && word.text === text
}

function isName(word: SqlWord | undefined): word is SqlWord {
  return word?.kind === 'word' || word?.kind === 'name'
}

/**
 * The database that `\connect` leads to, in the two forms of `pg_dump --create` (appendPsqlMetaConnect in string_utils.c): a name, or for odd names a connection
 * string with nothing but the name. Undefined for anything else: it may lead to another server.
 */
export function connectedDatabase(line: string): string | undefined {
  const argument = /^\\c(?:onnect)?[ \t]+(.*?)[ \t\r]*$/su.exec(line)?.[1]
  if (argument === undefined) return undefined
  const simple = /^(?:([A-Za-z0-9_.]+)|"([A-Za-z0-9_.]+)")$/.exec(argument)
  if (simple !== null) return simple[1] ?? simple[2]
  const quoted = /^-reuse-previous=on "dbname='((?:[^'\\"]|\\[\\']|"")*)'"$/su.exec(argument)?.[1]
  return quoted?.replaceAll('""', '"').replaceAll(/\\([\\'])/g, '$1')
}
