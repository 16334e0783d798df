import { blake3 } from '@napi-rs/blake-hash'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createDigestSum } from './digest-sum.ts'
import { createRowMultiset, multisetOf, sumOfMultisets } from './row-multiset.ts'

async function* one(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text)
}

const line = fc.string({ maxLength: 20 }).map((text) => `${text.replaceAll('\n', '')}\n`)

test('rows in another order or cut into other pieces are the same multiset', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(line, { maxLength: 30 }), fc.integer({ min: 1, max: 9 }), async (lines, size) => {
      const forward = await multisetOf(one(lines.join('')))
      const cut = createRowMultiset()
      const backward = Buffer.from(lines.toReversed().join(''))
      for (let from = 0; from < backward.length; from += size) cut.bytes(backward.subarray(from, from + size))
      cut.end()
      expect(cut.result()).toEqual(forward)
      expect(forward.rows).toBe(lines.length)
    }),
  )
})

test('a doubled, missing or changed row, or a value swapped between two, is another multiset', async () => {
  const digests = await Promise.all(
    ['a\t1\nb\t2\n', 'a\t1\n', 'a\t1\nb\t2\nb\t2\n', 'a\t2\nb\t1\n', 'a\t1\nb\t3\n', 'a\t1\na\t1\n', ''].map((text) => multisetOf(one(text))),
  )
  expect(new Set(digests.map(({ digest }) => digest)).size).toBe(digests.length)
})

test('a row without a line end is an error, not a row less', async () => {
  await expect(multisetOf(one('a\nb'))).rejects.toThrow('no line end')
})

test('the sum is taken modulo 2^256, as documented', async () => {
  const lines = Array.from({ length: 100 }, (_, row) => `${row}\n`)
  const wanted = lines.reduce((sum, text) => sum + BigInt(`0x${Buffer.from(blake3(text)).reverse().toString('hex')}`), 0n) % 2n ** 256n
  const found = await multisetOf(one(lines.join('')))
  expect(BigInt(`0x${Buffer.from(found.digest, 'hex').reverse().toString('hex')}`)).toBe(wanted)
  const carry = createDigestSum()
  carry.addHex('ff'.repeat(32))
  carry.addHex(`02${'00'.repeat(31)}`)
  expect(carry.hex()).toBe(`01${'00'.repeat(31)}`)
})

test('partitions with columns in another order add up to the root, tabs in values included', async () => {
  const first = await multisetOf(one('1\ta\\tb\n'))
  const second = await multisetOf(one('c\t2\n'), [1, 0])
  const root = await multisetOf(one('2\tc\n1\ta\\tb\n'))
  expect(sumOfMultisets([first, second])).toEqual(root)
})
