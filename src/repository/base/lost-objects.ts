import type { CallOptions, Storage } from '../../storage/storage.ts'
import type { Problem } from '../backup.ts'

/** An object that must be there, with its size. */
export interface ExpectedObject {
  readonly key: string
  readonly sizeBytes: number
}

const mostProblems = 100

/** Which of these objects are gone, or have another size. Folders of which much is expected are listed, so that thousands of packs are no thousands of questions. */
export async function findLostObjects(storage: Storage, expected: readonly ExpectedObject[], options: CallOptions): Promise<Problem[]> {
  const folders = Map.groupBy(new Map(expected.map((object) => [object.key, object])).values(), ({ key }) => key.slice(0, key.lastIndexOf('/') + 1))
  const problems: Problem[] = []
  for (const [folder, objects] of folders) {
    const sizes = await sizesOf(storage, folder, objects, options)
    for (const { key, sizeBytes } of objects) {
      const found = sizes.get(key)
      if (found === sizeBytes || problems.length >= mostProblems) continue
      const message = found === undefined ? 'it is gone' : `it has ${found} bytes; ${sizeBytes} were stored`
      problems.push({ code: found === undefined ? 'object-missing' : 'integrity', object: key, message })
    }
  }
  return problems
}

async function sizesOf(storage: Storage, folder: string, objects: readonly ExpectedObject[], options: CallOptions): Promise<ReadonlyMap<string, number>> {
  const sizes = new Map<string, number>()
  if (objects.length === 1) {
    for (const { key } of objects) {
      const found = await storage.stat(key, options)
      if (found !== undefined) sizes.set(key, found.sizeBytes)
    }
  } else for await (const { key, sizeBytes } of storage.list(folder, options)) sizes.set(key, sizeBytes)
  return sizes
}
