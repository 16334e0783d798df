import type { Clock } from '../kernel/clock.ts'
import { Failure } from '../kernel/failure.ts'
import { chunksOf } from './body.ts'
import { withOptionalParts } from './retrying.ts'
import type { Body, CallOptions, Storage } from './storage.ts'

export interface DeadlineLimits {
  /** One stat, delete or step of a listing may take this long. */
  readonly callMs: number
  /** A stream may stand still this long while it is the storage's turn. */
  readonly stallMs: number
  /** Bytes per second below which a stream is as good as dead, judged over `windowMs` of the storage's own time. */
  readonly floorBytesPerSecond: number
  readonly windowMs: number
  /** Off where the driver bounds the pieces of an upload itself (S3), since it draws the body far ahead of the wire. */
  readonly watchPuts: boolean
}

export const defaultDeadlineLimits: DeadlineLimits = { callMs: 120_000, stallMs: 120_000, floorBytesPerSecond: 16 * 1024, windowMs: 180_000, watchPuts: true }

/**
 * The storage, bounded in time: what hangs or trickles fails with a transient `storage-failed`. Only time that the
 * storage takes is counted, never that of a slow source or consumer. `copy` is not bounded here, for its duration is
 * that of the object.
 */
export function withDeadlines(inner: Storage, limits: DeadlineLimits, clock: Pick<Clock, 'monotonicMs' | 'sleep'>): Storage {
  const bounded = <T>(action: string, call: CallOptions, run: (call: CallOptions) => Promise<T>): Promise<T> =>
    within(clock, { action: `${action} in ${inner.location}`, ms: limits.callMs }, call, run)
  const storage: Storage = {
    kind: inner.kind,
    location: inner.location,
    async put(key, body, options = {}) {
      if (!limits.watchPuts) return inner.put(key, body, options)
      using watch = watchTurns({ action: `store "${key}" in ${inner.location}`, limits, clock, signal: options.signal })
      watch.begin()
      // Awaited here, for the watch ends with this scope.
      return await watch.race(inner.put(key, watchedBody(body, watch), { ...options, signal: watch.signal }))
    },
    async *read(key, options = {}) {
      using watch = watchTurns({ action: `read "${key}" in ${inner.location}`, limits, clock, signal: options.signal })
      const iterator = inner.read(key, { ...options, signal: watch.signal })[Symbol.asyncIterator]()
      try {
        for (;;) {
          watch.begin()
          const next = await watch.race(iterator.next())
          watch.end(next.done === true ? 0 : next.value.length)
          if (next.done === true) return
          yield next.value
        }
      } finally {
        // Not awaited: a driver that hangs would hold us for ever.
        iterator.return?.(undefined).catch(() => undefined)
      }
    },
    stat: (key, call = {}) => bounded(`look at "${key}"`, call, (limited) => inner.stat(key, limited)),
    async *list(prefix, call = {}) {
      const stop = new AbortController()
      const signal = call.signal === undefined ? stop.signal : AbortSignal.any([call.signal, stop.signal])
      const iterator = inner.list(prefix, { ...call, signal })[Symbol.asyncIterator]()
      try {
        for (;;) {
          const next = await bounded(`list "${prefix}"`, call, () => iterator.next())
          if (next.done === true) return
          yield next.value
        }
      } finally {
        stop.abort()
        iterator.return?.(undefined).catch(() => undefined)
      }
    },
    delete: (key, call = {}) => bounded(`remove "${key}"`, call, (limited) => inner.delete(key, limited)),
    copy: (from, to, call) => inner.copy(from, to, call),
    [Symbol.asyncDispose]: () => inner[Symbol.asyncDispose](),
  }
  return withOptionalParts(storage, inner)
}

/** Runs a call; when it takes longer than `ms`, aborts it and fails without waiting for it. */
async function within<T>(
  clock: Pick<Clock, 'sleep'>,
  limit: { action: string; ms: number },
  call: CallOptions,
  run: (call: CallOptions) => Promise<T>,
): Promise<T> {
  const late = new AbortController()
  const done = new AbortController()
  const signal = call.signal === undefined ? late.signal : AbortSignal.any([call.signal, late.signal])
  const timer = clock.sleep(limit.ms, done.signal).then(() => {
    const failure = tooSlow(limit.action, `no answer within ${Math.round(limit.ms / 1000)} s`)
    late.abort(failure)
    throw failure
  })
  timer.catch(() => undefined)
  try {
    return await Promise.race([run({ ...call, signal }), timer])
  } finally {
    done.abort()
  }
}

interface Watch extends Disposable {
  readonly signal: AbortSignal
  /** From here on we wait for the storage. */
  begin(): void
  /** The storage has done its turn, with so many bytes. */
  end(bytes: number): void
  race<T>(work: Promise<T>): Promise<T>
}

function watchTurns(task: { action: string; limits: DeadlineLimits; clock: Pick<Clock, 'monotonicMs' | 'sleep'>; signal: AbortSignal | undefined }): Watch {
  const { action, limits, clock } = task
  const late = new AbortController()
  const done = new AbortController()
  const gaveUp = Promise.withResolvers<never>()
  gaveUp.promise.catch(() => undefined)
  let since: number | undefined
  let spentMs = 0
  let bytes = 0
  let progressAtMs = 0
  let window = { spentMs: 0, bytes: 0 }

  const storageMs = () => spentMs + (since === undefined ? 0 : clock.monotonicMs() - since)
  const problem = (): string | undefined => {
    const now = storageMs()
    if (now - progressAtMs >= limits.stallMs) return `nothing moved for ${Math.round(limits.stallMs / 1000)} s`
    if (now - window.spentMs < limits.windowMs) return undefined
    const rate = ((bytes - window.bytes) * 1000) / (now - window.spentMs)
    if (rate < limits.floorBytesPerSecond) return `only ${Math.round(rate)} bytes per second came through`
    window = { spentMs: now, bytes }
    return undefined
  }
  const check = async () => {
    for (;;) {
      await clock.sleep(Math.min(limits.stallMs, limits.windowMs) / 4, done.signal)
      const found = problem()
      if (found === undefined) continue
      const failure = tooSlow(action, found)
      late.abort(failure)
      return gaveUp.reject(failure)
    }
  }
  // Ends by AbortError when the watch is disposed of.
  check().catch(() => undefined)

  return {
    signal: task.signal === undefined ? late.signal : AbortSignal.any([task.signal, late.signal]),
    begin() {
      since ??= clock.monotonicMs()
    },
    end(count) {
      if (since !== undefined) spentMs += clock.monotonicMs() - since
      since = undefined
      bytes += count
      if (count > 0) progressAtMs = spentMs
    },
    race: (work) => Promise.race([work, gaveUp.promise]),
    [Symbol.dispose]: () => done.abort(),
  }
}

/** The body, telling the watch whose turn it is: while we draw from the source, the storage is not to blame. */
function watchedBody(body: Body, watch: Watch): AsyncIterable<Uint8Array> {
  return (async function* () {
    watch.end(0)
    for await (const chunk of chunksOf(body)) {
      // What the storage takes now counts when it asks for more.
      watch.begin()
      yield chunk
      watch.end(chunk.length)
    }
    watch.begin()
  })()
}

function tooSlow(action: string, why: string): Failure {
  return new Failure('storage-failed', `cannot ${action}: ${why}`, {
    hints: ['is the file server or network in trouble?'],
    details: { transient: true, ambiguous: true },
  })
}
