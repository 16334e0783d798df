import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { Secret } from '../../src/kernel/secret.ts'
import type { ConnectionTarget } from '../../src/postgres/target.ts'

export interface FalseWalsender extends AsyncDisposable {
  readonly target: ConnectionTarget
  /** Ends all connections. */
  hangUp(): void
}

/** One message: its type, and a body of texts (as they are), bytes and 32-bit numbers. */
export function message(type: string, ...body: readonly (string | number | Uint8Array)[]): Buffer {
  const bytes = Buffer.concat(body.map((part) => (typeof part === 'number' ? int32(part) : Buffer.from(part as string))))
  return Buffer.concat([Buffer.from(type), int32(bytes.length + 4), bytes])
}

export function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(value)
  return bytes
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}

export function int64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(value)
  return bytes
}

/** A result set of texts. */
export function result(columns: readonly string[], ...rows: readonly (readonly (string | null)[])[]): Buffer {
  const description = columns.flatMap((name) => [`${name}\0`, Buffer.alloc(18)])
  const row = (values: readonly (string | null)[]) =>
    message('D', int16(values.length), ...values.flatMap((value) => (value === null ? [-1] : [Buffer.byteLength(value), value])))
  return Buffer.concat([message('T', int16(columns.length), ...description), ...rows.map(row), message('C', 'SELECT\0')])
}

export const ready = message('Z', 'I')

/**
 * What no PostgreSQL does: lets everybody in, and answers the commands it is asked with given bytes, each `cutBytes` in a packet of its own. A command without an
 * answer ends the connection. It speaks no SQL; whatever a real server can be made to do is tested with one.
 */
export async function startFalseWalsender(answer: (command: string) => Uint8Array | null, cutBytes = Infinity): Promise<FalseWalsender> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    let loggedIn = false
    let unread = Buffer.alloc(0)
    const take = (typeBytes: number): Buffer | null => {
      const bytes = unread.length < typeBytes + 4 ? Infinity : typeBytes + unread.readInt32BE(typeBytes)
      if (bytes > unread.length) return null
      const taken = unread.subarray(0, bytes)
      unread = unread.subarray(bytes)
      return taken
    }
    socket.on('data', (chunk: Buffer) => {
      unread = Buffer.concat([unread, chunk])
      for (let came = take(loggedIn ? 1 : 0); came !== null; came = take(1)) {
        const isCancelRequest = !loggedIn && came.readInt32BE(4) === 80_877_102
        const isTerminate = loggedIn && came[0] === 0x58
        if (isCancelRequest || isTerminate) socket.end()
        else if (!loggedIn) socket.write(Buffer.concat([message('R', 0), message('K', 1, 1), ready]))
        else if (came[0] === 0x51) reply(came.toString('utf8', 5, came.length - 1))
        loggedIn = true
      }
    })
    const reply = (command: string): void => {
      const bytes = answer(command)
      if (bytes === null) socket.end()
      else void writeInPieces(socket, bytes, cutBytes)
    }
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('a TCP server without a port')
  const hangUp = (): void => {
    for (const socket of sockets) socket.destroy()
  }
  return {
    target: {
      host: '127.0.0.1',
      port: address.port,
      user: 'nobody',
      database: 'nothing',
      password: new Secret('nothing'),
      passFile: null,
      tls: { mode: 'disable', rootCertFile: null, certFile: null, keyFile: null },
      connectTimeoutSeconds: 5,
      parameters: {},
      container: null,
    },
    hangUp,
    [Symbol.asyncDispose]: async () => {
      hangUp()
      server.close()
      await once(server, 'close')
    },
  }
}

async function writeInPieces(socket: Socket, bytes: Uint8Array, pieceBytes: number): Promise<void> {
  socket.setNoDelay(true)
  for (let at = 0; at < bytes.length; at += pieceBytes)
    await new Promise<void>((resolve) => {
      socket.write(bytes.subarray(at, at + pieceBytes), () => setImmediate(resolve))
    })
}
