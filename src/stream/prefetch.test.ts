import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { errorOf } from '../../test/support/streams.ts'
import { mapInOrder, prefetch, prefetchBytes } from './prefetch.ts'

/** A source that tells what happens to it. */
function numbers(count: number, endsWith?: Error): { source: AsyncGenerator<number, void, undefined>; seen: { given: number; closed: boolean } } {
  const seen = { given: 0, closed: false }
  async function* source(): AsyncGenerator<number, void, undefined> {
    try {
      for (let number = 0; number < count; number++) {
        seen.given++
        yield number
      }
      if (endsWith !== undefined) throw endsWith
    } finally {
      seen.closed = true
    }
  }
  return { source: source(), seen }
}

async function* hanging(): AsyncGenerator<number, void, undefined> {
  yield 1
  await new Promise(() => undefined)
}

async function turns(count = 50): Promise<void> {
  for (let turned = 0; turned < count; turned++) await turn()
}

describe('prefetch', () => {
  it('keeps the order and gives everything before the error, which stays itself', async () => {
    const trouble = new Error('disk')
    const got: number[] = []
    const error = await errorOf(
      (async function* () {
        for await (const number of prefetch(numbers(5, trouble).source, { limit: 2 })) got.push(number)
        yield 0
      })(),
    )
    expect(error).toBe(trouble)
    expect(got).toEqual([0, 1, 2, 3, 4])
  })

  it('reads ahead of a slow consumer, and no further than its bound', async () => {
    const { source, seen } = numbers(1000)
    const ahead = prefetch(source, { limit: 4 })
    await ahead.next()
    await turns()
    expect(seen.given).toBe(5)
    await ahead.return()
    expect(seen.closed).toBe(true)
  })

  it('counts bytes, so that big chunks do not make it big', async () => {
    let given = 0
    async function* source(): AsyncGenerator<Uint8Array, void, undefined> {
      for (;;) {
        given++
        yield new Uint8Array(400)
      }
    }
    const ahead = prefetchBytes(source(), 1000)
    await ahead.next()
    await turns()
    expect(given).toBe(4)
    await ahead.return()
  })

  it('closes the source when the consumer stops, but does not wait for a source that hangs', async () => {
    const { source, seen } = numbers(1000)
    for await (const _ of prefetch(source, { limit: 3 })) break
    expect(seen.closed).toBe(true)
    for await (const _ of prefetch(hanging(), { limit: 3 })) break
  })

  it('rejects at once when cancelled, also before it began', async () => {
    const reason = new Error('enough')
    const controller = new AbortController()
    const outcome = errorOf(prefetch(hanging(), { limit: 3, signal: controller.signal }))
    await turns(3)
    controller.abort(reason)
    expect(await outcome).toBe(reason)
    expect(await errorOf(prefetch(numbers(3).source, { limit: 3, signal: AbortSignal.abort(reason) }))).toBe(reason)
  })
})

describe('mapInOrder', () => {
  it('keeps the order although later work ends earlier, and never does more at once than allowed', async () => {
    let active = 0
    let most = 0
    const work = async (number: number): Promise<number> => {
      most = Math.max(most, ++active)
      await turns((number * 7) % 5)
      active--
      return number * 2
    }
    const results: number[] = []
    for await (const result of mapInOrder(numbers(40).source, work, { workers: 3 })) results.push(result)
    expect(results).toEqual(Array.from({ length: 40 }, (_, number) => number * 2))
    expect(most).toBe(3)
  })

  it('begins no further work after a failure, and loses neither the failure nor the results before it', async () => {
    const trouble = new Error('bad block')
    const begun: number[] = []
    const results: number[] = []
    const outcome = (async () => {
      for await (const result of mapInOrder(
        numbers(1000).source,
        async (number) => {
          begun.push(number)
          await turn()
          if (number >= 3) throw trouble
          return number
        },
        { workers: 2 },
      ))
        results.push(result)
    })()
    await expect(outcome).rejects.toBe(trouble)
    await turns()
    expect(results).toEqual([0, 1, 2])
    expect(begun.length).toBeLessThan(15)
  })

  it('leaves no unhandled rejection behind when the consumer stops while work is failing', async () => {
    const unhandled: unknown[] = []
    const listen = (error: unknown): void => void unhandled.push(error)
    process.on('unhandledRejection', listen)
    try {
      const work = async (number: number): Promise<number> => {
        await turn()
        if (number > 0) throw new Error(`number ${number}`)
        return number
      }
      for await (const _ of mapInOrder(numbers(50, new Error('source')).source, work, { workers: 4 })) break
      await turns()
      expect(unhandled).toEqual([])
    } finally {
      process.off('unhandledRejection', listen)
    }
  })

  it('rejects at once when cancelled while all work hangs', async () => {
    const controller = new AbortController()
    const outcome = errorOf(mapInOrder(numbers(10).source, () => new Promise<never>(() => undefined), { workers: 2, signal: controller.signal }))
    await turns(3)
    const reason = new Error('enough')
    controller.abort(reason)
    expect(await outcome).toBe(reason)
  })
})
