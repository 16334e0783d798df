import type { Context } from '../kernel/context.ts'
import { isFailure, messageOf } from '../kernel/failure.ts'
import type { Storage } from '../storage/storage.ts'
import { Tally } from '../stream/tally.ts'
import type { Problem } from './backup.ts'
import { livingBackups, type BackupRecord, type ClusterState } from './cluster-log.ts'
import { readManifest, type Manifest, type StoredFile } from './manifest.ts'
import { keysInUse } from './sweep.ts'
import { contentsOf, type Orphan, type RefusedManifest, type UnlistedManifests } from './unlisted-manifests.ts'

/** What is to become of manifests that the log does not name. Plain data; `relistBackups` carries it out. */
export interface Judgement {
  /** Backups to be committed again. */
  readonly found: readonly JudgedOrphan[]
  /** Listed backups under whose names other bytes lie. */
  readonly overwritten: readonly { readonly backup: string; readonly problem: Problem }[]
  /** Manifests to be removed: no byte that they speak of is there, or the same bytes are listed. */
  readonly settled: readonly { readonly key: string; readonly why: string }[]
  /** Manifests that stay, and with them every file that they name. */
  readonly left: readonly RefusedManifest[]
}

export interface JudgedOrphan extends Orphan {
  /** Of its files; empty where all of them are there. */
  readonly problems: readonly Problem[]
}

interface Findings {
  readonly found: JudgedOrphan[]
  readonly overwritten: { backup: string; problem: Problem }[]
  readonly settled: { key: string; why: string }[]
  readonly left: RefusedManifest[]
}

/**
 * Decides which of them are backups. Where only one manifest speaks of a key, sizes are compared. Where several do, or a listed backup has the key,
 * its name was given again: then the bytes are read, for only they tell whose they are.
 */
export async function judgeUnlisted(storage: Storage, unlisted: UnlistedManifests, known: ClusterState, context: Context): Promise<Judgement> {
  const findings: Findings = { found: [], overwritten: [], settled: [], left: [] }
  for (const refused of unlisted.refused) {
    const twin = await twinOf(storage, refused.manifest, known, context)
    if (twin === undefined) findings.left.push(refused)
    else findings.settled.push({ key: refused.key, why: `the same bytes are backup ${twin}` })
  }
  if (unlisted.orphans.length === 0) return findings

  const isUsed = await keysInUse(storage, known, context)
  for (const [key, orphans] of Map.groupBy(unlisted.orphans, ({ manifest }) => manifest.backup.key)) {
    const there = await stillThere(storage, orphans, findings, context)
    const rivals = recordsOf(known, key)
    const [first] = there
    if (first === undefined) continue
    if (there.length > 1 || rivals.length > 0) await settleContest(storage, { key, orphans: there, rivals }, findings, context)
    else if (contentsOf(first.manifest).some((file) => isUsed(file.key))) findings.left.push({ ...first, why: 'its files belong to another backup' })
    else findings.found.push(first)
  }
  return findings
}

/** Those of which anything is left, with what is missing of them; the latest first. */
async function stillThere(storage: Storage, orphans: readonly Orphan[], { settled }: Findings, context: Context): Promise<readonly JudgedOrphan[]> {
  const there: JudgedOrphan[] = []
  for (const orphan of orphans.toSorted((a, b) => byStart(b, a))) {
    const problems = await problemsOf(storage, orphan.manifest, context)
    if (problems === 'nothing left') settled.push({ key: orphan.key, why: 'nothing of its dump is left' })
    else there.push({ ...orphan, problems })
  }
  return there
}

/** Several backups have one key, and at most one of them wrote what lies there. Nothing is removed of which the bytes may lie there. */
async function settleContest(
  storage: Storage,
  { key, orphans, rivals }: { readonly key: string; readonly orphans: readonly JudgedOrphan[]; readonly rivals: readonly BackupRecord[] },
  { found, overwritten, settled, left }: Findings,
  context: Context,
): Promise<void> {
  const listed = await Promise.all(rivals.map(async (record) => ({ record, contents: await contentsOfRecord(storage, record, context) })))
  const signatures = new Map(listed.map(({ record, contents }) => [signatureOf(contents), record.facts.id]))
  const open: JudgedOrphan[] = []
  for (const orphan of orphans) {
    const signature = signatureOf(contentsOf(orphan.manifest))
    const twin = signatures.get(signature)
    if (twin === undefined) open.push(orphan)
    else settled.push({ key: orphan.key, why: `the same bytes are backup ${twin}` })
    signatures.set(signature, twin ?? orphan.manifest.backup.id)
  }
  if (open.length === 0 || (open.length === 1 && rivals.length === 0)) {
    found.push(...open)
    return
  }

  context.emit({ type: 'note', message: `${key} is claimed by several backups; it is read, to see whose it is` })
  const lies = createComparison(storage, context)
  try {
    for (const { record, contents } of listed) {
      if (!(await lies(contents))) continue
      for (const orphan of open) settled.push({ key: orphan.key, why: `its name was given again: what lies there is backup ${record.facts.id}` })
      return
    }
    const fitting = await findAsync(open, ({ manifest }) => lies(contentsOf(manifest)))
    const isOther =
      fitting === undefined
        ? 'it is none of the dumps that were stored under this name'
        : `it is backup ${fitting.manifest.backup.id}, stored under the same name`
    const problem: Problem = { code: 'integrity', object: key, message: isOther }
    for (const { facts, state } of rivals) if (state !== 'damaged') overwritten.push({ backup: facts.id, problem })
    for (const orphan of open) {
      if (orphan === fitting) found.push(orphan)
      else if (fitting === undefined) found.push({ ...orphan, problems: [...orphan.problems, problem] })
      else settled.push({ key: orphan.key, why: `its name was given again: what lies there is backup ${fitting.manifest.backup.id}` })
    }
  } catch (error) {
    // An old dump that cannot be read now is no reason to take no new one.
    if (!isFailure(error) || context.signal.aborted) throw error
    for (const orphan of open) left.push({ ...orphan, why: `whose dump lies there could not be seen: ${messageOf(error)}` })
  }
}

async function findAsync<T>(items: readonly T[], test: (item: T) => Promise<boolean>): Promise<T | undefined> {
  for (const item of items) if (await test(item)) return item
  return undefined
}

type Content = Pick<StoredFile, 'key' | 'sha256'>

/** Tells whether the bytes that lie there are these; every object is read once. */
function createComparison(storage: Storage, context: Context): (contents: readonly Content[]) => Promise<boolean> {
  const digests = new Map<string, string | undefined>()
  const digest = async (key: string) => {
    if (!digests.has(key)) digests.set(key, await sha256Of(storage, key, context))
    return digests.get(key)
  }
  return async (contents) => {
    for (const { key, sha256 } of contents) if ((await digest(key)) !== sha256) return false
    return contents.length > 0
  }
}

async function sha256Of(storage: Storage, key: string, context: Context): Promise<string | undefined> {
  const tally = new Tally()
  try {
    for await (const _chunk of tally.through(storage.read(key, { signal: context.signal })));
    return tally.sha256()
  } catch (error) {
    if (!isFailure(error, 'object-missing')) throw error
    return undefined
  }
}

/** A listed backup's files; none where they are not known any more, so that no bytes are taken for its own. */
async function contentsOfRecord(storage: Storage, record: BackupRecord, context: Context): Promise<readonly Content[]> {
  const { facts } = record
  if (facts.format !== 'directory') return [{ key: facts.key, sha256: facts.checksum.replace(/^sha256:/, '') }]
  try {
    return contentsOf(await readManifest(storage, record, context.signal))
  } catch (error) {
    if (!isFailure(error, 'integrity', 'object-missing')) throw error
    return []
  }
}

/** The listed backup that is these bytes under this key. */
async function twinOf(storage: Storage, manifest: Manifest, known: ClusterState, context: Context): Promise<string | undefined> {
  const signature = signatureOf(contentsOf(manifest))
  for (const record of recordsOf(known, manifest.backup.key)) {
    if (signatureOf(await contentsOfRecord(storage, record, context)) === signature) return record.facts.id
  }
  return undefined
}

const recordsOf = (known: ClusterState, key: string) => livingBackups(known).filter(({ facts }) => facts.key === key)

const signatureOf = (contents: readonly Content[]) => JSON.stringify(contents.map(({ key, sha256 }) => `${sha256} ${key}`).toSorted())

export const byStart = (a: Orphan, b: Orphan) =>
  Temporal.Instant.compare(Temporal.Instant.from(a.manifest.backup.startedAt), Temporal.Instant.from(b.manifest.backup.startedAt))

/** What is missing or of another size; the `.info` is for people and may be. */
async function problemsOf(storage: Storage, manifest: Manifest, context: Context): Promise<readonly Problem[] | 'nothing left'> {
  const problems: Problem[] = []
  let contents = 0
  for (const { key, role, sizeBytes } of manifest.files) {
    if (role === 'info') continue
    const found = await storage.stat(key, context)
    if (found !== undefined && role !== 'globals') contents += 1
    if (found === undefined) problems.push({ code: 'object-missing', object: key, message: 'it is gone' })
    else if (found.sizeBytes !== sizeBytes)
      problems.push({ code: 'integrity', object: key, message: `it has ${found.sizeBytes} bytes; ${sizeBytes} were stored` })
  }
  return contents === 0 ? 'nothing left' : problems
}
