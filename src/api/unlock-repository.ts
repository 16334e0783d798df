import { stat } from 'node:fs/promises'
import type { RepositorySettings } from '../config/settings.ts'
import { Failure, messageOf, systemCodeOf } from '../kernel/failure.ts'
import { hasKeyring } from '../repository/keys/has-keyring.ts'
import type { Keyring } from '../repository/keys/keyring.ts'
import type { KeysAtHand } from '../repository/keys/keys-at-hand.ts'
import { commitsRoot } from '../repository/layout.ts'
import { withKeyring, type Repository } from '../repository/repository.ts'
import type { Storage } from '../storage/storage.ts'
import type { Workspace } from './workspace.ts'

/**
 * The repository as the keys at hand show it, before anything of it is read but what it is. Throws `key-missing` when it is sealed and no key opens it, or when nobody chose that it
 * lies in clear; `integrity` when its keyring is damaged, forged, or gone.
 */
export async function unlockRepository(
  repository: Repository,
  settings: Pick<RepositorySettings, 'name' | 'isClear'>,
  workspace: Workspace,
): Promise<Repository> {
  const { context } = workspace
  const { storage } = repository
  if (!(await hasKeyring(storage, context))) {
    await requireClear(workspace, settings, { storage, repository })
    return repository
  }
  if (settings.isClear)
    context.emit({ type: 'warning', code: 'encryption', message: `repository "${settings.name}" is sealed, although the configuration says encryption: none` })
  const { openKeyring } = await import('../repository/keys/keyring.ts')
  const keyring = await openKeyring(repository, await keysOf(workspace), context)
  if (keyring === null) throw new Failure('integrity', `the keyring of ${storage.location} was there and is gone`)
  warnOfStrangers(keyring, workspace)
  return withKeyring(repository, keyring)
}

/** The keys that settings and flags name; their files are read once. */
export async function keysOf({ keys, settings, context }: Pick<Workspace, 'keys' | 'settings' | 'context'>): Promise<KeysAtHand> {
  if (keys !== undefined) return keys()
  const { readKeys } = await import('./read-keys.ts')
  return readKeys(settings.encryption, context)
}

/** Somebody whom the configuration names, and to whom nothing would be sealed. */
function warnOfStrangers({ ring }: Keyring, { settings, context }: Workspace): void {
  for (const recipient of settings.encryption.recipients) {
    if (ring.members.some((member) => member.recipient.text === recipient)) continue
    const message = `${recipient} is in the configuration and no member of the keyring, so nothing is sealed to it: tidemark key add --recipient ${recipient} --kit FILE`
    context.emit({ type: 'warning', code: 'recipient-missing', message })
  }
}

/** Throws `integrity` when this host saw a keyring in a repository that has none. */
export async function requireNotGone(
  { settings: { encryption } }: Pick<Workspace, 'settings'>,
  { storage, id }: Pick<Repository, 'storage' | 'id'>,
): Promise<void> {
  const { hostKey } = encryption
  if (hostKey === null || !(await isThere(`${hostKey.path}.seen`))) return
  const { memoryOf } = await import('./read-keys.ts')
  const seen = await memoryOf(hostKey.path).recall(id)
  if (seen === undefined) return
  throw new Failure('integrity', `the keys of the repository at ${storage.location} are gone: this host saw ring ${seen.number}`, {
    hints: ['bring .tidemark/keys back from a copy of the repository', 'without the rings nothing that was sealed can be opened'],
  })
}

/**
 * Throws unless a repository without keyring may be in clear: it was chosen so; or nobody asked for sealed backups, and there are backups in clear already, or no key of this host.
 * `repository`: null where there is none yet.
 */
export async function requireClear(
  workspace: Workspace,
  settings: Pick<RepositorySettings, 'name' | 'isClear'>,
  { storage, repository }: { readonly storage: Storage; readonly repository: Repository | null },
): Promise<void> {
  const { hostKey, wanted } = workspace.settings.encryption
  if (repository !== null) await requireNotGone(workspace, repository)
  if (settings.isClear) return
  const inClear = `or store in clear on purpose: encryption: none below repositories: ${settings.name}: in the configuration`
  if (wanted === 'sealed') {
    throw new Failure('key-missing', `sealed backups are asked for, and the repository at ${storage.location} has no keyring`, {
      hints: ['make it: tidemark key init', inClear],
    })
  }
  if (hostKey === null || !(await isThere(hostKey.path)) || (repository !== null && (await hasLog(storage, workspace.context.signal)))) return
  throw new Failure(
    'key-missing',
    `this host has a key (${hostKey.path}), and the repository at ${storage.location} has no keyring: its backups would lie in clear`,
    {
      hints: ['seal it: tidemark key init', inClear],
    },
  )
}

async function hasLog(storage: Storage, signal: AbortSignal): Promise<boolean> {
  for await (const _entry of storage.list(commitsRoot, { signal })) return true
  return false
}

async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT' || systemCodeOf(error) === 'ENOTDIR') return false
    throw new Failure('key-missing', `cannot look for the keys of this host: ${messageOf(error)}`, { cause: error, details: { file: path } })
  }
}
