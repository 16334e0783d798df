import { Failure, isFailure } from '../../kernel/failure.ts'
import { decodeIndex, type IndexedPack } from '../../packs/pack-index.ts'
import { decodeWholePack } from '../../packs/whole-pack.ts'
import type { CallOptions } from '../../storage/storage.ts'
import { readObject } from '../bytes.ts'
import type { BackupRecord } from '../cluster-log.ts'
import { digestOf, type ObjectRef } from '../commit-entry.ts'
import type { Repository } from '../repository.ts'
import { decodeBaseRoot } from './base-root.ts'
import { keyOfPack, type PackKeys } from './pack-keys.ts'

/** Roots and indexes: what must be read before anything of a base backup can be. */

/** 10 TB are some 5 MB of root and 60 MB of index. */
const rootLimitBytes = 256 << 20
const indexLimitBytes = 512 << 20

export type DecodedRoot = ReturnType<typeof decodeBaseRoot>

/** The root that the log names. Rejects with `integrity`, `object-missing` or `key-missing`. */
export async function readRoot(repository: Repository, { facts, manifest }: BackupRecord, keys: PackKeys | null, options: CallOptions): Promise<DecodedRoot> {
  const { cluster, id } = facts
  const bytes = await readNamed(repository, { ...manifest, backup: id, limitBytes: rootLimitBytes }, options)
  const decoded = await decodeRootBytes(bytes, { key: manifest.key, cluster, backup: id }, keys)
  const { root } = decoded
  if (root.repository !== repository.id || root.cluster !== cluster || root.backup.id !== id) {
    throw new Failure('integrity', `${manifest.key} is the root of backup ${root.backup.id} of cluster "${root.cluster}" in another place`, {
      details: { object: manifest.key, backup: id },
    })
  }
  return decoded
}

/** A root that nothing names, with its digest: whose it is, the caller looks. Rejects as `readRoot` does. */
export async function readUnnamedRoot(
  repository: Repository,
  { key, cluster, run }: { readonly key: string; readonly cluster: string; readonly run: string },
  keys: PackKeys | null,
  options: CallOptions,
): Promise<DecodedRoot & { readonly sha256: string; readonly sizeBytes: number }> {
  const bytes = Buffer.from(await readObject(repository.storage, key, rootLimitBytes, options.signal))
  return { ...(await decodeRootBytes(bytes, { key, cluster, backup: run }, keys)), sha256: digestOf(bytes), sizeBytes: bytes.length }
}

async function decodeRootBytes(
  bytes: Buffer,
  { key, cluster, backup }: { readonly key: string; readonly cluster: string; readonly backup: string },
  keys: PackKeys | null,
): Promise<DecodedRoot> {
  return decodeBaseRoot(await decodeWholePack(bytes, key, (header) => keyOfPack(header, { cluster, run: backup }, keys), rootLimitBytes), key)
}

export interface NamedIndex extends ObjectRef {
  readonly cluster: string
  readonly run: string
  /** Who names it, as a failure says it. */
  readonly namedBy: string
}

/** An index that a root, or the log, names. Rejects as `readRoot` does. */
export async function readIndex(repository: Repository, index: NamedIndex, keys: PackKeys | null, options: CallOptions): Promise<readonly IndexedPack[]> {
  const { key, sha256, cluster, run, namedBy } = index
  return decodeIndexBytes(await readNamed(repository, { key, sha256, backup: namedBy, limitBytes: indexLimitBytes }, options), { key, cluster, run }, keys)
}

/** An index that nothing names, with its digest. */
export async function readUnnamedIndex(
  repository: Repository,
  index: { readonly key: string; readonly cluster: string; readonly run: string },
  keys: PackKeys | null,
  options: CallOptions,
): Promise<{ readonly packs: readonly IndexedPack[]; readonly sha256: string }> {
  const bytes = Buffer.from(await readObject(repository.storage, index.key, indexLimitBytes, options.signal))
  return { packs: await decodeIndexBytes(bytes, index, keys), sha256: digestOf(bytes) }
}

async function decodeIndexBytes(
  bytes: Buffer,
  { key, cluster, run }: { readonly key: string; readonly cluster: string; readonly run: string },
  keys: PackKeys | null,
): Promise<readonly IndexedPack[]> {
  return decodeIndex(await decodeWholePack(bytes, key, (header) => keyOfPack(header, { cluster, run }, keys), indexLimitBytes), key)
}

/** An object that something else names with its digest. */
async function readNamed(
  repository: Repository,
  { key, sha256, backup, limitBytes }: ObjectRef & { readonly backup: string; readonly limitBytes: number },
  options: CallOptions,
): Promise<Buffer> {
  let bytes: Uint8Array
  try {
    bytes = await readObject(repository.storage, key, limitBytes, options.signal)
  } catch (error) {
    if (!isFailure(error, 'object-missing')) throw error
    throw new Failure('object-missing', `backup ${backup} cannot be read: ${key} is gone`, { cause: error, details: { object: key, backup } })
  }
  if (digestOf(bytes) !== sha256) throw new Failure('integrity', `backup ${backup} cannot be read: ${key} was changed`, { details: { object: key, backup } })
  return Buffer.from(bytes)
}
