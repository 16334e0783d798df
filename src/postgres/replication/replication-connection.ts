import { once } from 'node:events'
import type { Socket } from 'node:net'
import { Failure } from '../../kernel/failure.ts'
import { connectByMode, internalsOf, prepareLogin, sendCancelRequest } from '../direct-connection.ts'
import type { SessionOptions } from '../session.ts'
import { statementFailure } from '../sql-failure.ts'
import type { ConnectionTarget } from '../target.ts'
import { BackendMessages } from './backend-messages.ts'
import { BulkSocket } from './bulk-socket.ts'
import { CommandExchange } from './command-exchange.ts'
import type { CommandSink } from './command-sink.ts'
import type { ResultRows } from './message-fields.ts'

/** Milliseconds for the server to say goodbye. */
const farewellMs = 2_000

/**
 * A connection in replication mode (`replication=database`): SQL and replication commands, by the simple protocol, one after the other.
 * node-postgres logs in; then its socket is ours, for it cannot carry BASE_BACKUP, whose results come before and after the data.
 */
export interface ReplicationConnection extends AsyncDisposable {
  /**
   * Runs a text of SQL or one replication command to its end and returns the results that `sink` does not take. Fails with what the server
   * refused (SQLSTATE in `details.sqlState`; the connection stays usable), with `connection-lost`, with what the sink threw, or with the
   * signal's reason. After the last three the connection is closed, and what ran on the server is cancelled.
   */
  run(sql: string, sink?: CommandSink): Promise<readonly ResultRows[]>
}

export type ReplicationOptions = Pick<SessionOptions, 'applicationName' | 'database' | 'signal'>

/** Logs in as an ordinary session does: TLS, SCRAM, password files, sslmode. The role needs REPLICATION, or to be superuser. */
export async function openReplicationConnection(target: ConnectionTarget, options: ReplicationOptions): Promise<ReplicationConnection> {
  const { place, password } = await prepareLogin({ ...target, database: options.database ?? target.database })
  options.signal?.throwIfAborted()
  const client = await connectByMode(place, { password, options, replication: { makeSocket: () => new BulkSocket() } })
  const { connection, processID, secretKey } = internalsOf(client)
  const cancel = async (): Promise<void> => {
    if (processID !== null && secretKey !== null) await sendCancelRequest(place, processID, secretKey)
  }
  return new SocketConnection(connection.stream, { place, cancel, signal: options.signal })
}

interface Surroundings {
  readonly place: ConnectionTarget
  readonly cancel: () => Promise<void>
  readonly signal: AbortSignal | undefined
}

class SocketConnection implements ReplicationConnection {
  readonly #socket: Socket
  readonly #around: Surroundings
  readonly #messages: BackendMessages
  /** What runs, for messages. */
  #running: string | null = null
  /** Why the connection cannot be used any more. */
  #broken: { readonly error: unknown } | null = null
  #saidGoodbye = false
  #cancelling: Promise<void> = Promise.resolve()
  readonly #onAbort = (): void => this.#abandon(this.#around.signal?.reason)

  constructor(socket: Socket, around: Surroundings) {
    this.#socket = socket
    this.#around = around
    this.#messages = new BackendMessages(() => socket.resume())
    this.#takeOver()
    around.signal?.addEventListener('abort', this.#onAbort, { once: true })
    if (around.signal?.aborted === true) this.#onAbort()
  }

  async run(sql: string, sink: CommandSink = {}): Promise<readonly ResultRows[]> {
    if (this.#running !== null) throw new Error('the connection runs another command')
    if (sql.includes('\0')) throw new Error('there is a zero byte in the command')
    const exchange = new CommandExchange(sink, (type, body) => this.#send(type, body))
    const tried = `run ${/^\w+/.exec(sql)?.[0] ?? 'a command'}`
    this.#running = tried
    try {
      if (this.#broken !== null) throw this.#broken.error
      await this.#send('Q', Buffer.from(`${sql}\0`))
      while (!(await exchange.accept(await this.#messages.next(exchange.take))));
    } catch (error) {
      // A server that ends the session says why, and closes.
      const said = exchange.refused !== null && error === this.#broken?.error ? this.#explain(exchange.refused, tried) : error
      this.#abandon(error)
      throw this.#around.signal?.aborted === true ? this.#around.signal.reason : said
    } finally {
      this.#running = null
    }
    if (exchange.sourceFailed !== null) throw exchange.sourceFailed.error
    if (exchange.refused !== null) throw this.#explain(exchange.refused, tried)
    return exchange.results
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#around.signal?.removeEventListener('abort', this.#onAbort)
    if (this.#running !== null) this.#abandon(new Failure('cancelled', `the connection was closed while it had to ${this.#running}`))
    if (this.#broken === null) await this.#sayGoodbye()
    this.#socket.destroy()
    await this.#cancelling
  }

  #takeOver(): void {
    const socket = this.#socket
    const feed = (chunk: Buffer): boolean => this.#saidGoodbye || this.#messages.feed(chunk)
    // The listeners of node-postgres; those for other events are partly Node's own.
    socket.removeAllListeners('data')
    if (socket instanceof BulkSocket) socket.divert(feed)
    else
      socket.on('data', (chunk: Buffer) => {
        if (!feed(chunk)) socket.pause()
      })
    socket.on('error', (error) => this.#lose(error))
    socket.once('end', () => this.#lose(new Error('the server closed it')))
    socket.once('close', () => this.#lose(new Error('it was closed')))
  }

  #send(type: 'Q' | 'X' | 'd' | 'c' | 'f', body: Uint8Array): Promise<void> {
    const head = Buffer.alloc(5)
    head.write(type, 'latin1')
    head.writeUInt32BE(body.length + 4, 1)
    return new Promise((resolve, reject) => {
      this.#socket.cork()
      this.#socket.write(head)
      this.#socket.write(body, (error) => {
        if (error == null) return resolve()
        this.#lose(error)
        reject(this.#broken?.error)
      })
      this.#socket.uncork()
    })
  }

  #explain(error: Error, tried: string): Failure {
    const { user, database } = this.#around.place
    return statementFailure(error, { user, database }, tried)
  }

  /** The connection ended without our doing. */
  #lose(error: Error): void {
    if (this.#broken !== null) return
    this.#broken = { error: this.#explain(error, this.#running ?? 'use the replication connection') }
    this.#messages.end(this.#broken.error)
  }

  /** Leaves the server, where a command may run that does not look at its connection for minutes (a checkpoint, a limited rate). */
  #abandon(why: unknown): void {
    if (this.#broken === null) {
      this.#broken = { error: why }
      this.#messages.fail(why)
      // The connection goes in any case; a server that cannot be told notices that by itself.
      if (this.#running !== null) this.#cancelling = this.#around.cancel().catch(() => undefined)
    }
    this.#socket.destroy()
  }

  /** Ends the session in order, so that its temporary slots are gone afterwards. */
  async #sayGoodbye(): Promise<void> {
    this.#saidGoodbye = true
    // A server that does not answer in time, or has gone, needs no farewell.
    const closed = once(this.#socket, 'close', { signal: AbortSignal.timeout(farewellMs) }).catch(() => undefined)
    this.#socket.resume()
    void this.#send('X', Buffer.alloc(0)).catch(() => undefined)
    await closed
  }
}
