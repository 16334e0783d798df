import { describe, expect, test } from 'vitest'
import type { Proof } from '../../src/drill/proof.ts'
import { quoteLiteral } from '../../src/postgres/identifiers.ts'
import { embeddedDrills } from '../support/embedded-drills.ts'
import { judge, roundTrip } from '../support/round-trip.ts'
import { debianClients } from '../support/stock-tools.ts'
import { createLatin1, createSqlAscii, createWorkload } from '../support/workload.ts'

const server15 = { major: 15, binDir: debianClients }

describe('a database with everything a dump can carry comes back', () => {
  test('as it was on PostgreSQL 15, and the judge sees a single changed value, a moved row and a lost grant', async () => {
    await roundTrip(server15, { name: 'workload', create: createWorkload }, async ({ cluster, room, source, copy, backup, result }) => {
      expect(backup.tables.length).toBeGreaterThan(150)
      expect(result.tables.find(({ name }) => name === 'types')).toMatchObject({ schema: 'wl', rows: 34, restoredRows: 34, match: true })
      // A server that has nothing: roles, memberships, owners and grants come from the backup alone.
      const { proof } = await room.json<{ proof: Proof }>(['drill', '--server', 'embedded'], { env: await embeddedDrills() })
      expect({ outcome: proof.outcome, problems: proof.problems, notCompared: proof.notCompared }).toEqual({ outcome: 'proven', problems: [], notCompared: [] })

      const tampered = async (sql: string, back: string) => {
        await using session = await cluster.session(copy)
        await session.query(sql)
        const verdict = await judge(server15, cluster, source, copy)
        await session.query(back)
        return verdict
      }
      expect(await tampered(`UPDATE wl.many_77 SET id = 99 WHERE id = 5`, `UPDATE wl.many_77 SET id = 5 WHERE id = 99`)).toContain('99')
      expect(await tampered(`UPDATE wl.by_enum SET e = 'sad' WHERE v = 1`, `UPDATE wl.by_enum SET e = 'ok' WHERE v = 1`)).toContain('sad')
      expect(await tampered(`REVOKE SELECT ON wl.types FROM wl_reader`, `GRANT SELECT ON wl.types TO wl_reader WITH GRANT OPTION`)).toContain('wl_reader')
      expect(await tampered(`ALTER DATABASE ${copy} RESET "my.setting"`, `ALTER DATABASE ${copy} SET "my.setting" TO ${quoteLiteral("it's")}`)).toContain(
        'my.setting',
      )
    })
  })

  test('as it was on PostgreSQL 15 by way of plain SQL, and by way of a directory and parallel workers', async () => {
    await roundTrip(server15, { name: 'plain', create: createWorkload, backup: ['--format', 'plain', '--compress', 'gzip:1'] })
    await roundTrip(server15, { name: 'directory', create: createWorkload, backup: ['--format', 'directory', '--jobs', '2'], restore: ['--jobs', '2'] })
  })

  test.each([13, 14])('as it was on PostgreSQL %i with newer client programs', async (major) => {
    await roundTrip({ major, binDir: debianClients }, { name: 'workload', create: createWorkload })
  })

  test('with its own encoding: LATIN1, and SQL_ASCII with bytes that are valid in none', async () => {
    await roundTrip(server15, { name: 'latin', create: createLatin1 })
    await roundTrip(server15, { name: 'latin_plain', create: createLatin1, backup: ['--format', 'plain', '--compress', 'none'] })
    await roundTrip(server15, { name: 'ascii', create: createSqlAscii })
  })
})
