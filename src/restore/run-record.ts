import { z } from 'zod'
import { utc } from '../kernel/clock.ts'
import type { Context } from '../kernel/context.ts'
import { Failure, messageOf } from '../kernel/failure.ts'
import { readObjectIfThere } from '../repository/bytes.ts'
import { clusterSegment, runKey } from '../repository/layout.ts'
import type { Storage } from '../storage/storage.ts'

/**
 * What a restore did to a server, written to the repository before and after each step that cannot be repeated, so
 * that `undo` and a rerun after a crash can tell from the OIDs what happened (docs/design.md "Replacing a database").
 */
const recordSchema = z.object({
  format: z.literal('tidemark-run/1'),
  run: z.string(),
  cluster: z.string(),
  verb: z.enum(['restore', 'undo']),
  startedAt: z.string(),
  endedAt: z.string().nullable(),
  backup: z.string().nullable(),
  file: z.string().nullable(),
  /** created: the copy is where it was wanted; swapping, dropping, undoing: that was about to happen; swapped, dropped, undone: it did, and for `dropped` the copy is in its place. */
  phase: z.enum(['created', 'swapping', 'swapped', 'dropping', 'dropped', 'failed', 'undoing', 'undone']),
  server: z.object({ host: z.string().nullable(), port: z.number().int(), systemIdentifier: z.string().nullable() }),
  /** The name people use. */
  database: z.string(),
  /** OID of the restored copy, and the name it has or had before a swap. */
  newOid: z.number().int().nullable(),
  newName: z.string().nullable(),
  /** OID of what was there before, and the name it is kept under. */
  oldOid: z.number().int().nullable(),
  oldName: z.string().nullable(),
  safetyBackup: z.string().nullable(),
})

export type RestoreRecord = z.infer<typeof recordSchema>

/** The record of a restore that has done nothing yet. */
export function newRunRecord(
  {
    run,
    cluster,
    backup,
    file,
    server,
    database,
    safetyBackup,
  }: Pick<RestoreRecord, 'run' | 'cluster' | 'backup' | 'file' | 'server' | 'database' | 'safetyBackup'>,
  context: Pick<Context, 'clock'>,
): RestoreRecord {
  return {
    format: 'tidemark-run/1',
    run,
    cluster,
    verb: 'restore',
    startedAt: utc(context.clock.now()),
    endedAt: null,
    backup,
    file,
    phase: 'failed',
    server,
    database,
    newOid: null,
    newName: null,
    oldOid: null,
    oldName: null,
    safetyBackup,
  }
}

const recordLimitBytes = 1024 * 1024

export async function writeRunRecord(storage: Storage, record: RestoreRecord): Promise<void> {
  const bytes = new TextEncoder().encode(`${JSON.stringify(record)}\n`)
  await storage.put(runKey(record.cluster, record.run), bytes, { contentType: 'application/json', sizeBytes: bytes.byteLength })
}

export async function readRunRecord(storage: Storage, cluster: string, run: string, signal?: AbortSignal): Promise<RestoreRecord | undefined> {
  const key = runKey(cluster, run)
  const bytes = await readObjectIfThere(storage, key, recordLimitBytes, signal)
  if (bytes === undefined) return undefined
  try {
    return recordSchema.parse(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)))
  } catch (error) {
    throw new Failure('integrity', `the run record ${key} is not readable: ${messageOf(error)}`, { cause: error, details: { object: key } })
  }
}

/** The restores of a cluster that can be undone, or can tell how to go back, newest first. */
export async function undoableRuns(storage: Storage, cluster: string, signal?: AbortSignal): Promise<readonly RestoreRecord[]> {
  const records: RestoreRecord[] = []
  const prefix = `.tidemark/runs/${clusterSegment(cluster)}/`
  for await (const object of storage.list(prefix, signal === undefined ? {} : { signal })) {
    const run = object.key.slice(prefix.length).replace(/\.json$/, '')
    const record = await readRunRecord(storage, cluster, run, signal)
    if (record !== undefined && ['created', 'swapping', 'swapped', 'undoing', 'undone', 'dropping', 'dropped'].includes(record.phase)) records.push(record)
  }
  return records.toSorted((a, b) => (a.startedAt < b.startedAt ? 1 : -1))
}
