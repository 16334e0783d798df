import type { CallOptions, Storage, StoredObject } from '../../storage/storage.ts'
import { runKeyKey } from '../keys/key-layout.ts'
import type { RunName } from '../keys/run-key.ts'
import { indexKey, leavesKey, repackOf, repacksPrefix, rootKey, runPacksPrefix } from '../layout.ts'
import { inOrderOfRemoval } from './base-objects.ts'

/** Everything that a run of a base backup or a repack stored and that is there, in the order in which it is removed. */
export async function listRunObjects(storage: Storage, { cluster, run }: RunName, options: CallOptions = {}): Promise<readonly StoredObject[]> {
  const found = new Map<string, StoredObject>()
  for (const key of [rootKey(cluster, run), indexKey(cluster, run), leavesKey(cluster, run), runKeyKey(cluster, run)]) {
    const object = await storage.stat(key, options)
    if (object !== undefined) found.set(key, object)
  }
  for await (const object of storage.list(repacksPrefix(cluster), options)) if (repackOf(cluster, object.key)?.run === run) found.set(object.key, object)
  for await (const object of storage.list(runPacksPrefix(cluster, run), options)) found.set(object.key, object)
  return inOrderOfRemoval(cluster, [...found.keys()]).flatMap((key) => found.get(key) ?? [])
}

/** Removes everything that a run stored. Only for a run that committed nothing and never will, and to which no other backup can refer: one that holds the lease still. */
export async function removeRunObjects(storage: Storage, run: RunName): Promise<void> {
  for (const { key } of await listRunObjects(storage, run)) await storage.delete(key)
}
