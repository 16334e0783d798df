import type { Readable } from 'node:stream'

/** What psql printed for one exchange, and the error its variables report. */
export interface Answer {
  readonly output: Buffer
  readonly error: { readonly sqlState: string; readonly message: string } | null
}

/** Input that makes psql print the mark line an `AnswerReader` looks for. */
export function markLine(mark: string): string {
  return `\\echo ${mark} :ERROR :SQLSTATE :'LAST_ERROR_MESSAGE' ${mark}\n`
}

/** Cuts psql's output into answers at the mark line `MARK <error?> <sqlstate> '<message>' MARK`. */
export class AnswerReader {
  readonly #source: AsyncIterator<Buffer>
  readonly #mark: Buffer
  #rest: Buffer = Buffer.alloc(0)

  constructor(stdout: Readable, mark: string) {
    this.#source = stdout[Symbol.asyncIterator]() as AsyncIterator<Buffer>
    this.#mark = Buffer.from(mark)
  }

  async whole(): Promise<Answer> {
    const chunks: Uint8Array[] = []
    const stream = this.stream()
    for (;;) {
      const step = await stream.next()
      if (step.done === true) return { output: Buffer.concat(chunks), error: step.value }
      chunks.push(step.value)
    }
  }

  /** Output as it comes; returns the error the statement ended with, or null. Throws when psql ends before its answer does. */
  async *stream(): AsyncGenerator<Uint8Array, Answer['error'], undefined> {
    for (;;) {
      const at = this.#rest.indexOf(this.#mark)
      if (at >= 0) {
        if (at > 0) yield this.#rest.subarray(0, at)
        return await this.#status(at + this.#mark.length)
      }
      // The mark may begin in the last bytes.
      const sure = this.#rest.length - this.#mark.length
      if (sure > 0) {
        const ready = this.#rest.subarray(0, sure)
        this.#rest = this.#rest.subarray(sure)
        yield ready
      }
      await this.#more()
    }
  }

  async #status(from: number): Promise<Answer['error']> {
    const closing = Buffer.concat([Buffer.from(' '), this.#mark, Buffer.from('\n')])
    let end = this.#rest.indexOf(closing, from)
    while (end < 0) {
      await this.#more()
      end = this.#rest.indexOf(closing, from)
    }
    const status = this.#rest.subarray(from, end).toString('utf8')
    this.#rest = this.#rest.subarray(end + closing.length)
    const [, isError, sqlState = '', quoted = ''] = /^ (\S+) (\S*) (.*)$/su.exec(status) ?? []
    if (isError === 'false') return null
    if (isError !== 'true') throw new Error(`psql answered in an unexpected form: ${status.slice(0, 100)}`)
    return { sqlState, message: unquoted(quoted) }
  }

  async #more(): Promise<void> {
    const step = await this.#source.next()
    if (step.done === true) throw new Error('psql ended')
    this.#rest = this.#rest.length === 0 ? step.value : Buffer.concat([this.#rest, step.value])
  }
}

/** A literal as PQescapeLiteral writes it. */
function unquoted(literal: string): string {
  const [, escaped, body = ''] = /^\s*(E?)'(.*)'$/su.exec(literal) ?? []
  const text = body.replaceAll("''", "'")
  return escaped === 'E' ? text.replaceAll('\\\\', '\\') : text
}
