import { hash, randomBytes } from 'node:crypto'
import type { RunKeys } from '../../src/backup/base/page-store.ts'
import type { Clock } from '../../src/kernel/clock.ts'
import { systemClock } from '../../src/kernel/clock.ts'
import type { Context } from '../../src/kernel/context.ts'
import type { Event } from '../../src/kernel/event.ts'
import { Failure } from '../../src/kernel/failure.ts'
import { collectGarbage, type CollectedGarbage } from '../../src/repository/base/collect-garbage.ts'
import { openBaseBackup, type OpenBaseBackup } from '../../src/repository/base/open-base-backup.ts'
import type { PackKeys } from '../../src/repository/base/pack-keys.ts'
import { planGarbage, viewGarbage } from '../../src/repository/base/plan-garbage.ts'
import { removeRunObjects } from '../../src/repository/base/run-objects.ts'
import { livingBackups, type ClusterState } from '../../src/repository/cluster-log.ts'
import { append, readClusterLog } from '../../src/repository/commit-log.ts'
import { executeDelete, planDelete, type DeletePlan } from '../../src/repository/delete-backup.ts'
import { commitKey, commitsPrefix } from '../../src/repository/layout.ts'
import { runKeyKey } from '../../src/repository/keys/key-layout.ts'
import { takeLease, type Lease } from '../../src/repository/lease.ts'
import { openOrCreateRepository, type Repository } from '../../src/repository/repository.ts'
import { memoryStorage } from '../../src/storage/memory.ts'
import type { Storage } from '../../src/storage/storage.ts'
import { createPagesLookedAt, type PagesLookedAt } from '../../src/verify/pages-looked-at.ts'
import { verifyBackup, type VerifiedBackup } from '../../src/verify/verify-backup.ts'
import { openFiles, storeFiles, type TestBackup, type TestFiles } from './page-files.ts'
import { gone } from './repository-scene.ts'

/** Base backups of a cluster that never was, in a repository: taken, committed, deleted and collected as the real ones are, without a server. */

/** A clock that can be set forward. */
export function movableClock(): Clock & { forward(seconds: number): void } {
  let ahead = 0
  return { ...systemClock, now: () => systemClock.now().add({ seconds: ahead }), forward: (seconds) => void (ahead += seconds) }
}

/** What every cluster has; its WAL need not be as long as a segment is. */
const always: TestFiles = new Map([
  ['PG_VERSION', Buffer.from('17\n')],
  ['backup_label', Buffer.from('START WAL LOCATION: 0/2000028\n')],
  ['global/pg_control', Buffer.alloc(8_192, 1)],
  ['pg_wal/000000010000000000000002', Buffer.alloc(8_192, 2)],
])

export const cluster = 'main'

export const wholeCluster = (files: TestFiles): TestFiles => new Map([...always, ...files])

export const digestsOf = (files: TestFiles): ReadonlyMap<string, string> =>
  new Map([...files].map(([path, bytes]): [string, string] => [path, hash('sha256', bytes)]).toSorted(([a], [b]) => (a < b ? -1 : 1)))

/** Keys of a repository that is sealed. */
export interface TestSealing {
  readonly seal: RunKeys
  readonly open: PackKeys
}

/** What runs are handed; with `sealing`, they seal and open with it. */
export interface TestContext extends Context {
  readonly sealing?: TestSealing
}

/** The step before which a run stops: it is never heard of again. */
export type BaseStep = 'commit' | 'end'

export function contextFor(events: Event[], clock: Clock = systemClock): TestContext {
  return { clock, emit: (event) => events.push(event), signal: new AbortController().signal }
}

/** Two hosts of a sealed repository: one that reads data, and one that may only write. */
export function sealedContexts(context: Context): { readonly reading: TestContext; readonly writeOnly: TestContext } {
  const metadata = { epoch: 1, key: randomBytes(32) }
  const run = randomBytes(32)
  const seal: RunKeys = { run, metadata }
  const refuse = async (): Promise<Uint8Array> => {
    throw new Failure('key-missing', 'this host may not read')
  }
  return {
    reading: { ...context, sealing: { seal, open: { metadata: async () => metadata.key, run: async () => run } } },
    writeOnly: { ...context, sealing: { seal, open: { metadata: async () => metadata.key, run: refuse } } },
  }
}

const openingOf = ({ sealing }: TestContext): PackKeys | null => sealing?.open ?? null

export const openScene = (storage: Storage, context: TestContext): Promise<Repository> => openOrCreateRepository('local', storage, 'flat', context)

/** Takes a base backup of these files; compared with the newest that is there, unless it shall be a full one. */
export async function takeBase(
  storage: Storage,
  {
    run,
    files,
    full = false,
    until,
    startedAt,
  }: { readonly run: string; readonly files: TestFiles; readonly full?: boolean; readonly until?: BaseStep; readonly startedAt?: string },
  context: TestContext,
): Promise<Lease> {
  const repository = await openScene(storage, context)
  const lease = await takeLease(storage, { cluster, run, verb: 'backup', objects: () => [], keys: openingOf(context) }, gone, context)
  try {
    const newest = full ? undefined : livingBackups(lease.state()).find(({ state }) => state !== 'damaged')
    const prior = newest === undefined ? null : await openBaseBackup(repository, newest, openingOf(context), context)
    if (context.sealing !== undefined) await storage.put(runKeyKey(cluster, run), Buffer.from('sealed to those who read'), { ifAbsent: true })
    const at = startedAt ?? `2026-11-21T10:00:00.${String(lease.epoch).padStart(3, '0')}Z`
    const stored = await storeFiles(storage, wholeCluster(files), { run, prior, context, startedAt: at, threads: 1, keys: context.sealing ?? null })
    if (until === 'commit') return lease
    const { facts, manifest } = stored.backup.record
    await lease.append({ kind: 'backup', epoch: lease.epoch, backup: facts, manifest, run })
    if (until !== 'end') await lease.end('ok')
    return lease
  } catch (error) {
    await giveUp(storage, lease, run)
    throw error
  }
}

/** What a run does that failed: nothing where it cannot. */
async function giveUp(storage: Storage, lease: Lease, run: string): Promise<void> {
  try {
    if ((await lease.abandon()) === 'abandoned') await removeRunObjects(storage, { cluster, run })
    await lease.end('failed')
  } catch {
    await lease[Symbol.asyncDispose]()
  }
}

/** As `tidemark delete` does. The last good one is called damaged first, for it would be refused. */
export async function deleteBase(storage: Storage, id: string, context: TestContext, run = `delete-${id}`): Promise<DeletePlan> {
  const others = Object.entries(await listed(storage, context)).filter(([other, state]) => other !== id && state !== 'damaged')
  if (others.length === 0) await note(storage, { kind: 'damaged', backup: id, problems: [], run }, context)
  const lease = await takeLease(storage, { cluster, run, verb: 'delete', objects: () => [], keys: openingOf(context) }, gone, context)
  const repository = await openScene(storage, context)
  const record = lease.state().backups.get(id)
  if (record === undefined || record.deleted !== null) throw new Error(`there is no backup ${id}`)
  try {
    const plan = await planDelete(repository, { state: lease.state(), record, keys: openingOf(context) }, context)
    await executeDelete(repository, lease, { plan: { ...plan, refusals: [] }, reason: 'test', run }, context)
    await lease.end('ok')
    return plan
  } catch (error) {
    await lease.end('failed').catch(() => lease[Symbol.asyncDispose]())
    throw error
  }
}

/** As `tidemark repo gc` does. */
export async function collect(
  storage: Storage,
  context: TestContext,
  { run = `gc-${randomBytes(4).toString('hex')}`, graceSeconds = 0 } = {},
): Promise<CollectedGarbage> {
  const repository = await openScene(storage, context)
  const lease = await takeLease(storage, { cluster, run, verb: 'gc', objects: () => [], keys: openingOf(context) }, gone, context)
  try {
    const collected = await collectGarbage(
      repository,
      lease,
      { run, keys: openingOf(context), seal: context.sealing?.seal.metadata ?? null, graceSeconds },
      context,
    )
    await lease.end('ok')
    return collected
  } catch (error) {
    await giveUp(storage, lease, run)
    throw error
  }
}

/** As `tidemark verify` does. */
export async function verifyBase(storage: Storage, id: string, context: TestContext, looked: PagesLookedAt = createPagesLookedAt()): Promise<VerifiedBackup> {
  const repository = await openScene(storage, context)
  const state = await readClusterLog(storage, cluster, context)
  const record = state.backups.get(id)
  if (record === undefined) throw new Error(`there is no backup ${id}`)
  return verifyBackup(repository, { state, record }, { run: `verify-${id}`, threads: 1, keys: openingOf(context), looked }, context)
}

export async function openBase(storage: Storage, id: string, context: TestContext): Promise<OpenBaseBackup> {
  const record = (await readClusterLog(storage, cluster, context)).backups.get(id)
  if (record === undefined) throw new Error(`there is no backup ${id}`)
  return openBaseBackup(await openScene(storage, context), record, openingOf(context), context)
}

/** The files of a backup, by the way of readers. */
export async function filesOf(storage: Storage, id: string, context: TestContext): Promise<TestFiles> {
  const backup = await openBase(storage, id, context)
  const files = new Map(await openFiles({ repository: await openScene(storage, context), backup } satisfies Pick<TestBackup, 'repository' | 'backup'>, context))
  for (const path of always.keys()) files.delete(path)
  return files
}

/** The backups that are listed, with their states. */
export async function listed(storage: Storage, context: TestContext): Promise<Record<string, string>> {
  return Object.fromEntries(livingBackups(await readClusterLog(storage, cluster, context)).map((record) => [record.facts.id, record.state]))
}

export async function keysUnder(storage: Storage, prefix: string): Promise<readonly string[]> {
  const keys: string[] = []
  for await (const { key } of storage.list(prefix)) keys.push(key)
  return keys
}

/** What is there that no backup needs, and what backups need and is not there. */
export async function garbageIn(storage: Storage, context: TestContext): Promise<readonly string[]> {
  const state = await readClusterLog(storage, cluster, context)
  const repository = await openScene(storage, context)
  const view = await viewGarbage(repository, { state, keys: openingOf(context) }, context)
  const { refusals, unnamed, left } = await planGarbage(repository, { state, view, now: context.clock.now() }, context)
  const waiting = state.garbage.flatMap(({ objects }) => objects)
  const open = [state.open, ...state.interrupted].flatMap((run) => (run === null ? [] : [`(run ${run.run} is not over)`]))
  const unpurged = [...state.backups.values()].flatMap(({ facts, deleted }) => (deleted?.purged === false ? [`(the deletion of ${facts.id} is not over)`] : []))
  return [...refusals, ...unnamed.objects, ...left.objects, ...waiting, ...view.foreign, ...open, ...unpurged]
}

/** Removes the log's entries from `first` on, as if an older copy of it had been put back. */
export async function cutLog(storage: Storage, first: number): Promise<void> {
  for (const key of await keysUnder(storage, commitsPrefix(cluster))) if (key >= commitKey(cluster, first)) await storage.delete(key)
}

export async function note(storage: Storage, entry: Parameters<typeof append>[2], context: TestContext): Promise<ClusterState> {
  return append(storage, await readClusterLog(storage, cluster, context), entry, context)
}

export const warningsIn = (events: readonly Event[]): readonly string[] =>
  events.flatMap((event) => (event.type === 'warning' ? [`${event.code}: ${event.message}`] : []))

export const newStorage = (clock: Clock = systemClock): Storage => memoryStorage({ clock })
