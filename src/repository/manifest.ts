import { z } from 'zod'
import { Failure, messageOf } from '../kernel/failure.ts'
import { parseFingerprint, type ContentFingerprint } from '../dump/fingerprint.ts'
import type { Storage } from '../storage/storage.ts'
import { backupFactsSchema } from './backup.ts'
import { readObject } from './bytes.ts'
import type { BackupRecord } from './cluster-log.ts'
import { digestOf } from './commit-entry.ts'

/** 10,000 tables with long names are some 5 MB. */
export const manifestLimitBytes = 256 * 1024 * 1024

export const storedFileSchema = z.object({
  key: z.string(),
  /** dump: the file, or each file of a directory dump (`part`); copy: the same bytes under another key (tiered layout). */
  role: z.enum(['dump', 'part', 'globals', 'info', 'copy']),
  sizeBytes: z.number().int().nonnegative(),
  /** Hex; '' for the `.info`, which is for people and may be edited. */
  sha256: z.string(),
})
export type StoredFile = z.infer<typeof storedFileSchema>

export const sourceSchema = z.object({
  serverVersion: z.string(),
  serverMajor: z.number().int(),
  systemIdentifier: z.string().nullable(),
  host: z.string().nullable(),
  port: z.number().int().nullable(),
  database: z.string(),
  encoding: z.string(),
  /** CREATE DATABASE properties, so that a copy can be made alike; null where the server has no such thing. */
  collate: z.string().nullable(),
  ctype: z.string().nullable(),
  localeProvider: z.string().nullable(),
  icuLocale: z.string().nullable(),
  icuRules: z.string().nullable(),
  owner: z.string().nullable(),
  comment: z.string().nullable(),
  connectionLimit: z.number().int().nullable(),
  /** aclitem texts of pg_database.datacl; null = the default. */
  acl: z.array(z.string()).nullable(),
  /** `name=value` of ALTER DATABASE … SET, and of ALTER ROLE … IN DATABASE … SET with the role before a tab. */
  settings: z.array(z.string()),
  extensions: z.array(z.object({ name: z.string(), version: z.string(), schema: z.string() })),
  /** Roles that own objects or were granted something, and tablespaces in use: what another server must have, too. */
  roles: z.array(z.string()).default([]),
  tablespaces: z.array(z.string()).default([]),
  databaseBytes: z.number().int().nonnegative().nullable(),
  /** Database OID on the source: protects it from being dropped as if it were a copy. */
  databaseOid: z.number().int().nullable(),
})
export type DumpSource = z.infer<typeof sourceSchema>

const manifestSchema = z.object({
  format: z.literal('tidemark-manifest/1'),
  repository: z.string(),
  cluster: z.string(),
  backup: backupFactsSchema,
  source: sourceSchema.nullable(),
  files: z.array(storedFileSchema),
  plainBytes: z.number().int().nonnegative(),
  /** Where the data blocks of an archive begin, by entry number, so that a parallel pg_restore need not search for them. */
  blockOffsets: z.array(z.tuple([z.number().int().positive(), z.number().int().positive()])).default([]),
  fingerprint: z.unknown(),
  leftOut: z.array(z.object({ what: z.string(), why: z.string() })),
  warnings: z.array(z.string()),
  dumpTool: z.string().nullable(),
  selection: z
    .object({ schemaOnly: z.boolean(), dataOnly: z.boolean(), tables: z.array(z.string()), schemas: z.array(z.string()), excludeTables: z.array(z.string()) })
    .nullable(),
  /** What psql would do with a plain dump of somebody else's beyond the database it is given. Only in manifests of adopted files; null when it stays inside. */
  beyondDatabase: z.string().nullable().optional(),
  /** Hex, of an adopted file as it was before it was sealed. Only where it was. */
  originalSha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .optional(),
})

export interface Manifest extends Omit<z.infer<typeof manifestSchema>, 'fingerprint'> {
  /** Null when none was taken (`--no-fingerprint`, adopted files before their first reading). */
  readonly fingerprint: ContentFingerprint | null
}

export function encodeManifest(manifest: Manifest): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(manifest)}\n`)
}

/** Reads a backup's manifest and holds it against the digest in the commit log. */
export async function readManifest(storage: Storage, record: BackupRecord, signal?: AbortSignal): Promise<Manifest> {
  const { key, sha256 } = record.manifest
  const bytes = await readObject(storage, key, manifestLimitBytes, signal)
  if (digestOf(bytes) !== sha256) {
    throw new Failure('integrity', `the manifest of backup ${record.facts.id} was changed: ${key} does not have the digest that the commit log states`, {
      details: { object: key, backup: record.facts.id },
    })
  }
  return decodeManifest(key, bytes)
}

export function decodeManifest(key: string, bytes: Uint8Array): Manifest {
  let json: unknown
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (error) {
    throw new Failure('integrity', `cannot read manifest ${key}: ${messageOf(error)}`, { cause: error, details: { object: key } })
  }
  const parsed = manifestSchema.safeParse(json)
  if (!parsed.success) {
    const issue = parsed.error.issues[0]
    throw new Failure('integrity', `manifest ${key} is not what Tidemark writes: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`, {
      details: { object: key },
    })
  }
  return { ...parsed.data, fingerprint: parsed.data.fingerprint === null ? null : parseFingerprint(parsed.data.fingerprint) }
}

/** The stored file that a restore reads: the dump itself, or null for a directory dump (its parts). */
export function dumpFileOf(manifest: Manifest): StoredFile | null {
  return manifest.files.find((file) => file.role === 'dump') ?? null
}
