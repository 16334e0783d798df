import { chunksOf } from '../../src/storage/body.ts'
import type { Storage } from '../../src/storage/storage.ts'

export interface StalledStorage extends Storage {
  /** Resolves when the dump's first bytes are taken and no more are: pg_dump then waits, in the middle of its work, until `release`. */
  readonly stalled: Promise<void>
  release(): void
}

/** A storage that stops taking bytes of a dump after the first ones, as a network does. */
export function stalledStorage(inner: Storage): StalledStorage {
  const stalled = Promise.withResolvers<void>()
  const released = Promise.withResolvers<void>()
  return {
    ...inner,
    stalled: stalled.promise,
    release: () => released.resolve(),
    put: (key, body, options) => {
      if (key.startsWith('.tidemark/') || !/\.dump(\.zst)?$/.test(key)) return inner.put(key, body, options)
      const slow = async function* () {
        for await (const chunk of chunksOf(body)) {
          yield chunk
          stalled.resolve()
          await released.promise
        }
      }
      return inner.put(key, slow(), options)
    },
  }
}
