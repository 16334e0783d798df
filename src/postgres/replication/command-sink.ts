import type { TakePiece } from './backend-messages.ts'
import type { ResultRows, ServerNotice } from './message-fields.ts'

/** Our side of a stream that goes both ways. */
export interface OutgoingCopy {
  /** One CopyData message. Not to be called after `done`. */
  send(body: Uint8Array): void
  /** Nothing more comes from us. */
  done(): void
}

/**
 * What a command's answers go to, in the order in which they come. A promise that is returned holds the server up; what is thrown ends the
 * connection and comes out of the command. A stream of a kind without a taker is a breach of the protocol.
 */
export interface CommandSink {
  /** A result set, or the part of it that is not a stream. */
  result?(rows: ResultRows): void | Promise<void>
  /** A stream from the server begins. */
  copyOut?(): void | Promise<void>
  /** A stream both ways begins. */
  copyBoth?(outgoing: OutgoingCopy): void | Promise<void>
  copyData?: TakePiece
  /** The server has sent all of a stream. */
  copyDone?(): void | Promise<void>
  /** What the server asks us for; each chunk becomes a message. Its error makes the command fail on the server, and comes out of it. */
  copyIn?: AsyncIterable<Uint8Array>
  notice?(notice: ServerNotice): void
}
