import { Socket } from 'node:net'

/** Reads of a walsender's socket are 15 to 60 KB, however large the buffer is. */
const readBytes = 64 * 1024

/**
 * An unencrypted socket that reads into one buffer for ever, which takes half the CPU of a new buffer per read. Until `divert` is called it
 * gives `data` events as any socket does, for a library that logs in by it.
 */
export class BulkSocket extends Socket {
  readonly #reader: { feed: ((chunk: Buffer) => boolean) | null }

  constructor() {
    const reader: { feed: ((chunk: Buffer) => boolean) | null } = { feed: null }
    const buffer = Buffer.allocUnsafeSlow(readBytes)
    const callback = (bytes: number): boolean => {
      const chunk = buffer.subarray(0, bytes)
      if (reader.feed !== null) return reader.feed(chunk)
      this.emit('data', Buffer.from(chunk))
      return true
    }
    super({ onread: { buffer, callback } })
    this.#reader = reader
  }

  /** From now on `feed` gets what is read, in memory that is overwritten after it returned true; false pauses until `resume`. */
  divert(feed: (chunk: Buffer) => boolean): void {
    this.#reader.feed = feed
  }
}
