import type { Context } from '../kernel/context.ts'
import { fingerprintSettings } from '../dump/pinned-settings.ts'
import { chooseClientTools, type ClientTool } from '../postgres/client-tools.ts'
import { reachServer, type Reach } from '../postgres/reach.ts'
import { requireSessionPooling } from '../postgres/pooler.ts'
import type { Session } from '../postgres/session.ts'
import type { ConnectionTarget } from '../postgres/target.ts'
import type { DumpSource } from '../repository/manifest.ts'
import { isUnfinishedCopy, listSourceTables, readSourceFacts, type SourceTable } from './source-facts.ts'

export interface SourceRequest {
  readonly target: ConnectionTarget
  readonly database: string
  readonly lockWaitSeconds: number
  readonly reach: Reach
}

/** The database as it was at one snapshot, which stays exported while this is open. */
export interface OpenSource extends AsyncDisposable {
  readonly session: Session
  /** The target as it is really reached (a container's name may have become the host). */
  readonly target: ConnectionTarget
  readonly facts: DumpSource
  /** A copy that a restore of ours has not finished, or never will. */
  readonly isUnfinished: boolean
  readonly tables: readonly SourceTable[]
  /** For `pg_dump --snapshot`. */
  readonly snapshot: string
  /** WAL position just before the snapshot was taken; null where the server does not tell. */
  readonly snapshotLsn: string | null
  readonly dumpTool: ClientTool
  readonly dumpAllTool: ClientTool | null
  readonly containerName: string | null
}

export async function openSource(request: SourceRequest, context: Context): Promise<OpenSource> {
  await using stack = new AsyncDisposableStack()
  const reached = await reachServer(request.target, request.reach, {
    applicationName: 'tidemark backup',
    database: request.database,
    settings: { ...fingerprintSettings, statement_timeout: '0', idle_in_transaction_session_timeout: '0', lock_timeout: '0' },
    signal: context.signal,
    emit: context.emit,
  })
  const session = stack.use(reached.session)
  await requireSessionPooling(session)

  const serverMajor = Math.floor(session.serverVersionNum / 10_000)
  const { tools, reason } = chooseClientTools(reached.tools, { serverMajor, purpose: 'dump' })
  context.emit({ type: 'note', message: reason })
  const dumpTool = tools.programs.pg_dump
  if (dumpTool === undefined) throw new Error('the chosen client programs have no pg_dump')

  const snapshotLsn = await currentLsn(session)
  await session.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY')
  const [row] = await session.query<{ snapshot: string }>('SELECT pg_catalog.pg_export_snapshot() AS snapshot')
  if (row === undefined) throw new Error('pg_export_snapshot returned no row')
  const facts = await readSourceFacts(session, request.target)
  const isUnfinished = await isUnfinishedCopy(session)
  const tables = await listSourceTables(session)
  const owned = stack.move()
  return {
    session,
    target: reached.target,
    facts,
    isUnfinished,
    tables,
    snapshot: row.snapshot,
    snapshotLsn,
    dumpTool,
    dumpAllTool: tools.programs.pg_dumpall ?? null,
    containerName:
      request.target.container === null
        ? null
        : request.target.container.kind === 'container'
          ? request.target.container.name
          : request.target.container.service,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

async function currentLsn(session: Session): Promise<string | null> {
  const [row] = await session.query<{ lsn: string | null }>(
    'SELECT (CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END)::text AS lsn',
  )
  return row?.lsn ?? null
}
