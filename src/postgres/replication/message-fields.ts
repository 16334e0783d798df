import { Failure } from '../../kernel/failure.ts'

/** What came is not the protocol; the connection is of no use any more. */
export function protocolFailure(what: string): Failure {
  return new Failure('connection-lost', `the server does not keep to the replication protocol: it sent ${what}`, {
    hints: ['is this PostgreSQL 13 or newer, without a proxy in between?'],
  })
}

/** One result: the values of each row by column name, in the text form of the server. */
export type ResultRows = readonly Readonly<Record<string, string | null>>[]

/** What ErrorResponse and NoticeResponse say (documentation, "Error and Notice Message Fields"). */
export interface ServerNotice {
  /** `WARNING`, `ERROR`, `FATAL`…, never translated. */
  readonly severity: string
  readonly sqlState: string
  /** In the language of the server's `lc_messages`. */
  readonly message: string
  readonly detail: string | undefined
  readonly hint: string | undefined
}

/** An ErrorResponse, in the shape in which node-postgres throws them. */
export class ServerError extends Error {
  override readonly name = 'ServerError'
  readonly code: string
  readonly detail: string | undefined
  readonly hint: string | undefined

  constructor(notice: ServerNotice) {
    super(notice.message)
    this.code = notice.sqlState
    this.detail = notice.detail
    this.hint = notice.hint
  }
}

export function readNotice(body: Buffer): ServerNotice {
  const reader = new FieldReader(body)
  const fields = new Map<string, string>()
  for (let type = reader.bytes(1).toString('latin1'); type !== '\0'; type = reader.bytes(1).toString('latin1')) fields.set(type, reader.text())
  return {
    severity: fields.get('V') ?? fields.get('S') ?? '',
    sqlState: fields.get('C') ?? '',
    message: fields.get('M') ?? '',
    detail: fields.get('D'),
    hint: fields.get('H'),
  }
}

/** Column names of a RowDescription. */
export function readColumns(body: Buffer): readonly string[] {
  const reader = new FieldReader(body)
  return Array.from({ length: reader.uint16() }, () => {
    const name = reader.text()
    // Table, attribute, type, size, modifier, format.
    reader.bytes(18)
    return name
  })
}

export function readRow(body: Buffer, columns: readonly string[]): Record<string, string | null> {
  const reader = new FieldReader(body)
  if (reader.uint16() !== columns.length) throw protocolFailure('a row that does not have the columns it was announced with')
  return Object.fromEntries(
    columns.map((column) => {
      const bytes = reader.int32()
      return [column, bytes < 0 ? null : reader.bytes(bytes).toString('utf8')]
    }),
  )
}

/** Reads a message's body; one that is too short is a breach of the protocol. */
export class FieldReader {
  readonly #body: Buffer
  #at = 0

  constructor(body: Buffer) {
    this.#body = body
  }

  uint16(): number {
    return this.bytes(2).readUInt16BE()
  }

  int32(): number {
    return this.bytes(4).readInt32BE()
  }

  /** Up to the next zero byte. */
  text(): string {
    const end = this.#body.indexOf(0, this.#at)
    if (end < 0) throw protocolFailure('a text without an end')
    const text = this.#body.toString('utf8', this.#at, end)
    this.#at = end + 1
    return text
  }

  bytes(count: number): Buffer {
    const end = this.#at + count
    if (end > this.#body.length) throw protocolFailure(`a message that ends after ${this.#body.length} bytes, in the middle of a field`)
    const bytes = this.#body.subarray(this.#at, end)
    this.#at = end
    return bytes
  }
}
