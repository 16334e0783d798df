import type { TakePiece } from './backend-messages.ts'
import { protocolFailure } from './message-fields.ts'

/** What a walsender streams (documentation, "Streaming Replication Protocol", START_REPLICATION). */
export interface WalMessages {
  /** A message with WAL from `startLsn` on begins. */
  begin(startLsn: bigint): void
  /** The next bytes of it. */
  wal(bytes: Buffer): void | Promise<void>
  /** How far the server's WAL goes, and whether it wants to know at once how far we are. */
  keepalive(walLsn: bigint, replyNow: boolean): void | Promise<void>
}

/** Kind, start, end of the server's WAL, time. */
const walHeadBytes = 25
/** Kind, end of the server's WAL, time, reply now. */
const keepaliveBytes = 18

/** Takes the messages apart as they come, in pieces; WAL is passed on without copying. */
export function takeWalMessages(messages: WalMessages): TakePiece {
  const head = Buffer.alloc(walHeadBytes)
  let headFilled = 0

  return (piece, first, last) => {
    if (first) headFilled = 0
    if (headFilled === walHeadBytes) return messages.wal(piece)
    const taken = Math.min(walHeadBytes - headFilled, piece.length)
    piece.copy(head, headFilled, 0, taken)
    headFilled += taken
    if (headFilled === walHeadBytes && head[0] === 0x77) {
      messages.begin(head.readBigUInt64BE(1))
      return taken < piece.length ? messages.wal(piece.subarray(taken)) : undefined
    }
    if (last && headFilled === keepaliveBytes && head[0] === 0x6b) return messages.keepalive(head.readBigUInt64BE(1), head[17] === 1)
    if (last || headFilled === walHeadBytes) throw protocolFailure(`a message of kind 0x${head[0]?.toString(16)} in a stream of WAL`)
    return undefined
  }
}

/** 2000-01-01, where PostgreSQL's time begins. */
const postgresEpochUs = 946_684_800_000_000n

/** "Standby status update": everything before `receivedLsn` has come, everything before `flushedLsn` is durable (null: we do not say). */
export function statusUpdate(receivedLsn: bigint, flushedLsn: bigint | null, now: Temporal.Instant): Buffer {
  const message = Buffer.alloc(34)
  message.write('r', 'latin1')
  message.writeBigUInt64BE(receivedLsn, 1)
  message.writeBigUInt64BE(flushedLsn ?? 0n, 9)
  // Nothing is applied here (17), and we want no reply (33).
  message.writeBigInt64BE(now.epochNanoseconds / 1000n - postgresEpochUs, 25)
  return message
}
