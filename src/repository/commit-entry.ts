import { createHash } from 'node:crypto'
import { z } from 'zod'
import { Failure, messageOf } from '../kernel/failure.ts'
import { backupFactsSchema, problemSchema } from './backup.ts'

/** One entry of a cluster's commit log, as docs/design.md "Commit log" describes it. Never changed once written. */
const common = {
  format: z.literal('tidemark-commit/1'),
  number: z.number().int().positive(),
  previous: z.string().nullable(),
  cluster: z.string(),
  run: z.string(),
  at: z.string(),
  tool: z.string(),
}

export const holderSchema = z.object({
  /** Random, one per run: never a host name, since containers share those. */
  id: z.string(),
  host: z.string(),
  pid: z.number().int(),
  /** Boot id, PID namespace and start time: equal only for processes that can see each other. Null where the system cannot tell. */
  place: z.string().nullable(),
  startedTicks: z.string().nullable(),
})
export type Holder = z.infer<typeof holderSchema>

const objectRef = z.object({ key: z.string(), sha256: z.string() })
/** An object and the digest that it must have. */
export type ObjectRef = Readonly<z.infer<typeof objectRef>>
const backupId = z.string().min(1).max(64)

const entrySchema = z.discriminatedUnion('kind', [
  z.object({
    ...common,
    kind: z.literal('begin'),
    epoch: z.number().int(),
    takesOver: z.number().int().nullable(),
    holder: holderSchema,
    verb: z.string(),
    objects: z.array(z.string()),
  }),
  z.object({
    ...common,
    kind: z.literal('backup'),
    epoch: z.number().int(),
    backup: backupFactsSchema,
    manifest: objectRef,
    /** Another run's backup, found whole in the repository and unknown to the log. Not what the run of this epoch commits. */
    relisted: z.boolean().optional(),
  }),
  z.object({ ...common, kind: z.literal('abandon'), epoch: z.number().int() }),
  z.object({ ...common, kind: z.literal('end'), epoch: z.number().int(), outcome: z.enum(['ok', 'partial', 'failed', 'cancelled']) }),
  z.object({ ...common, kind: z.literal('swept'), epoch: z.number().int(), interrupted: z.number().int(), spared: z.array(z.string()).optional() }),
  z.object({ ...common, kind: z.literal('verified'), backup: backupId }),
  z.object({ ...common, kind: z.literal('damaged'), backup: backupId, problems: z.array(problemSchema) }),
  z.object({ ...common, kind: z.literal('proven'), backup: backupId, proof: objectRef, restoreSeconds: z.number() }),
  z.object({ ...common, kind: z.literal('disproven'), backup: backupId, proof: objectRef }),
  z.object({ ...common, kind: z.literal('pin'), backup: backupId, reason: z.string() }),
  z.object({ ...common, kind: z.literal('unpin'), backup: backupId, reason: z.string() }),
  z.object({ ...common, kind: z.literal('delete'), backup: backupId, reason: z.string(), objects: z.array(z.string()) }),
  z.object({ ...common, kind: z.literal('purged'), backup: backupId }),
  z.object({ ...common, kind: z.literal('repack'), epoch: z.number().int(), index: objectRef.nullable(), relisted: z.boolean().optional() }),
  z.object({
    ...common,
    kind: z.literal('garbage'),
    epoch: z.number().int(),
    objects: z.array(z.string()),
    graceSeconds: z.number().int().nonnegative(),
  }),
  z.object({ ...common, kind: z.literal('cleared'), epoch: z.number().int(), garbage: z.number().int() }),
])

export type CommitEntry = z.infer<typeof entrySchema>

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never

/** An entry as its writer states it; the log adds number, previous, cluster, time and tool. */
export type NewEntry = DistributiveOmit<CommitEntry, 'format' | 'number' | 'previous' | 'cluster' | 'at' | 'tool'>

/** The bytes of an entry: one JSON object and a newline. Its last key, `check`, is the digest of the object without it: the newest entry has none after it that vouches for it. */
export function encodeEntry(entry: CommitEntry): Uint8Array {
  const body = JSON.stringify(entry)
  return new TextEncoder().encode(`${body.slice(0, -1)},"check":"${digestOf(new TextEncoder().encode(body))}"}\n`)
}

export function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

/** Parses one entry read from `key`; anything unexpected is an integrity failure, since a skipped entry could hide a deletion. */
export function decodeEntry(key: string, bytes: Uint8Array): CommitEntry {
  let json: unknown
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    json = JSON.parse(text)
  } catch (error) {
    throw new Failure('integrity', `cannot read commit entry ${key}: ${messageOf(error)}`, { cause: error, details: { object: key } })
  }
  const format: unknown = typeof json === 'object' && json !== null && 'format' in json ? json.format : undefined
  if (typeof format === 'string' && /^tidemark-commit\/\d+$/.test(format) && format !== 'tidemark-commit/1') {
    throw new Failure('repository-format', `commit entry ${key} has the format ${format}; this version knows tidemark-commit/1`, {
      hints: ['update Tidemark: a newer version wrote this repository'],
    })
  }
  requireUnchanged(key, text)
  const parsed = entrySchema.safeParse(json)
  if (!parsed.success) {
    const issue = parsed.error.issues[0]
    throw new Failure('integrity', `commit entry ${key} is not what Tidemark writes: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`, {
      details: { object: key },
    })
  }
  return parsed.data
}

function requireUnchanged(key: string, text: string): void {
  const match = /^(\{.*),"check":"(sha256:[0-9a-f]{64})"\}\n$/s.exec(text)
  if (match === null || digestOf(new TextEncoder().encode(`${match[1] ?? ''}}`)) !== match[2]) {
    throw new Failure('integrity', `commit entry ${key} was changed: it does not have the digest that it states`, { details: { object: key } })
  }
}
