import { expect, it } from 'vitest'
import type { OpenBaseBackup } from '../../repository/base/open-base-backup.ts'
import { chooseChanges } from './choose-changes.ts'
import type { BaseSourceFacts } from './open-base-source.ts'

const facts = {
  major: 17,
  timeline: 1,
  version: '17.10',
  dataChecksums: true,
  settings: { summarize_wal: 'on', wal_level: 'replica' },
} as unknown as BaseSourceFacts
const priorOf = (dataChecksums: boolean) =>
  ({ root: { server: { timeline: 1, dataChecksums }, backup: { postgresVersion: '17.10' } } }) as unknown as OpenBaseBackup

it('believes no summaries after pg_checksums has rewritten every page, which is in no WAL', () => {
  expect(chooseChanges({ reader: 'auto' }, facts, priorOf(true))).toHaveProperty('since')
  expect(chooseChanges({ reader: 'auto' }, facts, priorOf(false))).toMatchObject({ why: expect.stringContaining('page checksums were switched on or off') })
})
