import type { CallOptions, Storage, StoredObject } from '../storage/storage.ts'

/** An object whose bytes come piece by piece, in order. */
export interface Upload {
  readonly key: string
  /** Bytes that the storage has not taken yet. Whoever makes more waits with `room`. */
  readonly waitingBytes: number
  push(bytes: Uint8Array): void
  /** Resolves when at most `bytes` wait; rejects when the storage refused. */
  room(bytes: number): Promise<void>
  /** Settles when the object is durable, or when the storage refused it. */
  readonly stored: Promise<StoredObject>
  /** No more bytes come; resolves with `stored`. */
  end(): Promise<StoredObject>
  /** Nothing is stored. Resolves when the storage has let go. */
  abandon(reason: unknown): Promise<void>
}

/** Begins an object under a name that nobody has; a storage that refuses says so at `room` and `end`. */
export function beginUpload(storage: Storage, key: string, options: CallOptions = {}): Upload {
  const queue: Uint8Array[] = []
  let waitingBytes = 0
  let state: 'open' | 'ended' | { readonly reason: unknown } = 'open'
  let wake = Promise.withResolvers<void>()
  let drained = Promise.withResolvers<void>()
  const change = (which: 'wake' | 'drained'): void => {
    if (which === 'wake') {
      wake.resolve()
      wake = Promise.withResolvers<void>()
    } else {
      drained.resolve()
      drained = Promise.withResolvers<void>()
    }
  }
  const isOpen = (): boolean => state === 'open'

  async function* bytes(): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      const next = queue.shift()
      if (next !== undefined) {
        yield next
        waitingBytes -= next.length
        change('drained')
      } else if (typeof state === 'object') throw state.reason
      else if (isOpen()) await wake.promise
      else return
    }
  }

  let failure: { readonly error: unknown } | undefined
  const stored = storage.put(key, bytes(), { ...options, ifAbsent: true })
  stored.catch((error: unknown) => {
    failure = { error }
    change('drained')
  })
  return {
    key,
    stored,
    get waitingBytes() {
      return waitingBytes
    },
    push: (piece) => {
      queue.push(piece)
      waitingBytes += piece.length
      change('wake')
    },
    room: async (limit) => {
      while (failure === undefined && waitingBytes > limit) await drained.promise
      if (failure !== undefined) throw failure.error
    },
    end: () => {
      state = 'ended'
      change('wake')
      return stored
    },
    abandon: async (reason) => {
      state = { reason }
      queue.length = 0
      change('wake')
      // That it was refused is what was wanted.
      await stored.catch(() => undefined)
    },
  }
}
