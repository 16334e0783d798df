/** Appends numbers, texts and bytes to a buffer that grows: what leaves, indexes and roots are written with (docs/base-backups.md). */
export class ByteWriter {
  #bytes: Buffer
  #length = 0

  constructor(roomBytes = 4_096) {
    this.#bytes = Buffer.allocUnsafeSlow(roomBytes)
  }

  get length(): number {
    return this.#length
  }

  /** What was written so far; valid until the next write. */
  written(): Buffer {
    return this.#bytes.subarray(0, this.#length)
  }

  /** A whole number from 0 to 2⁵³ − 1 as LEB128: seven bits to a byte, the lowest first, the eighth set where more follow. */
  varint(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`${value} is no count or size`)
    this.#room(8)
    let rest = value
    while (rest >= 0x80) {
      this.#bytes[this.#length++] = (rest % 0x80) | 0x80
      rest = Math.floor(rest / 0x80)
    }
    this.#bytes[this.#length++] = rest
  }

  byte(value: number): void {
    this.#room(1)
    this.#bytes[this.#length++] = value
  }

  uint32(value: number): void {
    this.#room(4)
    this.#length = this.#bytes.writeUInt32LE(value, this.#length)
  }

  bytes(value: Uint8Array): void {
    this.#room(value.length)
    this.#bytes.set(value, this.#length)
    this.#length += value.length
  }

  /** The length as a varint, then the bytes of a `latin1` text: one for each character. */
  text(value: string): void {
    this.varint(value.length)
    this.#room(value.length)
    this.#length += this.#bytes.write(value, this.#length, 'latin1')
  }

  clear(): void {
    this.#length = 0
  }

  #room(bytes: number): void {
    if (this.#length + bytes <= this.#bytes.length) return
    const larger = Buffer.allocUnsafeSlow(Math.max(this.#bytes.length * 2, this.#length + bytes))
    this.#bytes.copy(larger, 0, 0, this.#length)
    this.#bytes = larger
  }
}
