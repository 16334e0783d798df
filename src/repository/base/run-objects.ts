import type { Storage } from '../../storage/storage.ts'
import { indexKey, leavesKey, packsPrefix, rootKey } from '../layout.ts'

/** Removes everything that a run of a base backup stored. Only for a run that committed nothing and never will. The root goes first: without it nothing else is named by anything. */
export async function removeRunObjects(storage: Storage, { cluster, run }: { readonly cluster: string; readonly run: string }): Promise<void> {
  for (const key of [rootKey(cluster, run), indexKey(cluster, run), leavesKey(cluster, run)]) await storage.delete(key)
  const packs: string[] = []
  for await (const { key } of storage.list(packsPrefix(cluster, run))) packs.push(key)
  for (const key of packs) await storage.delete(key)
}
