import { Failure } from '../kernel/failure.ts'

/** The most parts an upload may have, by the S3 specification. */
export const partsMax = 10_000

/**
 * The size of part `number` (from 1). A known size gets equal parts, few enough; of an unknown one the parts double
 * every 2,500, which carries 8 MiB parts to 290 GiB with at most 64 MiB each.
 */
export function partSize(number: number, plan: { partBytes: number; sizeBytes: number | undefined }): number {
  if (plan.sizeBytes !== undefined) return Math.max(plan.partBytes, Math.ceil(plan.sizeBytes / partsMax))
  return plan.partBytes * 2 ** Math.floor((number - 1) / 2500)
}

/**
 * The chunks cut and joined to parts; `sizeOf` gives the size of each by its number. Only the last one is shorter.
 * An empty body has no part. Parts own their memory, except those that lie within one chunk.
 */
export async function* partsOf(chunks: AsyncIterable<Uint8Array>, sizeOf: (number: number) => number): AsyncGenerator<Uint8Array> {
  let number = 1
  let pending: Uint8Array[] = []
  let pendingBytes = 0
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length;) {
      const wanted = sizeOf(number) - pendingBytes
      const piece = chunk.subarray(at, at + wanted)
      pending.push(piece)
      pendingBytes += piece.length
      at += piece.length
      if (piece.length < wanted) continue
      if (number > partsMax)
        throw new Failure('storage-full', `cannot store more than ${partsMax} parts`, { hints: ['raise multipartBytes of this repository'] })
      yield joined(pending, pendingBytes)
      number += 1
      pending = []
      pendingBytes = 0
    }
  }
  if (pendingBytes > 0) yield joined(pending, pendingBytes)
}

function joined(pieces: readonly Uint8Array[], bytes: number): Uint8Array {
  const [only] = pieces
  return pieces.length === 1 && only !== undefined ? only : Buffer.concat(pieces, bytes)
}
