import type { Context } from '../../kernel/context.ts'
import { Failure, isFailure } from '../../kernel/failure.ts'
import { mapInOrder } from '../../stream/prefetch.ts'
import type { Repository } from '../repository.ts'
import { runKeyKey, runKeysPrefix, passphraseOf, passphrasesPrefix, passphraseTag, ringCopyKey } from './key-layout.ts'
import type { RecoveryKit } from './key-file.ts'
import type { Ring } from './ring.ts'
import { hasRing, type ReadRing } from './ring-log.ts'
import { readRunKey, sealRunKey } from './run-key.ts'
import { notAsWritten, putChecked, putSeen } from './stored-secret.ts'

const atOnce = 8

/** What was done after a ring came to count. */
export interface FinishedChange {
  /** Run keys that were sealed anew to the readers of this ring. */
  readonly resealed: number
  /** A newer ring is there: somebody else changed the members meanwhile, and all this is to be done for theirs. */
  readonly isOvertaken: boolean
}

/**
 * Does what follows a new ring, or what a killed change left to do: its copy, run keys sealed anew to its readers, passphrase files removed that no
 * ring names. May be done again and again.
 */
export async function finishChange(
  repository: Repository,
  { ring, bytes }: Pick<ReadRing, 'ring' | 'bytes'>,
  kit: RecoveryKit,
  context: Context,
): Promise<FinishedChange> {
  const { storage } = repository
  await putChecked(storage, { key: ringCopyKey(ring.number), bytes }, { ifAbsent: false }, context)
  let resealed = 0
  for await (const isResealed of mapInOrder(storage.list(runKeysPrefix, context), ({ key }) => resealRunKey(repository, key, { ring, kit }, context), {
    workers: atOnce,
    signal: context.signal,
  })) {
    if (isResealed) resealed += 1
  }
  await removeUnnamedPassphrases(repository, ring, context)
  return { resealed, isOvertaken: await hasRing(storage, ring.number + 1, context) }
}

/** False when nothing was to be done. */
async function resealRunKey({ storage }: Repository, key: string, { ring, kit }: { ring: Ring; kit: RecoveryKit }, context: Context): Promise<boolean> {
  try {
    const found = await readRunKey({ storage, key }, { identities: [kit.identity] }, ring, context)
    if (runKeyKey(found.cluster, found.run) !== key) throw new Failure('integrity', `${key} holds the key of another run`, { details: { object: key } })
    if (found.ring >= ring.number) return false
    const bytes = await sealRunKey(found, ring, { signer: 'root', key: kit.rootKey })
    const isSeen = await putSeen(storage, { key, bytes }, { ifAbsent: false }, context)
    // What replaced it can only be sealed to the readers of a newer ring.
    if (!isSeen && !(await hasRing(storage, ring.number + 1, context))) throw notAsWritten(key)
    return true
  } catch (error) {
    // Removed with its backup meanwhile.
    if (isFailure(error, 'object-missing')) return false
    if (!isFailure(error, 'integrity', 'key-missing')) throw error
    // One that is damaged must not keep the others from being sealed anew; it stays as it is, for whoever can mend it.
    context.emit({ type: 'warning', code: 'key-damaged', message: `${error.message}; it was left as it is` })
    return false
  }
}

/** Of changes that were killed before their ring, and of members that were removed. Those of a ring that is still to come are somebody's at work. */
async function removeUnnamedPassphrases({ storage }: Repository, ring: Ring, context: Context): Promise<void> {
  const named = new Set(ring.members.map(({ recipient }) => passphraseTag(recipient)))
  const unnamed: string[] = []
  for await (const { key } of storage.list(passphrasesPrefix, context)) {
    const file = passphraseOf(key)
    if (file !== undefined && file.ring <= ring.number && !named.has(file.tag)) unnamed.push(key)
  }
  for (const key of unnamed) await storage.delete(key, context)
}
