/**
 * The checksum in the header of every page of a relation (PostgreSQL's `storage/checksum_impl.h`, the same since 9.3): 32 FNV-1a sums over
 * the columns of a table of 32-bit words, folded by XOR, mixed with the block number so that a page at the wrong place is noticed.
 *
 * A page begins with pd_lsn (the upper half first), at byte 8 pd_checksum, at byte 14 pd_upper, which is 0 only in a page never written to.
 * All of it is in the byte order of the server; a server of the other order is refused where its control file is read.
 */
const lanes = 32
const prime = 16777619
// oxfmt-ignore
const offsets = Int32Array.of(
  0x5b1f36e9, 0xb8525960, 0x02ab50aa, 0x1de66d2a, 0x79ff467a, 0x9bb9f8a3, 0x217e7cd2, 0x83e13d2c,
  0xf8d4474f, 0xe39eb970, 0x42c6ae16, 0x993216fa, 0x7b093b5d, 0x98daff3c, 0xf718902a, 0x0b1c9cdb,
  0xe58f764b, 0x187636bc, 0x5d7b3bb1, 0xe73de7de, 0x92bec979, 0xcca6c0b2, 0x304a0979, 0x85aa43d4,
  0x783125bb, 0x6ca8eaa2, 0xe407eac6, 0x4b5cfc3e, 0x9fbf8c76, 0x15ca20be, 0xf2ca9fd3, 0x959bd756,
)

export interface PageCheck {
  /** `block_size` of the server: a power of two from 1 to 32 KiB. */
  readonly pageBytes: number
  /** Block number of the first page in the whole relation: segment number × pages per segment + index in the segment. */
  readonly firstBlock: number
  /**
   * LSN at which the backup began. Pages with a higher pd_lsn are not judged: they may be torn, and WAL repairs them. A page whose last change
   * ended exactly there was flushed by the backup's checkpoint and WAL does not touch it, so it is judged, which the server omits. Damage to
   * the upper bits of pd_lsn is taken for a new page, as the server itself takes it.
   */
  readonly newerThan: bigint
}

export interface BadPage {
  /** Block number in the whole relation. */
  readonly block: number
  readonly expected: number
  /** What pd_checksum says. Equal to `expected` only in a page whose header says that it is empty although it is not. */
  readonly found: number
}

/**
 * The checksum (1 to 65535) that this page should carry as block `blockNumber` of its relation. What stands in pd_checksum does not matter.
 * @internal For tests, which make pages.
 */
export function pageChecksum(page: Uint8Array, blockNumber: number): number {
  requirePageSize(page.length)
  return checksumOf(wordsOf(page), 0, page.length / 4, blockNumber)
}

/**
 * The pages of `bytes` (whole pages, back to back) whose checksum is wrong. Empty pages (all zero) are in order, as they are for the server;
 * a page whose header says "empty" with something behind it is not: the server would refuse to read it.
 */
export function findBadPages(bytes: Uint8Array, { pageBytes, firstBlock, newerThan }: PageCheck): readonly BadPage[] {
  requirePageSize(pageBytes)
  if (bytes.length % pageBytes !== 0) throw new RangeError(`${bytes.length} bytes are not whole pages of ${pageBytes}`)
  const words = wordsOf(bytes)
  const pageWords = pageBytes / 4
  const oldest = halvesOf(newerThan)
  const bad: BadPage[] = []
  for (let start = 0, block = firstBlock; start < words.length; start += pageWords, block += 1) {
    const isNew = word(words, start + 3) >>> 16 === 0
    if (isNew && isZero(words, start, pageWords)) continue
    if (!isNew && isAfter(words, start, oldest)) continue
    const expected = checksumOf(words, start, pageWords, block)
    const found = word(words, start + 2) & 0xffff
    if (expected !== found || isNew) bad.push({ block, expected, found })
  }
  return bad
}

/** Four columns at a time: their sums stay in registers, and the page in the cache nearest to the processor. */
function checksumOf(words: Int32Array, start: number, pageWords: number, blockNumber: number): number {
  const end = start + pageWords
  let folded = 0
  for (let lane = 0; lane < lanes; lane += 4) {
    let row = start + lane
    let a = round(word(offsets, lane) ^ word(words, row))
    let b = round(word(offsets, lane + 1) ^ word(words, row + 1))
    // The third word of a page holds pd_checksum in its lower half, which counts as zero.
    let c = round(word(offsets, lane + 2) ^ (lane === 0 ? word(words, row + 2) & 0xffff0000 : word(words, row + 2)))
    let d = round(word(offsets, lane + 3) ^ word(words, row + 3))
    for (row += lanes; row < end; row += lanes) {
      a = round(a ^ word(words, row))
      b = round(b ^ word(words, row + 1))
      c = round(c ^ word(words, row + 2))
      d = round(d ^ word(words, row + 3))
    }
    folded ^= round(round(a)) ^ round(round(b)) ^ round(round(c)) ^ round(round(d))
  }
  return (((folded ^ blockNumber) >>> 0) % 65535) + 1
}

function round(mixed: number): number {
  return Math.imul(mixed, prime) ^ (mixed >>> 17)
}

/** An element that is there; the type of an index into an array cannot know. */
function word(words: Int32Array, index: number): number {
  return words[index] as number
}

function isZero(words: Int32Array, start: number, pageWords: number): boolean {
  for (let index = start; index < start + pageWords; index += 1) if (words[index] !== 0) return false
  return true
}

interface Halves {
  readonly upper: number
  readonly lower: number
}

function halvesOf(lsn: bigint): Halves {
  return { upper: Number(lsn >> 32n), lower: Number(lsn & 0xffffffffn) }
}

function isAfter(words: Int32Array, start: number, lsn: Halves): boolean {
  const upper = word(words, start) >>> 0
  return upper === lsn.upper ? word(words, start + 1) >>> 0 > lsn.lower : upper > lsn.upper
}

/** The same memory as words; a copy only where it does not begin at a multiple of four. */
function wordsOf(bytes: Uint8Array): Int32Array {
  if (bytes.byteOffset % 4 === 0) return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
  const copy = new Uint8Array(bytes.length)
  copy.set(bytes)
  return new Int32Array(copy.buffer)
}

function requirePageSize(pageBytes: number): void {
  if (!Number.isInteger(Math.log2(pageBytes)) || pageBytes < 1024 || pageBytes > 32768) throw new RangeError(`no page size of PostgreSQL: ${pageBytes} bytes`)
}
