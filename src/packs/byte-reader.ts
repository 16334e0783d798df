import { Failure } from '../kernel/failure.ts'

/** Reads what `ByteWriter` wrote. What it reads may be hostile: every step is held against the end, and `broken` names the object in the failure. */
export class ByteReader {
  readonly #bytes: Buffer
  readonly #object: string
  #at = 0

  constructor(bytes: Uint8Array, object: string) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#object = object
  }

  get left(): number {
    return this.#bytes.length - this.#at
  }

  /** A whole number of at most `limit`. */
  varint(limit = Number.MAX_SAFE_INTEGER): number {
    let value = 0
    for (let factor = 1; factor <= 2 ** 49; factor *= 0x80) {
      const byte = this.byte()
      value += (byte & 0x7f) * factor
      if (byte >= 0x80) continue
      if (value > limit) throw this.broken(`${value} stands where at most ${limit} can be`)
      return value
    }
    throw this.broken('a number has no end')
  }

  byte(): number {
    const value = this.#bytes[this.#at]
    if (value === undefined) throw this.broken('it ends too early')
    this.#at += 1
    return value
  }

  uint32(): number {
    return this.bytes(4).readUInt32LE()
  }

  /** A view of the next bytes. */
  bytes(count: number): Buffer {
    if (count > this.left) throw this.broken('it ends too early')
    this.#at += count
    return this.#bytes.subarray(this.#at - count, this.#at)
  }

  /** A `latin1` text of at most `limit` bytes. */
  text(limit: number): string {
    return this.bytes(this.varint(limit)).toString('latin1')
  }

  /** Whoever read everything says so: bytes that are left over mean another format than it was taken for. */
  requireEnd(): void {
    if (this.left > 0) throw this.broken(`${this.left} bytes are left over`)
  }

  broken(why: string): Failure {
    return new Failure('integrity', `${this.#object} cannot be read: ${why}`, { details: { object: this.#object } })
  }
}
