import type { Context } from '../../kernel/context.ts'
import { Failure, isFailure } from '../../kernel/failure.ts'
import { decryptAge, encryptAge, type OpeningKeys, type SealedTo } from '../../seal/age.ts'
import type { Storage } from '../../storage/storage.ts'
import { readAll } from '../../stream/chunks.ts'
import { readObjectIfThere } from '../bytes.ts'

async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

/** A small age file. */
export async function sealBytes(plain: Uint8Array, to: SealedTo): Promise<Uint8Array> {
  return readAll(encryptAge(one(plain), to), Number.MAX_SAFE_INTEGER)
}

/** What is in the small age file that lies at `key`. Throws `integrity` or `key-missing`, naming it. */
export async function openBytes(key: string, sealed: Uint8Array, keys: OpeningKeys): Promise<Uint8Array> {
  try {
    return await readAll(decryptAge(one(sealed), keys), sealed.length)
  } catch (error) {
    if (!isFailure(error, 'integrity', 'key-missing')) throw error
    throw new Failure(error.code, `cannot open ${key}: ${error.message}`, { cause: error, hints: error.hints, details: { ...error.details, object: key } })
  }
}

/** A small object and where it is to lie. */
export interface SmallObject {
  readonly key: string
  readonly bytes: Uint8Array
}

/** Stores a small object and reads it back: keys are not believed to be stored before they were seen. As `putSeen`, where nobody else may write to this key. */
export async function putChecked(
  storage: Storage,
  object: SmallObject,
  options: { readonly ifAbsent: boolean },
  context: Pick<Context, 'signal'>,
): Promise<void> {
  if (!(await putSeen(storage, object, options, context))) throw notAsWritten(object.key)
}

/**
 * Stores a small object, and tells whether it was then seen there: others may have replaced it meanwhile. With `ifAbsent`, `object-exists` means that
 * others' bytes are there; a lost answer is no failure.
 */
export async function putSeen(
  storage: Storage,
  { key, bytes }: SmallObject,
  { ifAbsent }: { readonly ifAbsent: boolean },
  { signal }: Pick<Context, 'signal'>,
): Promise<boolean> {
  const isThere = async () => {
    const found = await readObjectIfThere(storage, key, bytes.length, signal).catch((error: unknown) => {
      // Longer than ours.
      if (isFailure(error, 'integrity')) return undefined
      throw error
    })
    return found !== undefined && Buffer.compare(found, bytes) === 0
  }
  try {
    await storage.put(key, bytes, { ifAbsent, sizeBytes: bytes.length, contentType: 'application/octet-stream', signal })
  } catch (error) {
    if (!isFailure(error) || signal.aborted || !(await isThere())) throw error
    return true
  }
  return isThere()
}

export function notAsWritten(key: string): Failure {
  return new Failure('storage-failed', `cannot store ${key}: what is read back is not what was written`, { details: { object: key } })
}
