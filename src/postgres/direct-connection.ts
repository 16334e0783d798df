import { type EventEmitter, once } from 'node:events'
import { access } from 'node:fs/promises'
import { connect as connectSocket, type Socket } from 'node:net'
import { connect as connectTls, type ConnectionOptions } from 'node:tls'
import pg from 'pg'
import { Failure, messageOf, systemCodeOf } from '../kernel/failure.ts'
import type { Secret } from '../kernel/secret.ts'
import { enforceAuthPolicy } from './auth-policy.ts'
import { readPassFile } from './connection-files.ts'
import type { SessionOptions } from './session.ts'
import { connectFailure } from './sql-failure.ts'
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

/** The directory of the server's socket when no host is named. */
export async function defaultSocketDirectory(port: number): Promise<string> {
  for (const directory of socketDirectories) {
    const found = await access(`${directory}/.s.PGSQL.${port}`).then(
      () => true,
      () => false,
    )
    if (found) return directory
  }
  return socketDirectories[0] ?? '/tmp'
}

export interface Login {
  readonly password: Secret | null
  readonly options: SessionOptions
  /** Ask for a walsender of the target's database. `makeSocket` gives the socket of an unencrypted connection. */
  readonly replication?: { readonly makeSocket: () => Socket }
}

/** Where exactly to connect, and the password for it, from wherever the target says. */
export async function prepareLogin(target: ConnectionTarget): Promise<{ readonly place: ConnectionTarget; readonly password: Secret | null }> {
  const place: ConnectionTarget = { ...target, host: target.host ?? (await defaultSocketDirectory(target.port)) }
  return { place, password: place.password ?? (place.passFile === null ? null : await readPassFile(place.passFile, place)) }
}

/** sslmode as libpq means it: `prefer` and `allow` try the other way when the first is refused. */
export async function connectByMode(target: ConnectionTarget, login: Login): Promise<pg.Client> {
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
    ...(tls === null && login.replication !== undefined ? { stream: login.replication.makeSocket } : {}),
    types: { getTypeParser: (oid: number) => parserOfType(oid) as never },
  })
  // node-postgres fills gaps from the PG* variables of our environment; only the target counts.
  const { connectionParameters } = internalsOf(client)
  connectionParameters.options = target.parameters['options']
  connectionParameters.client_encoding = 'utf8'
  connectionParameters.replication = login.replication === undefined ? undefined : 'database'

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

export function internalsOf(client: pg.Client): Internals {
  return client as unknown as Internals
}

/**
 * The protocol's CancelRequest, on a connection of its own (protocol-flow, "Canceling Requests in Progress"): understood by
 * servers and poolers, and needing no rights. Encrypted when the session is.
 */
export async function sendCancelRequest(target: ConnectionTarget, processId: number, secretKey: number): Promise<void> {
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
