import type { Context } from '../../kernel/context.ts'
import { isFailure } from '../../kernel/failure.ts'
import { formatLsn, parseLsn } from '../../pgdata/lsn.ts'
import type { Session } from '../../postgres/session.ts'
import type { BaseRoot } from '../../repository/base/base-root.ts'

/**
 * Whether a server is still on the history of a backup. One that was put back to an older copy of its files goes on under the same system identifier and timeline, and its summaries say what changed in
 * *its* history: what the other one had changed before the backup is in none of them. Where summaries begin and end tells the two apart: they end where a checkpoint began, hence at the start of
 * every backup.
 */

interface SummaryRange {
  readonly start: bigint
  readonly end: bigint
}

/** More than one, since a start behind a switch of segments is a round number that another history may have, too. */
const remembered = 8
const pauseMs = 100
/** The summarizer follows within moments; where it does not, every page can be read as well. */
const longestWaitMs = 10_000

/** The summaries before the start of a backup, as its root remembers them: `X/Y-X/Y`, the last one first. None where the server has none, or the role may not see them. */
export async function rememberSummaries(session: Session, { timeline, startLsn }: { readonly timeline: number; readonly startLsn: bigint }): Promise<string[]> {
  if (session.serverVersionNum < 170_000) return []
  const found = (await readSummaries(session, timeline)) ?? []
  return found
    .filter(({ end }) => end <= startLsn)
    .slice(0, remembered)
    .map(textOf)
}

/** Why the server is not, or perhaps not, on the history of the backup; null where it is. */
export async function whyOtherHistory(
  session: Session,
  { server, summaries = [] }: Pick<BaseRoot, 'server' | 'summaries'>,
  { clock, signal }: Pick<Context, 'clock' | 'signal'>,
): Promise<string | null> {
  const start = parseLsn(server.startLsn)
  for (let waitedMs = 0; ; waitedMs += pauseMs) {
    const found = await readSummaries(session, server.timeline)
    if (found === null) return `role "${session.user}" may not see which summaries there are (pg_available_wal_summaries)`
    if (found.some(({ end }) => end >= start)) return judge(found, summaries, start)
    if (waitedMs >= longestWaitMs) return `its WAL is not summarized up to ${server.startLsn}, where the prior backup starts`
    await clock.sleep(pauseMs, signal)
  }
}

function judge(found: readonly SummaryRange[], before: readonly string[], start: bigint): string | null {
  const known = new Set(found.map(textOf))
  const oldest = found.at(-1)?.start ?? 0n
  const isGone = before.some((range) => parseLsn(range.slice(0, range.indexOf('-'))) >= oldest && !known.has(range))
  if (!isGone && found.some(({ end }) => end === start)) return null
  return `no checkpoint began at ${formatLsn(start)}, where the prior backup starts: the server was put back to an older copy, or its summaries were removed`
}

/** The last one first; null where the role may not see them. */
async function readSummaries(session: Session, timeline: number): Promise<readonly SummaryRange[] | null> {
  try {
    const rows = await session.query<{ start: string; end: string }>(
      'SELECT start_lsn AS start, end_lsn AS "end" FROM pg_catalog.pg_available_wal_summaries() WHERE tli = $1 ORDER BY pg_available_wal_summaries.end_lsn DESC',
      [timeline],
    )
    return rows.map(({ start, end }) => ({ start: parseLsn(start), end: parseLsn(end) }))
  } catch (error) {
    if (!isFailure(error, 'permission-denied')) throw error
    return null
  }
}

const textOf = ({ start, end }: SummaryRange): string => `${formatLsn(start)}-${formatLsn(end)}`
