import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { buildArchive, type ArchiveShape } from '../../test/dump/archive-builder.ts'
import { isFailure } from '../kernel/failure.ts'
import { createArchiveScanner } from './archive-scan.ts'
import { createFingerprintCollector } from './fingerprint-collector.ts'
import type { ContentFingerprint } from './fingerprint.ts'

const shape: ArchiveShape = {
  tables: [
    { name: 'accounts', rows: ['1\tone\n', '2\t\\N\n', '3\t\\\\.\n'] },
    { name: 'empty', rows: [] },
    { name: 'Weird "name"', rows: ['\n', '\n'] },
  ],
  sequences: [{ name: 'accounts_id_seq', value: 3 }],
  largeObjects: [
    { oid: 16_400, content: Buffer.from('a large object') },
    { oid: 4_000_000_000, content: Buffer.alloc(0) },
  ],
}

async function scan(chunks: Iterable<Uint8Array>): Promise<ContentFingerprint> {
  const collector = createFingerprintCollector()
  const scanner = createArchiveScanner(collector.sink)
  for (const chunk of chunks) {
    scanner.write(chunk)
    await scanner.pending()
  }
  const { toc } = await scanner.end()
  return collector.finish({ encoding: toc.encoding, settings: null, derived: [] })
}

const scanWhole = (archive: Uint8Array) => scan([archive])

function* cutAt(bytes: Uint8Array, sizes: readonly number[]): Generator<Uint8Array> {
  let from = 0
  for (let index = 0; from < bytes.length; index++) {
    const size = sizes[index % sizes.length] ?? 1
    yield bytes.subarray(from, from + size)
    from += size
  }
}

async function failureOf(work: Promise<unknown>): Promise<string> {
  try {
    await work
  } catch (error) {
    if (isFailure(error, 'dump-empty', 'integrity')) return error.code
    throw error
  }
  return 'none'
}

describe('what an archive holds', () => {
  test('is counted and digested in every version of the format, compressed or not', async () => {
    const expected = await scanWhole(buildArchive(shape))
    expect(expected.tables.map(({ name, rows, bytes }) => [name, rows, bytes])).toEqual([
      ['accounts', 3, 17],
      ['empty', 0, 0],
      ['Weird "name"', 2, 2],
    ])
    expect(expected.largeObjects).toMatchObject({ count: 2, bytes: 14 })
    expect(expected.sequences).toEqual([{ schema: 'public', name: 'accounts_id_seq', lastValue: '3', isCalled: true }])
    for (const minor of [13, 14, 15, 16] as const)
      for (const compression of ['none', 'gzip'] as const)
        for (const intSize of [4, 8] as const) expect(await scanWhole(buildArchive({ ...shape, minor, compression, intSize }))).toEqual(expected)
    expect(await scanWhole(buildArchive({ ...shape, rowsPerChunk: 2 }))).toEqual(expected)
  })

  test('does not depend on how the stream is cut into chunks', async () => {
    for (const compression of ['none', 'gzip'] as const) {
      const archive = buildArchive({ ...shape, compression })
      const expected = await scanWhole(archive)
      await fc.assert(
        fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 30 }), async (sizes) => {
          expect(await scan(cutAt(archive, sizes))).toEqual(expected)
        }),
        { numRuns: 150 },
      )
    }
  })

  test('is right for tables larger than every buffer, compressed too', async () => {
    const rows = Array.from({ length: 40_000 }, (_, row) => `${row}\t${'value '.repeat(row % 40)}\n`)
    const expected = await scanWhole(buildArchive({ tables: [{ name: 'large', rows }] }))
    expect(expected.tables[0]).toMatchObject({ rows: 40_000, bytes: rows.join('').length })
    const compressed = buildArchive({ tables: [{ name: 'large', rows }], compression: 'gzip' })
    expect(await scan(cutAt(compressed, [65_536]))).toEqual(expected)
    expect(await scanWhole(compressed)).toEqual(expected)
    const random = Array.from({ length: 3000 }, (_, row) => `${row}\t${Buffer.from(crypto.getRandomValues(new Uint8Array(100))).toString('base64')}\n`)
    const incompressible = {
      tables: [
        { name: 'a', rows: random },
        { name: 'b', rows: random.slice(1) },
      ],
    }
    expect(await scan(cutAt(buildArchive({ ...incompressible, compression: 'gzip' }), [10_007]))).toEqual(await scanWhole(buildArchive(incompressible)))
  })

  test('changes with every bit of the rows', async () => {
    const archive = buildArchive(shape)
    const expected = await scanWhole(archive)
    const rows = archive.indexOf('1\tone\n')
    for (let bit = 0; bit < 48; bit++) {
      const flipped = Buffer.from(archive)
      flipped[rows + (bit >> 3)] = (flipped[rows + (bit >> 3)] as number) ^ (1 << (bit & 7))
      const found = await scanWhole(flipped).catch(() => null)
      expect(found).not.toEqual(expected)
    }
  })
})

describe('a damaged archive', () => {
  test.each(['none', 'gzip'] as const)('is refused when it was cut off at any byte (inner compression %s)', async (compression) => {
    const archive = buildArchive({ ...shape, compression })
    for (let length = 0; length < archive.length; length++)
      expect(`${length}: ${await failureOf(scanWhole(archive.subarray(0, length)))}`).toBe(`${length}: dump-empty`)
  })

  test('is refused when anything follows its last block', async () => {
    for (const tail of ['\0', '\u0001', '\u0003', '\n', 'PGDMP', '\u0001\0\u000a\0\0\0']) {
      expect(await failureOf(scanWhole(Buffer.concat([buildArchive(shape), Buffer.from(tail, 'latin1')])))).toBe('integrity')
    }
  })

  test('never crashes, hangs or fills the memory, whatever is changed in it', async () => {
    for (const compression of ['none', 'gzip'] as const) {
      const archive = buildArchive({ ...shape, compression })
      await fc.assert(
        fc.asyncProperty(fc.array(fc.tuple(fc.nat(archive.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }), async (changes) => {
          const changed = Buffer.from(archive)
          for (const [at, value] of changes) changed[at] = value
          // It may be refused or not (a changed value is still an archive), but only by a foreseen failure.
          await failureOf(scanWhole(changed))
        }),
        { numRuns: 1500 },
      )
    }
  })

  test('is refused when a length is forged to be huge or negative', async () => {
    const archive = buildArchive(shape)
    const rows = archive.indexOf('1\tone\n')
    const huge = Buffer.from(archive)
    huge.writeUInt32LE(0x7fffffff, rows - 4)
    expect(await failureOf(scanWhole(huge))).toBe('dump-empty')
    const negative = Buffer.from(archive)
    negative[rows - 5] = 1
    expect(await failureOf(scanWhole(negative))).toBe('integrity')
  })

  test('is refused when the rows of a table have lost their end marker', async () => {
    const archive = buildArchive({ tables: [{ name: 't', rows: ['1\t2\n'] }] })
    const marker = archive.indexOf('\\.\n\n\n')
    const without = Buffer.from(archive)
    without.write('1\t3\n\n', marker)
    expect(await failureOf(scanWhole(without))).toBe('integrity')
  })

  test('is refused when the offset of a block is not where the block is', async () => {
    const archive = buildArchive({ tables: [{ name: 't', rows: ['1\t2\n'] }] })
    // The entry's last nine bytes are its data state and offset; the data block follows directly.
    const state = archive.indexOf('1\t2\n') - 11 - 9
    expect(archive[state]).toBe(1)
    const right = Buffer.from(archive)
    right[state] = 2
    right.writeUInt32LE(state + 9, state + 1)
    expect(await failureOf(scanWhole(right))).toBe('none')
    right.writeUInt32LE(state + 10, state + 1)
    expect(await failureOf(scanWhole(right))).toBe('integrity')
  })
})
