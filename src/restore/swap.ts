import type { Context } from '../kernel/context.ts'
import { Failure, messageOf } from '../kernel/failure.ts'
import { quoteIdentifier } from '../postgres/identifiers.ts'
import type { Session } from '../postgres/session.ts'
import { terminateSessions } from './end-sessions.ts'
import { swapObstacles } from './obstacles.ts'
import { commentDatabase } from './owned-database.ts'

/** One rename of the swap: the database with this OID gets another name. */
export interface Rename {
  readonly oid: number
  readonly from: string
  readonly to: string
}

export interface SwapRequest {
  /** The live database, renamed out of the way first. */
  readonly away: Rename
  /** The restored copy, renamed to the live name. */
  readonly into: Rename
  /** Comments to set in the same transaction, by OID's final name; null removes. */
  readonly comments: readonly { readonly database: string; readonly comment: string | null }[]
}

/**
 * Swaps two databases in one transaction: there is no moment without one under the live name. Renaming the live one locks its
 * name, so that nobody can enter, while `terminator` ends the sessions that are inside; clients that wait see one failed attempt.
 * Sessions must be connected to another database. On any error the transaction is rolled back and everything is as it was.
 */
export async function swapDatabases(renamer: Session, terminator: Session, request: SwapRequest, context: Context): Promise<void> {
  await requireOid(renamer, request.away)
  await requireOid(renamer, request.into)
  await requireSwappable(renamer, request.away.from)
  await inTransaction(renamer, context, async () => {
    await renameWhileTerminating(renamer, terminator, request.away, context)
    await renameWhileTerminating(renamer, terminator, request.into, context)
    for (const { database, comment } of request.comments) await commentDatabase(renamer, database, comment)
  })
}

/**
 * Gives a database another name and comment in one transaction, ending the sessions that are inside: somebody's monitoring may look into whatever there is.
 * On any error it has its old name and comment.
 */
export async function renameDatabase(
  renamer: Session,
  terminator: Session,
  { rename, comment }: { readonly rename: Rename; readonly comment: string | null },
  context: Context,
): Promise<void> {
  await requireOid(renamer, rename)
  await inTransaction(renamer, context, async () => {
    await renameWhileTerminating(renamer, terminator, rename, context)
    await commentDatabase(renamer, rename.to, comment)
  })
}

async function inTransaction(session: Session, context: Context, work: () => Promise<void>): Promise<void> {
  await session.query('BEGIN')
  try {
    await work()
    await session.query('COMMIT')
  } catch (error) {
    await session
      .query('ROLLBACK')
      .catch((rollback: unknown) => context.emit({ type: 'note', message: `the transaction of the renames ended with its session: ${messageOf(rollback)}` }))
    throw error
  }
}

/** PostgreSQL waits up to 5 s for the sessions of a database to end before it refuses to rename it; we end them meanwhile. */
async function renameWhileTerminating(renamer: Session, terminator: Session, rename: Rename, context: Context): Promise<void> {
  const done = new AbortController()
  const renaming = renamer.query(`ALTER DATABASE ${quoteIdentifier(rename.from)} RENAME TO ${quoteIdentifier(rename.to)}`).finally(() => done.abort())
  // Two awaits below could reject first; the rename's own outcome is awaited at the end in any case.
  renaming.catch(() => undefined)
  while (!done.signal.aborted) {
    await terminateSessions(terminator, rename.oid)
    await Promise.race([renaming.catch(() => undefined), context.clock.sleep(50, context.signal)])
  }
  await renaming
}

async function requireOid(session: Session, rename: Rename): Promise<void> {
  const [row] = await session.query<{ oid: string }>('SELECT oid::text AS oid FROM pg_catalog.pg_database WHERE datname = $1', [rename.from])
  if (row === undefined || Number(row.oid) !== rename.oid) {
    throw new Failure(
      'target-unsafe',
      `the database "${rename.from}" is not the one that was planned for (expected OID ${rename.oid}, found ${row?.oid ?? 'none'}): somebody changed it meanwhile`,
      {
        hints: ['nothing was renamed; look at the databases and start again'],
      },
    )
  }
}

async function requireSwappable(session: Session, database: string): Promise<void> {
  const obstacles = await swapObstacles(session, database)
  if (obstacles.length > 0) throw new Failure('target-unsafe', `database "${database}" cannot be replaced by a swap`, { hints: obstacles })
}
