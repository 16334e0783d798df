import { randomBytes } from 'node:crypto'
import { utc } from '../../kernel/clock.ts'
import type { Context } from '../../kernel/context.ts'
import { Failure, isFailure } from '../../kernel/failure.ts'
import { SecretBytes, type Secret } from '../../kernel/secret.ts'
import type { AgeRecipient } from '../../seal/age-keys.ts'
import type { VerifyKey } from '../../seal/signing.ts'
import type { Storage } from '../../storage/storage.ts'
import { digestOf } from '../commit-entry.ts'
import type { Repository } from '../repository.ts'
import { finishChange } from './finish-change.ts'
import type { RecoveryKit } from './key-file.ts'
import { ringKey } from './key-layout.ts'
import { openPassphraseFiles, sealPassphrase } from './passphrases.ts'
import { formatRing, parseRing, requireMemberName, secretKeyBytes, type Member, type Ring } from './ring.ts'
import { listRings, readNewestRing, type ReadRing } from './ring-log.ts'
import { putChecked, sealBytes, type SmallObject } from './stored-secret.ts'

/** Somebody who is to become a member. */
export type NewMember =
  | { readonly kind: 'recipient'; readonly name: string; readonly recipient: AgeRecipient }
  | { readonly kind: 'host'; readonly name: string; readonly recipient: AgeRecipient; readonly verifyKey: VerifyKey; readonly reads: Member['reads'] }
  /** `logN`: the work of trying one is 2^`logN` KiB; default 18. */
  | { readonly kind: 'passphrase'; readonly name: string; readonly passphrase: Secret; readonly logN?: number }

/** What is to be different. Nothing at all is allowed: then only what a killed change left is done. */
export interface KeyringChange {
  readonly add?: readonly NewMember[]
  /** Names of members, or of former ones. Removing anybody makes a new metadata key. */
  readonly remove?: readonly string[]
  /** A new metadata key in any case. */
  readonly rotate?: boolean
}

export interface ChangedKeyring {
  readonly ring: Ring
  /** False when everything asked for was so already. */
  readonly isNewRing: boolean
  /** Run keys that were sealed anew. */
  readonly resealed: number
}

/**
 * Changes who belongs to a repository, or its metadata key; only the recovery kit can. What was done before a kill counts wholly or not at all, and any
 * later change does what is left (docs/keys.md "Order of writes"). Throws `key-missing`, `integrity`, `name-taken`, `usage-invalid`.
 */
export async function changeKeyring(repository: Repository, kit: RecoveryKit, change: KeyringChange, context: Context): Promise<ChangedKeyring> {
  let isNewRing = false
  let resealed = 0
  let wanted = change
  for (;;) {
    const before = await readWholeRing(repository, kit, context)
    const next = await nextRing(repository, before, wanted, context)
    const after = next === null ? before : await createRing(repository, kit, next, context)
    if (after === null) continue
    if (next !== null) isNewRing = true
    // Whoever overtakes us has read our ring, so what was asked for is done.
    wanted = {}
    const finished = await finishChange(repository, after, kit, context)
    resealed += finished.resealed
    if (!finished.isOvertaken) return { ring: after.ring, isNewRing, resealed }
  }
}

async function readWholeRing({ id, storage }: Repository, kit: RecoveryKit, context: Context): Promise<ReadRing> {
  const numbers = await listRings(storage, context)
  if (numbers.length === 0) {
    throw new Failure('key-missing', `the repository at ${storage.location} has no keyring`, { hints: ['make it: tidemark key init'] })
  }
  const reader = { storage, repository: id, identities: [kit.identity], root: kit.rootKey.verifyKey, hasKit: true }
  const newest = await readNewestRing(reader, numbers, context)
  if (newest.outdated === null) return newest
  throw new Failure('integrity', `cannot change the keys: ${newest.outdated.message}`, {
    cause: newest.outdated,
    hints: ['bring the object back from a copy of the repository; if it was never one of yours, remove it'],
    details: newest.outdated.details,
  })
}

/** A ring that is about to be created, and what must lie there before it. */
export interface PlannedRing {
  readonly ring: Ring
  readonly before: readonly SmallObject[]
}

/** Null when there is nothing to change. */
async function nextRing(
  repository: Repository,
  { ring, seen }: ReadRing,
  { add = [], remove = [], rotate = false }: KeyringChange,
  context: Context,
): Promise<PlannedRing | null> {
  const leaving = remove.map((name) => leavingMember(ring, name)).filter((member) => member !== null)
  const staying = ring.members.filter((member) => !leaving.includes(member))
  const coming = await comingMembers({ staying, add, number: ring.number + 1 }, repository, context)
  if (leaving.length === 0 && coming.members.length === 0 && !rotate) return null
  const metadataKeys = leaving.length > 0 || rotate ? [...ring.metadataKeys, newMetadataKey(ring.metadataKeys.length + 1, context)] : ring.metadataKeys
  return {
    before: coming.files,
    ring: {
      ...ring,
      number: ring.number + 1,
      previous: seen.sha256,
      members: [...staying, ...coming.members],
      formerMembers: [...ring.formerMembers, ...leaving.map((member) => ({ ...member, lastRing: ring.number }))],
      metadataKeys,
    },
  }
}

export function newMetadataKey(epoch: number, { clock }: Pick<Context, 'clock'>) {
  return { epoch, key: new SecretBytes(randomBytes(secretKeyBytes)), at: utc(clock.now()) }
}

/** Null when it left before: a change that was killed may be asked for again. */
function leavingMember({ members, formerMembers }: Ring, name: string): Member | null {
  const found = members.find((member) => member.name === name)
  if (found === undefined && formerMembers.some((member) => member.name === name)) return null
  if (found === undefined) {
    throw new Failure('usage-invalid', `cannot remove ${JSON.stringify(name)}: no member has that name`, {
      hints: [`members: ${members.map((member) => member.name).join(', ')}`],
    })
  }
  if (found.kind === 'kit') throw new Failure('usage-invalid', 'cannot remove the recovery kit: without it nobody could change the members again')
  return found
}

/** Those of `add` who are not members yet, and the files of the passphrases among them. */
export async function comingMembers(
  { staying, add, number }: { readonly staying: readonly Member[]; readonly add: readonly NewMember[]; readonly number: number },
  { storage }: Repository,
  context: Context,
): Promise<{ readonly members: readonly Member[]; readonly files: readonly SmallObject[] }> {
  const members: Member[] = []
  const files: SmallObject[] = []
  for (const one of add) {
    requireMemberName(one.name)
    const known = [...staying, ...members].find(({ name, recipient }) => name === one.name || ('recipient' in one && recipient.text === one.recipient.text))
    if (known !== undefined) {
      if (await isSame(known, one, storage, context)) continue
      throw new Failure('name-taken', `cannot add ${JSON.stringify(one.name)}: ${JSON.stringify(known.name)} is a member with the same name or key`, {
        hints: ['remove that one first, or choose another name'],
      })
    }
    if (one.kind !== 'passphrase') {
      members.push({ reads: 'everything', verifyKey: null, ...one })
      continue
    }
    const { identity, file } = await sealPassphrase(one, number)
    files.push(file)
    members.push({ kind: one.kind, name: one.name, recipient: identity.recipient, reads: 'everything', verifyKey: null })
  }
  return { members, files }
}

async function isSame(known: Member, one: NewMember, storage: Storage, context: Context): Promise<boolean> {
  if (known.kind !== one.kind || known.name !== one.name) return false
  if (one.kind === 'passphrase')
    return (await openPassphraseFiles(storage, [one.passphrase], context)).some(({ recipient }) => recipient.text === known.recipient.text)
  if (known.recipient.text !== one.recipient.text) return false
  return one.kind === 'recipient' || (known.reads === one.reads && known.verifyKey?.text === one.verifyKey.text)
}

/** Stores a ring and what it needs. Null when somebody else was faster: then it is to be planned anew. */
export async function createRing(
  { storage }: Repository,
  kit: RecoveryKit,
  { ring, before }: PlannedRing,
  context: Context,
): Promise<Pick<ReadRing, 'ring' | 'bytes' | 'seen'> | null> {
  const key = ringKey(ring.number)
  const plain = formatRing(ring, kit.rootKey, utc(context.clock.now()))
  // What nobody could read would lock everybody out.
  parseRing(key, plain, { ...ring, root: kit.rootKey.verifyKey })
  const bytes = await sealBytes(plain, { recipients: ring.members.map(({ recipient }) => recipient) })
  for (const file of before) await putChecked(storage, file, { ifAbsent: true }, context)
  try {
    await putChecked(storage, { key, bytes }, { ifAbsent: true }, context)
  } catch (error) {
    if (isFailure(error, 'object-exists')) return null
    throw error
  }
  return { ring, bytes, seen: { number: ring.number, sha256: digestOf(bytes) } }
}
