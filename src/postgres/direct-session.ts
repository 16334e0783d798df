import { type EventEmitter, once } from 'node:events'
import { access } from 'node:fs/promises'
import { connect as connectSocket, type Socket } from 'node:net'
import { connect as connectTls, type ConnectionOptions } from 'node:tls'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import copyStreams from 'pg-copy-streams'
import { Failure, messageOf, systemCodeOf } from '../kernel/failure.ts'
import type { Secret } from '../kernel/secret.ts'
import { enforceAuthPolicy } from './auth-policy.ts'
import { readPassFile } from './connection-files.ts'
import type { Parameter, Session, SessionOptions } from './session.ts'
import { connectFailure, statementFailure } from './sql-failure.ts'
import { tlsOptions } from './tls-options.ts'
import type { ConnectionTarget } from './target.ts'
import { parserOfType } from './value-types.ts'

/** What we need of node-postgres beyond its published types. */
interface Internals {
  processID: number | null
  secretKey: number | null
  connection: EventEmitter & { stream: Socket }
  connectionParameters: { options: string | undefined; client_encoding: string; replication: string | undefined }
}

/** Where the server's socket is when no host is named: Debian and Red Hat, then the default of the source code. */
const socketDirectories = ['/var/run/postgresql', '/tmp']

export async function openDirectSession(target: ConnectionTarget, options: SessionOptions): Promise<Session> {
  const database = options.database ?? target.database
  const place: ConnectionTarget = { ...target, database, host: target.host ?? (await defaultSocketDirectory(target.port)) }
  const password = place.password ?? (place.passFile === null ? null : await readPassFile(place.passFile, place))
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

async function defaultSocketDirectory(port: number): Promise<string> {
  for (const directory of socketDirectories) {
    const found = await access(`${directory}/.s.PGSQL.${port}`).then(
      () => true,
      () => false,
    )
    if (found) return directory
  }
  return socketDirectories[0] ?? '/tmp'
}

interface Login {
  readonly password: Secret | null
  readonly options: SessionOptions
}

/** sslmode as libpq means it: `prefer` and `allow` try the other way when the first is refused. */
async function connectByMode(target: ConnectionTarget, login: Login): Promise<pg.Client> {
  const tls = target.host?.startsWith('/') === true || target.tls.mode === 'disable' ? null : await tlsOptions(target)
  if (tls === null) return connectOnce(target, null, login)
  const { mode } = target.tls
  if (mode !== 'prefer' && mode !== 'allow') return connectOnce(target, tls, login)
  const [first, second] = mode === 'prefer' ? [tls, null] : [null, tls]
  try {
    return await connectOnce(target, first, login)
  } catch (error) {
    const cause = error instanceof Failure ? error.cause : error
    // 28000: pg_hba.conf has no line for this kind of connection, but may have one for the other.
    const refused = systemCodeOf(cause) === '28000' || (first !== null && /does not support SSL/.test(messageOf(cause)))
    if (!refused) throw error
    return connectOnce(target, second, login)
  }
}

async function connectOnce(target: ConnectionTarget, tls: ConnectionOptions | null, login: Login): Promise<pg.Client> {
  const client = new pg.Client({
    host: target.host ?? undefined,
    port: target.port,
    user: target.user,
    database: target.database,
    // As a function: with an empty text node-postgres would look into PGPASSWORD and ~/.pgpass.
    password: () => {
      if (login.password === null) throw passwordWanted(target)
      return login.password.reveal()
    },
    ssl: tls ?? false,
    enableChannelBinding: tls !== null && target.parameters['channel_binding'] !== 'disable',
    sslnegotiation: tls !== null && target.parameters['sslnegotiation'] === 'direct' ? 'direct' : 'postgres',
    application_name: login.options.applicationName,
    connectionTimeoutMillis: target.connectTimeoutSeconds * 1_000,
    keepAlive: true,
    keepAliveInitialDelayMillis: 30_000,
    types: { getTypeParser: (oid: number) => parserOfType(oid) as never },
  })
  // node-postgres fills gaps from the PG* variables of our environment; only the target counts.
  const { connectionParameters } = internalsOf(client)
  connectionParameters.options = target.parameters['options']
  connectionParameters.client_encoding = 'utf8'
  connectionParameters.replication = undefined

  const stop = () => internalsOf(client).connection.stream.destroy(new Error('stopped on request'))
  login.options.signal?.addEventListener('abort', stop, { once: true })
  client.on('error', () => undefined)
  const refusal: { failure: Failure | null } = { failure: null }
  enforceAuthPolicy(internalsOf(client).connection, target, tls !== null, (failure) => {
    refusal.failure ??= failure
    internalsOf(client).connection.stream.destroy(failure)
  })
  try {
    await client.connect()
    if (refusal.failure !== null) throw refusal.failure
    return client
  } catch (error) {
    internalsOf(client).connection.stream.destroy()
    login.options.signal?.throwIfAborted()
    throw refusal.failure ?? connectFailure(error, target)
  } finally {
    login.options.signal?.removeEventListener('abort', stop)
  }
}

function passwordWanted(target: ConnectionTarget): Failure {
  return new Failure('connection-failed', `cannot connect as user "${target.user}": the server asks for a password and none is configured`, {
    hints: ['put it into the URL, or name a password file (PGPASSFILE)'],
  })
}

function internalsOf(client: pg.Client): Internals {
  return client as unknown as Internals
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
    const turn = this.#previous.catch(() => undefined).then(() => {
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

/**
 * The protocol's CancelRequest, on a connection of its own (protocol-flow, "Canceling Requests in Progress"): understood by
 * servers and poolers, and needing no rights. Encrypted when the session is.
 */
async function sendCancelRequest(target: ConnectionTarget, processId: number, secretKey: number): Promise<void> {
  const request = Buffer.alloc(16)
  request.writeInt32BE(16, 0)
  request.writeInt32BE(80_877_102, 4)
  request.writeInt32BE(processId, 8)
  request.writeInt32BE(secretKey, 12)
  const unix = target.host?.startsWith('/') === true
  const plain = unix ? connectSocket(`${target.host}/.s.PGSQL.${target.port}`) : connectSocket(target.port, target.host ?? 'localhost')
  let socket: Socket = plain
  const limit = AbortSignal.timeout(5_000)
  try {
    await once(plain, 'connect', { signal: limit })
    if (!unix && target.tls.mode !== 'disable') {
      plain.write(Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]))
      const [answer] = (await once(plain, 'data', { signal: limit })) as [Buffer]
      if (answer.toString('latin1') === 'S') {
        socket = connectTls({ ...(await tlsOptions(target)), socket: plain, host: target.host ?? 'localhost' })
        await once(socket, 'secureConnect', { signal: limit })
      }
    }
    socket.end(request)
    // The server answers nothing and closes; only then has it sent the signal.
    socket.resume()
    await once(socket, 'close', { signal: limit })
  } finally {
    socket.destroy()
    plain.destroy()
  }
}

/** Enough of a statement to recognise it in a message. */
function firstWords(sql: string): string {
  const line = sql.trim().replace(/\s+/g, ' ')
  return line.length <= 80 ? line : `${line.slice(0, 77)}…`
}
