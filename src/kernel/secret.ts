import { inspect } from 'node:util'

/** A password or key. Printing, logging or serialising it shows `[secret]`; only `reveal()` does not. */
export class Secret {
  readonly #value: string

  constructor(value: string) {
    this.#value = value
  }

  /** The clear text. Call it only where it is handed to the program or protocol that needs it. */
  reveal(): string {
    return this.#value
  }

  get isEmpty(): boolean {
    return this.#value === ''
  }

  /** Its last characters, which are a secret too. */
  last(characters: number): Secret {
    return new Secret(this.#value.slice(-characters))
  }

  toString(): string {
    return '[secret]'
  }

  toJSON(): string {
    return '[secret]'
  }

  [inspect.custom](): string {
    return '[secret]'
  }
}

/** A key as bytes, with the same discretion. `forget` overwrites it, for who may hold it only for a while. */
export class SecretBytes {
  readonly #bytes: Uint8Array
  #forgotten = false

  /** Takes the bytes over: nobody else may keep or change them. */
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  /** The bytes themselves, not a copy. Throws after `forget`: a key of zeros must never seal anything. */
  reveal(): Uint8Array {
    if (this.#forgotten) throw new Error('a key was used after it was forgotten')
    return this.#bytes
  }

  forget(): void {
    this.#bytes.fill(0)
    this.#forgotten = true
  }

  toString(): string {
    return '[secret]'
  }

  toJSON(): string {
    return '[secret]'
  }

  [inspect.custom](): string {
    return '[secret]'
  }
}
