import { createHash } from 'node:crypto'
import { readObject } from '../../src/repository/bytes.ts'
import { checkStoredDump } from '../../src/repository/check-stored.ts'
import { livingBackups, type ClusterState } from '../../src/repository/cluster-log.ts'
import { readClusterLog } from '../../src/repository/commit-log.ts'
import type { Keyring } from '../../src/repository/keys/keyring.ts'
import { commitKey, extensions, isInfoKey, manifestKey, repositoryKey } from '../../src/repository/layout.ts'
import { readManifest } from '../../src/repository/manifest.ts'
import { openRepository, withKeyring, type Repository } from '../../src/repository/repository.ts'
import { filesOf } from '../../src/repository/stored-files.ts'
import type { Context } from '../../src/kernel/context.ts'
import { requireDump } from '../../src/repository/backup.ts'
import type { Storage } from '../../src/storage/storage.ts'

/** Every object of a storage with its bytes, and its aliases; what a new process would find. */
export interface Picture {
  readonly objects: ReadonlyMap<string, Uint8Array>
  readonly aliases: ReadonlyMap<string, string>
}

const limitBytes = 64 * 1024 * 1024
const aliasNames = extensions.map((extension) => `latest_backup${extension}`)

export async function takePicture(storage: Storage): Promise<Picture> {
  const objects = new Map<string, Uint8Array>()
  for await (const { key } of storage.list('')) objects.set(key, await readObject(storage, key, limitBytes))
  const aliases = new Map<string, string>()
  for (const name of aliasNames) {
    const target = await storage.readAlias?.(name)
    if (target !== undefined) aliases.set(name, target)
  }
  return { objects, aliases }
}

/** Puts a picture into an empty storage, so that one prepared repository serves every fault. */
export async function putPicture(storage: Storage, picture: Picture): Promise<void> {
  for (const [key, bytes] of picture.objects) await storage.put(key, bytes)
  for (const [name, target] of picture.aliases) await storage.setAlias?.(name, target)
}

export interface Expectation {
  readonly cluster: string
  /** What was there before, and must be there still, byte for byte. */
  readonly before: Picture
  /** Backups that the run was asked to delete: their objects may be gone, their log entries not. */
  readonly mayGo?: ReadonlySet<string>
  /** Of a sealed repository; one that reads data. */
  readonly keyring?: Keyring
}

async function unlocked(storage: Storage, keyring: Keyring | undefined): Promise<Repository> {
  return withKeyring(await openRepository('main', storage), keyring ?? null)
}

/**
 * Looks at a repository as a new process would, after whatever happened to the last one. Returns what is wrong, one sentence each:
 * a log that does not fold, a lost or changed object of an earlier backup, a listed backup that is not whole, an alias into nowhere.
 */
export async function repositoryProblems(
  storage: Storage,
  expected: Expectation,
  context: Context,
): Promise<{ problems: string[]; state: ClusterState; now: Picture }> {
  const problems: string[] = []
  const now = await takePicture(storage)
  const repository = await unlocked(storage, expected.keyring)
  const state = await readClusterLog(repository.storage, expected.cluster, context)
  const mayGo = expected.mayGo ?? new Set()
  const deleted = new Set([...state.backups.values()].filter((record) => record.deleted !== null).map((record) => record.facts.id))
  const goneWith = new Set<string>()
  for (const id of deleted) for (const key of state.backups.get(id)?.deleted?.objects ?? []) goneWith.add(key)

  for (const [key, bytes] of expected.before.objects) {
    if (key.startsWith('.tidemark/leases/') || goneWith.has(key)) continue
    const found = now.objects.get(key)
    if (found === undefined) problems.push(`${key} is gone`)
    else if (digest(found) !== digest(bytes) && !key.startsWith('.tidemark/runs/')) problems.push(`${key} was changed`)
  }
  for (const id of deleted) if (!mayGo.has(id)) problems.push(`backup ${id} was deleted, and nobody asked for it`)
  for (const record of livingBackups(state)) {
    try {
      const manifest = await readManifest(repository.storage, record)
      await checkStoredDump(
        filesOf(repository),
        { ...manifest, format: requireDump(record.facts, 'check it').format, fileName: record.facts.fileName },
        context,
      )
      for (const file of manifest.files) if (!now.objects.has(file.key)) problems.push(`backup ${record.facts.id} is listed and lacks ${file.key}`)
    } catch (error) {
      problems.push(`backup ${record.facts.id} is listed and does not verify: ${String(error)}`)
    }
  }
  for (const [name, target] of now.aliases)
    if (!now.objects.has(target) && !record(state, target)) problems.push(`${name} points at ${target}, which is not there`)
  return { problems, state, now }
}

/** A directory dump's alias points at its folder, which is no object. */
function record(state: ClusterState, key: string): boolean {
  return livingBackups(state).some(({ facts }) => facts.key === key && facts.format === 'directory')
}

/**
 * Objects that nothing refers to: after a run that ended well there are none. Evidence (proofs, run records) is kept for itself, and whole dumps
 * that a sweeper spared are named in the log: who looks for them asks `sparedKeys`.
 */
export async function orphansIn(storage: Storage, cluster: string, context: Context, keyring?: Keyring): Promise<string[]> {
  const repository = await unlocked(storage, keyring)
  const state = await readClusterLog(repository.storage, cluster, context)
  const owned = new Set([repositoryKey, ...state.sparedKeys])
  for (let entry = 1; entry <= state.head; entry += 1) owned.add(commitKey(cluster, entry))
  for (const backup of state.backups.values()) {
    owned.add(backup.manifest.key)
    if (backup.deleted === null) for (const file of (await readManifest(repository.storage, backup)).files) owned.add(file.key)
  }
  const orphans: string[] = []
  for await (const { key } of storage.list('')) {
    if (owned.has(key) || /^\.tidemark\/(?:runs|proofs|keys)\//.test(key)) continue
    orphans.push(key)
  }
  if (state.open !== null) orphans.push(`(run ${state.open.run} is still open)`)
  for (const run of state.interrupted) orphans.push(`(run ${run.run} was not swept)`)
  return orphans
}

/**
 * What the next run finds of one that did not commit and did not give up: `listed`, the backups whose manifest is there, so that it commits them
 * again; `spared`, the names of a dump that lies beside its `.info` and has no manifest, which it leaves alone.
 */
export function wholeButUncommitted(state: ClusterState, now: Picture): { readonly listed: readonly string[]; readonly spared: readonly string[] } {
  const { open } = state
  if (open === null || open.abandoned || open.committed !== null) return { listed: [], spared: [] }
  if (now.objects.has(manifestKey(state.cluster, open.run))) return { listed: [open.run], spared: [] }
  const there = open.objects.filter((key) => now.objects.has(key))
  return { listed: [], spared: there.some(isInfoKey) ? there : [] }
}

/** Whether two pictures show the same. */
export function samePicture(one: Picture, other: Picture): boolean {
  if (one.objects.size !== other.objects.size || one.aliases.size !== other.aliases.size) return false
  for (const [key, bytes] of one.objects) {
    const found = other.objects.get(key)
    if (found === undefined || Buffer.compare(found, bytes) !== 0) return false
  }
  for (const [name, target] of one.aliases) if (other.aliases.get(name) !== target) return false
  return true
}

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
