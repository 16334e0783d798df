import type { Storage } from '../../src/storage/storage.ts'

export interface PausedStorage extends Storage {
  /** Resolves when the chosen operation is reached; nothing goes on until `resume`. */
  readonly reached: Promise<void>
  resume(): void
}

/**
 * A storage whose user is suspended at one operation, as a virtual machine is: `before` it took effect (the request lies in the network
 * and arrives later) or `after` it (the answer does). Everything is real but the time between.
 */
export function pausedStorage(inner: Storage, pause: { readonly at: number; readonly when: 'before' | 'after' }): PausedStorage {
  const reached = Promise.withResolvers<void>()
  const resumed = Promise.withResolvers<void>()
  let begun = 0

  async function before(number: number): Promise<void> {
    if (number < pause.at || (number === pause.at && pause.when === 'after')) return
    if (number === pause.at) reached.resolve()
    await resumed.promise
  }
  /** An error is an answer too. */
  async function after(number: number): Promise<void> {
    if (number !== pause.at || pause.when !== 'after') return
    reached.resolve()
    await resumed.promise
  }
  async function around<T>(work: () => Promise<T>): Promise<T> {
    const number = (begun += 1)
    await before(number)
    try {
      return await work()
    } finally {
      await after(number)
    }
  }
  async function* streamed<T>(work: () => AsyncIterable<T>): AsyncGenerator<T> {
    const number = (begun += 1)
    await before(number)
    try {
      yield* work()
    } finally {
      await after(number)
    }
  }

  const storage: PausedStorage = {
    kind: inner.kind,
    location: inner.location,
    reached: reached.promise,
    resume: () => resumed.resolve(),
    put: (key, body, options) => around(() => inner.put(key, body, options)),
    read: (key, options) => streamed(() => inner.read(key, options)),
    stat: (key, options) => around(() => inner.stat(key, options)),
    list: (prefix, options) => streamed(() => inner.list(prefix, options)),
    delete: (key, options) => around(() => inner.delete(key, options)),
    copy: (from, to, options) => around(() => inner.copy(from, to, options)),
    async [Symbol.asyncDispose]() {},
  }
  const { setAlias, readAlias } = inner
  if (setAlias !== undefined) storage.setAlias = (key, target) => around(() => setAlias.call(inner, key, target))
  if (readAlias !== undefined) storage.readAlias = (key) => around(() => readAlias.call(inner, key))
  return storage
}
