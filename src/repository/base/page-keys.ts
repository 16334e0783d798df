import type { OpenBaseBackup } from './open-base-backup.ts'

/**
 * Rejects with `key-missing`, `integrity` or `object-missing` unless the key of every page can be had that the backup has, before anything is done with it: a write-only host opens what describes a
 * backup, and no page.
 */
export async function requirePageKeys(backup: OpenBaseBackup): Promise<void> {
  const runs = new Map<string, number>()
  for (const number of backup.tables.packs.keys()) {
    const { run, keyKind } = backup.pack(number)
    if (keyKind === 'run') runs.set(run, number)
  }
  for (const number of runs.values()) await backup.key(number)
}
