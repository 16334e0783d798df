import { createHash, type Hash } from 'node:crypto'
import { Blake3Hasher } from '@napi-rs/blake-hash'

export interface TallyOptions {
  /** Default `sha256`; BLAKE3-256 is about four times as fast, `none` only counts. */
  readonly digest?: 'sha256' | 'blake3' | 'none'
}

/** Counts and digests what passes through it, once. Its results exist only after the stream has ended: half a stream has no digest. */
export class Tally {
  readonly #kind: 'sha256' | 'blake3' | 'none'
  readonly #sha256: Hash | undefined
  readonly #blake3: Blake3Hasher | undefined
  #sizeBytes = 0
  #state: 'fresh' | 'running' | 'ended' = 'fresh'
  #hex: string | undefined

  constructor({ digest = 'sha256' }: TallyOptions = {}) {
    this.#kind = digest
    if (digest === 'sha256') this.#sha256 = createHash('sha256')
    if (digest === 'blake3') this.#blake3 = new Blake3Hasher()
  }

  /** The stage; may be used once per tally. */
  async *through(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
    if (this.#state !== 'fresh') throw new Error('a Tally measures one stream only')
    this.#state = 'running'
    for await (const chunk of source) {
      this.#sizeBytes += chunk.length
      this.#sha256?.update(chunk)
      this.#blake3?.update(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length))
      yield chunk
    }
    this.#state = 'ended'
  }

  /** Bytes so far; the size once the stream has ended. */
  get sizeBytes(): number {
    return this.#sizeBytes
  }

  /** Whether the stream was seen to its end. */
  get ended(): boolean {
    return this.#state === 'ended'
  }

  /** Hex. Throws before the end of the stream, or when another digest was asked for. */
  sha256(): string {
    return this.#digest('sha256')
  }

  /** Hex of the 256-bit digest. Throws before the end of the stream, or when another digest was asked for. */
  blake3(): string {
    return this.#digest('blake3')
  }

  #digest(kind: 'sha256' | 'blake3'): string {
    if (this.#kind !== kind) throw new Error(`this Tally computes ${this.#kind}, not ${kind}`)
    if (this.#state !== 'ended') throw new Error('a Tally has no digest before its stream has ended')
    this.#hex ??= this.#sha256?.digest('hex') ?? this.#blake3?.digest('hex') ?? ''
    return this.#hex
  }
}
