import { describe, expect, test } from 'vitest'
import { mapEntryRoles } from './role-texts.ts'

const names = new Map([
  ['old', 'new'],
  ['we"ird; TO', 'b'],
  ['b', 'we"ird; TO'],
])
const map = (desc: string, definition: string, owner: string | null = 'postgres') =>
  mapEntryRoles({ desc, tag: 't', owner, definition, dropStatement: desc === 'USER MAPPING' ? 'DROP USER MAPPING FOR old SERVER s;\n' : '' }, (name) =>
    names.get(name),
  )

describe('a role is replaced', () => {
  test.each([
    ['ACL', 'GRANT SELECT ON TABLE t TO old;\n', 'GRANT SELECT ON TABLE t TO "new";\n'],
    [
      'ACL',
      'REVOKE ALL ON TABLE public.old FROM old;\nGRANT SELECT ON TABLE public.old TO old WITH GRANT OPTION;\n',
      'REVOKE ALL ON TABLE public.old FROM "new";\nGRANT SELECT ON TABLE public.old TO "new" WITH GRANT OPTION;\n',
    ],
    [
      'ACL',
      'GRANT SELECT(old) ON TABLE "a TO old; b".old TO PUBLIC;\nGRANT ALL ON TABLE x TO old;\n',
      'GRANT SELECT(old) ON TABLE "a TO old; b".old TO PUBLIC;\nGRANT ALL ON TABLE x TO "new";\n',
    ],
    [
      'ACL',
      'SET SESSION AUTHORIZATION "we""ird; TO";\nGRANT SELECT ON TABLE t TO b;\nRESET SESSION AUTHORIZATION;\n',
      'SET SESSION AUTHORIZATION "b";\nGRANT SELECT ON TABLE t TO "we""ird; TO";\nRESET SESSION AUTHORIZATION;\n',
    ],
    ['ACL', 'GRANT ALL ON FUNCTION f(old integer, "TO" "x;y") TO GROUP old;\n', 'GRANT ALL ON FUNCTION f(old integer, "TO" "x;y") TO GROUP "new";\n'],
    ['ACL', 'REVOKE GRANT OPTION FOR ALL ON SCHEMA s FROM old;\n', 'REVOKE GRANT OPTION FOR ALL ON SCHEMA s FROM "new";\n'],
    [
      'DEFAULT ACL',
      'ALTER DEFAULT PRIVILEGES FOR ROLE old IN SCHEMA old REVOKE ALL ON TABLES FROM b;\n',
      'ALTER DEFAULT PRIVILEGES FOR ROLE "new" IN SCHEMA old REVOKE ALL ON TABLES FROM "we""ird; TO";\n',
    ],
    [
      'POLICY',
      `CREATE POLICY "a TO old" ON public.old AS RESTRICTIVE FOR SELECT TO old, other USING ((x = ' TO old'::text));\n`,
      `CREATE POLICY "a TO old" ON public.old AS RESTRICTIVE FOR SELECT TO "new", other USING ((x = ' TO old'::text));\n`,
    ],
    ['POLICY', 'CREATE POLICY p ON t TO old;\n', 'CREATE POLICY p ON t TO "new";\n'],
    [
      'USER MAPPING',
      `CREATE USER MAPPING FOR old SERVER s OPTIONS (\n    x 'FOR old SERVER s'\n);\n`,
      `CREATE USER MAPPING FOR "new" SERVER s OPTIONS (\n    x 'FOR old SERVER s'\n);\n`,
    ],
  ])('in %s: %s', (desc, written, expected) => {
    expect(map(desc, written)?.definition).toBe(expected)
  })

  test('as the owner of anything, and in the statement that drops a user mapping', () => {
    expect(map('TABLE', 'CREATE TABLE old ();\n', 'old')).toMatchObject({ owner: 'new', definition: 'CREATE TABLE old ();\n' })
    expect(map('USER MAPPING', 'CREATE USER MAPPING FOR old SERVER s;\n')?.dropStatement).toBe('DROP USER MAPPING FOR "new" SERVER s;\n')
  })

  test('by one that it was granted to as well: once, for a policy names nobody twice', () => {
    expect(
      mapEntryRoles({ desc: 'POLICY', tag: 'p', owner: null, definition: 'CREATE POLICY p ON t TO a, b;\n', dropStatement: '' }, (name) =>
        name === 'a' ? 'b' : name === 'b' ? 'b' : undefined,
      )?.definition,
    ).toBe('CREATE POLICY p ON t TO "b";\n')
  })
})

test('what is called like a role and is none stays: tables, columns, schemas, text, PUBLIC, other roles', () => {
  expect(map('ACL', 'GRANT SELECT(old) ON TABLE old.old TO other;\n')).toBeNull()
  expect(map('POLICY', `CREATE POLICY old ON old.old USING ((old = 'TO old'::text));\n`)).toBeNull()
  expect(map('FUNCTION', `CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'GRANT x TO old';\n`)).toBeNull()
  expect(mapEntryRoles({ desc: 'ACL', tag: 't', owner: null, definition: 'GRANT ALL ON TABLE t TO PUBLIC;\n', dropStatement: '' }, () => 'anybody')).toBeNull()
})

test.each([
  ['ACL', 'GRANT SELECT ON TABLE t TO old, other;\n'],
  ['ACL', 'GRANT SELECT ON TABLE t TO old'],
  ['ACL', 'GRANT SELECT ON TABLE t TO old GRANTED BY x;\n'],
  ['ACL', 'GRANT SELECT ON TABLE "t TO old;\n'],
  ['ACL', 'DROP TABLE t;\n'],
  ['DEFAULT ACL', 'ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO old;\n'],
  ['POLICY', 'CREATE POLICY p ON t FOR SELECT TO old old USING (true);\n'],
  ['USER MAPPING', 'CREATE USER MAPPING IF NOT EXISTS FOR old SERVER s;\n'],
])('a text that pg_dump does not write is refused, so that nothing goes to the wrong role: %s %s', (desc, definition) => {
  expect(() => map(desc, definition)).toThrow('not written as pg_dump writes it')
})

test('a text of a hostile archive costs no more than its length', () => {
  const begunAt = performance.now()
  expect(() => map('ACL', `GRANT SELECT ON TABLE ${'""'.repeat(500_000)} TO ${'""'.repeat(500_000)}x"`)).toThrow('not written')
  expect(() => map('POLICY', `CREATE POLICY ${'""'.repeat(500_000)} ON x TO ${'a, '.repeat(300_000)}`)).toThrow('not written')
  expect(performance.now() - begunAt).toBeLessThan(5_000)
})
