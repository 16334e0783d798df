import type { BackupFacts } from '../../src/repository/backup.ts'

/** The facts of a small complete backup of the cluster `nexo`, for tests that look at something else. */
export function backupFacts(id: string, change: Partial<BackupFacts> = {}): BackupFacts {
  return {
    id,
    cluster: 'nexo',
    database: 'nexo',
    type: 'dump',
    name: null,
    startedAt: '2026-11-21T10:00:00.000Z',
    endedAt: '2026-11-21T10:00:00.000Z',
    sizeBytes: 1,
    storedBytes: 1,
    checksum: 'sha256:00',
    format: 'custom',
    compression: 'none',
    encryption: null,
    key: `${id}.dump`,
    fileName: `${id}.dump`,
    postgresVersion: null,
    startLsn: null,
    stopLsn: null,
    timeline: null,
    tables: [],
    category: 'daily',
    container: null,
    user: null,
    hostname: null,
    toolVersion: '0',
    partial: false,
    safety: false,
    committedAs: 'verified',
    adopted: false,
    ...change,
  }
}
