import { Blake3Hasher } from '@napi-rs/blake-hash'
import { createDigestSum } from './digest-sum.ts'
import { cutOff } from './faults.ts'
import type { ByteSink } from './sink.ts'

/** The rows of a table without their order. */
export interface RowMultiset {
  readonly rows: number
  /** Sum modulo 2²⁵⁶ (hex, least significant byte first) of BLAKE3-256 of every COPY line with its line feed. */
  readonly digest: string
}

export interface MultisetSink extends ByteSink {
  result(): RowMultiset
}

const lineFeed = 10

/**
 * Digests rows regardless of their order: one hash per row, so it is used only where ordered digests differ.
 * `order` puts the fields of each line into another order first (index of the field that comes first, second, …), for
 * partitions whose columns stand in another order than their root's.
 */
export function createRowMultiset(order: readonly number[] | null = null): MultisetSink {
  const sum = createDigestSum()
  const hasher = new Blake3Hasher()
  let rows = 0
  let begun: Buffer[] = []

  const takeLine = (line: Buffer) => {
    // Hex because a Buffer made by the native side costs more than the hashing.
    hasher.reset()
    hasher.update(order === null ? line : reordered(line, order))
    sum.addHex(hasher.digest('hex'))
    rows += 1
  }

  return {
    bytes: (piece) => {
      const bytes = Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength)
      let from = 0
      for (let to = bytes.indexOf(lineFeed); to >= 0; to = bytes.indexOf(lineFeed, from)) {
        const line = bytes.subarray(from, to + 1)
        takeLine(begun.length === 0 ? line : Buffer.concat([...begun, line]))
        begun = []
        from = to + 1
      }
      if (from < bytes.length) begun.push(Buffer.from(bytes.subarray(from)))
    },
    end: () => {
      if (begun.length > 0) throw cutOff('the last row of a table has no line end', 0)
    },
    result: () => ({ rows, digest: sum.hex() }),
  }
}

/** Tabs inside values are written as `\t` by COPY, so a tab byte always parts two fields. */
function reordered(line: Buffer, order: readonly number[]): Buffer {
  const fields = line.subarray(0, -1).toString('latin1').split('\t')
  return Buffer.from(`${order.map((index) => fields[index] ?? '').join('\t')}\n`, 'latin1')
}

/** The multiset of all rows that a source yields. */
export async function multisetOf(rows: AsyncIterable<Uint8Array>, order: readonly number[] | null = null): Promise<RowMultiset> {
  const multiset = createRowMultiset(order)
  for await (const piece of rows) multiset.bytes(piece)
  multiset.end()
  return multiset.result()
}

/** The rows of several tables together. */
export function sumOfMultisets(parts: readonly RowMultiset[]): RowMultiset {
  const sum = createDigestSum()
  for (const part of parts) sum.addHex(part.digest)
  return { rows: parts.reduce((total, part) => total + part.rows, 0), digest: sum.hex() }
}
