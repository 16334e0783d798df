import { test } from 'vitest'
import { roundTrip } from '../support/round-trip.ts'
import { describeWith } from '../support/services.ts'
import { createSqlAscii, createWorkload } from '../support/workload.ts'

describeWith('clients17', 'a database with everything a dump can carry comes back', ({ binDir }) => {
  test.each([16, 17])('as it was on PostgreSQL %i with client programs of 17', async (major) => {
    await roundTrip({ major, binDir }, { name: 'workload', create: createWorkload })
  })

  test('as it was on PostgreSQL 15 with client programs of 17, whose settings the older server does not know', async () => {
    await roundTrip({ major: 15, binDir }, { name: 'newer_clients', create: createWorkload })
  })
})

describeWith('clients18', 'a database with everything a dump can carry comes back', ({ binDir }) => {
  test('as it was on PostgreSQL 18, virtual columns, temporal keys and checks that are not enforced included', async () => {
    await roundTrip({ major: 18, binDir }, { name: 'workload', create: createWorkload })
    await roundTrip({ major: 18, binDir }, { name: 'plain', create: createWorkload, backup: ['--format', 'plain'] })
    await roundTrip({ major: 18, binDir }, { name: 'directory', create: createWorkload, backup: ['--format', 'directory'] })
    await roundTrip({ major: 18, binDir }, { name: 'ascii', create: createSqlAscii })
  })
})
