import { utc } from '../../kernel/clock.ts'
import type { Context } from '../../kernel/context.ts'
import { Failure } from '../../kernel/failure.ts'
import type { Secret } from '../../kernel/secret.ts'
import type { VerifyKey } from '../../seal/signing.ts'
import type { Repository } from '../repository.ts'
import { changeKeyring, comingMembers, createRing, newMetadataKey, type NewMember } from './change-keyring.ts'
import { finishChange } from './finish-change.ts'
import { formatHostKey, generateHostKey, generateRecoveryKit, parseKeyFile, type HostKey, type KeyFile, type RecoveryKit } from './key-file.ts'
import { openKeyring, type Keyring } from './keyring.ts'
import type { KeysAtHand } from './keys-at-hand.ts'
import { formatRecoveryKit } from './recovery-kit.ts'
import { requireMemberName, type Member } from './ring.ts'
import { listRings } from './ring-log.ts'
import { readSecretFile, requireSafePlace, writeSecretFile } from './secret-file.ts'

export interface NewKeyring {
  /** Where the kit is written; one that is there, of a run that was killed or of another repository, is used again. */
  readonly kitFile: string
  /** This machine; null where it is only to make the keyring. */
  readonly host: NewHost | null
  readonly members: readonly Exclude<NewMember, { kind: 'host' }>[]
}

export interface NewHost {
  readonly name: string
  readonly keyFile: string
  readonly reads: Member['reads']
}

export interface CreatedKeyring {
  /** Opened with the files as they were written. */
  readonly keyring: Keyring
  readonly kit: RecoveryKit
  readonly host: HostKey | null
}

/**
 * Makes the keyring of a repository that has none: recovery kit → host key → ring 1, which is the commit → opened again with nothing but the two files.
 * Killed before the commit, it leaves files and no keyring, and the same call carries on with them. Throws `already-done`, `target-unsafe`, `name-taken`.
 */
export async function createKeyring(repository: Repository, { kitFile, host: newHost, members }: NewKeyring, context: Context): Promise<CreatedKeyring> {
  const { storage, id } = repository
  await requireSafePlace(kitFile, storage)
  if (newHost !== null) await requireSafePlace(newHost.keyFile, storage)
  for (const { name } of [...(newHost === null ? [] : [newHost]), ...members]) requireMemberName(name)
  if ((await listRings(storage, context)).length > 0) return carryOn(repository, { kitFile, host: newHost }, context)

  const kit = await makeKit(kitFile, repository, context)
  const host = newHost === null ? null : await makeHostKey(newHost, kit.rootKey.verifyKey, context)

  const kitMember: Member = { kind: 'kit', name: 'recovery kit', recipient: kit.identity.recipient, reads: 'everything', verifyKey: null }
  const hostMember: readonly NewMember[] =
    host === null || newHost === null
      ? []
      : [{ kind: 'host', name: host.name, recipient: host.identity.recipient, verifyKey: host.signingKey.verifyKey, reads: newHost.reads }]
  const coming = await comingMembers({ staying: [kitMember], add: [...hostMember, ...members], number: 1 }, repository, context)
  const planned = {
    before: coming.files,
    ring: {
      repository: id,
      number: 1,
      previous: null,
      root: kit.rootKey.verifyKey,
      members: [kitMember, ...coming.members],
      formerMembers: [],
      metadataKeys: [newMetadataKey(1, context)],
    },
  }
  const created = await createRing(repository, kit, planned, context)
  if (created === null) throw keyringExists(repository)
  await finishChange(repository, created, kit, context)
  return openFromFiles(repository, { kitFile, host: newHost }, context)
}

function keyringExists({ storage }: Repository): Failure {
  return new Failure('already-done', `the repository at ${storage.location} has a keyring`, { hints: ['add to it: tidemark key add --kit FILE'] })
}

/** The keyring is there. If it is the one of these very files, the call that made it was killed, or this one repeats it. */
async function carryOn(repository: Repository, files: Pick<NewKeyring, 'kitFile' | 'host'>, context: Context): Promise<CreatedKeyring> {
  const isThere = async (path: string, kind: KeyFile['kind']) => (await readFileOfKeys(path, context))?.file.kind === kind
  if (!(await isThere(files.kitFile, 'kit')) || (files.host !== null && !(await isThere(files.host.keyFile, 'host')))) throw keyringExists(repository)
  const kit = await readKit(files.kitFile, context)
  await changeKeyring(repository, kit, {}, context)
  return openFromFiles(repository, files, context)
}

/** Never "made" without having looked: the kit alone must open it, and so must the host. */
async function openFromFiles(repository: Repository, files: Pick<NewKeyring, 'kitFile' | 'host'>, context: Context): Promise<CreatedKeyring> {
  const kit = await readKit(files.kitFile, context)
  const keyring = await reopen(repository, { kit }, context)
  if (files.host === null) return { keyring, kit, host: null }
  const host = await readHostKey(files.host.keyFile, context)
  return { keyring: await reopen(repository, { host }, context), kit, host }
}

async function reopen(repository: Repository, keys: KeysAtHand, context: Context): Promise<Keyring> {
  const keyring = await openKeyring(repository, keys, context)
  if (keyring !== null) return keyring
  throw new Failure('integrity', `the keyring of ${repository.storage.location} was made and is gone`)
}

async function makeKit(path: string, { id, storage }: Repository, context: Context): Promise<RecoveryKit> {
  const there = await readFileOfKeys(path, context)
  if (there === undefined) {
    const date = utc(context.clock.now()).slice(0, 10)
    await writeSecretFile(path, formatRecoveryKit(generateRecoveryKit(), { repositories: [{ id, location: storage.location }], date }))
    return readKit(path, context)
  }
  if (there.file.kind !== 'kit') throw new Failure('name-taken', `cannot write the recovery kit: ${path} holds other keys`)
  if (!there.text.reveal().includes(id)) {
    context.emit({
      type: 'warning',
      code: 'kit-incomplete',
      message: `the recovery kit ${path} opens this repository, too, and does not name it: print it again with tidemark key kit`,
    })
  }
  return there.file.kit
}

async function makeHostKey({ name, keyFile }: NewHost, root: VerifyKey, context: Context): Promise<HostKey> {
  const there = await readFileOfKeys(keyFile, context)
  if (there === undefined) {
    await writeSecretFile(keyFile, formatHostKey(generateHostKey(name, root)))
    return readHostKey(keyFile, context)
  }
  if (there.file.kind === 'host' && there.file.host.root.text === root.text) return there.file.host
  throw new Failure('name-taken', `cannot write the host key: ${keyFile} holds keys that do not belong to this recovery kit`, {
    hints: ['choose another file, or the recovery kit that was made with this host key'],
  })
}

async function readFileOfKeys(path: string, context: Context): Promise<{ readonly text: Secret; readonly file: KeyFile } | undefined> {
  const text = await readSecretFile(path, context)
  return text === undefined ? undefined : { text, file: parseKeyFile(text, path) }
}

async function readKit(path: string, context: Context): Promise<RecoveryKit> {
  const found = await readFileOfKeys(path, context)
  if (found?.file.kind === 'kit') return found.file.kit
  throw new Failure('key-missing', `${path} is not the recovery kit that was written`)
}

async function readHostKey(path: string, context: Context): Promise<HostKey> {
  const found = await readFileOfKeys(path, context)
  if (found?.file.kind === 'host') return found.file.host
  throw new Failure('key-missing', `${path} is not the host key that was written`)
}
