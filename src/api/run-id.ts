import { randomBytes } from 'node:crypto'
import type { Context } from '../kernel/context.ts'
import { newBackupId } from '../repository/backup.ts'

/** Runs and backups are numbered alike; a backup's id is its run's. */
export function newRunId(context: Pick<Context, 'clock'>): string {
  return newBackupId(context.clock.now(), randomBytes(4))
}
