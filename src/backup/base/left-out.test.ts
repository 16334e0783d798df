import { expect, it } from 'vitest'
import { lacksRows, leftOutOf } from './left-out.ts'

it.for(['skipping special file "./base/16384"', 'überspringe besondere Datei „./base/16384“'])(
  'knows of a database behind a link from what the server says: %s',
  (message) => {
    expect(leftOutOf([message, message])).toMatchObject([{ what: 'base/16384' }])
    expect(lacksRows(leftOutOf([message]))).toBe(true)
  },
)

it.for(['skipping special file "./.s.PGSQL.5432"', 'skipping special file "./log"', 'skipping special file "./postgresql.conf"'])(
  'lets a socket, a log and configuration elsewhere be, and names them: %s',
  (message) => {
    expect(leftOutOf([message])).toHaveLength(1)
    expect(lacksRows(leftOutOf([message]))).toBe(false)
  },
)
