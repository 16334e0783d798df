/**
 * Lets a source run ahead of its consumer, within a bound: the one place where this room has two things happening at once.
 *
 * What every stage built on it promises:
 * - Order is kept; items read before an error are delivered before it, and the error arrives as itself.
 * - When `signal` aborts, the consumer's `next()` rejects at once with `signal.reason`, even while the source hangs.
 * - When the consumer stops, the source is closed (`return()`); it is waited for only if it is not in the middle of a read,
 *   since a read that hangs must not hold up the failure that made the consumer stop. Its owner closes what it opened.
 * - A chunk that was yielded belongs to the consumer: sources do not write into it again.
 */
export interface PrefetchOptions<T> {
  /** Reading ahead stops while the weights of the items not yet consumed add up to this or more. */
  readonly limit: number
  /** Default: every item weighs 1. */
  readonly weigh?: (item: T) => number
  readonly signal?: AbortSignal | undefined
}

export async function* prefetch<T>(source: AsyncIterable<T>, { limit, weigh = () => 1, signal }: PrefetchOptions<T>): AsyncGenerator<T, void, undefined> {
  signal?.throwIfAborted()
  const iterator = source[Symbol.asyncIterator]()
  const waiting: T[] = []
  const consumer = bell()
  const room = bell()
  let weight = 0
  let reading = false
  let ended = false
  let stopped = false
  let failure: { readonly error: unknown } | undefined

  const pump = async (): Promise<void> => {
    try {
      while (!stopped) {
        if (weight >= limit) {
          await room.rung()
          continue
        }
        reading = true
        const step = await iterator.next()
        reading = false
        if (step.done === true) {
          ended = true
          break
        }
        waiting.push(step.value)
        weight += weigh(step.value)
        consumer.ring()
      }
    } catch (error) {
      failure = { error }
      ended = true
    }
    reading = false
    consumer.ring()
  }

  signal?.addEventListener('abort', consumer.ring)
  try {
    void pump()
    for (;;) {
      signal?.throwIfAborted()
      const item = waiting.shift()
      if (item !== undefined) {
        weight -= weigh(item)
        room.ring()
        yield item
      } else if (failure !== undefined) throw failure.error
      else if (ended) return
      else await consumer.rung()
    }
  } finally {
    signal?.removeEventListener('abort', consumer.ring)
    stopped = true
    room.ring()
    if (!ended) await closeIterator(iterator, reading)
  }
}

/** Reads ahead up to `maxBytes` (plus one chunk), so that a slow source and a slow consumer wait for each other less. */
export function prefetchBytes(source: AsyncIterable<Uint8Array>, maxBytes: number, signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
  return prefetch(source, { limit: maxBytes, weigh: (chunk) => chunk.length, signal })
}

export interface MapOptions {
  /** How many calls of `work` run at the same time. */
  readonly workers: number
  readonly signal?: AbortSignal | undefined
}

/**
 * Does `work` for several items at once and yields the results in the order of the items. Items and results held at any moment:
 * at most 2 × workers + 2, however slow the consumer. After an error or an early end no further work begins.
 */
export async function* mapInOrder<T, R>(source: AsyncIterable<T>, work: (item: T) => Promise<R>, options: MapOptions): AsyncGenerator<R, void, undefined> {
  const { workers, signal } = options
  const gate = limitedTo(workers)
  async function* begun(): AsyncGenerator<{ readonly result: Promise<R> }, void, undefined> {
    for await (const item of source) {
      const result = gate.run(() => work(item))
      // Its rejection is met when its turn comes; until then it must not count as unhandled.
      result.catch(() => undefined)
      yield { result }
    }
  }
  try {
    for await (const { result } of prefetch(begun(), { limit: 2 * workers, signal })) yield await orAborted(result, signal)
  } finally {
    gate.close()
  }
}

/** At most `most` calls run at once; the others wait in line. After `close` none of those in line begins. */
function limitedTo(most: number): { run<R>(work: () => Promise<R>): Promise<R>; close(): void } {
  const line: (() => void)[] = []
  let active = 0
  const ended = (): void => {
    active--
    line.shift()?.()
  }
  return {
    run: <R>(work: () => Promise<R>) =>
      new Promise<R>((resolve, reject) => {
        const begin = (): void => {
          active++
          work().finally(ended).then(resolve, reject)
        }
        if (active < most) begin()
        else line.push(begin)
      }),
    close: () => {
      line.length = 0
    },
  }
}

async function orAborted<R>(promise: Promise<R>, signal: AbortSignal | undefined): Promise<R> {
  if (signal === undefined) return promise
  signal.throwIfAborted()
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  const abort = (): void => reject(signal.reason)
  signal.addEventListener('abort', abort)
  try {
    return await Promise.race([promise, aborted])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

/** Closes what is left before its end; waits for it unless it is in the middle of a read (see above). */
export async function closeIterator(iterator: AsyncIterator<unknown>, reading: boolean): Promise<void> {
  const closed = Promise.resolve(iterator.return?.())
  if (reading) closed.catch(() => undefined)
  else await closed
}

/** Wakes the one who waits; a ring while nobody waits is remembered once. */
function bell(): { readonly ring: () => void; readonly rung: () => Promise<void> } {
  let wake: (() => void) | undefined
  let pending = false
  return {
    ring: () => {
      if (wake === undefined) pending = true
      else wake()
      wake = undefined
    },
    rung: () => {
      if (!pending) return new Promise((resolve) => (wake = resolve))
      pending = false
      return Promise.resolve()
    },
  }
}
