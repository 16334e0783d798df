import { describe, expect, it } from 'vitest'
import { parseControlFile } from './control-file.ts'
import { crc32c } from './crc32c.ts'

/** What is no server's: real control files of every major are read in test/pgdata. */
describe('a control file that is none', () => {
  const file = (change: (bytes: Buffer) => void = () => undefined, version = 1300) => {
    const bytes = Buffer.alloc(8192)
    const crcAt = version === 1800 ? 292 : 288
    bytes.writeUInt32LE(version, 8)
    bytes.writeUInt32LE(8192, 216)
    bytes.writeUInt32LE(131_072, 220)
    bytes.writeUInt32LE(8192, 224)
    bytes.writeUInt32LE(16 * 2 ** 20, 228)
    change(bytes)
    bytes.writeUInt32LE(crc32c(bytes.subarray(0, crcAt)), crcAt)
    return bytes
  }

  it('is refused, be it short, of another version, of another byte order, or damaged', () => {
    for (const version of [1300, 1700, 1800]) {
      const good = file(undefined, version)
      expect(parseControlFile(good)).toMatchObject({ blockSize: 8192, relationSegmentPages: 131_072, walSegmentBytes: 16 * 2 ** 20 })
      good[100] = 1
      expect(() => parseControlFile(good)).toThrow('checksum is wrong')
    }
    expect(() => parseControlFile(file().subarray(0, 300))).toThrow('only 300 bytes')
    expect(() => parseControlFile(file((bytes) => bytes.writeUInt32LE(1201, 8)))).toThrow('none of PostgreSQL 13 to 18')
    expect(() => parseControlFile(file((bytes) => bytes.writeUInt32BE(1300, 8)))).toThrow('other byte order')
    expect(() => parseControlFile(Buffer.alloc(8192))).toThrow('none of PostgreSQL 13 to 18')
  })

  it('is refused when its checksum is right and what it says cannot be', () => {
    const wrong: readonly (readonly [string, number, number])[] = [
      ['state', 16, 7],
      ['block_size', 216, 8191],
      ['block_size', 216, 65536],
      ['segment files', 220, 0],
      ['wal_segment_size', 228, 2 ** 31],
      ['wal_level', 172, 3],
    ]
    for (const [why, at, value] of wrong) expect(() => parseControlFile(file((bytes) => bytes.writeUInt32LE(value, at))), why).toThrow(why)
  })
})
