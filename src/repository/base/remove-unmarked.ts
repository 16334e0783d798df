import type { CallOptions, Storage } from '../../storage/storage.ts'
import { baseObjectOf, inOrderOfRemoval, isPacksFolder } from './base-objects.ts'
import type { LiveMarks } from './mark-live.ts'

/** Removes those objects of a tombstone that no root needs, as was marked just now. What is no object of a base backup of this cluster is not removed, and answered. */
export async function removeUnmarked(
  storage: Storage,
  { cluster, objects, marks }: { readonly cluster: string; readonly objects: readonly string[]; readonly marks: Pick<LiveMarks, 'objects'> },
  options: CallOptions,
): Promise<{ readonly removed: readonly string[]; readonly refused: readonly string[] }> {
  const found: string[] = []
  const refused: string[] = []
  for (const key of objects) {
    if (baseObjectOf(cluster, key) !== undefined) found.push(key)
    else if (!isPacksFolder(cluster, key)) refused.push(key)
    else for await (const object of storage.list(key, options)) if (baseObjectOf(cluster, object.key) !== undefined) found.push(object.key)
  }
  const removed = inOrderOfRemoval(cluster, found).filter((key) => !marks.objects.has(key))
  for (const key of removed) await storage.delete(key, options)
  return { removed, refused }
}
