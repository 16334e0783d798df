import { createHash } from 'node:crypto'
import { beyondItsDatabase } from '../../dump/plain-reach.ts'
import { utc } from '../../kernel/clock.ts'
import type { Context } from '../../kernel/context.ts'
import { Failure, isFailure, messageOf } from '../../kernel/failure.ts'
import { toolVersion } from '../../kernel/version.ts'
import type { Storage } from '../../storage/storage.ts'
import { newBackupId, type Backup, type BackupFacts } from '../backup.ts'
import { packKeysOf } from '../base/pack-keys.ts'
import { readObjectIfThere } from '../bytes.ts'
import { livingBackups } from '../cluster-log.ts'
import { digestOf } from '../commit-entry.ts'
import { readClusterLog } from '../commit-log.ts'
import { describeBackup, findBackup } from '../find-backup.ts'
import { updateLatestAlias } from '../latest-alias.ts'
import { categoryOf, folderOf, isSealedName, manifestKey, sealedName } from '../layout.ts'
import { takeLease, type Lease, type Whereabouts } from '../lease.ts'
import { encodeManifest, type Manifest, type StoredFile } from '../manifest.ts'
import type { Repository } from '../repository.ts'
import { bringIn, filesInPlace, type Keys } from './adopted-files.ts'
import { keysInUse } from './keys-in-use.ts'
import { knownOriginals } from './known-originals.ts'
import { extensionOfContent, type AdoptableDump, type AdoptionRequest, type AdoptionSource } from './plan-adoption.ts'

export interface Adoption extends AdoptionRequest {
  readonly run: string
  readonly source: AdoptionSource
  readonly whereabouts: Whereabouts
}

export interface AdoptionOutcome {
  readonly adopted: readonly Backup[]
  /** Files that changed between reading and taking in. */
  readonly changed: readonly { readonly file: string; readonly reason: string }[]
  readonly warnings: readonly string[]
}

/**
 * Takes dumps that were planned into the repository's log. In place nothing but the log and the manifests is written, under one lease;
 * else each dump is copied in under a lease of its own, so that a crash leaves at most one copy, which the log names; sealed, where the repository is. Files of others are never
 * changed or removed. What was committed before a failure stays.
 */
export async function adoptDumps(repository: Repository, dumps: readonly AdoptableDump[], adoption: Adoption, context: Context): Promise<AdoptionOutcome> {
  const adopted: Backup[] = []
  const changed: { file: string; reason: string }[] = []
  const take = async (lease: Lease, dump: AdoptableDump, keys: Keys) => {
    try {
      adopted.push(await takeIn(repository, lease, { dump, keys, adoption }, context))
    } catch (error) {
      if (!isFailure(error) || error.details['changedMeanwhile'] !== true) throw error
      changed.push({ file: dump.verdict.file, reason: error.message })
      return false
    }
    return true
  }

  if (adoption.source.inPlace) {
    await underLease(
      repository,
      adoption,
      () => [],
      context,
      async (lease) => {
        const used = await keysInUse(repository, lease.state(), context)
        for (const dump of dumps) {
          context.signal.throwIfAborted()
          if (used.has(dump.key)) changed.push({ file: dump.verdict.file, reason: 'another run took it in meanwhile' })
          else await take(lease, dump, keysInPlace(dump))
        }
      },
    )
  } else {
    for (const dump of dumps) {
      context.signal.throwIfAborted()
      const keys = await freeKeys(repository, dump, adoption, context)
      const objects = [keys.dump, ...(keys.info === null ? [] : [keys.info]), ...(keys.globals === null ? [] : [keys.globals])]
      await underLease(
        repository,
        adoption,
        () => objects,
        context,
        async (lease) => {
          // A run that died just before its commit is listed again by whoever takes the lease: that was us.
          const originals = await knownOriginals(repository.storage, lease.state(), context)
          const before = livingBackups(lease.state()).find(({ facts }) => (originals.get(facts.id) ?? facts.checksum) === `sha256:${dump.dump.sha256}`)
          if (before !== undefined) changed.push({ file: dump.verdict.file, reason: `the same bytes are backup ${before.facts.id} by now` })
          else if (!(await take(lease, dump, keys))) await removeOrphans(repository, lease, objects)
        },
      )
    }
  }
  return { adopted, changed, warnings: await tidy(repository, adoption.cluster, context) }
}

function keysInPlace(dump: AdoptableDump): Keys {
  return { dump: dump.key, info: dump.infoKey, globals: dump.globalsKey }
}

/** Names that no object and no run of any cluster has: stem, else stem-2, stem-3, … */
async function freeKeys(
  repository: Repository,
  { name, dump, infoKey, globalsKey, verdict }: AdoptableDump,
  adoption: Adoption,
  context: Context,
): Promise<Keys> {
  const used = await keysInUse(repository, await readClusterLog(repository.storage, adoption.cluster, context), context)
  const day = Temporal.Instant.from(verdict.takenAt).toZonedDateTimeISO(adoption.timeZone).toPlainDate()
  const folder = folderOf(repository.layout, day)
  const isSealed = repository.keyring !== null
  const extension = extensionOfContent({ ...dump, isSealed })
  const asStored = isSealed ? sealedName : (key: string) => key
  for (let count = 1; ; count += 1) {
    const stem = `${folder}${name.stem}${count === 1 ? '' : `-${count}`}`
    const keys = {
      dump: `${stem}${extension}`,
      info: infoKey === null ? null : asStored(`${stem}.info`),
      globals: globalsKey === null ? null : asStored(`${stem}.globals.sql`),
    }
    const taken = await Promise.all(
      [keys.dump, keys.info, keys.globals].map(
        async (key) => key !== null && (used.has(key) || (await repository.storage.stat(key, { signal: context.signal })) !== undefined),
      ),
    )
    if (!taken.includes(true)) return keys
  }
}

/** Runs `work` under the cluster's lease. When it rejects, what it may have copied in is removed, unless it turns out to be committed. */
async function underLease(
  repository: Repository,
  adoption: Adoption,
  objects: () => readonly string[],
  context: Context,
  work: (lease: Lease) => Promise<void>,
): Promise<void> {
  await using lease = await takeLease(
    repository.storage,
    { cluster: adoption.cluster, run: adoption.run, verb: 'adopt', objects, keys: packKeysOf(repository.keyring, context) },
    adoption.whereabouts,
    context,
  )
  try {
    await work(lease)
    await lease.end('ok')
  } catch (error) {
    // A run that was taken over removes nothing: whoever took over does.
    if (!isFailure(error, 'locked')) {
      await giveUp(repository, lease, context).catch((clearing: unknown) => {
        context.emit({
          type: 'warning',
          code: 'clean-up-failed',
          message: `what this run left in "${repository.name}" could not be removed now (${messageOf(clearing)}); the next run sees to it`,
        })
      })
    }
    throw error
  }
}

async function giveUp(repository: Repository, lease: Lease, context: Context): Promise<void> {
  const outcome = context.signal.aborted ? 'cancelled' : 'failed'
  // Dumps taken in before, under the same lease (in place), stay; only a run that committed nothing has orphans.
  if (lease.state().open?.committed === null && (await lease.abandon()) === 'abandoned') await removeOrphans(repository, lease, lease.objects)
  await lease.end(outcome)
}

async function removeOrphans(repository: Repository, lease: Lease, objects: readonly string[]): Promise<void> {
  const committed = new Set([...lease.state().backups.values()].map((record) => record.facts.key))
  for (const key of objects) if (!committed.has(key)) await repository.storage.delete(key)
}

interface Taking {
  readonly dump: AdoptableDump
  readonly keys: Keys
  readonly adoption: Adoption
}

/** Files → read back → manifest → commit entry; the backup exists when this resolves. */
async function takeIn(repository: Repository, lease: Lease, taking: Taking, context: Context): Promise<Backup> {
  const { adoption } = taking
  const taken = { ...taking, source: adoption.source }
  const files = adoption.source.inPlace ? await filesInPlace(repository.storage, taken, context) : await bringIn(repository, taken, context)
  for (let attempt = 0; ; attempt += 1) {
    const facts = factsOf(taking, files, idOf(taking, attempt))
    if (lease.state().backups.has(facts.id)) continue
    const manifest = encodeManifest(manifestOf(repository, facts, taking, files))
    const key = manifestKey(facts.cluster, facts.id)
    if (!(await createManifest(repository.storage, key, manifest, context))) continue
    const state = await lease.append({ kind: 'backup', epoch: lease.epoch, backup: facts, manifest: { key, sha256: digestOf(manifest) }, run: adoption.run })
    return describeBackup(findBackup(state, facts.id), [repository], [])
  }
}

/** False when another manifest has that name: of a run that died, or of other bytes with the same id. */
async function createManifest(storage: Storage, key: string, bytes: Uint8Array, context: Context): Promise<boolean> {
  try {
    await storage.put(key, bytes, { ifAbsent: true, sizeBytes: bytes.byteLength, contentType: 'application/json', signal: context.signal })
    return true
  } catch (error) {
    if (!isFailure(error, 'object-exists')) throw error
    const found = await readObjectIfThere(storage, key, bytes.byteLength + 1, context.signal).catch((reading: unknown) => {
      if (isFailure(reading, 'integrity')) return undefined
      throw reading
    })
    return found !== undefined && Buffer.compare(found, bytes) === 0
  }
}

/** The same file has the same id in every repository: its time, and four characters of its digest. */
function idOf({ dump, adoption }: Taking, attempt: number): string {
  const digest = createHash('sha256').update(`${adoption.cluster}\n${dump.dump.sha256}\n${attempt}`).digest()
  return newBackupId(Temporal.Instant.from(dump.verdict.takenAt), digest)
}

function factsOf({ dump: { dump, notes, verdict }, keys, adoption }: Taking, files: readonly StoredFile[], id: string): BackupFacts {
  const stored = files.find(({ role }) => role === 'dump') ?? dump
  const takenAt = Temporal.Instant.from(verdict.takenAt)
  const outer = dump.outer === 'gzip' && notes?.compressionLevel != null ? `gzip:${notes.compressionLevel}` : dump.outer
  return {
    id,
    cluster: adoption.cluster,
    database: verdict.database,
    type: 'dump',
    name: null,
    // When it began is not known; the name of a dump is given when it begins, and nothing says when it ended.
    startedAt: utc(takenAt),
    endedAt: utc(takenAt),
    sizeBytes: dump.content.sizeBytes,
    storedBytes: stored.sizeBytes,
    checksum: `sha256:${stored.sha256}`,
    format: dump.format,
    compression: dump.outer === 'none' ? dump.content.innerCompression : outer,
    encryption: isSealedName(keys.dump) ? 'age' : null,
    key: keys.dump,
    fileName: keys.dump.split('/').at(-1) ?? keys.dump,
    postgresVersion: dump.content.serverVersion,
    startLsn: null,
    stopLsn: null,
    timeline: null,
    tables: [...dump.content.tables],
    category: categoryOf(takenAt.toZonedDateTimeISO(adoption.timeZone).toPlainDate()),
    container: notes?.container ?? null,
    user: notes?.user ?? null,
    hostname: notes?.hostname ?? null,
    toolVersion,
    partial: verdict.partial,
    committedAs: 'verified',
    adopted: true,
    safety: notes?.safety === true,
  }
}

function manifestOf(repository: Repository, facts: BackupFacts, { dump }: Taking, files: readonly StoredFile[]): Manifest {
  const { content } = dump.dump
  return {
    format: 'tidemark-manifest/1',
    repository: repository.id,
    cluster: facts.cluster,
    backup: facts,
    source: null,
    files: [...files],
    plainBytes: content.sizeBytes,
    blockOffsets: content.blockOffsets.map(([dumpId, offset]) => [dumpId, offset]),
    fingerprint: content.fingerprint,
    leftOut: [],
    warnings: [...dump.verdict.warnings],
    dumpTool: content.dumpVersion === null ? null : `pg_dump ${content.dumpVersion}`,
    selection: null,
    beyondDatabase: beyondItsDatabase(content),
    ...(facts.checksum === `sha256:${dump.dump.sha256}` ? {} : { originalSha256: dump.dump.sha256 }),
  }
}

/** The backups exist; an alias that cannot be moved is said and changes nothing. */
async function tidy(repository: Repository, cluster: string, context: Context): Promise<readonly string[]> {
  try {
    await updateLatestAlias(repository.storage, await readClusterLog(repository.storage, cluster, context), context)
    return []
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    return [`the alias of the latest backup was not moved: ${error.message}`]
  }
}
