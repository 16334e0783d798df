import type { ByteSink } from './sink.ts'

/** How pg_dump ends the rows of a table in every format (`dumpTableData_copy` in pg_dump.c). */
const terminator = Buffer.from('\\.\n\n\n')
/** The terminator and the line feed of the last row. */
const heldBytes = terminator.length + 1
const capacityBytes = 256 * 1024

/**
 * Collects the pieces of one table's COPY text into larger ones before they are hashed: pg_dump up to 15 writes one
 * chunk per row, and a hash call per row would cost more than the hashing. The last bytes are held back, because only at
 * the end it is known that they are the terminator.
 */
export interface CopyStaging {
  begin(sink: ByteSink | null): void
  append(input: Buffer, from: number, to: number): void
  /** Ends the table. Returns what is wrong with its end, or null. */
  finish(): string | null
}

export function createCopyStaging(): CopyStaging {
  const buffer = Buffer.from(new ArrayBuffer(capacityBytes))
  let fill = 0
  let taken = 0
  let sink: ByteSink | null = null

  const flush = () => {
    const ready = fill - heldBytes
    if (ready <= 0) return
    sink?.bytes(buffer.subarray(0, ready))
    buffer.copyWithin(0, ready, fill)
    taken += ready
    fill = heldBytes
  }

  return {
    begin: (next) => {
      sink = next
      fill = 0
      taken = 0
    },
    append: (input, from, to) => {
      let at = from
      while (at < to) {
        if (fill === capacityBytes) flush()
        const count = Math.min(to - at, capacityBytes - fill)
        if (count < 24) for (let index = 0; index < count; index++) buffer[fill + index] = input[at + index] as number
        else input.copy(buffer, fill, at, at + count)
        fill += count
        at += count
      }
    },
    finish: () => {
      const rows = fill - terminator.length
      if (rows < 0 || buffer.compare(terminator, 0, terminator.length, rows, fill) !== 0) return 'its rows do not end with the end marker \\.'
      if (rows > 0 ? buffer[rows - 1] !== 10 : taken > 0) return 'its last row has no line end'
      if (rows > 0) sink?.bytes(buffer.subarray(0, rows))
      sink?.end()
      sink = null
      return null
    },
  }
}
