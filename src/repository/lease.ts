import type { Context } from '../kernel/context.ts'
import { utc } from '../kernel/clock.ts'
import { Failure, isFailure, messageOf } from '../kernel/failure.ts'
import type { Storage } from '../storage/storage.ts'
import type { PackKeys } from './base/pack-keys.ts'
import { relistBaseBackups } from './base/sweep-base.ts'
import { append, readClusterLog } from './commit-log.ts'
import type { ClusterState, OpenRun } from './cluster-log.ts'
import type { Holder, NewEntry } from './commit-entry.ts'
import { commitKey, leaseKey, leasesPrefix } from './layout.ts'
import { relistBackups } from './relist.ts'
import { purgeTombstones, sweepInterrupted, type Relisted, type SweepHolder } from './sweep.ts'

/** How often a holder rewrites its heartbeat, and the age at which others may take over. Eight beats may be lost. */
const heartbeatMs = 15_000
export const leaseTtlMs = 120_000

/** Who we are to other runs, and whether a holder's process is certainly gone; the edges know (they may ask the system). */
export interface Whereabouts {
  readonly self: Omit<Holder, 'id'>
  /** True only when the holder ran where we can see it and its process does not exist any more. */
  isGone(holder: Holder): Promise<boolean>
}

export interface LeaseRequest {
  readonly cluster: string
  readonly run: string
  readonly verb: string
  /** Keys outside `.tidemark/` that the run may write, decided from the log as it is when the lease is taken. */
  readonly objects: (state: ClusterState) => readonly string[]
  /** Opens what base backups share, to clean up after others. Without it, what is sealed stays for a run that has it. */
  readonly keys?: PackKeys | null
}

/** The right to write for one cluster. Disposing it without `end` leaves the run open: the next one takes over and sweeps. */
export interface Lease extends AsyncDisposable {
  readonly epoch: number
  readonly objects: readonly string[]
  /** The log as this holder last saw it. */
  state(): ClusterState
  /** Appends under this epoch; rejects with `locked` when another run took over. */
  append(entry: NewEntry | ((state: ClusterState) => NewEntry)): Promise<ClusterState>
  /**
   * Gives up before anything is removed. Answers `committed` when the run's commit entry is in the log after all (its answer was lost);
   * otherwise the entry that it writes takes the number a late commit would need, so that what is removed afterwards can never be listed.
   */
  abandon(): Promise<'abandoned' | 'committed'>
  /** Removes the objects of tombstones. */
  purge(): Promise<void>
  end(outcome: 'ok' | 'partial' | 'failed' | 'cancelled'): Promise<void>
}

/**
 * Takes the lease of a cluster, or rejects with `locked`. Before it is handed over, what is whole and not in the log is listed again, orphans of dead runs
 * are removed, and deletions that were interrupted are finished.
 */
export async function takeLease(storage: Storage, request: LeaseRequest, whereabouts: Whereabouts, context: Context): Promise<Lease> {
  const holder: Holder = { ...whereabouts.self, id: request.run }
  const before = await readClusterLog(storage, request.cluster, context)
  if (before.open !== null) await requireDead(storage, request.cluster, before.open, whereabouts, context)
  let state = await begin(storage, before, { ...request, holder }, context)
  const epoch = state.epoch
  const objects = state.open?.objects ?? []
  const heart = beat(storage, request, holder, epoch, context)
  const sweeper: SweepHolder = { epoch, run: request.run, keys: request.keys ?? null }
  let named: Relisted['named'] = new Set()
  try {
    await heart.first
    const relisted = await relistBackups(storage, state, sweeper, context)
    named = relisted.named
    state = await relistBaseBackups(storage, relisted.state, sweeper, context)
    state = await sweepInterrupted(storage, { ...relisted, state }, sweeper, context)
    state = await finishDeletions(storage, { state, named }, sweeper, context)
    await forgetHeartbeats(storage, request.cluster, epoch, context)
  } catch (error) {
    await heart.stop()
    await giveBack(storage, state, request.run, context)
    throw error
  }

  // A log that was changed under our hands is not written to again: the next entry would be as wrong as the one that was refused.
  let broken: Failure | undefined
  const write = async (entry: Parameters<Lease['append']>[0], within: Context, check?: (now: ClusterState) => void) => {
    if (broken !== undefined) throw broken
    try {
      state = await append(storage, state, entry, within, { epoch, ...(check === undefined ? {} : { check }) })
    } catch (error) {
      if (isFailure(error, 'integrity')) broken = error
      throw error
    }
  }
  const unstoppable = { ...context, signal: new AbortController().signal }

  return {
    epoch,
    objects,
    state: () => state,
    append: async (entry) => {
      await write(entry, context)
      return state
    },
    abandon: async () => {
      let committed = false
      try {
        await write({ kind: 'abandon', epoch, run: request.run }, unstoppable, (now) => {
          committed = now.open?.committed !== null
          if (committed) throw new Failure('already-done', 'this run has committed')
        })
        return 'abandoned'
      } catch (error) {
        if (committed) return 'committed'
        throw error
      }
    },
    purge: async () => {
      state = await purgeTombstones(storage, { state, named }, sweeper, context)
    },
    end: async (outcome) => {
      // Cancelled runs must be able to say so: the append does not listen to the run's signal.
      await write({ kind: 'end', epoch, outcome, run: request.run }, unstoppable)
      await heart.stop()
      await storage.delete(leaseKey(request.cluster, epoch)).catch(forgetHeartbeat(context))
    },
    [Symbol.asyncDispose]: heart.stop,
  }
}

/** Writes the `begin` entry, unless somebody else did meanwhile. From here the epoch is ours. */
async function begin(storage: Storage, before: ClusterState, request: LeaseRequest & { readonly holder: Holder }, context: Context): Promise<ClusterState> {
  const { cluster, run, verb, holder, objects } = request
  return append(
    storage,
    before,
    (now) => ({ kind: 'begin', epoch: now.head + 1, takesOver: now.open?.epoch ?? null, holder, verb, run, objects: [...objects(now)] }),
    context,
    {
      check: (now) => {
        // Somebody began while we looked at the dead one: whoever it is, it lives.
        if (now.open !== null && now.open.epoch !== before.open?.epoch) throw lockedBy(cluster, now.open)
      },
    },
  )
}

/** Nothing was written yet: saying so spares the next run the wait until this lease is stale. Where that fails too, it is. */
async function giveBack(storage: Storage, state: ClusterState, run: string, context: Context): Promise<void> {
  const unstoppable = { ...context, signal: new AbortController().signal }
  const { epoch } = state
  await append(storage, state, { kind: 'end', epoch, outcome: 'failed', run }, unstoppable, { epoch }).catch((ending: unknown) =>
    context.emit({ type: 'note', message: `the lease could not be given back (${messageOf(ending)}); it is free after ${leaseTtlMs / 1000} s` }),
  )
}

/** Deletions that were interrupted are carried on by whoever comes next. A storage that still holds the objects fast (a lock, a missing right) stops no backup. */
async function finishDeletions(storage: Storage, known: Pick<Relisted, 'state' | 'named'>, holder: SweepHolder, context: Context): Promise<ClusterState> {
  try {
    return await purgeTombstones(storage, known, holder, context)
  } catch (error) {
    if (!isFailure(error) || error.code === 'locked') throw error
    context.emit({ type: 'warning', code: 'clean-up-failed', message: `an interrupted deletion could not be finished: ${error.message}` })
    return known.state
  }
}

/** Nothing refers to the heartbeat of an ended run; a leftover one is a few bytes. */
function forgetHeartbeat(context: Context): (error: unknown) => void {
  return (error) => {
    if (!isFailure(error)) throw error
    context.emit({ type: 'note', message: `the heartbeat of an ended run could not be removed: ${error.message}` })
  }
}

/** Removes the heartbeats of runs that are over, and the marks of those that looked at the clock and died. The lease is ours, so all but our own are. */
async function forgetHeartbeats(storage: Storage, cluster: string, epoch: number, context: Context): Promise<void> {
  const own = leaseKey(cluster, epoch)
  const stale: string[] = []
  for await (const { key } of storage.list(leasesPrefix(cluster), context)) if (key !== own) stale.push(key)
  for (const key of stale) await storage.delete(key, context).catch(forgetHeartbeat(context))
}

function beat(storage: Storage, request: LeaseRequest, holder: Holder, epoch: number, context: Context) {
  const stop = new AbortController()
  const write = async () => {
    const text = JSON.stringify({
      format: 'tidemark-lease/1',
      epoch,
      run: request.run,
      holder,
      renewedAt: utc(context.clock.now()),
      ttlSeconds: leaseTtlMs / 1000,
    })
    await storage.put(leaseKey(request.cluster, epoch), new TextEncoder().encode(`${text}\n`), { contentType: 'application/json' })
  }
  const first = write()
  const loop = (async () => {
    await first.catch(() => stop.abort())
    while (!stop.signal.aborted) {
      try {
        await context.clock.sleep(heartbeatMs, stop.signal)
        await write()
      } catch (error) {
        // A lost beat is no loss: the commit entry is what fences. Saying it is enough.
        if (!stop.signal.aborted) context.emit({ type: 'warning', code: 'heartbeat-lost', message: `the lease could not be renewed: ${messageOf(error)}` })
      }
    }
  })()
  return {
    first,
    stop: async () => {
      stop.abort()
      await loop
    },
  }
}

async function requireDead(storage: Storage, cluster: string, run: OpenRun, whereabouts: Whereabouts, context: Context): Promise<void> {
  if (await whereabouts.isGone(run.holder)) return
  const heartbeat = (await storage.stat(leaseKey(cluster, run.epoch), context)) ?? (await storage.stat(commitKey(cluster, run.epoch), context))
  if (heartbeat === undefined) return
  const ageMs = (await storageNow(storage, cluster, context)).since(heartbeat.modifiedAt).total('milliseconds')
  if (ageMs < leaseTtlMs) throw lockedBy(cluster, run, ageMs)
  context.emit({ type: 'note', message: `run ${run.run} of ${run.holder.host} gave no sign for ${Math.round(ageMs / 1000)} s; this run takes over its lease` })
}

/** The storage's clock, read from an object written now: our own clock may be wrong. */
async function storageNow(storage: Storage, cluster: string, context: Context): Promise<Temporal.Instant> {
  const key = leaseKey(cluster, 0).replace(/\d{10}\.json$/, `now-${crypto.randomUUID()}`)
  const written = await storage.put(key, new Uint8Array([10]), { signal: context.signal })
  await storage.delete(key, context)
  return written.modifiedAt
}

function lockedBy(cluster: string, run: OpenRun, ageMs?: number): Failure {
  const seen = ageMs === undefined ? '' : `, last sign ${Math.max(0, Math.round(ageMs / 1000))} s ago`
  return new Failure(
    'locked',
    `cluster "${cluster}" is in use by ${run.verb} ${run.run} on ${run.holder.host} (process ${run.holder.pid}) since ${run.at}${seen}`,
    {
      hints: ['wait for it to end, or stop it', `a run that died is taken over by itself ${leaseTtlMs / 1000} s after its last sign`],
      details: { run: run.run, host: run.holder.host, pid: run.holder.pid, since: run.at },
    },
  )
}

/**
 * For a dry run: rejects with `locked` where a run that seems to live holds the lease. Writes nothing, so the age of its last sign is
 * taken by our clock; the run itself asks the storage's.
 */
export async function requireFreeLease(
  storage: Storage,
  { open }: Pick<ClusterState, 'open'>,
  { cluster, whereabouts }: { readonly cluster: string; readonly whereabouts: Whereabouts },
  context: Context,
): Promise<void> {
  if (open === null || (await whereabouts.isGone(open.holder))) return
  const heartbeat = (await storage.stat(leaseKey(cluster, open.epoch), context)) ?? (await storage.stat(commitKey(cluster, open.epoch), context))
  if (heartbeat === undefined) return
  const ageMs = context.clock.now().since(heartbeat.modifiedAt).total('milliseconds')
  if (ageMs < leaseTtlMs) throw lockedBy(cluster, open, ageMs)
}
