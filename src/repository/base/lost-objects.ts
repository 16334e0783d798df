import type { CallOptions, Storage } from '../../storage/storage.ts'
import type { Problem } from '../backup.ts'

/** An object that must be there, with its size. */
export interface ExpectedObject {
  readonly key: string
  readonly sizeBytes: number
}

const mostProblems = 100
/** So many are asked for one by one. */
const few = 8

/** Which of these objects are gone, or have another size; at most a hundred are named. Folders of which much is expected are listed, so that thousands of packs are no thousands of questions. */
export async function findLostObjects(storage: Storage, expected: readonly ExpectedObject[], options: CallOptions): Promise<Problem[]> {
  const folders = Map.groupBy(new Map(expected.map((object) => [object.key, object])).values(), ({ key }) => key.slice(0, key.lastIndexOf('/') + 1))
  const problems: Problem[] = []
  for (const [folder, objects] of folders) {
    const listed = objects.length > few ? await listSizes(storage, folder, options) : new Map<string, number>()
    for (const { key, sizeBytes } of objects) {
      if (listed.get(key) === sizeBytes) continue
      // Asked for by its name, too: a listing may be stale.
      const found = (await storage.stat(key, options))?.sizeBytes
      if (found === sizeBytes) continue
      const message = found === undefined ? 'it is gone' : `it has ${found} bytes; ${sizeBytes} were stored`
      problems.push({ code: found === undefined ? 'object-missing' : 'integrity', object: key, message })
      if (problems.length === mostProblems) return problems
    }
  }
  return problems
}

async function listSizes(storage: Storage, folder: string, options: CallOptions): Promise<ReadonlyMap<string, number>> {
  const sizes = new Map<string, number>()
  for await (const { key, sizeBytes } of storage.list(folder, options)) sizes.set(key, sizeBytes)
  return sizes
}
