import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { systemClock } from '../../src/kernel/clock.ts'
import { conformanceCases, conformanceTools, removeAll } from '../../src/storage/conformance.ts'
import { withDeadlines, defaultDeadlineLimits } from '../../src/storage/deadline.ts'
import { memoryStorage } from '../../src/storage/memory.ts'
import { posixStorage } from '../../src/storage/posix.ts'
import { probeConditionalCreate } from '../../src/storage/probe.ts'
import { retrying } from '../../src/storage/retrying.ts'
import type { Storage } from '../../src/storage/storage.ts'
import { throttled } from '../../src/storage/throttled.ts'
import { startFakeS3 } from '../support/fake-s3.ts'
import { patience, s3StorageOn } from '../support/s3-storage.ts'

interface Opened extends AsyncDisposable {
  readonly storage: Storage
}

const environment = { clock: systemClock, emit: () => undefined, policy: patience }

const drivers: readonly { name: string; open(): Promise<Opened> }[] = [
  { name: 'memory', open: async () => opened(memoryStorage({ clock: systemClock })) },
  {
    name: 'posix',
    async open() {
      const root = await mkdtemp(join(tmpdir(), 'tidemark-posix-'))
      return opened(posixStorage({ root: join(root, 'repository') }), () => rm(root, { recursive: true }))
    },
  },
  {
    name: 'posix below every wrapper',
    async open() {
      const root = await mkdtemp(join(tmpdir(), 'tidemark-wrapped-'))
      const driver = posixStorage({ root: join(root, 'repository') })
      const wrapped = throttled(retrying(withDeadlines(driver, defaultDeadlineLimits, systemClock), environment), 10 ** 12, systemClock)
      return opened(wrapped, () => rm(root, { recursive: true }))
    },
  },
  {
    name: 'S3 (in this process)',
    async open() {
      const fake = await startFakeS3({ pageSize: 10, minPartBytes: 1024 })
      return opened(s3StorageOn(fake, { partBytes: 1024 ** 2 }), async () => fake[Symbol.asyncDispose]())
    },
  },
  {
    name: 'S3 (in this process) that can do little',
    async open() {
      const fake = await startFakeS3({ pageSize: 1000, minPartBytes: 1024, checksums: 'refused', serverCopy: false, conditionalComplete: 'unsupported' })
      const driver = s3StorageOn(fake, { partBytes: 1024 ** 2 })
      return opened(retrying(withDeadlines(driver, { ...defaultDeadlineLimits, watchPuts: false }, systemClock), environment), async () =>
        fake[Symbol.asyncDispose](),
      )
    },
  },
]

function opened(storage: Storage, close: () => PromiseLike<void> = async () => undefined): Opened {
  return {
    storage,
    async [Symbol.asyncDispose]() {
      await storage[Symbol.asyncDispose]()
      await close()
    },
  }
}

describe.each(drivers)('storage $name', ({ open }) => {
  it.each(conformanceCases)('$name', { timeout: 60_000 }, async (experiment) => {
    await using driver = await open()
    const tools = conformanceTools('conformance/', 3 * 1024 ** 2 + 7)
    await experiment.run(driver.storage, tools)
    await removeAll(driver.storage, tools.prefix)
  })

  it('creates conditionally without a race', async () => {
    await using driver = await open()
    expect(await probeConditionalCreate(driver.storage, 'probe/')).toBe('atomic')
    for await (const left of driver.storage.list('')) expect.unreachable(`the probe left ${left.key}`)
  })
})
