import type { EncryptionSettings, IdentitySource } from '../config/settings.ts'
import type { Context } from '../kernel/context.ts'
import { Failure } from '../kernel/failure.ts'
import { Secret } from '../kernel/secret.ts'
import { parseKeyFile, type HostKey, type KeyFile, type RecoveryKit } from '../repository/keys/key-file.ts'
import { fileMemory, type KeyMemory } from '../repository/keys/key-memory.ts'
import type { KeysAtHand } from '../repository/keys/keys-at-hand.ts'
import { readKeyFile, readSecretFile } from '../repository/keys/secret-file.ts'
import type { AgeIdentity } from '../seal/age-keys.ts'
import { parseVerifyKey, type VerifyKey } from '../seal/signing.ts'

/** Beside the host's key file. */
export const memoryOf = (hostKeyFile: string): KeyMemory => fileMemory(`${hostKeyFile}.seen`)

/** Reads every file of keys that the settings name. Throws `key-missing` for one that is not there, but for the host key at its usual place. */
export async function readKeys(encryption: EncryptionSettings, context: Pick<Context, 'emit'>): Promise<KeysAtHand> {
  const { kitFile, passphraseFile } = encryption
  const files: readonly KeyFile[] = await Promise.all([
    ...encryption.identities.map((source) => readIdentity(source, context)),
    ...(kitFile === null ? [] : [readKit(kitFile, context).then((kit) => ({ kind: 'kit' as const, kit }))]),
  ])
  const kit = onlyOne(files.flatMap((file) => (file.kind === 'kit' ? [file.kit] : [])))
  const given = onlyOne(files.flatMap((file) => (file.kind === 'host' ? [file.host] : [])))
  const root = encryption.root === null ? undefined : parseRoot(encryption.root)
  const host = given ?? (await readHostKey(encryption, kit?.rootKey.verifyKey ?? root, context))
  return {
    host,
    kit,
    identities: files.flatMap((file): readonly AgeIdentity[] => (file.kind === 'identities' ? file.identities : [])),
    passphrases: passphraseFile === null ? [] : [await readPassphrase(passphraseFile, context)],
    root,
    memory: encryption.hostKey === null ? undefined : rememberedFor(host, memoryOf(encryption.hostKey.path)),
  }
}

export async function readKit(path: string, context: Pick<Context, 'emit'>): Promise<RecoveryKit> {
  const file = await readKeyFile(path, context)
  if (file.kind === 'kit') return file.kit
  throw new Failure('key-missing', `${path} is no recovery kit: it holds no root key`, { details: { file: path } })
}

/** The first line end that ends the file belongs to no passphrase. */
export async function readPassphrase(path: string, context: Pick<Context, 'emit'>): Promise<Secret> {
  const text = await readSecretFile(path, context)
  const passphrase = new Secret(text?.reveal().replace(/\r?\n$/, '') ?? '')
  if (!passphrase.isEmpty) return passphrase
  throw new Failure('key-missing', `cannot read a passphrase from ${path}: ${text === undefined ? 'it does not exist' : 'it is empty'}`, {
    details: { file: path },
  })
}

async function readIdentity(source: IdentitySource, context: Pick<Context, 'emit'>): Promise<KeyFile> {
  return source.kind === 'file' ? readKeyFile(source.path, context) : parseKeyFile(source.text, source.origin)
}

async function readHostKey({ hostKey }: EncryptionSettings, root: VerifyKey | undefined, context: Pick<Context, 'emit'>): Promise<HostKey | undefined> {
  if (hostKey === null) return undefined
  const text = await readSecretFile(hostKey.path, context)
  if (text === undefined) {
    if (!hostKey.isChosen) return undefined
    throw new Failure('key-missing', `cannot read the host key ${hostKey.path}: it does not exist`, {
      hints: ['make keys and keyring: tidemark key init', 'join a keyring that is there: tidemark key add'],
      details: { file: hostKey.path },
    })
  }
  const file = parseKeyFile(text, hostKey.path)
  if (file.kind !== 'host') throw new Failure('key-missing', `${hostKey.path} is no host key`, { details: { file: hostKey.path } })
  if (hostKey.isChosen || root === undefined || root.text === file.host.root.text) return file.host
  context.emit({ type: 'note', message: `the host key ${hostKey.path} belongs to another keyring than the keys that were given, and is not used` })
  return undefined
}

/** Two hosts, or two kits, would leave open who signs. */
function onlyOne<T extends HostKey | RecoveryKit>(found: readonly T[]): T | undefined {
  if (found.length > 1) throw new Failure('key-missing', 'several recovery kits, or several host keys, were given: which one counts would be a guess')
  return found[0]
}

function parseRoot(text: string): VerifyKey {
  const root = parseVerifyKey('root', text)
  if (root !== null) return root
  throw new Failure('config-invalid', `the root key ${text} was mistyped`, { hints: ['copy it from the recovery kit: root: tidemark-root1…'] })
}

/** Who is no host here reads what was seen, and leaves no file behind. */
function rememberedFor(host: HostKey | undefined, memory: KeyMemory): KeyMemory {
  return host === undefined ? { recall: memory.recall, remember: async () => undefined } : memory
}
