import { createHash } from 'node:crypto'
import type { Session } from '../postgres/session.ts'

/** First half of our advisory locks: "tidm". */
const lockClass = 0x7469_646d

/**
 * Tells everybody on this server that a run is at work, for as long as the session lives: an advisory lock, which ends with the session however that
 * ends, and which can be seen from every database and every machine.
 */
export async function announceRun(session: Session, run: string): Promise<void> {
  await session.query('SELECT pg_catalog.pg_try_advisory_lock_shared($1::int, $2::int)', [lockClass, numberOf(run) | 0])
}

/** Whether the session of a run that announced itself is still there. */
export async function isRunAlive(session: Session, run: string): Promise<boolean> {
  const [row] = await session.query<{ alive: boolean }>(
    `SELECT EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND classid = $1::oid AND objid = $2::oid AND objsubid = 2 AND granted) AS alive`,
    [lockClass, numberOf(run)],
  )
  return row?.alive !== false
}

/** The second half: 32 bits of the run's digest. Two runs that share them keep each other's copies from being removed, no more. */
function numberOf(run: string): number {
  return createHash('sha256').update(run).digest().readUInt32BE(0)
}
