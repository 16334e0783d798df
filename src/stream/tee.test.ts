import { expect, test } from 'vitest'
import { tee } from './tee.ts'

async function* chunks(count: number, onReturn?: () => void): AsyncGenerator<Uint8Array> {
  try {
    for (let number = 0; number < count; number += 1) yield new Uint8Array([number % 256])
  } finally {
    onReturn?.()
  }
}

async function collect(source: AsyncIterable<Uint8Array>): Promise<number[]> {
  const bytes: number[] = []
  for await (const chunk of source) bytes.push(...chunk)
  return bytes
}

test('every branch receives every byte in order', async () => {
  const branches = tee(chunks(500), 3)
  const results = await Promise.all(branches.map(collect))
  const expected = await collect(chunks(500))
  expect(results).toEqual([expected, expected, expected])
})

test('an error of the source reaches every branch, so that no copy looks complete', async () => {
  async function* failing(): AsyncGenerator<Uint8Array> {
    yield new Uint8Array([1])
    throw new Error('pg_dump died')
  }
  const results = await Promise.allSettled(tee(failing(), 2).map(collect))
  expect(results.map((result) => result.status)).toEqual(['rejected', 'rejected'])
})

test('a branch that stops does not stop the other', async () => {
  const [broken, whole] = tee(chunks(200), 2)
  const stopping = (async () => {
    for await (const chunk of broken ?? []) if (chunk[0] === 3) break
  })()
  expect(await collect(whole ?? chunks(0))).toHaveLength(200)
  await stopping
})

test('the source is closed when every branch stopped', async () => {
  let closed = false
  const branches = tee(
    chunks(10_000, () => (closed = true)),
    2,
  )
  await Promise.all(
    branches.map(async (branch) => {
      for await (const chunk of branch) if (chunk[0] === 5) break
    }),
  )
  await new Promise((resolve) => setImmediate(resolve))
  expect(closed).toBe(true)
})
