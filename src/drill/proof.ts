import { z } from 'zod'
import { digestOf } from '../repository/commit-entry.ts'
import { proofKey } from '../repository/layout.ts'
import type { Storage } from '../storage/storage.ts'

export const proofSchema = z.object({
  format: z.literal('tidemark-proof/1'),
  run: z.string(),
  cluster: z.string(),
  backup: z.string(),
  database: z.string(),
  /** proven: restored, and everything the dump holds was equal; partial: equal as far as compared; failed: it differs, did not restore, or a check failed. */
  outcome: z.enum(['proven', 'partial', 'failed']),
  at: z.string(),
  host: z.string(),
  tool: z.string(),
  /** What kind of server it was restored on, and its version. */
  server: z.string(),
  tables: z.array(z.object({ name: z.string(), rows: z.number().nullable(), restoredRows: z.number().nullable(), match: z.boolean() })),
  largeObjects: z.object({ count: z.number(), restoredCount: z.number(), match: z.boolean() }).nullable(),
  sequences: z.object({ count: z.number(), matching: z.number() }).nullable(),
  /** Objects whose content follows from the rest (indexes, views, constraints …): present and valid. */
  derived: z.object({ checked: z.number(), matching: z.number(), unchecked: z.number() }).nullable(),
  notCompared: z.array(z.object({ what: z.string(), why: z.string() })),
  checks: z.array(z.object({ sql: z.string(), expected: z.string(), actual: z.string().nullable(), ok: z.boolean() })),
  newest: z.array(z.object({ table: z.string(), rows: z.array(z.record(z.string(), z.string().nullable())) })),
  restoreSeconds: z.number(),
  /** How long a cluster took to recover; null for dumps, which do not. */
  recoverySeconds: z.number().nullable(),
  problems: z.array(z.string()),
})

/** The evidence of one drill; stored in the repository and named, with its digest, by the commit log. */
export type Proof = z.infer<typeof proofSchema>

/** Stores the proof and says how the commit log refers to it. */
export async function saveProof(storage: Storage, proof: Proof): Promise<{ key: string; sha256: string }> {
  const bytes = new TextEncoder().encode(`${JSON.stringify(proof)}\n`)
  const key = proofKey(proof.cluster, proof.run)
  await storage.put(key, bytes, { ifAbsent: true, contentType: 'application/json', sizeBytes: bytes.byteLength })
  return { key, sha256: digestOf(bytes) }
}
