import { describe, expect, it } from 'vitest'
import { readDumpName } from './dump-name.ts'

function named(fileName: string): string {
  const name = readDumpName(fileName)
  if (name === undefined) return 'ignored'
  if ('why' in name) return `refused: ${name.why}`
  return `${name.database ?? '-'} ${name.time === null ? '-' : `${name.time.at.toString()} ${name.time.kind}`} ${name.extension}`
}

describe('readDumpName', () => {
  it.each([
    ['nexo_20260120_143000.sql.gz', 'nexo 2026-01-20T14:30:00 local .sql.gz'],
    ['pivotal_flow_backup_20241201_120000.sql', 'pivotal_flow 2024-12-01T12:00:00 local .sql'],
    ['eleganttex_backup_20250129_020000.sql.gz', 'eleganttex 2025-01-29T02:00:00 local .sql.gz'],
    ['aicitel_20250101_020000.dump', 'aicitel 2025-01-01T02:00:00 local .dump'],
    ['postgres-dump-20250101-020000.dump', '- 2025-01-01T02:00:00 local .dump'],
    ['backup_20250101_020000.dump', '- 2025-01-01T02:00:00 local .dump'],
    ['shop-2025-01-01T02:00:00Z.dump.zst', 'shop 2025-01-01T02:00:00Z utc .dump.zst'],
    ['shop.20250101T020000Z.sql.zst', 'shop 2025-01-01T02:00:00Z utc .sql.zst'],
    ['shop_2025-01-01.sql', 'shop 2025-01-01T00:00:00 local .sql'],
    ['shop_202501010200.sql', 'shop 2025-01-01T02:00:00 local .sql'],
    ['current_backup.sql', '- - .sql'],
    ['partial_backup.sql.gz', '- - .sql.gz'],
  ])('reads %s as the seeds meant it', (fileName, expected) => expect(named(fileName)).toBe(expected))

  it.each([
    ['order_12345678_999999.sql', 'not a month'],
    ['shop_20251301_020000.sql', 'month 13'],
    ['shop_20250230_020000.sql', '30 February'],
    ['shop_20250101_250000.sql', 'hour 25'],
    ['shop_18120101_020000.sql', 'before PostgreSQL'],
    ['shop_1202501010200001.sql', 'a longer number'],
  ])('does not take digits for a moment that never was: %s (%s)', (fileName) => {
    const time = named(fileName).split(' ')[1]
    // A wrong time of day leaves the day, which is real.
    expect(['-', '2025-01-01T00:00:00']).toContain(time)
  })

  it('says of what looks like a backup why it is not taken in, and is silent about the rest', () => {
    expect(named('shop_20250101.sql.gpg')).toMatch(/^refused: it is encrypted/)
    expect(named('shop_20250101.sql.gz.gpg')).toMatch(/^refused: it is encrypted/)
    expect(named('shop_20250101.dump.gz.age')).toMatch(/^refused: a custom archive in gzip/)
    expect(named('toc.dat.age')).toMatch(/^refused: it belongs to a dump in directory format/)
    expect(named('shop_20250101.dump.gz')).toMatch(/^refused: a custom archive in gzip/)
    expect(named('basebackup.tar.gz')).toMatch(/^refused: it is a tar file/)
    expect(named('toc.dat')).toMatch(/^refused: it belongs to a dump in directory format/)
    for (const other of ['README.md', 'nexo_20260120_143000.info', 'backup.log', '.sql', 'dump']) expect(named(other)).toBe('ignored')
  })
})
