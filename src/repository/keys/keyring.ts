import { randomBytes } from 'node:crypto'
import type { Context } from '../../kernel/context.ts'
import { Failure, isFailure, messageOf } from '../../kernel/failure.ts'
import { SecretBytes } from '../../kernel/secret.ts'
import type { AgeIdentity, AgeRecipient } from '../../seal/age-keys.ts'
import { isSignedBy, signatureBytes, signMessage, type SigningKey } from '../../seal/signing.ts'
import type { Repository } from '../repository.ts'
import { runKeyKey } from './key-layout.ts'
import { hasKeys, identitiesOf, trustedRoot, type KeysAtHand } from './keys-at-hand.ts'
import type { SeenRing } from './key-memory.ts'
import { findHost, hostIdOf, readersOf, secretKeyBytes, type KnownHost, type MetadataKey, type Ring } from './ring.ts'
import { hasRing, listRings, readNewestRing, type ReadRing, type RingReader } from './ring-log.ts'
import { readRunKey, sealRunKey, type RunName } from './run-key.ts'
import type { SignerName } from './signed-text.ts'
import { notAsWritten, putSeen } from './stored-secret.ts'

/** What the keys at hand can do in a repository. */
export interface Keyring {
  /** Who belongs to the repository. */
  readonly ring: Ring
  /** Which ring that is. */
  readonly seen: SeenRing
  /** Whether data can be read with these keys: not on a write-only host. */
  readonly readsData: boolean
  /** To whom data is sealed, dumps too. Throws `integrity` when the newest ring could not be read, as all that seals. */
  readers(): readonly AgeRecipient[]
  /** What may open data that was sealed to `readers()`. */
  readonly identities: readonly AgeIdentity[]
  /** The metadata key of an epoch, for reading; without one the current, for sealing. Throws `key-missing` for an epoch that this ring does not know. */
  metadataKey(epoch?: number): MetadataKey
  /** A new key for the packs of a run. */
  newRunKey(name: RunName): NewRunKey
  /** The key of the packs of a run. Throws `key-missing`, `object-missing` or `integrity`. */
  openRunKey(name: RunName, context: Pick<Context, 'signal'>): Promise<SecretBytes>
  /** The signature of this host, else of the root, whose key the recovery kit holds: 80 bytes. Throws `key-missing` where there is neither. `purpose`: words of `a–z` and `-`. */
  sign(purpose: string, message: Uint8Array): Uint8Array
  /** Who signed; the root has the id `root`. Throws `integrity` when it was neither a host of this repository nor its root, or another message or purpose. */
  verify(purpose: string, message: Uint8Array, signature: Uint8Array): KnownHost
}

export interface NewRunKey {
  readonly key: SecretBytes
  /**
   * Stores it, sealed to the readers of the newest ring, so that it outlives this process; before anything that needs it counts. Throws
   * `object-exists` when the run has a key already. May be called again after a failure.
   */
  store(): Promise<void>
}

const hostIdBytes = 16
/** Stands for the root where the id of a host stands; no host has it, for an id is the beginning of a digest. */
const rootId = '0'.repeat(hostIdBytes * 2)

/**
 * Opens the keyring of a repository. Null when it has none and no keys were brought. Throws `key-missing` when it has one and no key at hand opens it,
 * or keys were brought and there is none, so that nobody goes on in clear by mistake; `integrity` when it is damaged, forged, or gone.
 */
export async function openKeyring(repository: Repository, keys: KeysAtHand, context: Context): Promise<Keyring | null> {
  const { storage, id } = repository
  const numbers = await listRings(storage, context)
  const remembered = await keys.memory?.recall(id)
  if (numbers.length === 0) {
    if (remembered !== undefined)
      throw new Failure('integrity', `the keys of the repository at ${storage.location} are gone: this host saw ring ${remembered.number}`)
    if (!hasKeys(keys)) return null
    throw new Failure('key-missing', `there are keys at hand, but the repository at ${storage.location} has no keyring`, {
      hints: ['is it the right repository?', 'make its keyring: tidemark key init'],
    })
  }
  if (!hasKeys(keys)) {
    throw new Failure('key-missing', `the repository at ${storage.location} is sealed, and no key is at hand`, {
      hints: ['give the host key in the configuration, or --kit FILE, --identity FILE, --passphrase-file FILE'],
    })
  }
  const root = trustedRoot(keys)
  const reader = { storage, repository: id, root, identities: await identitiesOf(keys, storage, context), hasKit: keys.kit !== undefined }
  const newest = await readNewestRing(reader, numbers, context)
  if (root === null) {
    const message = `nothing at hand says which root key to trust; the repository names ${newest.ring.root.text}: compare it with the recovery kit`
    context.emit({ type: 'warning', code: 'root-unpinned', message })
  }
  const read = { ...newest, outdated: newest.outdated ?? rolledBack(newest, remembered) }
  if (newest.outdated === null && read.outdated !== null) context.emit({ type: 'warning', code: 'key-rollback', message: read.outdated.message })
  if (read.outdated === null) await remember(keys, repository, read, context)
  return keyringOf(repository, { keys, reader, read }, context)
}

/** Reading an older copy of a repository may be all that is left to do; writing into one unknowingly never is. */
function rolledBack({ seen }: ReadRing, remembered: { readonly number: number; readonly sha256: string } | undefined): Failure | null {
  if (remembered === undefined || remembered.number < seen.number || (remembered.number === seen.number && remembered.sha256 === seen.sha256)) return null
  const what = remembered.number > seen.number ? `its newest ring is ${seen.number}` : `it has another ring ${seen.number}`
  return new Failure('integrity', `the keys of the repository are older than those that this host saw: ${what}, this host saw ring ${remembered.number}`, {
    hints: ['an older copy of the repository was put back, or keys were removed from it', 'if that was meant, remove the .seen file beside the host key'],
  })
}

async function remember({ memory }: KeysAtHand, { id }: Repository, { seen }: ReadRing, context: Context): Promise<void> {
  try {
    await memory?.remember(id, seen)
  } catch (error) {
    context.emit({ type: 'warning', code: 'key-memory', message: `this host cannot remember the newest keys that it saw: ${messageOf(error)}` })
  }
}

interface Signer {
  readonly signer: SignerName
  readonly key: SigningKey
}

interface Opened {
  readonly keys: KeysAtHand
  readonly reader: RingReader
  readonly read: ReadRing
}

function keyringOf({ id, storage }: Repository, { keys, reader, read }: Opened, context: Context): Keyring {
  const { ring, outdated } = read
  const { identities } = reader
  const { host, kit } = keys
  const readers = readersOf(ring)
  const readsData = identities.some(({ recipient }) => readers.some(({ text }) => text === recipient.text))
  const requireNewest = (): void => {
    if (outdated !== null) throw outdated
  }
  const signer = (): Signer => {
    requireNewest()
    const hints = ['make this machine a host of the repository: tidemark key add', 'or use the recovery kit: --kit FILE']
    const known = host === undefined ? undefined : findHost(ring, hostIdOf({ verifyKey: host.signingKey.verifyKey, recipient: host.identity.recipient }))
    if (host !== undefined && known?.lastRing === null) return { signer: known.id, key: host.signingKey }
    if (kit !== undefined) return { signer: 'root', key: kit.rootKey }
    if (host === undefined) throw new Failure('key-missing', 'cannot sign: there is neither a host key nor the recovery kit at hand', { hints })
    throw new Failure('key-missing', `cannot sign: host "${host.name}" ${known === undefined ? 'is not' : 'is no longer'} a member of the repository`, {
      hints,
    })
  }

  return {
    ring,
    seen: read.seen,
    readsData,
    identities,
    readers: () => {
      requireNewest()
      return readers
    },
    metadataKey: (epoch) => {
      if (epoch === undefined) requireNewest()
      const found = epoch === undefined ? ring.metadataKeys.at(-1) : ring.metadataKeys[epoch - 1]
      if (found !== undefined) return found
      throw outdated ?? new Failure('key-missing', `there is no metadata key of epoch ${epoch} in ring ${ring.number}`)
    },
    newRunKey: (name) => {
      const by = signer()
      const key = new SecretBytes(randomBytes(secretKeyBytes))
      return { key, store: storeRunKey({ ...name, key }, { reader, ring, by }, context) }
    },
    openRunKey: async (name, call) => {
      const key = runKeyKey(name.cluster, name.run)
      try {
        const found = await readRunKey({ storage, key }, { identities }, ring, call)
        if (found.cluster === name.cluster && found.run === name.run) return found.key
        throw new Failure('integrity', `${key} holds the key of another run: ${JSON.stringify(found.run)} of cluster ${JSON.stringify(found.cluster)}`, {
          details: { object: key },
        })
      } catch (error) {
        if (!isFailure(error, 'key-missing')) throw error
        // A reader by the ring whom the key is not sealed to: the key is at fault.
        const [code, hints] = readsData ? (['integrity', [resealHint]] as const) : (['key-missing', writeOnlyHints] as const)
        throw new Failure(code, error.message, { cause: error, details: error.details, hints })
      }
    },
    sign: (purpose, message) => {
      const by = signer()
      return Buffer.concat([Buffer.from(by.signer === 'root' ? rootId : by.signer, 'hex'), signMessage(by.key, { purpose, repository: id, message })])
    },
    verify: (purpose, message, signature) => {
      if (signature.length !== hostIdBytes + signatureBytes) throw new Failure('integrity', 'a signature has the wrong length')
      const hostId = Buffer.from(signature.subarray(0, hostIdBytes)).toString('hex')
      const known = hostId === rootId ? { id: 'root', name: 'recovery kit', verifyKey: ring.root, lastRing: null } : findHost(ring, hostId)
      if (known === undefined) throw new Failure('integrity', `signed by ${hostId}, which is no host of this repository`)
      if (isSignedBy(known.verifyKey, { purpose, repository: id, message }, signature.subarray(hostIdBytes))) return known
      throw new Failure('integrity', `the signature of ${known.id === 'root' ? 'the recovery kit' : `host "${known.name}"`} does not belong to these bytes`)
    },
  }
}

const resealHint = 'it was damaged; or sealed before this member came, and sealing anew was interrupted: tidemark key rotate --kit FILE carries that on'
const writeOnlyHints = ['this host is write-only: it cannot read what it backs up', 'use --kit FILE, or --identity FILE of somebody who reads data']

/** A newer ring is looked for behind every write: a change of members lists the run keys after its ring is there, so one of the two sees the other. */
function storeRunKey(
  runKey: RunName & { readonly key: SecretBytes },
  { reader, ring, by }: { readonly reader: RingReader; readonly ring: Ring; readonly by: Signer },
  context: Context,
): () => Promise<void> {
  const { storage } = reader
  const key = runKeyKey(runKey.cluster, runKey.run)
  let current = ring
  let sealed: Uint8Array | undefined
  let isStored = false
  return async () => {
    for (;;) {
      sealed ??= await sealRunKey(runKey, current, by)
      const isSeen = await putSeen(storage, { key, bytes: sealed }, { ifAbsent: !isStored }, context)
      isStored = true
      if (!(await hasRing(storage, current.number + 1, context))) {
        if (isSeen) return
        throw notAsWritten(key)
      }
      const newer = await readNewestRing(reader, await listRings(storage, context), context)
      if (newer.outdated !== null) throw newer.outdated
      current = newer.ring
      sealed = undefined
    }
  }
}
