import type { Clock } from '../../kernel/clock.ts'
import { Failure, isFailure } from '../../kernel/failure.ts'
import type { CommandSink, OutgoingCopy } from './command-sink.ts'
import { formatLsn } from '../../pgdata/lsn.ts'
import type { ResultRows } from './message-fields.ts'
import type { ReplicationConnection } from './replication-connection.ts'
import { lsnOf, numberOf, readSetting, requireSlotName } from './replication-commands.ts'
import { statusUpdate, takeWalMessages, type WalMessages } from './wal-messages.ts'

export interface WalReceiverOptions {
  /** Of a temporary slot made on this connection, or of a lasting one; null: the server may have removed what we need. */
  readonly slot: string | null
  /** The beginning of a segment. */
  readonly startLsn: bigint
  readonly timeline: number
  readonly steering: WalSteering
  readonly clock: Clock
}

export interface WalSink {
  /**
   * The next bytes of WAL, without gaps, never of two segments. Valid until the call, or the promise it returned, is over; a promise holds the
   * server up, while it is still told that we live.
   */
  wal(startLsn: bigint, bytes: Buffer): void | Promise<void>
  /** The server asks how far we are, at the latest before it shuts down, which waits for our answer: make durable what came and tell the steering. */
  flush?(): void | Promise<void>
}

/** `timeline-ended`: the server has no more of this timeline; `nextTimeline` goes on at `endLsn`, in a segment that begins again from its start. */
export type WalOutcome =
  | { readonly kind: 'stopped'; readonly endLsn: bigint }
  | { readonly kind: 'timeline-ended'; readonly endLsn: bigint; readonly nextTimeline: number }

/** What the caller of a receiver tells it meanwhile. */
export class WalSteering {
  #stopLsn: bigint | null = null
  #flushedLsn: bigint | null = null
  /** Called at every change, for the receiver. */
  onChange: (() => void) | null = null

  get stopLsn(): bigint | null {
    return this.#stopLsn
  }

  get flushedLsn(): bigint | null {
    return this.#flushedLsn
  }

  /** End when everything before `lsn` has come: at once if it has. */
  stopAt(lsn: bigint): void {
    this.#stopLsn = lsn
    this.onChange?.()
  }

  /** Everything before `lsn` is durable: a slot lets go of it. */
  flushedTo(lsn: bigint): void {
    this.#flushedLsn = lsn
    this.onChange?.()
  }
}

/**
 * Streams WAL until the steering says stop or the timeline ends; then the connection can be used again. A gap is an `integrity` failure, a server
 * that shuts down `connection-lost`. The server hears from us when something became durable, and three times within its `wal_sender_timeout`.
 */
export async function receiveWal(connection: ReplicationConnection, options: WalReceiverOptions, sink: WalSink): Promise<WalOutcome> {
  const { slot, startLsn, timeline, steering, clock } = options
  if (slot !== null) requireSlotName(slot)
  const segmentBytes = BigInt(await readSetting(connection, 'wal_segment_size'))
  if (startLsn % segmentBytes !== 0n) throw new Error(`${formatLsn(startLsn)} is not the beginning of a segment`)
  const reportEveryMs = reportInterval(Number(await readSetting(connection, 'wal_sender_timeout')))
  const reception = new WalReception(options, segmentBytes, sink)
  const ended = new AbortController()
  steering.onChange = () => reception.steer()
  const reporting = reportRegularly(reception, clock, reportEveryMs, ended.signal)
  try {
    const place = `PHYSICAL ${formatLsn(startLsn)} TIMELINE ${timeline}`
    return reception.outcome(await connection.run(`START_REPLICATION ${slot === null ? '' : `SLOT ${slot} `}${place}`, reception))
  } catch (error) {
    throw isFailure(error) && error.details['sqlState'] === '58P01' ? walRemoved(error) : error
  } finally {
    steering.onChange = null
    ended.abort()
    await reporting
  }
}

/** At most ten seconds, as pg_receivewal does; the setting is in ms, 0 = no limit. */
function reportInterval(walSenderTimeoutMs: number): number {
  const longestMs = 10_000
  return walSenderTimeoutMs === 0 ? longestMs : Math.min(longestMs, Math.ceil(walSenderTimeoutMs / 3))
}

async function reportRegularly(reception: WalReception, clock: Clock, everyMs: number, ended: AbortSignal): Promise<void> {
  try {
    for (;;) {
      await clock.sleep(everyMs, ended)
      reception.report()
    }
  } catch (error) {
    if (!ended.aborted) throw error
  }
}

function walRemoved(error: Failure): Failure {
  return new Failure(error.code, error.message, {
    cause: error,
    details: error.details,
    hints: ['WAL that is needed is gone: take a new base backup', 'a replication slot, or a larger wal_keep_size, makes the server keep it'],
  })
}

class WalReception implements CommandSink, WalMessages {
  readonly copyData = takeWalMessages(this)
  readonly #options: WalReceiverOptions
  readonly #segmentBytes: bigint
  readonly #sink: WalSink
  /** Everything before has come. */
  #receivedLsn: bigint
  /** Null before the stream begins and after we said that we are done. */
  #outgoing: OutgoingCopy | null = null
  #stopped = false

  constructor(options: WalReceiverOptions, segmentBytes: bigint, sink: WalSink) {
    this.#options = options
    this.#segmentBytes = segmentBytes
    this.#sink = sink
    this.#receivedLsn = options.startLsn
  }

  copyBoth(outgoing: OutgoingCopy): void {
    this.#outgoing = outgoing
    this.steer()
  }

  /** After our own end, or that of the timeline, which we have to confirm. */
  copyDone(): void {
    this.#outgoing?.done()
    this.#outgoing = null
  }

  begin(startLsn: bigint): void {
    if (this.#stopped || startLsn === this.#receivedLsn) return
    throw new Failure('integrity', `the server sent WAL from ${formatLsn(startLsn)} where ${formatLsn(this.#receivedLsn)} belongs`, {
      hints: ['WAL in between would be missing: nothing of it was used'],
    })
  }

  wal(bytes: Buffer): void | Promise<void> {
    for (let used = 0; used < bytes.length && !this.#stopped;) {
      const startLsn = this.#receivedLsn
      const part = bytes.subarray(used, used + Number(this.#wanted(BigInt(bytes.length - used))))
      used += part.length
      const waiting = this.#sink.wal(startLsn, part)
      this.#receivedLsn = startLsn + BigInt(part.length)
      this.#stopWhereAsked()
      if (waiting !== undefined) return used < bytes.length ? waiting.then(() => this.wal(bytes.subarray(used))) : waiting
    }
    return undefined
  }

  keepalive(_walLsn: bigint, replyNow: boolean): void | Promise<void> {
    if (!replyNow) return undefined
    const waiting = this.#sink.flush?.()
    if (waiting !== undefined) return waiting.then(() => this.report())
    return this.report()
  }

  /** The caller told us something. */
  steer(): void {
    this.report()
    this.#stopWhereAsked()
  }

  report(): void {
    const { steering, clock } = this.#options
    // Never more than has come: the server would remove what we do not have.
    const flushedLsn = steering.flushedLsn !== null && steering.flushedLsn > this.#receivedLsn ? this.#receivedLsn : steering.flushedLsn
    this.#outgoing?.send(statusUpdate(this.#receivedLsn, flushedLsn, clock.now()))
  }

  outcome(results: readonly ResultRows[]): WalOutcome {
    const endLsn = this.#receivedLsn
    if (this.#stopped) return { kind: 'stopped', endLsn }
    const row = results.flat().find((found) => 'next_tli' in found)
    if (row === undefined) throw new Failure('connection-lost', `the server ended its stream of WAL at ${formatLsn(endLsn)} without saying why`)
    const switchLsn = lsnOf(row, 'next_tli_startpos')
    if (switchLsn !== endLsn)
      throw new Failure('integrity', `timeline ${this.#options.timeline} ends at ${formatLsn(switchLsn)}, but the server sent WAL up to ${formatLsn(endLsn)}`)
    return { kind: 'timeline-ended', endLsn, nextTimeline: numberOf(row, 'next_tli') }
  }

  /** How many of the next bytes the sink gets at once: not beyond the segment, nor beyond where we stop. */
  #wanted(available: bigint): bigint {
    const room = this.#segmentBytes - (this.#receivedLsn % this.#segmentBytes)
    const { stopLsn } = this.#options.steering
    const wanted = stopLsn === null ? room : stopLsn - this.#receivedLsn
    return [room, wanted].reduce((least, bytes) => (bytes < least ? bytes : least), available)
  }

  #stopWhereAsked(): void {
    const { stopLsn } = this.#options.steering
    if (this.#outgoing === null || stopLsn === null || this.#receivedLsn < stopLsn) return
    this.report()
    this.#stopped = true
    this.copyDone()
  }
}
