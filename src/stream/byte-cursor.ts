import { closeIterator } from './prefetch.ts'

/** Reads a stream by counted bytes, for parsers. Holds at most what was asked for plus one chunk. */
export class ByteCursor {
  readonly #iterator: AsyncIterator<Uint8Array>
  #buffer = Buffer.allocUnsafeSlow(1 << 17)
  #start = 0
  #end = 0
  #reading = false
  #ended = false
  #offset = 0

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#iterator = source[Symbol.asyncIterator]()
  }

  /** Bytes of the stream consumed so far. */
  get offset(): number {
    return this.#offset
  }

  /** Bytes that are here without waiting. */
  get available(): number {
    return this.#end - this.#start
  }

  /** Waits until `count` bytes are here; false when the stream ends before. */
  async need(count: number): Promise<boolean> {
    while (this.available < count && !this.#ended) {
      this.#reading = true
      const step = await this.#iterator.next()
      this.#reading = false
      if (step.done === true) this.#ended = true
      else this.#append(step.value)
    }
    return this.available >= count
  }

  /** The next bytes without consuming them, at most those available. Valid until the next call of `need`. */
  peek(count: number): Buffer {
    return this.#buffer.subarray(this.#start, Math.min(this.#start + count, this.#end))
  }

  /** Consumes `count` available bytes; the copy belongs to the caller. */
  take(count: number): Buffer {
    const taken = Buffer.allocUnsafeSlow(count)
    this.peek(count).copy(taken)
    this.skip(count)
    return taken
  }

  /** Consumes `count` available bytes. */
  skip(count: number): void {
    if (count > this.available) throw new RangeError(`${count} bytes asked for, ${this.available} are here`)
    this.#start += count
    this.#offset += count
  }

  /** Closes the source when it is left before its end. */
  async close(): Promise<void> {
    if (!this.#ended) await closeIterator(this.#iterator, this.#reading)
  }

  #append(chunk: Uint8Array): void {
    const held = this.available
    if (this.#end + chunk.length > this.#buffer.length) {
      const needed = held + chunk.length
      const target = needed > this.#buffer.length ? Buffer.allocUnsafeSlow(Math.max(needed, 2 * held)) : this.#buffer
      this.#buffer.copy(target, 0, this.#start, this.#end)
      this.#buffer = target
      this.#start = 0
      this.#end = held
    }
    this.#buffer.set(chunk, this.#end)
    this.#end += chunk.length
  }
}
