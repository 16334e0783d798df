import { spawn } from 'node:child_process'
import { PassThrough, Readable } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { chunked, collect, errorOf, sampleBytes } from '../../test/support/streams.ts'
import { isFailure } from '../kernel/failure.ts'
import { atMost, blocks, fromReadable, giveBack, givingBack, readAll, withProgress } from './chunks.ts'

function closed(stream: PassThrough): Promise<void> {
  return new Promise((resolve) => stream.once('close', resolve))
}

describe('fromReadable', () => {
  it('gives all bytes of a program and its end', async () => {
    const child = spawn('head', ['-c', '3000000', '/dev/zero'], { stdio: ['ignore', 'pipe', 'inherit'] })
    expect((await collect(fromReadable(child.stdout))).length).toBe(3_000_000)
  })

  it('does not lose an error that comes before the first read', async () => {
    const readable = new PassThrough()
    const bytes = fromReadable(readable)
    const trouble = new Error('connection refused')
    readable.destroy(trouble)
    await closed(readable)
    expect(await errorOf(bytes)).toBe(trouble)
  })

  it('does not lose an error that came before the call', async () => {
    const readable = new PassThrough()
    const trouble = new Error('connection refused')
    readable.on('error', () => undefined)
    readable.destroy(trouble)
    await closed(readable)
    expect(await errorOf(fromReadable(readable))).toBe(trouble)
  })

  it('does not lose an error in the middle, nor one that is only emitted', async () => {
    const trouble = new Error('reset')
    for (const fail of [(stream: PassThrough) => stream.destroy(trouble), (stream: PassThrough) => stream.emit('error', trouble)]) {
      const readable = new PassThrough()
      const bytes = fromReadable(readable)
      readable.write('abc')
      expect((await bytes.next()).done).toBe(false)
      const outcome = errorOf(bytes)
      await turn()
      fail(readable)
      expect(await outcome).toBe(trouble)
      expect(readable.destroyed).toBe(true)
    }
  })

  it('calls a stream that closes before its end an error, not an end', async () => {
    const readable = new PassThrough()
    const bytes = fromReadable(readable)
    readable.write('half a dump')
    await bytes.next()
    readable.destroy()
    expect(await errorOf(bytes)).toMatchObject({ code: 'ERR_STREAM_PREMATURE_CLOSE' })
    const before = new PassThrough()
    before.destroy()
    await closed(before)
    expect(await errorOf(fromReadable(before))).toMatchObject({ code: 'ERR_STREAM_PREMATURE_CLOSE' })
  })

  it('survives an error after the consumer has stopped', async () => {
    const readable = new PassThrough()
    readable.write('abc')
    for await (const _ of fromReadable(readable)) break
    expect(readable.destroyed).toBe(true)
    readable.emit('error', new Error('late'))
  })

  it('destroys a hanging stream when cancelled, before and during reading', async () => {
    const reason = new Error('enough')
    const controller = new AbortController()
    const readable = new PassThrough()
    const outcome = errorOf(fromReadable(readable, controller.signal))
    await turn()
    controller.abort(reason)
    expect(await outcome).toBe(reason)
    expect(readable.destroyed).toBe(true)
    const late = new PassThrough()
    expect(await errorOf(fromReadable(late, controller.signal))).toBe(reason)
    expect(late.destroyed).toBe(true)
  })

  it('can be stopped from outside while a read is pending', async () => {
    const bytes = fromReadable(new PassThrough())
    const pending = bytes.next()
    await bytes.return?.()
    expect(await pending).toEqual({ done: true, value: undefined })
  })

  it('refuses a stream of text, which could not be trusted to be the bytes', async () => {
    expect(await errorOf(fromReadable(Readable.from(['text'])))).toBeInstanceOf(TypeError)
  })

  it('reads no more than the stream buffers while nobody consumes', async () => {
    let given = 0
    const readable = new Readable({
      highWaterMark: 1000,
      read() {
        given += 100
        this.push(Buffer.alloc(100))
      },
    })
    const bytes = fromReadable(readable)
    await bytes.next()
    for (let count = 0; count < 50; count++) await turn()
    expect(given).toBeLessThan(3000)
    await bytes.return?.()
  })
})

describe('chunks', () => {
  it('are cut into equal blocks with nothing lost, doubled or empty', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat({ max: 2000 }),
        fc.integer({ min: 1, max: 300 }),
        fc.array(fc.integer({ min: 1, max: 500 }), { minLength: 1 }),
        async (size, block, sizes) => {
          const bytes = sampleBytes(size)
          const cut: Uint8Array[] = []
          for await (const piece of blocks(chunked(bytes, ...sizes), block)) cut.push(piece)
          expect(Buffer.concat(cut).equals(bytes)).toBe(true)
          expect(cut.slice(0, -1).every((piece) => piece.length === block)).toBe(true)
          expect(cut.length).toBe(Math.ceil(size / block))
        },
      ),
    )
  })

  it('are read into memory up to the limit and not beyond', async () => {
    expect(Buffer.from(await readAll(chunked(sampleBytes(1000), 300), 1000)).equals(sampleBytes(1000))).toBe(true)
    const error = await readAll(chunked(sampleBytes(1000), 300), 999, 'the manifest').catch((caught: unknown) => caught)
    expect(isFailure(error, 'integrity')).toBe(true)
    expect(String(error)).toContain('the manifest')
    expect(Buffer.from(await readAll(chunked(Buffer.alloc(0)), 0)).length).toBe(0)
    expect(await errorOf(atMost(chunked(sampleBytes(5), 1), 4, 'x'))).toBeDefined()
  })

  it('report progress at most as often as asked, and the full size at the end', async () => {
    const reports: number[] = []
    let nowMs = 0
    const clock = { monotonicMs: () => (nowMs += 40) }
    await collect(withProgress(chunked(sampleBytes(1000), 50), { report: (bytes) => reports.push(bytes), clock, everyMs: 100 }))
    expect(reports).toEqual([150, 300, 450, 600, 750, 900, 1000])
  })
})

describe('givingBack', () => {
  it('takes a chunk back only when the next is asked for', async () => {
    const chunks = [Buffer.allocUnsafeSlow(65_536), Buffer.allocUnsafeSlow(65_536)]
    const seen: boolean[] = []
    for await (const chunk of givingBack(Readable.from(chunks))) seen.push(chunk.byteLength > 0)
    expect(seen).toEqual([true, true])
    expect(chunks.map(({ byteLength }) => byteLength)).toEqual([0, 0])
  })
})

describe('giveBack', () => {
  it('frees a chunk that is all of its buffer', () => {
    const chunk = Buffer.allocUnsafeSlow(65_536)
    giveBack(chunk)
    expect(chunk.buffer.detached).toBe(true)
  })

  it('leaves a part of a larger buffer alone, which others may be reading', () => {
    const whole = Buffer.allocUnsafeSlow(200_000)
    giveBack(whole.subarray(0, 100_000))
    giveBack(whole.subarray(100_000))
    giveBack(Buffer.from('small ones lie in a pool of Node'))
    expect(whole.buffer.detached).toBe(false)
    expect(Buffer.from('still').toString()).toBe('still')
  })
})
