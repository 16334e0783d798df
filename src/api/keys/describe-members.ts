import { hostIdOf, type Member, type Ring } from '../../repository/keys/ring.ts'

/** A member for people and JSON; nothing of it is secret. */
export interface DescribedMember {
  readonly name: string
  readonly kind: Member['kind']
  readonly reads: Member['reads']
  /** `age1…` */
  readonly recipient: string
  /** Of a host: 32 hex digits. */
  readonly id: string | null
  /** The last ring of one who was removed. */
  readonly removedAfterRing: number | null
}

/** Those who belong to a repository, then those who did. */
export function describeMembers({ members, formerMembers }: Ring): readonly DescribedMember[] {
  return [...members.map((member) => ({ ...member, lastRing: null })), ...formerMembers].map(({ name, kind, reads, recipient, verifyKey, lastRing }) => ({
    name,
    kind,
    reads,
    recipient: recipient.text,
    id: verifyKey === null ? null : hostIdOf({ verifyKey, recipient }),
    removedAfterRing: lastRing,
  }))
}
