import { mkdir, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { utc } from '../../kernel/clock.ts'
import { Failure, systemCodeOf } from '../../kernel/failure.ts'
import type { Secret } from '../../kernel/secret.ts'
import { createKeyring } from '../../repository/keys/create-keyring.ts'
import { generateRecoveryKit, type RecoveryKit } from '../../repository/keys/key-file.ts'
import { formatRecoveryKit } from '../../repository/keys/recovery-kit.ts'
import { requireSafePlace, writeSecretFile } from '../../repository/keys/secret-file.ts'
import { openOrCreateRepository, type Repository } from '../../repository/repository.ts'
import { formatAgeIdentity } from '../../seal/age-keys.ts'
import { memoryOf, readKit, readPassphrase } from '../read-keys.ts'
import type { Workspace } from '../workspace.ts'
import { describeMembers, type DescribedMember } from './describe-members.ts'
import { kitRepository, lookAtRepositories, type KeyRepository } from './key-repositories.ts'
import { newRecipients } from './new-members.ts'

export interface InitKeysOptions {
  readonly repositories?: readonly string[]
  /** Name of this host among the members; default: the machine's. */
  readonly name?: string
  /** Besides those of the configuration: `age1…` or `NAME=age1…`. */
  readonly recipients?: readonly string[]
  /** This host backs up, and cannot read what it stored. */
  readonly isWriteOnly: boolean
  readonly dryRun: boolean
  /** Asked before the keyring is made: the kit must have been put where it is safe. `ending`: the last characters of its secret, which say nothing of the rest. Rejects to stop. */
  readonly acknowledge: (kit: { readonly file: string; readonly ending: Secret }) => Promise<void>
}

/** What `key init` would do, and where. Plain data. */
export interface InitKeysPlan {
  readonly kitFile: string
  /** False where one lies there already, which is used again. */
  readonly isNewKit: boolean
  readonly hostKeyFile: string
  readonly isNewHostKey: boolean
  readonly host: string
  readonly reads: 'everything' | 'metadata'
  readonly repositories: readonly { readonly name: string; readonly location: string; readonly state: KeyRepository['state'] }[]
  readonly lines: readonly string[]
}

export interface SealedRepository {
  readonly name: string
  readonly location: string
  readonly id: string
  readonly created: boolean
  /** False where these very keys had made it before. */
  readonly isNew: boolean
  readonly ring: number
  readonly members: readonly DescribedMember[]
}

export interface InitKeysOutcome {
  readonly plan: InitKeysPlan
  /** `tidemark-root1…`; null when nothing was made. */
  readonly root: string | null
  readonly repositories: readonly SealedRepository[]
  readonly dryRun: boolean
}

/**
 * Makes the keys of this host, the recovery kit and the keyring of each repository: looked at everything → kit → acknowledged → host key → rings. Killed anywhere, the same call carries on.
 * Throws `target-unsafe` for a repository that holds backups in clear, `key-missing` where there is a host key whose kit is not at hand.
 */
export async function initKeys(workspace: Workspace, options: InitKeysOptions): Promise<InitKeysOutcome> {
  const { context } = workspace
  await using stack = new AsyncDisposableStack()
  const found = await lookAtRepositories(workspace, stack, options.repositories)
  requireNoClearBackups(found)
  const plan = await planKeys(workspace, options, found)
  const { passphraseFile, recipients } = workspace.settings.encryption
  const passphrase = passphraseFile === null ? null : await readPassphrase(passphraseFile, context)
  const members = [
    ...newRecipients([...recipients, ...(options.recipients ?? [])]),
    ...(passphrase === null ? [] : [{ kind: 'passphrase' as const, name: 'passphrase', passphrase }]),
  ]
  if (options.dryRun) return { plan, root: null, repositories: [], dryRun: true }

  const repositories: Repository[] = []
  for (const { settings, storage, repository } of found)
    repositories.push(repository ?? (await openOrCreateRepository(settings.name, storage, settings.layout, context)))
  const kit = await makeKit(plan, { found, repositories }, workspace)
  await options.acknowledge({ file: plan.kitFile, ending: formatAgeIdentity(kit.identity).last(endingCharacters) })

  await mkdir(dirname(plan.hostKeyFile), { recursive: true, mode: 0o700 })
  const sealed: SealedRepository[] = []
  for (const [index, repository] of repositories.entries()) {
    const { keyring } = await createKeyring(
      repository,
      { kitFile: plan.kitFile, host: { name: plan.host, keyFile: plan.hostKeyFile, reads: plan.reads }, members },
      context,
    )
    await memoryOf(plan.hostKeyFile).remember(repository.id, keyring.seen)
    sealed.push({
      name: repository.name,
      location: repository.storage.location,
      id: repository.id,
      created: found[index]?.repository === null,
      isNew: found[index]?.state !== 'sealed',
      ring: keyring.ring.number,
      members: describeMembers(keyring.ring),
    })
  }
  return { plan, root: kit.rootKey.verifyKey.text, repositories: sealed, dryRun: false }
}

/** Of a text with a checksum of six characters at its end: they tell whether somebody has it, and nothing of the key. */
const endingCharacters = 6

function requireNoClearBackups(found: readonly KeyRepository[]): void {
  const names = found.filter(({ state }) => state === 'clear').map(({ settings }) => settings.name)
  if (names.length === 0) {
    if (found.length > 0) return
    throw new Failure('config-contradiction', 'every configured repository is in clear on purpose (encryption: none)', {
      hints: ['remove encryption: none, or name a repository: --repo NAME'],
    })
  }
  const others = found.length > names.length ? ['or seal the others alone: tidemark key init --repo NAME'] : []
  throw new Failure(
    'target-unsafe',
    `cannot seal ${names.map((name) => `"${name}"`).join(', ')}: backups in clear are recorded there, and sealing cannot take back what was readable`,
    {
      hints: [
        'make a new repository beside it (another path or prefix below repositories:), and seal that one: tidemark key init --repo NEW',
        'keep the old one until its backups are old enough to go, with encryption: none below its name',
        ...others,
      ],
      details: { repositories: names },
    },
  )
}

async function planKeys({ settings, machine }: Workspace, options: InitKeysOptions, found: readonly KeyRepository[]): Promise<InitKeysPlan> {
  const { kitFile: chosenKit, hostKey } = settings.encryption
  if (hostKey === null)
    throw new Failure('usage-invalid', 'HOME is not set, so there is no usual place for the host key', { hints: ['name one: --host-key FILE'] })
  const host = options.name ?? machine.hostName
  const kitFile = chosenKit ?? join(machine.cwd, `tidemark-recovery-kit-${host.replaceAll(/[^\w.-]/g, '_')}.txt`)
  for (const { storage } of found) for (const path of [kitFile, hostKey.path]) await requireSafePlace(path, storage)
  const [isNewKit, isNewHostKey] = [!(await isThere(kitFile)), !(await isThere(hostKey.path))]
  if (isNewKit && !isNewHostKey) {
    throw new Failure('key-missing', `this host has a key already (${hostKey.path}), and the recovery kit that was made with it is not at ${kitFile}`, {
      hints: ['seal another repository with the same keys: --kit FILE', 'or begin anew with a key of its own: --host-key FILE'],
      details: { file: kitFile },
    })
  }
  const reads = options.isWriteOnly ? 'metadata' : 'everything'
  const lines = [
    isNewKit ? `would write the recovery kit to ${kitFile}` : `would use the recovery kit ${kitFile}`,
    isNewHostKey ? `would write the key of host "${host}" to ${hostKey.path}` : `would use the host key ${hostKey.path}`,
    ...found.map(({ settings: { name }, storage, state }) =>
      state === 'sealed'
        ? `${name} at ${storage.location} has a keyring: would see that it is that of these keys`
        : `would ${state === 'missing' ? 'create and ' : ''}seal ${name} at ${storage.location}`,
    ),
  ]
  const repositories = found.map(({ settings: { name }, storage: { location }, state }) => ({ name, location, state }))
  return { kitFile, isNewKit, hostKeyFile: hostKey.path, isNewHostKey, host, reads, repositories, lines }
}

/** One kit for all of them, that names each. */
async function makeKit(
  { kitFile, isNewKit }: InitKeysPlan,
  { found, repositories }: { readonly found: readonly KeyRepository[]; readonly repositories: readonly Repository[] },
  { context }: Workspace,
): Promise<RecoveryKit> {
  if (isNewKit) {
    const named = repositories.flatMap((repository, index) => {
      const settings = found[index]?.settings
      return settings === undefined ? [] : [kitRepository(repository, settings)]
    })
    const date = utc(context.clock.now()).slice(0, 10)
    await writeSecretFile(kitFile, formatRecoveryKit(generateRecoveryKit(), { repositories: named, date }))
  }
  return readKit(kitFile, context)
}

async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return false
    throw new Failure('usage-invalid', `cannot look at ${path}: ${systemCodeOf(error) ?? ''}`, { cause: error, hints: [`ls -ld ${dirname(path)}`] })
  }
}
