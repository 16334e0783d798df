import { z } from 'zod'
import { Failure, messageOf } from '../../kernel/failure.ts'
import { decodeRoot, encodeRoot, type RootTables } from '../../packs/root-tables.ts'
import type { PackTable } from '../../packs/pack-table.ts'
import { backupFactsSchema } from '../backup.ts'

/** What a base backup is: docs/base-backups.md "Root". */
export const baseRootSchema = z.object({
  format: z.literal('tidemark-root/1'),
  repository: z.string(),
  cluster: z.string(),
  backup: backupFactsSchema,
  server: z.object({
    /** 64 bits, so a text. */
    systemIdentifier: z.string(),
    major: z.number().int(),
    timeline: z.number().int().positive(),
    /** `X/Y`. Recovery begins at the one and is consistent at the other. */
    startLsn: z.string(),
    stopLsn: z.string(),
    pageBytes: z.number().int().min(1_024).max(32_768),
    walSegmentBytes: z.number().int().positive(),
    dataChecksums: z.boolean(),
  }),
  tablespaces: z.array(z.object({ oid: z.string().regex(/^\d+$/), path: z.string() })),
  /** Where the frames of its packs lie. */
  indexes: z.array(z.object({ run: z.string(), key: z.string(), sha256: z.string() })),
  /** What page hashes are made with: 32 bytes in hexadecimal. Made by the full backup, and handed on: hashes are compared. */
  hashKey: z.string().regex(/^[0-9a-f]{64}$/),
  /** How the server was read, and why in no better way. */
  read: z.object({ how: z.enum(['stream', 'direct', 'summaries']), why: z.array(z.string()) }),
  /** The backup that it was compared with. */
  prior: z.string().nullable(),
  /** Where the server's last summaries of its WAL before the start began and ended, `X/Y-X/Y`: by them it is known again. */
  summaries: z.array(z.string().regex(/^[0-9A-F]+\/[0-9A-F]+-[0-9A-F]+\/[0-9A-F]+$/)).optional(),
  /** Settings that a server needs to recover it: at least these values. */
  settings: z.record(z.string(), z.string()),
  /** Configuration that does not lie in the data directory, as the server read it. */
  outside: z.array(z.object({ setting: z.string(), path: z.string(), text: z.string() })),
  leftOut: z.array(z.object({ what: z.string(), why: z.string() })),
  warnings: z.array(z.string()),
})
export type BaseRoot = z.infer<typeof baseRootSchema>

export function encodeBaseRoot(root: BaseRoot, tables: RootTables, packs: PackTable): Buffer {
  return encodeRoot(JSON.stringify(root), tables, packs)
}

/** Throws `integrity` for anything that we do not write. */
export function decodeBaseRoot(content: Buffer, object: string): { readonly root: BaseRoot; readonly tables: RootTables; readonly packs: PackTable } {
  const { json, tables, table } = decodeRoot(content, object)
  try {
    return { root: baseRootSchema.parse(JSON.parse(json)), tables, packs: table }
  } catch (error) {
    throw new Failure('integrity', `${object} is not what Tidemark writes: ${messageOf(error)}`, { cause: error, details: { object } })
  }
}
