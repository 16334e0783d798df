import { createLargeObjectsTally } from './fingerprint-collector.ts'
import type { LargeObjectsFingerprint } from './fingerprint.ts'
import type { ReadingSession } from './read-back-session.ts'

/** Objects asked for in one query, with their first bytes. */
const batchSize = 200
/** Most large objects are smaller, so that one query brings a whole batch; 200 of these are 13 MB. */
const firstBytes = 64 * 1024
const pieceBytes = 4 * 1024 * 1024

export interface LargeObjectReading {
  readonly signal: AbortSignal
  readonly onBytes: (count: number) => void
}

/**
 * Counts and digests every large object of a database, in pieces that fit into memory. Base64 because it means the same in every
 * kind of session.
 */
export async function readLargeObjects(session: ReadingSession, { signal, onBytes }: LargeObjectReading): Promise<LargeObjectsFingerprint> {
  const tally = createLargeObjectsTally()
  for (let last = '0'; ;) {
    signal.throwIfAborted()
    const batch = await session.query<{ oid: string; head: string }>(`
      SELECT oid::text AS oid, encode(pg_catalog.lo_get(oid, 0, ${firstBytes}), 'base64') AS head
      FROM pg_catalog.pg_largeobject_metadata WHERE oid > ${last}::oid ORDER BY pg_largeobject_metadata.oid LIMIT ${batchSize}`)
    for (const { oid, head } of batch) {
      const object = tally.begin(Number(oid))
      let piece: Uint8Array = Buffer.from(head, 'base64')
      let offset = 0
      let wanted = firstBytes
      for (;;) {
        object.bytes(piece)
        onBytes(piece.length)
        if (piece.length < wanted) break
        offset += piece.length
        wanted = pieceBytes
        signal.throwIfAborted()
        piece = await readPiece(session, oid, offset)
      }
      object.end()
    }
    const end = batch.at(-1)
    if (end === undefined || batch.length < batchSize) return tally.result()
    last = end.oid
  }
}

async function readPiece(session: ReadingSession, oid: string, offset: number): Promise<Uint8Array> {
  const [row] = await session.query<{ piece: string }>(`SELECT encode(pg_catalog.lo_get(${oid}::oid, ${offset}::bigint, ${pieceBytes}), 'base64') AS piece`)
  return Buffer.from(row?.piece ?? '', 'base64')
}
