import type { CallOptions, Storage, StoredObject } from '../../storage/storage.ts'
import { runKeyKey } from '../keys/key-layout.ts'
import { indexKey, leavesKey, packsPrefix, repacksPrefix, repackOf, rootKey } from '../layout.ts'
import { inOrderOfRemoval } from './base-objects.ts'

/** Whose objects. */
export interface RunOf {
  readonly cluster: string
  readonly run: string
}

/** Everything that a run of a base backup or a repack stored and that is there, in the order in which it is removed. */
export async function listRunObjects(storage: Storage, { cluster, run }: RunOf, options: CallOptions = {}): Promise<readonly StoredObject[]> {
  const found = new Map<string, StoredObject>()
  for (const key of [rootKey(cluster, run), indexKey(cluster, run), leavesKey(cluster, run), runKeyKey(cluster, run)]) {
    const object = await storage.stat(key, options)
    if (object !== undefined) found.set(key, object)
  }
  for await (const object of storage.list(repacksPrefix(cluster), options)) if (repackOf(cluster, object.key)?.run === run) found.set(object.key, object)
  for await (const object of storage.list(packsPrefix(cluster, run), options)) found.set(object.key, object)
  return inOrderOfRemoval(cluster, [...found.keys()]).flatMap((key) => found.get(key) ?? [])
}

/** Removes everything that a run stored. Only for a run that committed nothing and never will, and to which no other backup can refer: one that holds the lease still. */
export async function removeRunObjects(storage: Storage, run: RunOf): Promise<void> {
  for (const { key } of await listRunObjects(storage, run)) await storage.delete(key)
}
