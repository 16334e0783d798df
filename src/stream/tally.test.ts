import { createHash } from 'node:crypto'
import { expect, it } from 'vitest'
import { chunked, collect, sampleBytes } from '../../test/support/streams.ts'
import { Tally } from './tally.ts'

it('counts and digests exactly what passed, whatever the chunks', async () => {
  const bytes = sampleBytes(100_000)
  for (const size of [1000, 33_333, 100_000]) {
    const tally = new Tally()
    expect((await collect(tally.through(chunked(bytes, size)))).equals(bytes)).toBe(true)
    expect(tally.sizeBytes).toBe(100_000)
    expect(tally.sha256()).toBe(createHash('sha256').update(bytes).digest('hex'))
    expect(tally.sha256()).toBe(tally.sha256())
  }
})

it('knows the digests of nothing', async () => {
  const sha256 = new Tally()
  const blake3 = new Tally({ digest: 'blake3' })
  await collect(sha256.through(chunked(Buffer.alloc(0))))
  await collect(blake3.through(chunked(Buffer.alloc(0))))
  expect(sha256.sha256()).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
  expect(blake3.blake3()).toBe('af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262')
})

it('gives no digest of half a stream', async () => {
  const tally = new Tally()
  expect(() => tally.sha256()).toThrow(/before/)
  for await (const _ of tally.through(chunked(sampleBytes(1000), 100))) break
  expect(tally.ended).toBe(false)
  expect(() => tally.sha256()).toThrow(/before/)
})

it('is used once and gives only the digest that it computes', async () => {
  const tally = new Tally({ digest: 'none' })
  await collect(tally.through(chunked(sampleBytes(10))))
  expect(tally.sizeBytes).toBe(10)
  expect(() => tally.sha256()).toThrow(/none/)
  expect(() => tally.blake3()).toThrow(/none/)
  await expect(collect(tally.through(chunked(sampleBytes(10))))).rejects.toThrow(/one stream/)
})
