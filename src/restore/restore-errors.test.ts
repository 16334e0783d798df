import { describe, expect, test } from 'vitest'
import { parseRestoreErrors } from './restore-errors.ts'

const one = [
  'pg_restore: error: could not execute query: ERROR:  relation "public.customers" does not exist',
  'Command was: ALTER TABLE ONLY public.orders',
  '    ADD CONSTRAINT orders_c_fkey FOREIGN KEY (c) REFERENCES public.customers(id);',
  '',
  '',
]
const summary = (count: number) => `pg_restore: warning: errors ignored on restore: ${count}`

describe('errors that pg_restore went on after', () => {
  test('are told with as much of the statement as names the object', () => {
    expect(parseRestoreErrors([...one, summary(1)], 1)).toEqual({
      errors: [
        {
          message: 'relation "public.customers" does not exist',
          statement: 'ALTER TABLE ONLY public.orders ADD CONSTRAINT orders_c_fkey FOREIGN KEY (c) REFERENCES public.customers(id);',
        },
      ],
      notes: [],
      unlisted: 0,
    })
  })

  test('are not said to be more because several workers counted them twice', () => {
    expect(parseRestoreErrors([...one, ...one, ...one, summary(5)], 3)).toMatchObject({ errors: { length: 3 }, unlisted: 0 })
  })

  test('are counted when not all were kept, or not one was understood', () => {
    expect(parseRestoreErrors([...one, summary(500)], 250).unlisted).toBe(249)
    expect(parseRestoreErrors(['pg_restore: [archiver] something older', summary(2)], 0).unlisted).toBe(1)
  })

  test('do not borrow the statement of the next one', () => {
    const bare = 'pg_restore: error: could not open large object 5'
    expect(parseRestoreErrors([bare, ...one, summary(2)], 2).errors.map(({ statement }) => statement === null)).toEqual([true, false])
  })

  test('show no more of a statement than names its object: options may hold passwords', () => {
    const mapping = [
      'pg_restore: error: could not execute query: ERROR:  role "x" does not exist',
      'Command was: CREATE USER MAPPING FOR x SERVER s OPTIONS (',
      "    password 'secret'",
      ');',
    ]
    expect(JSON.stringify(parseRestoreErrors([...mapping, summary(1)], 1))).not.toContain('secret')
  })

  test('that change nothing are notes', () => {
    const harmless = 'pg_restore: error: could not execute query: ERROR:  unrecognized configuration parameter "transaction_timeout"'
    expect(parseRestoreErrors([harmless, 'Command was: SET transaction_timeout = 0;', summary(1)], 1)).toMatchObject({
      errors: [],
      notes: { length: 1 },
      unlisted: 0,
    })
  })
})
