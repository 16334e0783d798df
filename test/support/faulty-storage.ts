import { Failure } from '../../src/kernel/failure.ts'
import type { FailureCode } from '../../src/kernel/failure.ts'
import { chunksOf } from '../../src/storage/body.ts'
import type { Body, PutOptions, Storage } from '../../src/storage/storage.ts'

/** What happens at an operation. Operations are numbered from 1 in the order in which they begin. */
export type Fault =
  /** It fails before it has any effect. */
  | { readonly kind: 'fail' }
  /** It has its effect, and then fails: the answer was lost. */
  | { readonly kind: 'fail-after' }
  /** The body of a put breaks half way and nothing is stored; a read breaks after its first half. Others: as `fail`. */
  | { readonly kind: 'cut' }
  /** The process is gone: this operation has no effect, and nothing works any more. */
  | { readonly kind: 'stop' }
  /** The process is gone just after this operation took effect. */
  | { readonly kind: 'stop-after' }

export interface FaultPlan {
  readonly fault: Fault
  /** The operation that is hit; of a fault that persists, the first one. */
  readonly at: number
  /** Every operation from `at` on is hit. Faults `stop` and `stop-after` always persist. */
  readonly persistent?: boolean
  /** Counts only operations of this kind. */
  readonly operation?: OperationName
  /** Of the failures; default `storage-failed`, not transient. */
  readonly code?: FailureCode
  readonly transient?: boolean
}

export type OperationName = 'put' | 'read' | 'stat' | 'list' | 'delete' | 'copy' | 'setAlias' | 'readAlias'

export interface Operation {
  readonly number: number
  readonly name: OperationName
  readonly key: string
}

/** Thrown instead of a Failure, so that no `catch` of foreseen failures survives the end of the world. */
export class WorldStopped extends Error {
  override readonly name = 'WorldStopped'
}

export interface FaultyStorage extends Storage {
  /** Every operation that began, in order: run once without a plan to learn how many there are to break. */
  readonly operations: readonly Operation[]
  readonly stopped: boolean
}

/**
 * A storage that breaks at a chosen operation. For sweeps: run the story once without a plan, then once for each
 * operation, and look at what is in `inner` afterwards, as a new process would.
 */
export function faultyStorage(inner: Storage, plan?: FaultPlan): FaultyStorage {
  const operations: Operation[] = []
  let counted = 0
  let stopped = false

  /** Counts an operation and tells what happens to it. */
  function begin(name: OperationName, key: string): Fault | undefined {
    if (stopped) throw new WorldStopped(`${name} "${key}" after the end of the world`)
    operations.push({ number: operations.length + 1, name, key })
    if (plan === undefined || (plan.operation !== undefined && plan.operation !== name)) return undefined
    counted += 1
    const hit = counted === plan.at || (plan.persistent === true && counted > plan.at)
    if (!hit) return undefined
    if (plan.fault.kind === 'stop') throw stop(name, key)
    if (plan.fault.kind === 'fail') throw failure(name, key)
    return plan.fault
  }

  function stop(name: string, key: string): WorldStopped {
    stopped = true
    return new WorldStopped(`stopped at ${name} "${key}"`)
  }

  function failure(name: string, key: string, ambiguous = false): Failure {
    return new Failure(plan?.code ?? 'storage-failed', `injected fault: ${name} "${key}"`, {
      details: { injected: true, ...(plan?.transient === true ? { transient: true } : {}), ...(ambiguous ? { ambiguous: true } : {}) },
    })
  }

  async function around<T>(name: OperationName, key: string, work: () => Promise<T>): Promise<T> {
    const fault = begin(name, key)
    if (fault?.kind === 'cut') throw failure(name, key)
    const result = await work()
    if (fault?.kind === 'stop-after') throw stop(name, key)
    if (fault?.kind === 'fail-after') throw failure(name, key, true)
    // Another operation may have stopped the world while this one was under way: nobody is there to hear its answer.
    if (stopped) throw new WorldStopped(`${name} "${key}" while the world ended`)
    return result
  }

  async function put(key: string, body: Body, options?: PutOptions) {
    const fault = begin('put', key)
    if (fault?.kind === 'cut') {
      const error = failure('put', key)
      await inner.put(key, halfOf(body, error), options)
      throw new Error('the inner storage stored an object whose body broke')
    }
    const stored = await inner.put(key, guarded(body), options)
    if (fault?.kind === 'stop-after') throw stop('put', key)
    if (fault?.kind === 'fail-after') throw failure('put', key, true)
    if (stopped) throw new WorldStopped(`put "${key}" while the world ended`)
    return stored
  }

  /** A put under way when the world stops must not be completed by what is left of this process. */
  function guarded(body: Body): Body {
    return async function* () {
      for await (const chunk of chunksOf(body)) {
        if (stopped) throw new WorldStopped('the world ended in the middle of a put')
        yield chunk
      }
      if (stopped) throw new WorldStopped('the world ended at the end of a put')
    }
  }

  const storage: FaultyStorage = {
    kind: inner.kind,
    location: inner.location,
    operations,
    get stopped() {
      return stopped
    },
    put,
    async *read(key, options) {
      const fault = begin('read', key)
      if (fault?.kind !== 'cut') yield* inner.read(key, options)
      else {
        const chunks: Uint8Array[] = []
        for await (const chunk of inner.read(key, options)) chunks.push(chunk)
        const whole = Buffer.concat(chunks)
        yield whole.subarray(0, whole.length >> 1)
        throw failure('read', key)
      }
      if (fault?.kind === 'stop-after') throw stop('read', key)
      if (fault?.kind === 'fail-after') throw failure('read', key)
    },
    stat: (key, options) => around('stat', key, () => inner.stat(key, options)),
    async *list(prefix, options) {
      const fault = begin('list', prefix)
      let shown = 0
      for await (const object of inner.list(prefix, options)) {
        if (stopped) throw new WorldStopped(`list "${prefix}" while the world ended`)
        if (fault?.kind === 'cut' && shown === 1) throw failure('list', prefix)
        shown += 1
        yield object
      }
      if (fault?.kind === 'cut') throw failure('list', prefix)
      if (fault?.kind === 'stop-after') throw stop('list', prefix)
      if (fault?.kind === 'fail-after') throw failure('list', prefix)
    },
    delete: (key, options) => around('delete', key, () => inner.delete(key, options)),
    copy: (from, to, options) => around('copy', to, () => inner.copy(from, to, options)),
    async [Symbol.asyncDispose]() {},
  }
  const { setAlias, readAlias } = inner
  if (setAlias !== undefined) storage.setAlias = (key, target) => around('setAlias', key, () => setAlias.call(inner, key, target))
  if (readAlias !== undefined) storage.readAlias = (key) => around('readAlias', key, () => readAlias.call(inner, key))
  if (inner.localPath !== undefined) storage.localPath = inner.localPath.bind(inner)
  if (inner.freeBytes !== undefined) storage.freeBytes = inner.freeBytes.bind(inner)
  if (inner.abortStaleUploads !== undefined) storage.abortStaleUploads = inner.abortStaleUploads.bind(inner)
  return storage
}

async function* halfOf(body: Body, error: Failure): AsyncGenerator<Uint8Array> {
  const chunks: Uint8Array[] = []
  for await (const chunk of chunksOf(body)) chunks.push(chunk)
  const whole = Buffer.concat(chunks)
  if (whole.length > 1) yield whole.subarray(0, whole.length >> 1)
  throw error
}
