import { createHash } from 'node:crypto'
import { z } from 'zod'
import { Failure } from '../../kernel/failure.ts'
import { SecretBytes } from '../../kernel/secret.ts'
import { toolVersion } from '../../kernel/version.ts'
import { parseAgeRecipient, type AgeRecipient } from '../../seal/age-keys.ts'
import { parseVerifyKey, type SigningKey, type VerifyKey } from '../../seal/signing.ts'
import { formatSignedText, parseSignedText } from './signed-text.ts'

/** Who belongs to a repository, and its metadata keys: docs/keys.md "Ring". */
export interface Ring {
  readonly repository: string
  readonly number: number
  /** `sha256:` of the bytes of the ring before it; null for the first. */
  readonly previous: string | null
  readonly root: VerifyKey
  readonly members: readonly Member[]
  readonly formerMembers: readonly FormerMember[]
  /** At least one; the current one is the last. */
  readonly metadataKeys: readonly MetadataKey[]
}

export interface Member {
  readonly kind: MemberKind
  /** For people; no two members have the same. */
  readonly name: string
  readonly recipient: AgeRecipient
  readonly reads: 'everything' | 'metadata'
  /** Null unless it is a host. */
  readonly verifyKey: VerifyKey | null
}

export type MemberKind = 'kit' | 'host' | 'recipient' | 'passphrase'

/** Can still read what it copied; what a host signed before is still believed. */
export interface FormerMember extends Member {
  /** The last ring that it was a member of. */
  readonly lastRing: number
}

export interface MetadataKey {
  readonly epoch: number
  readonly key: SecretBytes
  readonly at: string
}

export const ringLimitBytes = 4 * 1024 * 1024
const mostMembers = 1000
export const secretKeyBytes = 32

const recipientSchema = z.string().transform((text, context) => {
  try {
    return parseAgeRecipient(text)
  } catch {
    // Its hint is for who typed one.
    context.addIssue('is no recipient')
    return z.NEVER
  }
})

const verifyKeySchema = (kind: 'root' | 'host') =>
  z.string().transform((text, context) => {
    const key = parseVerifyKey(kind, text)
    if (key !== null) return key
    context.addIssue(`is no key of a ${kind}`)
    return z.NEVER
  })

/** Base64 of 32 bytes. */
export const secretKeySchema = z.string().transform((text, context) => {
  const bytes = Buffer.from(text, 'base64')
  if (bytes.length === secretKeyBytes && bytes.toString('base64') === text) return new SecretBytes(bytes)
  context.addIssue('is no key')
  return z.NEVER
})

/** Printed in tables and messages: no control characters, no ends of lines. */
const memberNameSchema = z.string().regex(/^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]{1,100}$/u)

/** Throws `usage-invalid` for what cannot be a member's name. */
export function requireMemberName(name: string): void {
  if (memberNameSchema.safeParse(name).success) return
  throw new Failure('usage-invalid', `${JSON.stringify(name)} cannot be the name of a member: it needs 1 to 100 visible characters`)
}

const memberSchema = z
  .object({
    kind: z.enum(['kit', 'host', 'recipient', 'passphrase']),
    name: memberNameSchema,
    recipient: recipientSchema,
    reads: z.enum(['everything', 'metadata']),
    verifyKey: verifyKeySchema('host').nullable(),
  })
  .refine((member) => (member.kind === 'host') === (member.verifyKey !== null), 'a host signs, and nobody else')
  .refine((member) => member.kind === 'host' || member.reads === 'everything', 'only a host may be write-only')

const ringSchema = z.object({
  format: z.literal('tidemark-ring/1'),
  repository: z.string(),
  number: z.number().int().positive(),
  previous: z.string().nullable(),
  root: verifyKeySchema('root'),
  at: z.string(),
  tool: z.string(),
  members: z.array(memberSchema).min(1).max(mostMembers),
  formerMembers: z.array(memberSchema.safeExtend({ lastRing: z.number().int().positive() })).max(mostMembers),
  metadataKeys: z.array(z.object({ epoch: z.number().int().positive(), key: secretKeySchema, at: z.string() })).min(1),
})

/** The plain text of a ring, signed. */
export function formatRing(ring: Ring, root: SigningKey, at: string): Uint8Array {
  if (root.verifyKey.text !== ring.root.text) throw new Error('a ring is signed by the root that it names')
  if (ring.members.length > mostMembers || ring.formerMembers.length > mostMembers)
    throw new Failure('usage-invalid', `a repository cannot have more than ${mostMembers} members, or as many former ones`)
  const statement = {
    format: 'tidemark-ring/1',
    repository: ring.repository,
    number: ring.number,
    previous: ring.previous,
    root: ring.root.text,
    at,
    tool: toolVersion,
    members: ring.members.map(asText),
    formerMembers: ring.formerMembers.map(asText),
    metadataKeys: ring.metadataKeys.map((one) => ({ ...one, key: Buffer.from(one.key.reveal()).toString('base64') })),
  }
  return formatSignedText(statement, { signer: 'root', key: root }, { purpose: 'ring', repository: ring.repository })
}

function asText<M extends Member>(member: M) {
  return { ...member, recipient: member.recipient.text, verifyKey: member.verifyKey?.text ?? null }
}

/** What a ring must be to count. */
export interface ExpectedRing {
  readonly repository: string
  readonly number: number
  /** Null: whatever root it names is taken, for nothing is there to hold it against. */
  readonly root: VerifyKey | null
}

/** Parses the plain text of the ring at `key`. Throws `integrity` unless the trusted root signed it for this repository and number. */
export function parseRing(key: string, bytes: Uint8Array, expected: ExpectedRing): Ring {
  const refused = (why: string, hints: readonly string[] = []) =>
    new Failure('integrity', `cannot use ring ${key}: ${why}`, { hints, details: { object: key } })
  const text = parseSignedText(key, bytes, { purpose: 'ring', repository: expected.repository })
  const parsed = ringSchema.safeParse(text.statement)
  const root = expected.root ?? parsed.data?.root
  if (root === undefined || text.signer !== 'root' || !text.isSignedBy(root)) {
    throw refused('it is not signed by the root key that is trusted here', [
      'somebody put another ring into the repository, or the key at hand belongs to another keyring',
      ...(parsed.data === undefined ? [] : [`trusted: ${expected.root?.text ?? 'none'}`, `named by the ring: ${parsed.data.root.text}`]),
    ])
  }
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    throw refused(`it is not what Tidemark writes: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`)
  }
  const ring = parsed.data
  if (ring.root.text !== root.text) throw refused('it names another root key than the one that signed it')
  if (ring.repository !== expected.repository) throw refused(`it belongs to repository ${ring.repository}, not to ${expected.repository}`)
  if (ring.number !== expected.number) throw refused(`it is ring ${ring.number}`)
  if (ring.metadataKeys.some(({ epoch }, index) => epoch !== index + 1)) throw refused('its metadata keys are not in the order of their epochs')
  return ring
}

/** 32 hex digits that stand for a host's two public keys. */
export function hostIdOf({ verifyKey, recipient }: { readonly verifyKey: VerifyKey; readonly recipient: AgeRecipient }): string {
  return createHash('sha256').update('tidemark-host/1\n').update(verifyKey.publicKey).update(recipient.publicKey).digest('hex').slice(0, 32)
}

/** Those to whom data is sealed. */
export function readersOf({ members }: Ring): readonly AgeRecipient[] {
  return members.filter(({ reads }) => reads === 'everything').map(({ recipient }) => recipient)
}

/** A host that signs, or signed, in this repository. */
export interface KnownHost {
  /** `root` stands for the recovery kit, which may sign in a host's place. */
  readonly id: string
  readonly name: string
  readonly verifyKey: VerifyKey
  /** The last ring of a host that was removed, else null. */
  readonly lastRing: number | null
}

export function findHost({ members, formerMembers }: Ring, id: string): KnownHost | undefined {
  for (const { name, recipient, verifyKey, lastRing } of [...members.map((one) => ({ ...one, lastRing: null })), ...formerMembers])
    if (verifyKey !== null && hostIdOf({ verifyKey, recipient }) === id) return { id, name, verifyKey, lastRing }
  return undefined
}
