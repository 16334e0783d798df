import { isFailure } from '../kernel/failure.ts'
import { isReplayable } from './body.ts'
import { isTransient, objectExists } from './errors.ts'
import { compareKeys } from './key.ts'
import { retried } from './retry.ts'
import type { RetryContext } from './retry.ts'
import type { CallOptions, ReadOptions, Storage, StoredObject } from './storage.ts'

/**
 * The storage, patient: calls are repeated while they fail with `details.transient`, a broken read goes on where it
 * stopped (and only if the object is still the same), a broken listing goes on after its last key. A `put` is repeated
 * only when its body can be drawn again.
 */
export function retrying(inner: Storage, context: Omit<RetryContext, 'signal'>): Storage {
  const within = (call: CallOptions = {}): RetryContext => ({ ...context, signal: call.signal })
  const storage: Storage = {
    kind: inner.kind,
    location: inner.location,
    put(key, body, options = {}) {
      if (!isReplayable(body)) return inner.put(key, body, options)
      return retried(`store "${key}"`, within(options), async (attempt) => {
        try {
          return await inner.put(key, body, options)
        } catch (error) {
          // It may be what our own attempt made: the caller must look.
          if (attempt.afterLostAnswer && isFailure(error, 'object-exists')) throw objectExists(inner.location, key, { ambiguous: true })
          throw error
        }
      })
    },
    read: (key, options = {}) => readOn(inner, { key, options, context: within(options) }),
    stat: (key, call) => retried(`look at "${key}"`, within(call), () => inner.stat(key, call)),
    list: (prefix, call = {}) => listOn(inner, { prefix, call, context: within(call) }),
    delete: (key, call) => retried(`remove "${key}"`, within(call), () => inner.delete(key, call)),
    copy: (from, to, call) => retried(`copy "${from}"`, within(call), () => inner.copy(from, to, call)),
    [Symbol.asyncDispose]: () => inner[Symbol.asyncDispose](),
  }
  return withOptionalParts(storage, inner)
}

/** A wrapper has the same abilities as what it wraps, and passes unchanged those it does not define itself. */
export function withOptionalParts(wrapper: Storage, inner: Storage): Storage {
  if (inner.localPath !== undefined) wrapper.localPath ??= inner.localPath.bind(inner)
  if (inner.setAlias !== undefined) wrapper.setAlias ??= inner.setAlias.bind(inner)
  if (inner.readAlias !== undefined) wrapper.readAlias ??= inner.readAlias.bind(inner)
  if (inner.freeBytes !== undefined) wrapper.freeBytes ??= inner.freeBytes.bind(inner)
  if (inner.abortStaleUploads !== undefined) wrapper.abortStaleUploads ??= inner.abortStaleUploads.bind(inner)
  return wrapper
}

async function* readOn(inner: Storage, task: { key: string; options: ReadOptions; context: RetryContext }): AsyncGenerator<Uint8Array> {
  const { key, options, context } = task
  let done = 0
  let opened: StoredObject | undefined
  for (let ended = false; !ended;) {
    // Every attempt that brings bytes begins a new count: only standing still uses up the time.
    const doneBefore = done
    const source = await retried(`read "${key}"`, context, async () => {
      const rest: ReadOptions = {
        ...options,
        offset: (options.offset ?? 0) + done,
        ...(options.length === undefined ? {} : { length: options.length - done }),
        ...(opened === undefined ? {} : { ifVersion: opened.version }),
        opened: (object) => {
          if (opened === undefined) options.opened?.(object)
          opened ??= object
        },
      }
      const iterator = inner.read(key, rest)[Symbol.asyncIterator]()
      return { iterator, first: await iterator.next() }
    })
    try {
      for (let next = source.first; ; next = await source.iterator.next()) {
        if (next.done === true) {
          ended = true
          break
        }
        done += next.value.length
        yield next.value
      }
    } catch (error) {
      if (!isTransient(error) || done === doneBefore || context.signal?.aborted === true) throw error
      context.emit({ type: 'retry', operation: `read "${key}"`, attempt: 1, waitMs: 0, reason: error.message })
    } finally {
      await source.iterator.return?.()
    }
  }
}

async function* listOn(inner: Storage, task: { prefix: string; call: CallOptions; context: RetryContext }): AsyncGenerator<StoredObject> {
  const { prefix, call, context } = task
  let last: string | undefined
  for (let ended = false; !ended;) {
    const lastBefore = last
    const source = await retried(`list "${prefix}"`, context, async () => {
      const iterator = inner.list(prefix, call)[Symbol.asyncIterator]()
      let first = await iterator.next()
      while (first.done !== true && last !== undefined && compareKeys(first.value.key, last) <= 0) first = await iterator.next()
      return { iterator, first }
    })
    try {
      for (let next = source.first; ; next = await source.iterator.next()) {
        if (next.done === true) {
          ended = true
          break
        }
        last = next.value.key
        yield next.value
      }
    } catch (error) {
      if (!isTransient(error) || last === lastBefore || context.signal?.aborted === true) throw error
      context.emit({ type: 'retry', operation: `list "${prefix}"`, attempt: 1, waitMs: 0, reason: error.message })
    } finally {
      await source.iterator.return?.()
    }
  }
}
