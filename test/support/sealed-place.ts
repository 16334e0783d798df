import { mkdtemp } from 'node:fs/promises'
import { join } from 'node:path'
import type { Workspace } from '../../src/api/workspace.ts'
import { createKeyring, type CreatedKeyring } from '../../src/repository/keys/create-keyring.ts'
import type { HostKey } from '../../src/repository/keys/key-file.ts'
import { openKeyring } from '../../src/repository/keys/keyring.ts'
import type { KeysAtHand } from '../../src/repository/keys/keys-at-hand.ts'
import type { Member } from '../../src/repository/keys/ring.ts'
import { openOrCreateRepository, withKeyring, type Repository } from '../../src/repository/repository.ts'
import type { Storage } from '../../src/storage/storage.ts'
import type { RoomOptions, SweepRoom } from './sweep-room.ts'

/** A new sealed repository of a sweep room, on a storage, and verbs on it with the keys that one brings. */
export interface SealedPlace {
  readonly kitFile: string
  readonly kit: CreatedKeyring['kit']
  readonly host: HostKey
  /** As the host sees it. */
  readonly repository: Repository
  /** As other keys show it. */
  opened(keys: KeysAtHand): Promise<Repository>
  /** The host's workspace, or that of whoever brings other keys. */
  workspace(options?: RoomOptions & { readonly keys?: KeysAtHand; readonly storage?: Storage }): Workspace
}

export async function sealedPlace(room: SweepRoom, storage: Storage, reads: Member['reads'] = 'everything'): Promise<SealedPlace> {
  const directory = await mkdtemp(join(room.directory, 'keys-'))
  const repository = await openOrCreateRepository('main', storage, 'flat', room.context)
  const kitFile = join(directory, 'kit.txt')
  const { kit, host, keyring } = await createKeyring(
    repository,
    { kitFile, host: { name: 'db1', keyFile: join(directory, 'host.key'), reads }, members: [] },
    room.context,
  )
  if (host === null) throw new Error('this place has a host')
  return {
    kitFile,
    kit,
    host,
    repository: withKeyring(repository, keyring),
    opened: async (keys) => withKeyring(repository, await openKeyring(repository, keys, room.context)),
    workspace: ({ keys = { host }, storage: other = storage, ...options } = {}) => {
      const workspace = room.workspace(other, options)
      const { main } = workspace.settings.repositories
      if (main === undefined) throw new Error('this room has a repository')
      const settings: Workspace['settings'] = {
        ...workspace.settings,
        repositories: { main: { ...main, isClear: false } },
        encryption: { ...workspace.settings.encryption, wanted: 'sealed' },
      }
      return { ...workspace, settings, keys: async () => keys }
    },
  }
}
