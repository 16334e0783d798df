/**
 * CRC-32C (Castagnoli, RFC 3720 appendix B.4): what PostgreSQL puts into pg_control, WAL records and backup manifests. Bits are reflected, so
 * the highest bit of a value is the coefficient of x⁰.
 */
const polynomial = 0x82f63b78
const slices = 16

/** Row n: what a byte becomes when n more bytes have gone by. Sixteen rows, so that sixteen bytes are looked up independently of each other. */
const table = makeTable()

/** The CRC-32C (0 to 2³²-1) of `bytes`; with `previous`, that of the bytes before them followed by these. */
export function crc32c(bytes: Uint8Array, previous = 0): number {
  const head = -bytes.byteOffset & 3
  if (bytes.length < head + slices) return ~overBytes(~previous, bytes) >>> 0
  const words = new Int32Array(bytes.buffer, bytes.byteOffset + head, Math.floor((bytes.length - head) / slices) * (slices / 4))
  let crc = overBytes(~previous, bytes.subarray(0, head))
  for (let index = 0; index < words.length; index += 4) {
    crc =
      afterWord(12, crc ^ (words[index] as number)) ^
      afterWord(8, words[index + 1] as number) ^
      afterWord(4, words[index + 2] as number) ^
      afterWord(0, words[index + 3] as number)
  }
  return ~overBytes(crc, bytes.subarray(head + words.length * 4)) >>> 0
}

/** A little-endian word, `bytesBehind` bytes before the end of the sixteen. */
function afterWord(bytesBehind: number, word: number): number {
  const row = bytesBehind << 8
  return (
    (table[row + 768 + (word & 255)] as number) ^
    (table[row + 512 + ((word >>> 8) & 255)] as number) ^
    (table[row + 256 + ((word >>> 16) & 255)] as number) ^
    (table[row + (word >>> 24)] as number)
  )
}

function overBytes(crc: number, bytes: Uint8Array): number {
  for (let index = 0; index < bytes.length; index += 1) crc = (crc >>> 8) ^ (table[(crc ^ (bytes[index] as number)) & 255] as number)
  return crc
}

function makeTable(): Int32Array {
  const rows = new Int32Array(slices * 256)
  for (let byte = 0; byte < 256; byte += 1) {
    let value = byte
    for (let bit = 0; bit < 8; bit += 1) value = timesX(value)
    rows[byte] = value
  }
  for (let index = 256; index < rows.length; index += 1) {
    const shorter = rows[index - 256] as number
    rows[index] = (shorter >>> 8) ^ (rows[shorter & 255] as number)
  }
  return rows
}

function timesX(value: number): number {
  return (value & 1) === 0 ? value >>> 1 : (value >>> 1) ^ polynomial
}
