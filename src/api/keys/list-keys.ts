import { Failure } from '../../kernel/failure.ts'
import type { KeysAtHand } from '../../repository/keys/keys-at-hand.ts'
import { hostIdOf } from '../../repository/keys/ring.ts'
import { keysOf, unlockRepository } from '../unlock-repository.ts'
import type { Workspace } from '../workspace.ts'
import { describeMembers, type DescribedMember } from './describe-members.ts'
import { lookAtRepositories, type KeyRepository } from './key-repositories.ts'

export interface ListedKeyring {
  readonly name: string
  readonly location: string
  readonly state: KeyRepository['state']
  /** All null where nothing is sealed. */
  readonly root: string | null
  readonly ring: number | null
  readonly metadataEpoch: number | null
  /** Name of the member whose host key is at hand. */
  readonly thisHost: string | null
  /** Whether the keys at hand read rows, not only what is there. */
  readonly readsData: boolean | null
  readonly members: readonly DescribedMember[]
}

/** Who belongs to each repository, as far as the keys at hand open it. Throws `key-missing` for one that they do not. */
export async function listKeys(workspace: Workspace, options: { readonly repositories?: readonly string[] } = {}): Promise<readonly ListedKeyring[]> {
  await using stack = new AsyncDisposableStack()
  const listed: ListedKeyring[] = []
  for (const { settings, storage, repository, state } of await lookAtRepositories(workspace, stack, options.repositories)) {
    const common = { name: settings.name, location: storage.location, state }
    if (repository === null || state !== 'sealed') {
      listed.push({ ...common, root: null, ring: null, metadataEpoch: null, thisHost: null, readsData: null, members: [] })
      continue
    }
    const { keyring } = await unlockRepository(repository, settings, workspace)
    if (keyring === null) throw new Failure('integrity', `the keyring of ${storage.location} was there and is gone`)
    const { ring, readsData } = keyring
    const members = describeMembers(ring)
    const id = hostId(await keysOf(workspace))
    listed.push({
      ...common,
      root: ring.root.text,
      ring: ring.number,
      metadataEpoch: ring.metadataKeys.length,
      thisHost: members.find((member) => member.id !== null && member.id === id && member.removedAfterRing === null)?.name ?? null,
      readsData,
      members,
    })
  }
  return listed
}

function hostId({ host }: KeysAtHand): string | null {
  return host === undefined ? null : hostIdOf({ verifyKey: host.signingKey.verifyKey, recipient: host.identity.recipient })
}
