import { beyondItsDatabase } from '../../dump/plain-reach.ts'
import type { Context } from '../../kernel/context.ts'
import { Failure, isFailure } from '../../kernel/failure.ts'
import { openAgeFile } from '../../seal/age-file.ts'
import type { OpeningKeys } from '../../seal/age.ts'
import type { Storage, StoredObject } from '../../storage/storage.ts'
import { readClusterLog } from '../commit-log.ts'
import { companionsOf, isGlobalsKey, isSealedName, openedName, sealedName } from '../layout.ts'
import type { Repository } from '../repository.ts'
import { readDumpName, type DumpName } from './dump-name.ts'
import { readForeignNotes, type ForeignNotes } from './foreign-notes.ts'
import { keysInUse } from './keys-in-use.ts'
import { knownOriginals } from './known-originals.ts'
import { readDump, type ReadDump } from './read-dump.ts'

/** Where foreign dumps lie. In place: in the repository itself, so that they are taken in without being copied. */
export interface AdoptionSource {
  readonly storage: Storage
  /** Only keys below it; '' or ending in `/`. */
  readonly prefix: string
  readonly inPlace: boolean
  /** Never looked at: the repository, where it lies inside the directory. Ends in `/`. */
  readonly without: string | null
}

export interface AdoptionRequest {
  readonly cluster: string
  /** For dumps that do not say which database they are of. */
  readonly database: string
  /** IANA zone of the cluster: times in names and the class of a backup are counted in it. */
  readonly timeZone: string
  /** Take in again what was adopted before and deleted since. */
  readonly again: boolean
}

/** What would become of one file. `known` needs nothing; `refused` cannot be taken in. */
export interface AdoptionVerdict {
  /** Relative to the directory. */
  readonly file: string
  readonly verdict: 'adopt' | 'known' | 'refused'
  readonly reason: string | null
  /** The backup that it is already (known). */
  readonly backup: string | null
  readonly database: string | null
  readonly takenAt: string | null
  readonly datedBy: 'name' | 'info' | 'modification time' | null
  readonly format: 'custom' | 'plain' | null
  readonly storedBytes: number
  readonly tables: number | null
  readonly rows: number | null
  readonly partial: boolean
  readonly warnings: readonly string[]
}

/** A dump that was read and may be adopted. */
export interface AdoptableDump {
  readonly key: string
  readonly name: DumpName
  readonly dump: ReadDump
  readonly notes: ForeignNotes | undefined
  readonly infoKey: string | null
  readonly globalsKey: string | null
  readonly verdict: AdoptionVerdict & { readonly verdict: 'adopt'; readonly database: string; readonly takenAt: string }
}

export interface AdoptionPlan {
  readonly verdicts: readonly AdoptionVerdict[]
  readonly dumps: readonly AdoptableDump[]
}

/** Looks at every file of the directory and reads every dump to its end. Nothing is changed. */
export async function planAdoption(repository: Repository, source: AdoptionSource, request: AdoptionRequest, context: Context): Promise<AdoptionPlan> {
  const objects = await listSource(source, context)
  const keys = new Set(objects.map((object) => object.key))
  const known = await knownBackups(repository, request.cluster, context)
  const verdicts: AdoptionVerdict[] = []
  const dumps: AdoptableDump[] = []
  for (const object of objects) {
    const file = object.key.slice(source.prefix.length)
    const name = readDumpName(object.key.split('/').at(-1) ?? '')
    const plain = { ...noVerdict, file, storedBytes: object.sizeBytes }
    if (name === undefined || isGlobalsKey(object.key)) continue
    if (source.inPlace && known.usedKeys.has(object.key)) {
      verdicts.push({ ...plain, verdict: 'known', reason: 'it belongs to the repository already', backup: known.usedKeys.get(object.key) ?? null })
      continue
    }
    if ('why' in name) {
      verdicts.push({ ...plain, verdict: 'refused', reason: name.why })
      continue
    }
    const judged = await judge(object, name, { repository, source, keys, request, plain }, context)
    if (!('dump' in judged)) {
      verdicts.push(judged)
      continue
    }
    const sum = `sha256:${judged.dump.sha256}`
    const before = known.byChecksum.get(sum)
    const twin = dumps.find((other) => other.dump.sha256 === judged.dump.sha256)
    if (before !== undefined && (before.deletedAt === null || !request.again)) {
      const reason =
        before.deletedAt === null
          ? `the same bytes are backup ${before.id}`
          : `it was taken in before, as backup ${before.id}, and deleted ${before.deletedAt}; take it in again with --again`
      verdicts.push({ ...judged.verdict, verdict: 'known', reason, backup: before.id })
    } else if (twin !== undefined) {
      verdicts.push({ ...judged.verdict, verdict: 'known', reason: `the same bytes as ${twin.verdict.file}` })
    } else {
      verdicts.push(judged.verdict)
      dumps.push(judged)
    }
  }
  return { verdicts, dumps }
}

const noVerdict = {
  reason: null,
  backup: null,
  database: null,
  takenAt: null,
  datedBy: null,
  format: null,
  tables: null,
  rows: null,
  partial: false,
  warnings: [],
} as const

async function listSource(source: AdoptionSource, context: Context): Promise<readonly StoredObject[]> {
  const found: StoredObject[] = []
  for await (const object of source.storage.list(source.prefix, { signal: context.signal })) {
    if (object.key.startsWith('.tidemark/')) continue
    if (source.without !== null && object.key.startsWith(source.without)) continue
    found.push(object)
  }
  return found
}

interface KnownBackups {
  /** By checksum; a living one before a deleted one. */
  readonly byChecksum: ReadonlyMap<string, { readonly id: string; readonly deletedAt: string | null }>
  /** Of any cluster, with the backup's id where there is one: see `keysInUse`. */
  readonly usedKeys: ReadonlyMap<string, string | null>
}

async function knownBackups(repository: Repository, cluster: string, context: Context): Promise<KnownBackups> {
  const state = await readClusterLog(repository.storage, cluster, context)
  const originals = await knownOriginals(repository.storage, state, context)
  const byChecksum = new Map<string, { id: string; deletedAt: string | null }>()
  for (const { facts, deleted } of state.backups.values()) {
    const checksum = originals.get(facts.id) ?? facts.checksum
    if (deleted === null || !byChecksum.has(checksum)) byChecksum.set(checksum, { id: facts.id, deletedAt: deleted?.at ?? null })
  }
  return { byChecksum, usedKeys: await keysInUse(repository, state, context) }
}

interface Judging {
  readonly repository: Repository
  readonly source: AdoptionSource
  readonly keys: ReadonlySet<string>
  readonly request: AdoptionRequest
  readonly plain: Omit<AdoptionVerdict, 'verdict'>
}

async function judge(
  object: StoredObject,
  name: DumpName,
  { repository, source, keys, request, plain }: Judging,
  context: Context,
): Promise<AdoptableDump | AdoptionVerdict> {
  const begunMs = context.clock.monotonicMs()
  context.emit({ type: 'step-begun', step: 'read-back', subject: plain.file, expectedBytes: object.sizeBytes })
  const folder = object.key.slice(0, object.key.lastIndexOf('/') + 1)
  const beside = companionsOf(`${folder}${name.stem}`)
  const firstOf = (candidates: readonly string[]) => candidates.find((key) => keys.has(key)) ?? null
  const opening = { identities: repository.keyring?.identities ?? [] }
  try {
    const [info, globals] = await Promise.all([beside.info, beside.globals].map((names) => usableCompanion(firstOf(names), source, opening, context)))
    const [infoKey, globalsKey] = [info?.key ?? null, globals?.key ?? null]
    const dump = await readDump(source.storage, object, opening, context)
    if (source.inPlace) requireHonestName(name, dump)
    const notes = infoKey === null ? undefined : await readForeignNotes(source.storage, infoKey, opening, context.signal)
    requireSameFile(object.key, dump, notes)
    const dated = dateOf(name, notes, object.modifiedAt, request.timeZone, context.clock.now())
    const partial = isPartialDump(dump) || notes?.partial === true
    const inClear = repository.keyring !== null && source.inPlace && !dump.isSealed ? [staysInClear] : []
    const warnings = [...inClear, ...warningsOf(dump, notes, dated, partial), ...(info?.warnings ?? []), ...(globals?.warnings ?? [])]
    const database = dump.content.database ?? notes?.database ?? name.database ?? request.database
    const rows = dump.content.tables.reduce((sum, table) => sum + (table.rows ?? 0), 0)
    context.emit({
      type: 'step-ended',
      step: 'read-back',
      subject: plain.file,
      durationSeconds: (context.clock.monotonicMs() - begunMs) / 1000,
      doneBytes: dump.sizeBytes,
      note: `${dump.content.tables.length} tables`,
    })
    return {
      key: object.key,
      name,
      dump,
      notes,
      infoKey,
      globalsKey,
      verdict: {
        ...plain,
        verdict: 'adopt',
        database,
        takenAt: dated.at.toString({ smallestUnit: 'millisecond' }),
        datedBy: dated.by,
        format: dump.format,
        tables: dump.content.tables.length,
        rows,
        partial,
        warnings,
      },
    }
  } catch (error) {
    context.signal.throwIfAborted()
    // A file that cannot be read or is not whole concerns nobody but itself; what we did not foresee is not the file's fault.
    if (!(error instanceof Failure)) throw error
    return { ...plain, verdict: 'refused', reason: error.message }
  }
}

interface Companion {
  readonly key: string | null
  readonly warnings: readonly string[]
}

/** What is to be copied must open: it is sealed anew. In place it stays as it is. */
async function usableCompanion(key: string | null, { storage, inPlace }: AdoptionSource, keys: OpeningKeys, { signal }: Context): Promise<Companion> {
  if (key === null || inPlace || !isSealedName(key)) return { key, warnings: [] }
  try {
    for await (const _piece of openAgeFile(storage.read(key, { signal }), async () => keys));
    return { key, warnings: [] }
  } catch (error) {
    if (!isFailure(error, 'integrity', 'key-missing')) throw error
    return { key: null, warnings: [`${key} is not taken in with it: ${error.message}`] }
  }
}

const staysInClear = 'it stays as it is, in clear, in a repository that seals what it stores: whoever can read it can read the data'

/** In place a file keeps its name, and the name tells how it is opened: it must not lie. */
function requireHonestName(name: DumpName, dump: ReadDump): void {
  const wanted = extensionOfContent(dump)
  // pg_dump without --format wrote many a .dump that is SQL text; what is in it is recorded, so that is no lie about how to open it.
  const outer = (extension: string) => (extension.endsWith('.gz') ? 'gzip' : extension.endsWith('.zst') ? 'zstd' : 'none')
  if (isSealedName(name.extension) !== dump.isSealed)
    throw new Failure('integrity', `its name ends in ${name.extension} and it is ${dump.isSealed ? '' : 'not '}sealed; rename it to ${name.stem}${wanted}`)
  if (outer(openedName(name.extension)) === outer(openedName(wanted))) return
  throw new Failure(
    'integrity',
    `its name ends in ${name.extension} and its content is ${dump.outer === 'none' ? 'not compressed' : dump.outer}; rename it to ${name.stem}${wanted}`,
  )
}

/** We wrote the digest of this very file beside it: other bytes are damage, however whole they look. */
function requireSameFile(key: string, dump: ReadDump, notes: ForeignNotes | undefined): void {
  if (notes === undefined || notes.checksum === null || notes.fileName !== key.split('/').at(-1) || notes.checksum === `sha256:${dump.sha256}`) return
  throw new Failure('integrity', `it is not what was stored: its SHA-256 is ${dump.sha256}, and its .info says ${notes.checksum.slice('sha256:'.length)}`, {
    details: { object: key },
  })
}

/** The extension that tells the truth about the content. A custom archive in gzip has none in this repository. */
export function extensionOfContent({ format, outer, isSealed }: Pick<ReadDump, 'format' | 'outer' | 'isSealed'>): string {
  if (format === 'custom' && outer === 'gzip')
    throw new Failure('integrity', 'a custom archive in gzip cannot be opened by pg_restore; decompress it first (gunzip)')
  const plain = `.${format === 'custom' ? 'dump' : 'sql'}${{ none: '', gzip: '.gz', zstd: '.zst' }[outer]}`
  return isSealed ? sealedName(plain) : plain
}

interface Dated {
  readonly at: Temporal.Instant
  readonly by: 'name' | 'info' | 'modification time'
  readonly warning: string | null
}

/** Name, then `.info`, then modification time. A time that has not come yet would stand before every real backup, so it does not count. */
function dateOf(name: DumpName, notes: ForeignNotes | undefined, modifiedAt: Temporal.Instant, timeZone: string, now: Temporal.Instant): Dated {
  const named = name.time === null ? null : name.time.kind === 'utc' ? name.time.at : name.time.at.toZonedDateTime(timeZone).toInstant()
  const limit = now.add({ hours: 1 })
  const isPast = (at: Temporal.Instant) => Temporal.Instant.compare(at, limit) <= 0
  if (named !== null && isPast(named)) return { at: named, by: 'name', warning: null }
  const ahead = named === null ? '' : `its name says ${named.toString()}, which has not come yet; `
  const recorded = notes?.takenAt ?? null
  if (recorded !== null && isPast(recorded)) return { at: recorded, by: 'info', warning: ahead === '' ? null : `${ahead}dated by its .info` }
  return {
    at: isPast(modifiedAt) ? modifiedAt : now,
    by: 'modification time',
    warning: `${ahead}${named === null ? 'its name holds no time; ' : ''}dated by its modification time`,
  }
}

/** Definitions without rows, or rows without definitions: no such dump brings a database back. A selection of tables cannot be told from a small database. */
function isPartialDump({ content }: ReadDump): boolean {
  const defined = content.fingerprint?.derived.filter((object) => object.desc === 'TABLE').length ?? 0
  const filled = content.tables.length + (content.fingerprint?.notCompared.length ?? 0)
  return (defined > 0 && filled === 0) || (defined === 0 && filled > 0)
}

function warningsOf(dump: ReadDump, notes: ForeignNotes | undefined, dated: Dated, partial: boolean): readonly string[] {
  const warnings: string[] = []
  if (dated.warning !== null) warnings.push(dated.warning)
  if (notes?.problem !== undefined && notes.problem !== null) warnings.push(notes.problem)
  if (notes?.partial === true) warnings.push('its .info says that it is a part of a database: taken in as partial, never the latest backup')
  else if (partial) warnings.push('it holds definitions without rows, or rows without definitions: taken in as partial, never the latest backup')
  if (notes?.safety === true) warnings.push('its .info says that a restore took it of what it replaced: taken in as such, never the latest backup')
  const { fingerprint } = dump.content
  const beyond = beyondItsDatabase(dump.content)
  if (beyond !== null) warnings.push(beyond)
  const skipped = fingerprint?.notCompared ?? []
  if (skipped.length > 0) warnings.push(`${skipped.length} parts of it have no fingerprint (${skipped[0]?.why ?? ''}), so a drill can only be partial`)
  return warnings
}
