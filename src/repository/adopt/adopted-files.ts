import type { Context } from '../../kernel/context.ts'
import { Failure } from '../../kernel/failure.ts'
import { openAgeFile } from '../../seal/age-file.ts'
import type { Storage } from '../../storage/storage.ts'
import { Tally } from '../../stream/tally.ts'
import { checkStoredDump } from '../check-stored.ts'
import { createFileSealer, type FileSealer } from '../file-sealer.ts'
import { isInfoKey, isSealedName } from '../layout.ts'
import type { StoredFile } from '../manifest.ts'
import type { Repository } from '../repository.ts'
import { filesOf } from '../stored-files.ts'
import type { AdoptableDump, AdoptionSource } from './plan-adoption.ts'

/** Where the files of an adopted backup lie in the repository. */
export interface Keys {
  readonly dump: string
  readonly info: string | null
  readonly globals: string | null
}

export interface TakenFiles {
  readonly dump: AdoptableDump
  readonly keys: Keys
  readonly source: AdoptionSource
}

/** The files of a dump that stays where it is. Rejects when it changed since it was read. */
export async function filesInPlace(storage: Storage, { dump, keys }: TakenFiles, context: Context): Promise<readonly StoredFile[]> {
  const now = await storage.stat(keys.dump, { signal: context.signal })
  if (now?.version !== dump.dump.version) throw changedMeanwhile(dump.verdict.file)
  const files: StoredFile[] = [{ key: keys.dump, role: 'dump', sizeBytes: dump.dump.sizeBytes, sha256: dump.dump.sha256 }]
  for (const [key, role] of companions(keys)) {
    const tally = new Tally()
    for await (const _chunk of tally.through(storage.read(key, { signal: context.signal })));
    files.push({ key, role, sizeBytes: tally.sizeBytes, sha256: role === 'info' ? '' : tally.sha256() })
  }
  return files
}

/** Copies, seals where the repository does, and reads back before the keys of the copies are forgotten. */
export async function bringIn(repository: Repository, taking: TakenFiles, context: Context): Promise<readonly StoredFile[]> {
  const { dump, keys } = taking
  const { content, format } = dump.dump
  const sealer = repository.keyring === null ? null : createFileSealer(repository.keyring)
  try {
    const files = await copyIn(repository, taking, sealer, context)
    const expected = { format, fileName: keys.dump.split('/').at(-1) ?? '', files, plainBytes: content.sizeBytes, fingerprint: content.fingerprint }
    await checkStoredDump(sealer === null ? filesOf(repository) : { storage: repository.storage, keysOf: sealer.keysOf }, expected, context)
    return files
  } finally {
    sealer?.forget()
  }
}

async function copyIn(repository: Repository, { dump, keys, source }: TakenFiles, sealer: FileSealer | null, context: Context): Promise<readonly StoredFile[]> {
  const begunMs = context.clock.monotonicMs()
  context.emit({ type: 'step-begun', step: 'upload', subject: keys.dump, expectedBytes: dump.dump.sizeBytes })
  const copy = (file: Pick<Copying, 'from' | 'to' | 'version' | 'isSealed'>) => copyFile({ ...file, source: source.storage, repository, sealer }, context)
  const { version, isSealed } = dump.dump
  const copied = await copy({ from: dump.key, to: keys.dump, version, isSealed }).catch(async (error: unknown) => {
    const now = await source.storage.stat(dump.key, { signal: context.signal })
    throw now?.version === version ? error : changedMeanwhile(dump.verdict.file)
  })
  if (copied.original.sha256() !== dump.dump.sha256) throw changedMeanwhile(dump.verdict.file)
  const files: StoredFile[] = [{ key: keys.dump, role: 'dump', sizeBytes: copied.stored.sizeBytes, sha256: copied.stored.sha256() }]
  for (const [key, role] of companions(keys)) {
    const from = role === 'info' ? dump.infoKey : dump.globalsKey
    if (from === null) throw new Error('a companion without a source')
    const { stored } = await copy({ from, to: key, version: null, isSealed: isSealedName(from) })
    files.push({ key, role, sizeBytes: stored.sizeBytes, sha256: role === 'info' ? '' : stored.sha256() })
  }
  context.emit({
    type: 'step-ended',
    step: 'upload',
    subject: keys.dump,
    durationSeconds: (context.clock.monotonicMs() - begunMs) / 1000,
    doneBytes: dump.dump.sizeBytes,
  })
  return files
}

function companions(keys: Keys): readonly (readonly [string, 'info' | 'globals'])[] {
  return [...(keys.info === null ? [] : [[keys.info, 'info'] as const]), ...(keys.globals === null ? [] : [[keys.globals, 'globals'] as const])]
}

interface Copying {
  readonly from: string
  readonly to: string
  readonly version: string | null
  readonly isSealed: boolean
  readonly source: Storage
  readonly repository: Repository
  readonly sealer: FileSealer | null
}

/** What was read, and what lies in the repository now. */
interface Copied {
  readonly original: Tally
  readonly stored: Tally
}

async function copyFile({ from, to, version, isSealed, source, repository, sealer }: Copying, { signal }: Pick<Context, 'signal'>): Promise<Copied> {
  let copied: Copied = { original: new Tally(), stored: new Tally() }
  const opened = (bytes: AsyncIterable<Uint8Array>) => openAgeFile(bytes, async () => ({ identities: repository.keyring?.identities ?? [] }))
  const sealed = async function* (bytes: AsyncIterable<Uint8Array>) {
    const sealing = await sealer?.begin(to)
    yield* sealing === undefined ? bytes : sealing.seal(isSealed ? opened(bytes) : bytes)
  }
  // A factory: a transfer that broke begins anew, and so do the digests and the seal.
  const body = () => {
    copied = { original: new Tally(), stored: new Tally() }
    const bytes = source.read(from, { signal, ...(version === null ? {} : { ifVersion: version }) })
    return copied.stored.through(sealed(copied.original.through(bytes)))
  }
  const contentType = isInfoKey(to) ? 'application/json' : 'application/octet-stream'
  await repository.storage.put(to, body, { ifAbsent: true, contentType, signal })
  return copied
}

function changedMeanwhile(file: string): Failure {
  return new Failure('integrity', `${file} changed after it was read, so something still writes to it`, { details: { changedMeanwhile: true } })
}
