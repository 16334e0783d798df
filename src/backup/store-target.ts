import type { Context } from '../kernel/context.ts'
import { Failure, isFailure, messageOf } from '../kernel/failure.ts'
import { createFileSealer, type FileSealer } from '../repository/file-sealer.ts'
import type { Lease } from '../repository/lease.ts'
import type { StoredFile } from '../repository/manifest.ts'
import type { Repository } from '../repository/repository.ts'
import { filesOf, type StoredFiles } from '../repository/stored-files.ts'
import type { Body, PutOptions, StoredObject } from '../storage/storage.ts'
import { readAll } from '../stream/chunks.ts'
import { Tally } from '../stream/tally.ts'
import type { DumpKeys } from './file-names.ts'

/** A repository that the run writes to, under its lease. */
export interface StoreTarget {
  readonly repository: Repository
  readonly keys: DumpKeys
  readonly lease: Lease
  /** Null where the repository has no keyring. */
  readonly sealer: FileSealer | null
  /** Keys that this run has certainly created or may have; only these are removed when it fails. */
  readonly written: Set<string>
  /** Files stored beside the dump (globals), for the manifest. */
  readonly companions: StoredFile[]
}

/** Creates an object of the backup, as it is. An object of that name that was there before is an error, and never becomes ours to remove. */
export async function createObject(target: StoreTarget, key: string, body: Body, options: PutOptions): Promise<StoredObject> {
  target.written.add(key)
  try {
    return await target.repository.storage.put(key, body, { ...options, ifAbsent: true })
  } catch (error) {
    if (isFailure(error, 'object-exists')) target.written.delete(key)
    throw error
  }
}

/** What lies in the storage: the sealed bytes, where it is sealed. */
export type StoredBytes = Pick<StoredFile, 'sizeBytes' | 'sha256'>

/** Creates an object with content of the backup, sealed where the repository is. `sizeBytes` is that of the content, where it is known. */
export async function createContent(
  target: StoreTarget,
  key: string,
  content: Uint8Array | AsyncIterable<Uint8Array>,
  { sizeBytes, ...options }: PutOptions,
): Promise<StoredBytes> {
  const sealing = await target.sealer?.begin(key)
  const plain = content instanceof Uint8Array ? one(content) : content
  const tally = new Tally()
  const stored = tally.through(sealing === undefined ? plain : sealing.seal(plain))
  const known = sizeBytes === undefined ? {} : { sizeBytes: sealing?.sealedBytes(sizeBytes) ?? sizeBytes }
  // Bytes at hand can be sent again when a transfer breaks.
  await createObject(target, key, content instanceof Uint8Array ? await readAll(stored, Number.MAX_SAFE_INTEGER) : stored, { ...options, ...known })
  return { sizeBytes: tally.sizeBytes, sha256: tally.sha256() }
}

async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

/** What this run stored, also where nobody else on this machine can read it. */
export function filesOfRun({ repository, sealer }: StoreTarget): StoredFiles {
  return sealer === null ? filesOf(repository) : { storage: repository.storage, keysOf: sealer.keysOf }
}

/** The repositories of one run. One that fails is given up and cleared; the run goes on with the others, and ends when none is left. */
export interface Targets extends AsyncDisposable {
  open(repository: Repository, take: (sealer: FileSealer | null) => Promise<StoreTarget>): Promise<void>
  failures(): readonly { readonly name: string; readonly error: unknown }[]
  /** Does one step in every living repository; those that reject are given up. Rejects with the first error when all did. */
  each(work: (target: StoreTarget) => Promise<void>): Promise<readonly StoreTarget[]>
  /** Marks targets whose outcome came from elsewhere (the shared stream) and rejects when none is left. */
  giveUp(target: StoreTarget, error: unknown): Promise<void>
  requireLiving(): readonly StoreTarget[]
}

export function createTargets(context: Context): Targets {
  const living = new Set<StoreTarget>()
  const committed = new Set<StoreTarget>()
  const failed: { name: string; error: unknown }[] = []
  const sealers: FileSealer[] = []

  const requireLiving = () => {
    const [first] = failed
    if (living.size === 0 && first !== undefined) throw first.error
    return [...living]
  }
  const giveUp = async (target: StoreTarget, error: unknown) => {
    if (!living.delete(target)) return
    const reason = await clear(target, error, context)
    failed.push({ name: target.repository.name, error: reason })
    if (!context.signal.aborted && living.size > 0)
      context.emit({
        type: 'warning',
        code: 'repository-failed',
        message: `repository "${target.repository.name}" failed and is left out: ${messageOf(reason)}`,
      })
  }

  return {
    failures: () => failed,
    requireLiving,
    giveUp,
    open: async (repository, take) => {
      try {
        const sealer = repository.keyring === null ? null : createFileSealer(repository.keyring)
        if (sealer !== null) sealers.push(sealer)
        living.add(await take(sealer))
      } catch (error) {
        context.signal.throwIfAborted()
        // What nobody foresaw is a bug, and another repository does not make up for it.
        if (!isFailure(error)) throw error
        failed.push({ name: repository.name, error })
        context.emit({ type: 'note', message: `repository "${repository.name}" cannot be written: ${messageOf(error)}` })
      }
    },
    each: async (work) => {
      const outcomes = await Promise.all(
        requireLiving().map(async (target) => {
          try {
            await work(target)
            return target
          } catch (error) {
            await giveUp(target, error)
            return undefined
          }
        }),
      )
      requireLiving()
      const done = outcomes.filter((target) => target !== undefined)
      for (const target of done) if (target.lease.state().open?.committed !== null) committed.add(target)
      return done
    },
    // A step between the repositories' own threw (pg_dump failed, the run was cancelled): nothing was committed, so nothing may stay.
    [Symbol.asyncDispose]: async () => {
      for (const sealer of sealers) sealer.forget()
      for (const target of living) {
        if (committed.has(target)) await target.lease[Symbol.asyncDispose]()
        else await clear(target, context.signal.reason, context)
      }
    },
  }
}

/**
 * Removes what the run wrote and ends its lease. Where that fails, or another run took over, the lease is left open:
 * the log names the objects, and whoever takes the lease next removes them. A run that was taken over removes nothing itself, and that it was
 * is why it failed, whatever it stumbled over first (its objects were removed under its hands). Returns the reason to tell.
 */
async function clear(target: StoreTarget, error: unknown, context: Context): Promise<unknown> {
  const unstoppable = { ...context, signal: new AbortController().signal }
  try {
    if (isFailure(error, 'locked')) return error
    if ((await target.lease.abandon()) === 'abandoned') {
      for (const key of target.written) await target.repository.storage.delete(key, unstoppable)
      await target.lease.end(context.signal.aborted ? 'cancelled' : 'failed')
    } else {
      context.emit({
        type: 'warning',
        code: 'committed-after-all',
        message: `the backup is committed in "${target.repository.name}" although this run failed: the storage's answer was lost`,
      })
      await target.lease.end('partial')
    }
  } catch (clearing) {
    if (isFailure(clearing, 'locked')) return new Failure('locked', clearing.message, { cause: error, hints: clearing.hints, details: clearing.details })
    context.emit({
      type: 'warning',
      code: 'clean-up-failed',
      message: `what this run left in "${target.repository.name}" could not be removed now (${messageOf(clearing)}); the next run sees to it`,
    })
  } finally {
    await target.lease[Symbol.asyncDispose]()
  }
  return error
}
