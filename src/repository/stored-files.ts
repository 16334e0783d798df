import { Failure, isFailure } from '../kernel/failure.ts'
import { decryptAge, type OpeningKeys } from '../seal/age.ts'
import type { Storage } from '../storage/storage.ts'
import { isSealedName } from './layout.ts'
import type { Manifest, StoredFile } from './manifest.ts'
import { readChecked } from './read-stored.ts'
import type { Repository } from './repository.ts'

/** The files of dumps, and what opens the sealed ones among them. */
export interface StoredFiles {
  readonly storage: Storage
  keysOf(key: string): OpeningKeys
}

/** The files of a repository, as far as the keys at hand open them. */
export function filesOf({ storage, keyring }: Repository): StoredFiles {
  const keys = { identities: keyring?.identities ?? [] }
  return { storage, keysOf: () => keys }
}

/**
 * What is in a stored file, sealed or not; the stored bytes are held against the manifest while they pass, as by `readChecked`, so nothing counts before
 * the stream has ended. Throws `key-missing` before the first byte when the file is the one that was stored, and no key at hand opens it.
 */
export async function* readOpened(files: StoredFiles, file: StoredFile, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
  const stored = readChecked(files.storage, file, signal)
  if (!isSealedName(file.key)) return yield* stored
  try {
    yield* decryptAge(stored, files.keysOf(file.key))
  } catch (error) {
    throw await explain(error, files.storage, file, signal)
  }
}

/** A file that somebody put in its place may be sealed to strangers: then no key is missing, but the file. */
async function explain(error: unknown, storage: Storage, file: StoredFile, signal?: AbortSignal): Promise<unknown> {
  if (!isFailure(error, 'integrity', 'key-missing') || error.details['object'] !== undefined) return error
  if (error.code === 'key-missing') for await (const _chunk of readChecked(storage, file, signal));
  const hints = error.code === 'key-missing' ? notSealedToUs : error.hints
  return new Failure(error.code, `${file.key}: ${error.message}`, { cause: error, hints, details: { ...error.details, object: file.key } })
}

const notSealedToUs = ['it was sealed when none of these keys belonged to the repository: use --kit FILE, which opens everything']

/** Whether files of this backup are sealed. */
export function isSealed({ files }: Pick<Manifest, 'files'>): boolean {
  return files.some(({ key, role }) => isSealedName(key) && role !== 'info')
}

/**
 * Refuses a backup that the keys at hand do not open, before anything is done with it: `key-missing`. `integrity` or `object-missing` when its beginning
 * shows that it is not the one that was stored.
 */
export async function requireOpenable(repository: Repository, manifest: Manifest, signal: AbortSignal): Promise<void> {
  const sealed = manifest.files.find(({ key, role }) => isSealedName(key) && (role === 'dump' || role === 'part'))
  if (sealed === undefined) return
  requireDataKeys(repository, manifest.backup.id)
  for await (const _beginning of readOpened(filesOf(repository), sealed, signal)) return
}

/** Rejects with `key-missing` where nothing at hand reads data. */
function requireDataKeys({ keyring }: Repository, backup: string): void {
  if (keyring?.readsData === true) return
  throw new Failure(
    'key-missing',
    `backup ${backup} is sealed, and ${keyring === null ? 'no key is at hand' : 'the keys at hand do not read data: this host is write-only'}`,
    {
      hints: ['use --kit FILE, or --identity FILE of somebody who reads data'],
    },
  )
}
