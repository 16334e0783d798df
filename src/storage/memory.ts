import type { Clock } from '../kernel/clock.ts'
import { checkedChunks, collect } from './body.ts'
import { beyondEnd, objectExists, objectMissing, replacedWhileReading, requireRange } from './errors.ts'
import { compareKeys, requireKey, requirePrefix } from './key.ts'
import type { Storage, StoredObject } from './storage.ts'

const readChunkBytes = 64 * 1024

/** Objects in this process's memory: for tests and rehearsals. Keeps every promise but durability. */
export function memoryStorage(options: { clock: Pick<Clock, 'now'>; location?: string }): Storage {
  const location = options.location ?? 'memory'
  const objects = new Map<string, { bytes: Uint8Array; object: StoredObject }>()
  const aliases = new Map<string, string>()
  let writes = 0

  function store(key: string, bytes: Uint8Array): StoredObject {
    writes += 1
    const object = { key, sizeBytes: bytes.length, modifiedAt: options.clock.now(), version: `w${writes}` }
    objects.set(key, { bytes, object })
    aliases.delete(key)
    return object
  }

  function find(key: string): { bytes: Uint8Array; object: StoredObject } {
    const found = objects.get(aliases.get(key) ?? key)
    if (found === undefined) throw objectMissing(location, key)
    return found
  }

  return {
    kind: 'memory',
    location,
    async put(key, body, put = {}) {
      requireKey(key)
      put.signal?.throwIfAborted()
      const taken = () => put.ifAbsent === true && (objects.has(key) || aliases.has(key))
      if (taken()) throw objectExists(location, key)
      const bytes = await collect(checkedChunks(key, body, put), Number.MAX_SAFE_INTEGER)
      if (taken()) throw objectExists(location, key)
      return store(key, bytes)
    },
    async *read(key, read = {}) {
      requireKey(key)
      const { offset = 0, length, signal } = read
      requireRange(key, offset, length)
      signal?.throwIfAborted()
      const { bytes, object } = find(key)
      if (read.ifVersion !== undefined && read.ifVersion !== object.version) throw replacedWhileReading(location, key)
      const end = length === undefined ? bytes.length : offset + length
      if (offset > bytes.length || end > bytes.length) throw beyondEnd(location, key, { offset, length, sizeBytes: bytes.length })
      read.opened?.(object)
      for (let at = offset; at < end; at += readChunkBytes) {
        signal?.throwIfAborted()
        yield bytes.slice(at, Math.min(at + readChunkBytes, end))
      }
    },
    async stat(key, call = {}) {
      requireKey(key)
      call.signal?.throwIfAborted()
      return objects.get(key)?.object
    },
    async *list(prefix, call = {}) {
      requirePrefix(prefix)
      const keys = [...objects.keys()].filter((key) => key.startsWith(prefix)).sort(compareKeys)
      for (const key of keys) {
        call.signal?.throwIfAborted()
        const found = objects.get(key)
        if (found !== undefined) yield found.object
      }
    },
    async delete(key, call = {}) {
      requireKey(key)
      call.signal?.throwIfAborted()
      objects.delete(key)
      aliases.delete(key)
    },
    async copy(from, to, call = {}) {
      requireKey(from)
      requireKey(to)
      call.signal?.throwIfAborted()
      return store(to, find(from).bytes)
    },
    async setAlias(key, target) {
      requireKey(key)
      requireKey(target)
      if (objects.has(key)) throw objectExists(location, key)
      aliases.set(key, target)
    },
    async readAlias(key) {
      requireKey(key)
      return aliases.get(key)
    },
    async [Symbol.asyncDispose]() {},
  }
}
