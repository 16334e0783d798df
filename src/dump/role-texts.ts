import { Failure } from '../kernel/failure.ts'

/**
 * Other roles in the texts of an archive's entry. pg_restore writes owners from a field of their own; in SQL text pg_dump names roles in four kinds of entries
 * only, each of one form (buildACLCommands and buildDefaultACLCommands in dumputils.c, dumpPolicy and dumpUserMappings in pg_dump.c; 9.5 to 18 alike).
 * What has not exactly that form is refused: a grant that was not understood could go to the wrong role.
 *
 * Texts and names are bytes as Latin 1. That is safe in every encoding that a dump can have, for quotes and words of SQL are ASCII and never a part of another character.
 */
export interface EntryTexts {
  readonly desc: string
  readonly tag: string
  readonly owner: string | null
  readonly definition: string | null
  readonly dropStatement: string | null
}

/** The role in the place of the named one; undefined where it stays. */
export type RoleNames = (name: string) => string | undefined

const identifier = '(?:"(?:[^"]|"")*"|[A-Za-z_\\x80-\\xff][\\w$\\x80-\\xff]*)'
const qualified = `${identifier}(?:\\.${identifier})?`
const authorization = new RegExp(`^(SET SESSION AUTHORIZATION )(${identifier})$`)
const standing = new RegExp(`^(ALTER DEFAULT PRIVILEGES FOR (?:ROLE|USER) )(${identifier})( (?:IN SCHEMA ${identifier} )?)(?=GRANT |REVOKE )`)
const grantee = new RegExp(`^((?:GROUP )?)(${identifier})((?: WITH GRANT OPTION)?)$`)
const policy = new RegExp(
  `^(CREATE POLICY ${identifier} ON ${qualified}(?: AS (?:PERMISSIVE|RESTRICTIVE))?(?: FOR (?:ALL|SELECT|INSERT|UPDATE|DELETE))?)(?: TO (${identifier}(?:, ${identifier})*))?(?= (?:USING|WITH CHECK) \\(|;)`,
)
const userMapping = new RegExp(`^((?:CREATE|DROP) USER MAPPING FOR )(${identifier})(?= SERVER )`)

/** The entry's texts with the roles replaced, or null when none of them occurs. Rejects (`usage-invalid`) where a text has not the form that pg_dump writes. */
export function mapEntryRoles(entry: EntryTexts, names: RoleNames): EntryTexts | null {
  const changed = { ...entry, owner: entry.owner === null ? null : (names(entry.owner) ?? entry.owner), ...mapTexts(entry, names) }
  const isSame = changed.owner === entry.owner && changed.definition === entry.definition && changed.dropStatement === entry.dropStatement
  return isSame ? null : changed
}

function mapTexts(entry: EntryTexts, names: RoleNames): Partial<EntryTexts> {
  const { desc, definition, dropStatement } = entry
  if (definition === null) return {}
  const put = (written: string) => replaced(written, names)
  switch (desc) {
    case 'ACL':
    case 'DEFAULT ACL':
      return { definition: mapStatements(entry, definition, put) }
    case 'POLICY': {
      const [whole, before = '', roles] = policy.exec(definition) ?? []
      if (whole === undefined) throw unknownForm(entry)
      if (roles === undefined) return {}
      const list = roles.match(new RegExp(identifier, 'g')) ?? []
      return { definition: `${before} TO ${[...new Set(list.map(put))].join(', ')}${definition.slice(whole.length)}` }
    }
    case 'USER MAPPING': {
      const map = (text: string) => {
        if (!userMapping.test(text)) throw unknownForm(entry)
        return text.replace(userMapping, (_, before: string, role: string) => before + put(role))
      }
      return { definition: map(definition), dropStatement: dropStatement === null || dropStatement === '' ? dropStatement : map(dropStatement) }
    }
    default:
      return {}
  }
}

function mapStatements(entry: EntryTexts, definition: string, put: (written: string) => string): string {
  const ends = outsideQuotes(definition, ';')
  if (definition.slice((ends.at(-1) ?? -1) + 1).trim() !== '') throw unknownForm(entry)
  let mapped = ''
  let at = 0
  for (const end of ends) {
    const text = definition.slice(at, end)
    const white = text.length - text.trimStart().length
    mapped += text.slice(0, white) + mapGrant(entry, text.slice(white), put) + ';'
    at = end + 1
  }
  return mapped + definition.slice(at)
}

function mapGrant(entry: EntryTexts, text: string, put: (written: string) => string): string {
  if (text === 'RESET SESSION AUTHORIZATION') return text
  const [as, set = '', grantor = ''] = authorization.exec(text) ?? []
  if (as !== undefined) return set + put(grantor)
  const [prefix, alter = '', owner = '', schema = ''] = standing.exec(text) ?? []
  if (prefix !== undefined) return alter + put(owner) + schema + mapGrant(entry, text.slice(prefix.length), put)
  if (!/^(?:GRANT|REVOKE) /.test(text)) throw unknownForm(entry)
  // Privileges and the object come before it, and names that are words of SQL stand in quotes.
  const keyword = text.startsWith('GRANT ') ? ' TO ' : ' FROM '
  const last = outsideQuotes(text, keyword).at(-1)
  const [whole, group = '', role = '', after = ''] = last === undefined ? [] : (grantee.exec(text.slice(last + keyword.length)) ?? [])
  if (last === undefined || whole === undefined) throw unknownForm(entry)
  return text.slice(0, last + keyword.length) + group + put(role) + after
}

/** Where the word begins outside of quoted names. A doubled quote inside a name ends and begins it, which comes to the same. */
function outsideQuotes(text: string, word: string): readonly number[] {
  const found: number[] = []
  let isQuoted = false
  for (let at = 0; at < text.length; at += 1) {
    if (text[at] === '"') isQuoted = !isQuoted
    else if (!isQuoted && text.startsWith(word, at)) found.push(at)
  }
  return found
}

/** A role as it is written in SQL, and the one in its place. `PUBLIC` is no role. */
function replaced(written: string, names: RoleNames): string {
  if (written === 'PUBLIC') return written
  const name = written.startsWith('"') ? written.slice(1, -1).replaceAll('""', '"') : written
  const other = names(name)
  return other === undefined ? written : `"${other.replaceAll('"', '""')}"`
}

function unknownForm({ desc, tag }: EntryTexts): Failure {
  return new Failure('usage-invalid', `roles cannot be replaced in this dump: its entry "${desc} ${tag}" is not written as pg_dump writes it`, {
    hints: ['restore it without --role-map, or leave owners and grants out: --no-owner --no-privileges'],
  })
}
