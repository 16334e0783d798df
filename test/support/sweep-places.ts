import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../src/kernel/clock.ts'
import { memoryStorage } from '../../src/storage/memory.ts'
import { posixStorage } from '../../src/storage/posix.ts'
import type { Storage } from '../../src/storage/storage.ts'
import { startFakeS3 } from './fake-s3.ts'
import { type Picture, putPicture } from './repository-state.ts'
import { s3StorageOn } from './s3-storage.ts'
import { isComplete } from './sweep.ts'

export interface SweptPlace extends AsyncDisposable {
  readonly storage: Storage
}

/** Where sweeps are run, and which share of the faults in the fast form. */
export const sweptPlaces: readonly { readonly name: string; readonly share: number; open(picture: Picture): Promise<SweptPlace> }[] = [
  { name: 'memory', share: 1, open: (picture) => filled(memoryStorage({ clock: systemClock }), picture, async () => undefined) },
  {
    name: 'posix',
    share: isComplete ? 1 : 0.1,
    async open(picture) {
      const root = await mkdtemp(join(tmpdir(), 'tidemark-swept-'))
      return filled(posixStorage({ root: join(root, 'repository') }), picture, () => rm(root, { recursive: true, force: true }))
    },
  },
  {
    name: 'S3 (in this process)',
    share: isComplete ? 1 : 0.1,
    async open(picture) {
      const fake = await startFakeS3()
      return filled(s3StorageOn(fake), picture, async () => fake[Symbol.asyncDispose]())
    },
  },
]

async function filled(storage: Storage, picture: Picture, close: () => Promise<void>): Promise<SweptPlace> {
  await putPicture(storage, picture)
  return {
    storage,
    async [Symbol.asyncDispose]() {
      await storage[Symbol.asyncDispose]()
      await close()
    },
  }
}
