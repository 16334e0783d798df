import { messageOf } from '../../kernel/failure.ts'
import { type BackendMessage, messageType, type TakePiece } from './backend-messages.ts'
import type { CommandSink } from './command-sink.ts'
import { protocolFailure, readColumns, readNotice, readRow, type ResultRows, ServerError } from './message-fields.ts'

/** Sends one message; resolves when the system has taken it. */
export type Send = (type: 'd' | 'c' | 'f', body: Uint8Array) => Promise<void>

/** One command from its text to ReadyForQuery: tells the server's messages to the sink. */
export class CommandExchange {
  readonly results: ResultRows[] = []
  /** What the server refused; it may say so before, in or after a stream. */
  refused: ServerError | null = null
  /** What the source of a stream to the server threw. */
  sourceFailed: { readonly error: unknown } | null = null
  readonly #sink: CommandSink
  readonly #send: Send
  #columns: readonly string[] = []
  #rows: Record<string, string | null>[] | null = null
  #streaming = false

  constructor(sink: CommandSink, send: Send) {
    this.#sink = sink
    this.#send = send
  }

  /** Takes CopyData while there is a stream. */
  get take(): TakePiece | null {
    return this.#streaming ? (this.#sink.copyData ?? null) : null
  }

  /** True when the server is ready for the next command. */
  async accept({ type, body }: BackendMessage): Promise<boolean> {
    switch (type) {
      case messageType.rowDescription:
        await this.#endResult()
        this.#columns = readColumns(body)
        this.#rows = []
        return false
      case messageType.dataRow:
        if (this.#rows === null) throw protocolFailure('a row of no result')
        this.#rows.push(readRow(body, this.#columns))
        return false
      case messageType.commandComplete:
      case messageType.emptyQueryResponse:
        await this.#endResult()
        return false
      case messageType.copyOutResponse:
      case messageType.copyBothResponse:
      case messageType.copyInResponse:
        await this.#endResult()
        await this.#beginStream(type)
        return false
      case messageType.copyDone:
        if (!this.#streaming) throw protocolFailure('the end of a stream that did not begin')
        this.#streaming = false
        await this.#sink.copyDone?.()
        return false
      case messageType.errorResponse:
        this.refused ??= new ServerError(readNotice(body))
        this.#streaming = false
        this.#rows = null
        return false
      case messageType.noticeResponse:
        this.#sink.notice?.(readNotice(body))
        return false
      case messageType.readyForQuery:
        return true
      default:
        // ParameterStatus and NotificationResponse: not for us.
        return false
    }
  }

  async #endResult(): Promise<void> {
    if (this.#rows === null) return
    const rows = this.#rows
    this.#rows = null
    if (this.#sink.result === undefined) this.results.push(rows)
    else await this.#sink.result(rows)
  }

  async #beginStream(type: number): Promise<void> {
    const { copyOut, copyBoth, copyIn } = this.#sink
    if (type === messageType.copyInResponse && copyIn !== undefined) return this.#feed(copyIn)
    this.#streaming = true
    if (type === messageType.copyOutResponse && copyOut !== undefined) await copyOut.call(this.#sink)
    else if (type === messageType.copyBothResponse && copyBoth !== undefined) {
      // What fails here is the connection, which fails the reading of messages too.
      const send = (...message: Parameters<Send>): void => void this.#send(...message).catch(() => undefined)
      await copyBoth.call(this.#sink, { send: (body) => send('d', body), done: () => send('c', Buffer.alloc(0)) })
    } else throw protocolFailure('a stream that nobody asked for')
  }

  async #feed(source: AsyncIterable<Uint8Array>): Promise<void> {
    try {
      for await (const chunk of source) await this.#send('d', chunk)
    } catch (error) {
      this.sourceFailed = { error }
      // The server answers with an error and is ready again. When it was our connection that failed, this fails for the same reason.
      return this.#send('f', Buffer.from(`${messageOf(error)}\0`))
    }
    return this.#send('c', Buffer.alloc(0))
  }
}
