import { z } from 'zod'
import type { Context } from '../../kernel/context.ts'
import { Failure } from '../../kernel/failure.ts'
import type { SecretBytes } from '../../kernel/secret.ts'
import type { OpeningKeys } from '../../seal/age.ts'
import type { SigningKey } from '../../seal/signing.ts'
import type { Storage } from '../../storage/storage.ts'
import { readObject } from '../bytes.ts'
import { findHost, readersOf, secretKeySchema, type Ring } from './ring.ts'
import { formatSignedText, parseSignedText, type SignerName } from './signed-text.ts'
import { openBytes, sealBytes } from './stored-secret.ts'

/** A run, as its objects are named: its key, its packs. */
export interface RunName {
  readonly cluster: string
  readonly run: string
}

/** A thousand readers, and room. */
const limitBytes = 1024 * 1024

const schema = z.object({
  format: z.literal('tidemark-run-key/1'),
  repository: z.string(),
  cluster: z.string(),
  run: z.string(),
  ring: z.number().int().positive(),
  key: secretKeySchema,
})

/** A run key as it is stored: docs/keys.md "Run key". */
export interface StoredRunKey extends RunName {
  readonly key: SecretBytes
  /** The ring whose readers it is sealed to. */
  readonly ring: number
}

/** The object for a run key, sealed to those who read data in this ring. */
export async function sealRunKey(
  { cluster, run, key }: Omit<StoredRunKey, 'ring'>,
  ring: Ring,
  by: { readonly signer: SignerName; readonly key: SigningKey },
): Promise<Uint8Array> {
  const { repository, number } = ring
  const statement = { format: 'tidemark-run-key/1', repository, cluster, run, ring: number, key: Buffer.from(key.reveal()).toString('base64') }
  return sealBytes(formatSignedText(statement, by, { purpose: 'run-key', repository }), { recipients: readersOf(ring) })
}

/** Reads the run key at `key`. Throws `key-missing` when none of the keys opens it, `integrity` unless somebody of the ring, the root included, signed it. */
export async function readRunKey(
  from: { readonly storage: Storage; readonly key: string },
  keys: OpeningKeys,
  ring: Ring,
  context: Pick<Context, 'signal'>,
): Promise<StoredRunKey> {
  const { storage, key } = from
  const refused = (why: string) => new Failure('integrity', `cannot use run key ${key}: ${why}`, { details: { object: key } })
  const plain = await openBytes(key, await readObject(storage, key, limitBytes, context.signal), keys)
  const text = parseSignedText(key, plain, { purpose: 'run-key', repository: ring.repository })
  const signer = text.signer === 'root' ? ring.root : findHost(ring, text.signer)?.verifyKey
  if (signer === undefined || !text.isSignedBy(signer)) throw refused('nobody of this repository signed it')
  const parsed = schema.safeParse(text.statement)
  if (!parsed.success) throw refused(`it is not what Tidemark writes: ${parsed.error.issues[0]?.path.join('.') ?? ''} ${parsed.error.issues[0]?.message ?? ''}`)
  if (parsed.data.repository !== ring.repository) throw refused(`it belongs to repository ${parsed.data.repository}`)
  return parsed.data
}
