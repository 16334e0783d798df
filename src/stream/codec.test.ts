import { describe, expect, it } from 'vitest'
import { chunked, collect, errorOf, judge, sampleBytes } from '../../test/support/streams.ts'
import { isFailure } from '../kernel/failure.ts'
import { compressionFor, compressionOf, compressionSuffix, decompressByMagic, decompressionFor } from './codec.ts'

const plain = sampleBytes(10_000)

describe.each([
  { method: 'zstd', level: 3 },
  { method: 'gzip', level: 6 },
  { method: 'none', level: 0 },
] as const)('$method', (compression) => {
  const stored = (): Promise<Buffer> => collect(compressionFor(compression, { workers: 2 })(chunked(plain, 999)))

  it('is undone by its name and by its first bytes, however small the chunks', async () => {
    for (const size of [1, 7, 100_000]) {
      expect((await collect(decompressionFor(compression.method, { maxBytes: 10_000 })(chunked(await stored(), size)))).equals(plain)).toBe(true)
      const { method, content } = await decompressByMagic(chunked(await stored(), size), { maxBytes: 10_000 })
      expect(method).toBe(compression.method)
      expect((await collect(content)).equals(plain)).toBe(true)
    }
  })

  it('is bounded', async () => {
    const { content } = await decompressByMagic(chunked(await stored(), 100), { maxBytes: 9_999 })
    expect(isFailure(await errorOf(content), 'integrity')).toBe(true)
  })

  it('has the suffix by which stock programs know it', async () => {
    const program = { zstd: ['zstd', '-dc'], gzip: ['gzip', '-dc'], none: ['cat'] }[compression.method]
    expect(compressionSuffix(compression.method)).toBe({ zstd: '.zst', gzip: '.gz', none: '' }[compression.method])
    expect((await judge(program[0] ?? '', program.slice(1), await stored())).stdout.equals(plain)).toBe(true)
  })
})

it('takes archives, SQL, short and empty files for what they are', async () => {
  for (const text of ['PGDMP\u0001\u000e', '--\n-- PostgreSQL', '', 'x', '(\u00b5/']) expect(compressionOf(Buffer.from(text))).toBe('none')
  const { method, content } = await decompressByMagic(chunked(Buffer.alloc(0)), { maxBytes: 0 })
  expect(method).toBe('none')
  expect(await collect(content)).toEqual(Buffer.alloc(0))
})

it('closes the source when the content is not read to its end', async () => {
  let closed = false
  async function* source(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for (;;) yield plain
    } finally {
      closed = true
    }
  }
  const { content } = await decompressByMagic(source(), { maxBytes: Infinity })
  for await (const _ of content) break
  expect(closed).toBe(true)
})
