import type { Emit } from '../kernel/event.ts'
import { openDirectSession } from './direct-session.ts'
import type { ConnectionTarget } from './target.ts'

/**
 * One connection to one database, held open. Statements run one after the other; during a COPY nothing else may run.
 *
 * Values come back by type, in both implementations alike: boolean → boolean; int2, int4, oid, float4, float8 → number;
 * json, jsonb → parsed; arrays of these and of text, name, varchar, int8 → arrays; everything else (int8, numeric,
 * timestamps, bytea, enums, …) → PostgreSQL's text, so nothing is rounded and no time zone slips in.
 */
export interface Session extends AsyncDisposable {
  readonly target: ConnectionTarget
  /** `container`: a psql inside the container; see container-session.ts for what is different there. */
  readonly via: 'direct' | 'container'
  readonly database: string
  /** current_user. */
  readonly user: string
  /** By the server's own account (pg_backend_pid), so right behind poolers too, as long as the session is held. */
  readonly backendPid: number
  /** `160004` = 16.4. */
  readonly serverVersionNum: number

  /** Rows of the (last) statement. Parameters are `$1`… Fails with a Failure that says what was asked. */
  query<Row extends object = Record<string, unknown>>(sql: string, parameters?: readonly Parameter[]): Promise<readonly Row[]>

  /**
   * Streams what `COPY … TO STDOUT` sends; chunks are not aligned to rows. Ends only after the server reported success;
   * a broken connection rejects. Leaving the iteration early cancels the statement and ends the session.
   */
  copyOut(sql: string): AsyncGenerator<Uint8Array, void, undefined>

  /** Feeds `COPY … FROM STDIN`. Resolves with the number of rows; when `source` throws, nothing is loaded and its error is rethrown. */
  copyIn(sql: string, source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<number>

  /** Cancels what runs now on the server, if anything. */
  cancel(): Promise<void>
}

export type Parameter = string | number | bigint | boolean | null | readonly string[] | readonly number[]

export interface SessionOptions {
  /** Shown in pg_stat_activity; cut to 63 bytes by the server. */
  readonly applicationName: string
  /** Another database than the target's. */
  readonly database?: string
  /** Run-time settings for this session (`TimeZone`, `statement_timeout`, …), set right after connecting. */
  readonly settings?: Readonly<Record<string, string>>
  /** Aborting cancels the running statement on the server and ends the session. */
  readonly signal?: AbortSignal
  /** NOTICE and WARNING messages of the server. */
  readonly onNotice?: (severity: string, message: string) => void
  readonly emit?: Emit
}

/** Connects directly. For a target whose server may be reachable only inside its container, see `openSessionByRoute`. */
export async function openSession(target: ConnectionTarget, options: SessionOptions): Promise<Session> {
  return openDirectSession(target, options)
}
