import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import type pg from 'pg'
import copyStreams from 'pg-copy-streams'
import { Failure, messageOf, systemCodeOf } from '../kernel/failure.ts'
import { connectByMode, internalsOf, prepareLogin, sendCancelRequest } from './direct-connection.ts'
import type { Parameter, Session, SessionOptions } from './session.ts'
import { statementFailure } from './sql-failure.ts'
import type { ConnectionTarget } from './target.ts'

export async function openDirectSession(target: ConnectionTarget, options: SessionOptions): Promise<Session> {
  const database = options.database ?? target.database
  const { place, password } = await prepareLogin({ ...target, database })
  options.signal?.throwIfAborted()
  const client = await connectByMode(place, { password, options })
  const session = new DirectSession(client, { ...target, database }, place, options)
  try {
    await session.begin()
    return session
  } catch (error) {
    await session[Symbol.asyncDispose]()
    throw error
  }
}

class DirectSession implements Session {
  readonly via = 'direct'
  readonly target: ConnectionTarget
  user = ''
  backendPid = 0
  serverVersionNum = 0
  readonly #client: pg.Client
  readonly #place: ConnectionTarget
  readonly #options: SessionOptions
  /** The end of the statement before; each waits for it. */
  #previous: Promise<unknown> = Promise.resolve()
  #copying = false
  #broken: unknown = null
  readonly #onAbort: () => void

  constructor(client: pg.Client, target: ConnectionTarget, place: ConnectionTarget, options: SessionOptions) {
    this.#client = client
    this.target = target
    this.#place = place
    this.#options = options
    client.on('error', (error: Error) => (this.#broken ??= error))
    client.on('notice', (notice) => options.onNotice?.(notice.severity ?? 'NOTICE', notice.message ?? ''))
    this.#onAbort = () => void this.#abandon()
    options.signal?.addEventListener('abort', this.#onAbort, { once: true })
  }

  get database(): string {
    return this.target.database
  }

  async begin(): Promise<void> {
    for (const [name, value] of Object.entries(this.#options.settings ?? {})) {
      await this.#run(`set ${name}`, () => this.#client.query('SELECT pg_catalog.set_config($1, $2, false)', [name, value]))
    }
    const [row] = await this.query<{ pid: number; version: number; user: string }>(
      `SELECT pg_catalog.pg_backend_pid() AS pid, pg_catalog.current_setting('server_version_num')::int AS version, current_user::text AS user`,
    )
    if (row === undefined) throw new Failure('connection-failed', 'the server did not say who it is', { hints: ['is this PostgreSQL?'] })
    this.backendPid = row.pid
    this.serverVersionNum = row.version
    this.user = row.user
  }

  async query<Row extends object = Record<string, unknown>>(sql: string, parameters: readonly Parameter[] = []): Promise<readonly Row[]> {
    const found: unknown = await this.#run(`run ${firstWords(sql)}`, () => this.#client.query(sql, parameters.length === 0 ? undefined : [...parameters]))
    // Several statements in one text give several results.
    const last = (Array.isArray(found) ? found.at(-1) : found) as { rows: Row[] }
    return last.rows
  }

  async *copyOut(sql: string): AsyncGenerator<Uint8Array, void, undefined> {
    await this.#previous.catch(() => undefined)
    const release = this.#claim()
    const ended = Promise.withResolvers<void>()
    ended.promise.catch(() => undefined)
    let complete = false
    try {
      this.#requireAlive(sql)
      const stream = copyStreams.to(sql)
      watchEnd(stream, ended)
      // Errors reach us by the iteration, or by `ended` once the data is through.
      stream.on('error', () => undefined)
      this.#client.query(stream)
      for await (const chunk of stream) yield chunk as Uint8Array
      // The last byte is not the end: the statement may still fail.
      await ended.promise
      complete = true
    } catch (error) {
      complete = !isConnectionBroken(error)
      throw this.#explain(error, `copy from database "${this.database}"`)
    } finally {
      if (!complete) await this.#abandon()
      release()
    }
  }

  async copyIn(sql: string, source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<number> {
    await this.#previous.catch(() => undefined)
    const release = this.#claim()
    const failed = Promise.withResolvers<never>()
    failed.promise.catch(() => undefined)
    const failure: { ofSource: unknown; ofServer: unknown } = { ofSource: undefined, ofServer: undefined }
    try {
      this.#requireAlive(sql)
      const stream = copyStreams.from(sql)
      stream.on('error', (error) => {
        failure.ofServer ??= error
        failed.reject(error)
      })
      this.#client.query(stream)
      try {
        for await (const chunk of source) if (!stream.write(chunk)) await Promise.race([once(stream, 'drain'), failed.promise])
      } catch (error) {
        if (error === failure.ofServer) throw error
        failure.ofSource = error
        // Sends CopyFail; the server rolls the COPY back and says so, which arrives as the stream's error.
        stream.destroy(new Error(messageOf(error)))
        await failed.promise
      }
      stream.end()
      await Promise.race([once(stream, 'finish'), failed.promise])
      return stream.rowCount
    } catch (error) {
      throw failure.ofSource ?? this.#explain(error, `copy into database "${this.database}"`)
    } finally {
      release()
    }
  }

  async cancel(): Promise<void> {
    const { processID, secretKey } = internalsOf(this.#client)
    if (processID !== null && secretKey !== null) await sendCancelRequest(this.#place, processID, secretKey)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#options.signal?.removeEventListener('abort', this.#onAbort)
    if (this.#broken !== null || this.#copying) {
      internalsOf(this.#client).connection.stream.destroy()
      return
    }
    const timer = new AbortController()
    // A server that does not answer must not hold us: after 2 s the socket is closed from our side.
    const late = delay(2_000, undefined, { signal: timer.signal }).then(
      () => internalsOf(this.#client).connection.stream.destroy(),
      () => undefined,
    )
    await this.#client.end().catch((error: unknown) => (this.#broken ??= error))
    timer.abort()
    await late
  }

  async #run<T>(tried: string, work: () => Promise<T>): Promise<T> {
    if (this.#copying) throw new Error(`cannot ${tried} while the same session copies`)
    const turn = this.#previous
      .catch(() => undefined)
      .then(() => {
        this.#requireAlive(tried)
        return work()
      })
    this.#previous = turn
    try {
      return await turn
    } catch (error) {
      throw this.#explain(error, tried)
    }
  }

  #claim(): () => void {
    if (this.#copying) throw new Error('the session already copies')
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#copying = true
    this.#previous = promise
    return () => {
      this.#copying = false
      resolve()
    }
  }

  #requireAlive(tried: string): void {
    this.#options.signal?.throwIfAborted()
    if (this.#broken !== null) throw this.#explain(this.#broken, tried)
  }

  #explain(error: unknown, tried: string): unknown {
    if (this.#options.signal?.aborted === true) return this.#options.signal.reason
    return statementFailure(error, { user: this.user === '' ? this.target.user : this.user, database: this.database }, tried)
  }

  /** Cancels the running statement on the server and closes the connection; used on abort and when a COPY is left early. */
  async #abandon(): Promise<void> {
    const { stream } = internalsOf(this.#client).connection
    this.#broken ??= new Failure('connection-lost', 'the session was ended on request')
    await this.cancel().catch(() => undefined)
    stream.destroy()
  }
}

/** pg-copy-streams ends its stream with the last byte; these two hooks tell how the statement itself ended. */
function watchEnd(stream: ReturnType<typeof copyStreams.to>, ended: PromiseWithResolvers<void>): void {
  const hooks = stream as unknown as { handleReadyForQuery: () => void; handleError: (error: unknown) => void }
  const handleError = hooks.handleError.bind(stream)
  hooks.handleReadyForQuery = () => ended.resolve()
  hooks.handleError = (error) => {
    ended.reject(error)
    handleError(error)
  }
}

function isConnectionBroken(error: unknown): boolean {
  return !(systemCodeOf(error) ?? '').match(/^(?=.*\d)[0-9A-Z]{5}$/)
}

/** Enough of a statement to recognise it in a message. */
function firstWords(sql: string): string {
  const line = sql.trim().replace(/\s+/g, ' ')
  return line.length <= 80 ? line : `${line.slice(0, 77)}…`
}
