import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../src/kernel/clock.ts'
import type { Context } from '../../src/kernel/context.ts'
import type { Event } from '../../src/kernel/event.ts'
import { createKeyring, type CreatedKeyring, type NewKeyring } from '../../src/repository/keys/create-keyring.ts'
import type { HostKey } from '../../src/repository/keys/key-file.ts'
import { openKeyring, type Keyring } from '../../src/repository/keys/keyring.ts'
import type { KeysAtHand } from '../../src/repository/keys/keys-at-hand.ts'
import type { Repository } from '../../src/repository/repository.ts'
import { memoryStorage } from '../../src/storage/memory.ts'
import type { Storage } from '../../src/storage/storage.ts'

export const keySceneId = '0123456789abcdef0123456789abcdef'

/** A directory for kit and host keys, and a repository in memory; with the context come the warnings. */
export interface KeyScene extends AsyncDisposable {
  readonly storage: Storage
  readonly repository: Repository
  readonly context: Context
  readonly warnings: string[]
  path(name: string): string
  /** The same repository on another storage: a faulty one, or a copy. */
  on(storage: Storage): Repository
  create(more?: Partial<NewKeyring>): Promise<CreatedKeyring & { readonly host: HostKey }>
  open(keys: KeysAtHand, storage?: Storage): Promise<Keyring>
  /** Every object by key. */
  objects(): Promise<Map<string, Buffer>>
  put(objects: ReadonlyMap<string, Uint8Array>): Promise<void>
}

export async function keyScene(): Promise<KeyScene> {
  const directory = await mkdtemp(join(tmpdir(), 'tidemark-keys-'))
  const warnings: string[] = []
  const storage = memoryStorage({ clock: systemClock })
  const on = (other: Storage): Repository => ({ name: 'r', id: keySceneId, layout: 'flat', storage: other, keyring: null })
  const emit = (event: Event) => {
    if (event.type === 'warning') warnings.push(`${event.code}: ${event.message}`)
  }
  const context = { clock: systemClock, emit, signal: new AbortController().signal }
  const path = (name: string) => join(directory, name)
  return {
    storage,
    repository: on(storage),
    context,
    warnings,
    path,
    on,
    create: async (more = {}) => {
      const created = await createKeyring(
        on(storage),
        { kitFile: path('kit.txt'), host: { name: 'db1', keyFile: path('host.key'), reads: 'everything' }, members: [], ...more },
        context,
      )
      if (created.host === null) throw new Error('this scene has a host')
      return { ...created, host: created.host }
    },
    open: async (keys, other = storage) => {
      const keyring = await openKeyring(on(other), keys, context)
      if (keyring === null) throw new Error('there is no keyring')
      return keyring
    },
    objects: async () => {
      const found = new Map<string, Buffer>()
      for await (const { key } of storage.list('')) {
        const parts: Uint8Array[] = []
        for await (const part of storage.read(key)) parts.push(part)
        found.set(key, Buffer.concat(parts))
      }
      return found
    },
    put: async (objects) => {
      for (const [key, bytes] of objects) await storage.put(key, bytes)
    },
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  }
}
