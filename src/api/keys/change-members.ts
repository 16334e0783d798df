import { mkdir, readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { Failure, messageOf, systemCodeOf } from '../../kernel/failure.ts'
import { changeKeyring, type KeyringChange, type NewMember } from '../../repository/keys/change-keyring.ts'
import { formatHostRequest, parseHostRequest } from '../../repository/keys/host-request.ts'
import { formatHostKey, generateHostKey, parseKeyFile, type HostKey, type RecoveryKit } from '../../repository/keys/key-file.ts'
import { openKeyring } from '../../repository/keys/keyring.ts'
import { readSecretFile, requireSafePlace, writeSecretFile } from '../../repository/keys/secret-file.ts'
import type { Repository } from '../../repository/repository.ts'
import { parseVerifyKey, type VerifyKey } from '../../seal/signing.ts'
import { memoryOf, readKit, readPassphrase } from '../read-keys.ts'
import type { Workspace } from '../workspace.ts'
import { describeMembers, type DescribedMember } from './describe-members.ts'
import { lookAtRepositories } from './key-repositories.ts'
import { newRecipients } from './new-members.ts'

export interface AddMembersOptions {
  readonly repositories?: readonly string[]
  /** Make a key for this machine, under this name. Without the recovery kit, what it asks for is the result: `request`. */
  readonly host?: string
  /** A file that holds what another host asks for, or the line itself. */
  readonly request?: string
  /** `age1…` or `NAME=age1…`. */
  readonly recipients?: readonly string[]
  /** Name of the member that the passphrase of the settings is to be; default: passphrase. */
  readonly passphraseName?: string
  /** Hosts that are added back up, and cannot read what they stored. */
  readonly isWriteOnly: boolean
  readonly dryRun: boolean
}

export interface ChangeKeysOptions {
  readonly repositories?: readonly string[]
  readonly remove: readonly string[]
  readonly dryRun: boolean
}

/** What became of one repository. */
export interface ChangedRepository {
  readonly name: string
  readonly location: string
  /** False when everything asked for was so already. */
  readonly changed: boolean
  readonly ring: number
  readonly metadataEpoch: number
  /** Run keys that were sealed anew to the members. */
  readonly resealed: number
  readonly members: readonly DescribedMember[]
}

export interface KeysOutcome {
  readonly repositories: readonly ChangedRepository[]
  /** A host's request to be added, to be carried to the one who has the kit; null where nothing is left to do. */
  readonly request: string | null
  readonly hostKeyFile: string | null
  readonly lines: readonly string[]
  readonly warnings: readonly string[]
  readonly dryRun: boolean
}

/** Adds members to every sealed repository; only the recovery kit can. Throws `key-missing`, `name-taken`, `usage-invalid`. */
export async function addMembers(workspace: Workspace, options: AddMembersOptions): Promise<KeysOutcome> {
  const { encryption } = workspace.settings
  await using stack = new AsyncDisposableStack()
  if (options.host !== undefined && encryption.kitFile === null) return await askToJoin(workspace, options.host, { options, stack })
  const kit = await requireKit(workspace)
  const reads = options.isWriteOnly ? 'metadata' : 'everything'
  const passphrase = encryption.passphraseFile === null ? null : await readPassphrase(encryption.passphraseFile, workspace.context)
  const asked = options.request === undefined ? null : parseHostRequest(await requestText(workspace, options.request))
  const others: readonly NewMember[] = [
    ...(asked === null ? [] : [{ kind: 'host' as const, ...asked, reads } as const]),
    ...newRecipients(options.recipients ?? []),
    ...(passphrase === null ? [] : [{ kind: 'passphrase' as const, name: options.passphraseName ?? 'passphrase', passphrase }]),
  ]
  if (others.length === 0 && options.host === undefined) {
    throw new Failure('usage-invalid', 'nobody is named who is to be added', {
      hints: ['--host NAME (this machine), --request FILE (another host), --recipient age1…, or --passphrase-file FILE'],
    })
  }
  const repositories = await sealedRepositories(workspace, options.repositories, stack)
  if (options.dryRun) {
    const names = [...(options.host === undefined ? [] : [options.host]), ...others.map(({ name }) => name)]
    return planned(repositories.map((repository) => `would add ${names.join(', ')} to ${repository.name}`))
  }
  const own = options.host === undefined ? null : await makeHostKey(workspace, options.host, { root: kit.rootKey.verifyKey, repositories })
  const add = [...(own === null ? [] : [memberOf(own, reads)]), ...others]
  return { ...(await changeAll(workspace, repositories, { kit, change: { add } })), hostKeyFile: own === null ? null : (encryption.hostKey?.path ?? null) }
}

/** Makes a new metadata key in every sealed repository, and removes members. Throws `key-missing`, `usage-invalid`. */
export async function rotateKeys(workspace: Workspace, options: ChangeKeysOptions): Promise<KeysOutcome> {
  await using stack = new AsyncDisposableStack()
  const kit = await requireKit(workspace)
  const repositories = await sealedRepositories(workspace, options.repositories, stack)
  const removed = options.remove.join(', ')
  const warnings = removed === '' ? [] : [`${removed} can still read what was copied, and dumps that were sealed before now; new backups cannot be read`]
  if (options.dryRun) {
    const what = removed === '' ? 'would make a new metadata key' : `would remove ${removed}, and make a new metadata key,`
    return { ...planned(repositories.map(({ name }) => `${what} in ${name}`)), warnings }
  }
  const change = options.remove.length === 0 ? { rotate: true } : { remove: options.remove }
  return { ...(await changeAll(workspace, repositories, { kit, change })), warnings }
}

const planned = (lines: readonly string[]): KeysOutcome => ({ repositories: [], request: null, hostKeyFile: null, lines, warnings: [], dryRun: true })

async function changeAll(
  { settings, context }: Workspace,
  repositories: readonly Repository[],
  { kit, change }: { readonly kit: RecoveryKit; readonly change: KeyringChange },
): Promise<KeysOutcome> {
  const changed: ChangedRepository[] = []
  const { hostKey } = settings.encryption
  for (const repository of repositories) {
    const { ring, isNewRing, resealed } = await changeKeyring(repository, kit, change, context)
    // Never "changed" without having looked, and what was seen is remembered.
    const keyring = await openKeyring(repository, { kit, ...(hostKey === null ? {} : { memory: memoryOf(hostKey.path) }) }, context)
    if (keyring === null || keyring.ring.number < ring.number)
      throw new Failure('integrity', `ring ${ring.number} of ${repository.storage.location} was made and is gone`)
    changed.push({
      name: repository.name,
      location: repository.storage.location,
      changed: isNewRing,
      ring: keyring.ring.number,
      metadataEpoch: keyring.ring.metadataKeys.length,
      resealed,
      members: describeMembers(keyring.ring),
    })
  }
  return { repositories: changed, request: null, hostKeyFile: null, lines: [], warnings: [], dryRun: false }
}

/** A host without the kit makes its key, and says what the one who has the kit must add. */
async function askToJoin(
  workspace: Workspace,
  name: string,
  { options, stack }: { readonly options: AddMembersOptions; readonly stack: AsyncDisposableStack },
): Promise<KeysOutcome> {
  const { root, hostKey } = workspace.settings.encryption
  const verifyKey = root === null ? null : parseVerifyKey('root', root)
  if (verifyKey === null) {
    throw new Failure('key-missing', 'a host is added with the recovery kit, or asks to be added to a keyring whose root it names', {
      hints: [
        'with the kit: --kit FILE',
        'without: --root tidemark-root1…, which tidemark key list prints on another host; the request that is printed then is added there',
      ],
    })
  }
  if (options.dryRun) return planned([`would write the key of host "${name}" to ${hostKey?.path ?? ''}, and print its request`])
  const repositories = (await lookAtRepositories(workspace, stack, options.repositories)).map(({ repository }) => repository).filter((one) => one !== null)
  const host = await makeHostKey(workspace, name, { root: verifyKey, repositories })
  return { ...planned([]), request: formatHostRequest(host), hostKeyFile: hostKey?.path ?? null, dryRun: false }
}

/** One that is there, of the same name and root, is used again. */
async function makeHostKey(
  { settings, context }: Workspace,
  name: string,
  { root, repositories }: { readonly root: VerifyKey; readonly repositories: readonly Repository[] },
): Promise<HostKey> {
  const path = settings.encryption.hostKey?.path
  if (path === undefined)
    throw new Failure('usage-invalid', 'HOME is not set, so there is no usual place for the host key', { hints: ['name one: --host-key FILE'] })
  for (const { storage } of repositories) await requireSafePlace(path, storage)
  const there = await readSecretFile(path, context)
  if (there === undefined) {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    const host = generateHostKey(name, root)
    await writeSecretFile(path, formatHostKey(host))
    return host
  }
  const file = parseKeyFile(there, path)
  if (file.kind === 'host' && file.host.root.text === root.text && file.host.name === name) return file.host
  throw new Failure('name-taken', `cannot write the host key: ${path} holds other keys`, { hints: ['choose another file: --host-key FILE'] })
}

function memberOf({ name, identity, signingKey }: HostKey, reads: 'everything' | 'metadata'): NewMember {
  return { kind: 'host', name, recipient: identity.recipient, verifyKey: signingKey.verifyKey, reads }
}

async function requireKit({ settings: { encryption }, context }: Workspace): Promise<RecoveryKit> {
  if (encryption.kitFile !== null) return readKit(encryption.kitFile, context)
  throw new Failure('key-missing', 'only the recovery kit can change who belongs to a repository', {
    hints: ['bring it: --kit FILE, on a medium that leaves with you'],
  })
}

async function sealedRepositories(workspace: Workspace, named: readonly string[] | undefined, stack: AsyncDisposableStack): Promise<readonly Repository[]> {
  const found = await lookAtRepositories(workspace, stack, named)
  const sealed = found.flatMap(({ repository, state }) => (repository !== null && state === 'sealed' ? [repository] : []))
  if (sealed.length === found.length || (named === undefined && sealed.length > 0)) return sealed
  const open = found.filter(({ state }) => state !== 'sealed').map(({ settings }) => `"${settings.name}"`)
  throw new Failure('key-missing', `${open.join(', ')} ${open.length === 1 ? 'has' : 'have'} no keyring`, { hints: ['make it: tidemark key init'] })
}

async function requestText({ machine }: Workspace, text: string): Promise<string> {
  if (text.startsWith('tidemark-host ')) return text
  const path = resolve(machine.cwd, text)
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (systemCodeOf(error) === undefined) throw error
    throw new Failure('usage-invalid', `cannot read the request ${path}: ${messageOf(error)}`, { cause: error })
  }
}
