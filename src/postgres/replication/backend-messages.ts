import { protocolFailure } from './message-fields.ts'

/** Message types of the server that matter here (PostgreSQL documentation, "Message Formats"). */
export const messageType = {
  commandComplete: 0x43,
  copyBothResponse: 0x57,
  copyData: 0x64,
  copyDone: 0x63,
  copyInResponse: 0x47,
  copyOutResponse: 0x48,
  dataRow: 0x44,
  emptyQueryResponse: 0x49,
  errorResponse: 0x45,
  noticeResponse: 0x4e,
  notificationResponse: 0x41,
  parameterStatus: 0x53,
  readyForQuery: 0x5a,
  rowDescription: 0x54,
} as const

const knownTypes: ReadonlySet<number> = new Set(Object.values(messageType))

/** Type, and a length that counts itself. */
const headBytes = 5
/** CopyData is handed out in pieces, so its length does not matter; nothing else that a server sends here is longer than this. */
const longestBody = 64 * 1024 * 1024

export interface BackendMessage {
  readonly type: number
  /** Valid until the next message is asked for. */
  readonly body: Buffer
}

/**
 * Takes a piece of a CopyData message; a message comes in as many pieces as the socket's reads cut it into. The bytes are the socket's own
 * memory: valid until the call is over or, where it returns a promise, until that is settled; nothing is read meanwhile.
 */
export type TakePiece = (piece: Buffer, first: boolean, last: boolean) => void | Promise<void>

interface Request {
  readonly take: TakePiece | null
  readonly resolve: (message: BackendMessage) => void
  readonly reject: (error: unknown) => void
}

/**
 * Cuts what a server sends into messages, without copying and without a promise per piece of CopyData. Nothing is read ahead: while nobody asks,
 * the socket rests.
 */
export class BackendMessages {
  readonly #resume: () => void
  /** What the socket gave last, and how much of it is used. */
  #chunk: Buffer = Buffer.alloc(0)
  #used = 0
  /** The beginning of a message that more than one chunk holds. */
  #held: Buffer = Buffer.allocUnsafeSlow(1024)
  #heldBytes = 0
  /** Of the CopyData message that is being handed out; null between messages. */
  #copyLeft: number | null = null
  #copyBegins = false
  #request: Request | null = null
  #taking = false
  #failure: { readonly error: unknown } | null = null
  #end: { readonly error: unknown } | null = null

  /** `resume` makes the socket call `feed` again. */
  constructor(resume: () => void) {
    this.#resume = resume
  }

  /** The next message that is no CopyData; those before it go to `take`, without which they are a breach of the protocol. */
  next(take: TakePiece | null = null): Promise<BackendMessage> {
    if (this.#request !== null) throw new Error('a message is being waited for already')
    const { promise, resolve, reject } = Promise.withResolvers<BackendMessage>()
    this.#request = { take, resolve, reject }
    this.#advance()
    if (this.#hungry) this.#resume()
    return promise
  }

  /** What the socket read. False when it must rest until `resume`, and leave the memory alone as long. */
  feed(chunk: Buffer): boolean {
    this.#chunk = chunk
    this.#used = 0
    this.#advance()
    return this.#hungry
  }

  /** The socket's end: what came before is still handed out. */
  end(error: unknown): void {
    this.#end ??= { error }
    this.#advance()
  }

  /** Nothing more is handed out; who waits is told, after the call of `take` that is under way. */
  fail(error: unknown): void {
    this.#failure ??= { error }
    this.#advance()
  }

  get #hungry(): boolean {
    return this.#request !== null && !this.#taking
  }

  #advance(): void {
    const request = this.#request
    if (request === null || this.#taking) return
    try {
      const message = this.#read(request.take)
      if (message === null) return
      this.#request = null
      request.resolve(message)
    } catch (error) {
      this.#failure ??= { error }
      this.#request = null
      request.reject(this.#failure.error)
    }
  }

  /** Hands out CopyData up to another message; null when `take` wants time or bytes are missing. */
  #read(take: TakePiece | null): BackendMessage | null {
    for (;;) {
      if (this.#failure !== null) throw this.#failure.error
      if (this.#copyLeft === null) {
        const message = this.#readMessage()
        if (message !== 'copy-data') return message ?? this.#short()
        if (take === null) throw protocolFailure('data that nobody asked for')
      } else {
        const available = this.#chunk.length - this.#used
        if (available === 0 && this.#copyLeft > 0) return this.#short()
        if (take === null) throw new Error('CopyData was left in the middle of a message')
        const waiting = this.#handOut(take, Math.min(available, this.#copyLeft))
        if (waiting === undefined) continue
        this.#wait(waiting)
        return null
      }
    }
  }

  #handOut(take: TakePiece, bytes: number): void | Promise<void> {
    const piece = this.#chunk.subarray(this.#used, this.#used + bytes)
    const left = (this.#copyLeft ?? 0) - bytes
    const first = this.#copyBegins
    this.#used += bytes
    this.#copyLeft = left === 0 ? null : left
    this.#copyBegins = false
    return take(piece, first, left === 0)
  }

  #wait(waiting: Promise<void>): void {
    this.#taking = true
    const goOn = (): void => {
      this.#taking = false
      this.#advance()
      if (this.#hungry) this.#resume()
    }
    waiting.then(goOn, (error: unknown) => {
      this.#failure ??= { error }
      goOn()
    })
  }

  /** A whole message; `copy-data` when one begins, whose head is used up then; null when bytes are missing. */
  #readMessage(): BackendMessage | 'copy-data' | null {
    this.#collect(headBytes)
    const head = this.#heldBytes > 0 ? this.#held : this.#chunk
    const at = this.#heldBytes > 0 ? 0 : this.#used
    if ((this.#heldBytes > 0 ? this.#heldBytes : head.length - at) < headBytes) return null
    const type = head.readUInt8(at)
    const bodyBytes = head.readUInt32BE(at + 1) - 4
    if (!knownTypes.has(type) || bodyBytes < 0) throw protocolFailure(`a message of type 0x${type.toString(16)} and ${bodyBytes} bytes`)
    if (type === messageType.copyData) {
      if (this.#heldBytes === 0) this.#used += headBytes
      this.#heldBytes = 0
      this.#copyLeft = bodyBytes
      this.#copyBegins = true
      return 'copy-data'
    }
    if (bodyBytes > longestBody) throw protocolFailure(`a message of type 0x${type.toString(16)} and ${bodyBytes} bytes`)
    return this.#readBody(type, headBytes + bodyBytes)
  }

  #readBody(type: number, messageBytes: number): BackendMessage | null {
    this.#collect(messageBytes)
    if (this.#heldBytes > 0) {
      if (this.#heldBytes < messageBytes) return null
      this.#heldBytes = 0
      return { type, body: this.#held.subarray(headBytes, messageBytes) }
    }
    const begin = this.#used
    this.#used += messageBytes
    return { type, body: this.#chunk.subarray(begin + headBytes, begin + messageBytes) }
  }

  /** Gathers the next `bytes` in `held`, as far as they are here, unless the chunk holds them in one piece. */
  #collect(bytes: number): void {
    const available = this.#chunk.length - this.#used
    if (this.#heldBytes >= bytes || (this.#heldBytes === 0 && available >= bytes)) return
    const taken = Math.min(available, bytes - this.#heldBytes)
    if (this.#heldBytes + taken > this.#held.length) {
      // By what has come, not by what was announced: an announcement costs a false server nothing.
      const larger = Buffer.allocUnsafeSlow(Math.max(this.#heldBytes + taken, 2 * this.#held.length))
      this.#held.copy(larger, 0, 0, this.#heldBytes)
      this.#held = larger
    }
    this.#chunk.copy(this.#held, this.#heldBytes, this.#used, this.#used + taken)
    this.#heldBytes += taken
    this.#used += taken
  }

  #short(): null {
    if (this.#end !== null) throw this.#end.error
    return null
  }
}
