import { describe, expect, test } from 'vitest'
import { backupFacts } from '../../test/support/backup-facts.ts'
import type { Context } from '../kernel/context.ts'
import { systemClock } from '../kernel/clock.ts'
import { memoryStorage } from '../storage/memory.ts'
import type { Storage } from '../storage/storage.ts'
import type { BackupFacts } from './backup.ts'
import { readObject } from './bytes.ts'
import { latestGood, livingBackups } from './cluster-log.ts'
import { decodeEntry, encodeEntry } from './commit-entry.ts'
import { append, listClusters, readClusterLog } from './commit-log.ts'
import { takeLease, type Whereabouts } from './lease.ts'
import { commitKey } from './layout.ts'

function contextAt(start: string): Context & { advance: (ms: number) => void } {
  let now = Temporal.Instant.from(start)
  return {
    clock: { ...systemClock, now: () => now, sleep: (ms, signal) => systemClock.sleep(Math.max(ms, 60_000), signal) },
    emit: () => undefined,
    signal: new AbortController().signal,
    advance: (ms) => (now = now.add({ milliseconds: ms })),
  }
}

const alive: Whereabouts = { self: { host: 'a', pid: 1, place: null, startedTicks: null }, isGone: async () => false }
const gone: Whereabouts = { ...alive, isGone: async () => true }

function facts(id: string, change: Partial<BackupFacts> = {}): BackupFacts {
  const fileName = `${id}.dump.zst`
  return backupFacts(id, { endedAt: `2026-11-21T10:00:${id.padStart(2, '0')}.000Z`, compression: 'zstd:3', key: fileName, fileName, ...change })
}

const manifest = { key: 'm', sha256: 'sha256:00' }
const begin = (run: string, objects: string[] = []) => ({ cluster: 'nexo', run, verb: 'backup', objects: () => objects })

describe('the commit log', () => {
  test('of sixteen writers that append at once, every one gets its own number and none is lost', async () => {
    await using storage = memoryStorage({ clock: systemClock })
    const context = contextAt('2026-11-21T10:00:00Z')
    const lease = await takeLease(storage, begin('r1'), alive, context)
    await lease.append({ kind: 'backup', epoch: lease.epoch, backup: facts('1'), manifest, run: 'r1' })
    const empty = await readClusterLog(storage, 'nexo', context)
    await Promise.all(
      Array.from({ length: 16 }, (_, number) => append(storage, empty, { kind: 'pin', backup: '1', reason: `writer ${number}`, run: `w${number}` }, context)),
    )
    const state = await readClusterLog(storage, 'nexo', context)
    expect(state.head).toBe(2 + 16)
    await lease.end('ok')
  })

  test('a hole in the log is an integrity failure, never a shorter history', async () => {
    await using storage = memoryStorage({ clock: systemClock })
    const context = contextAt('2026-11-21T10:00:00Z')
    const lease = await takeLease(storage, begin('r1'), alive, context)
    await lease.append({ kind: 'backup', epoch: lease.epoch, backup: facts('1'), manifest, run: 'r1' })
    await lease.end('ok')
    await storage.delete(commitKey('nexo', 2))
    await expect(readClusterLog(storage, 'nexo', context)).rejects.toMatchObject({ code: 'integrity' })
  })

  test('an entry that was changed is named, and one that was forged with a right digest of its own breaks the chain', async () => {
    await using storage = memoryStorage({ clock: systemClock })
    const context = contextAt('2026-11-21T10:00:00Z')
    const lease = await takeLease(storage, begin('r1'), alive, context)
    await lease.append({ kind: 'backup', epoch: lease.epoch, backup: facts('1'), manifest, run: 'r1' })
    await lease.end('ok')
    const key = commitKey('nexo', 2)
    const original = await readObject(storage, key, 1_000_000)
    await storage.put(key, Buffer.from(Buffer.from(original).toString().replace('"database":"nexo"', '"database":"evil"')))
    await expect(readClusterLog(storage, 'nexo', context)).rejects.toThrow(/0000000002.json was changed/)
    const forged = decodeEntry(key, original)
    await storage.put(key, encodeEntry({ ...forged, run: 'forged' }))
    await expect(readClusterLog(storage, 'nexo', context)).rejects.toThrow(/broken at entry 3/)
  })

  test('an entry of a newer format is refused by name', async () => {
    await using storage = memoryStorage({ clock: systemClock })
    await storage.put(commitKey('nexo', 1), Buffer.from('{"format":"tidemark-commit/2"}'))
    await expect(readClusterLog(storage, 'nexo', contextAt('2026-11-21T10:00:00Z'))).rejects.toMatchObject({ code: 'repository-format' })
  })

  test('cluster names with slashes, dots and emoji stay one folder and come back unchanged', async () => {
    await using storage = memoryStorage({ clock: systemClock })
    const context = contextAt('2026-11-21T10:00:00Z')
    for (const cluster of ['../up', '--file=x', 'naïve 🌊', 'a/b']) {
      const lease = await takeLease(storage, { ...begin('r'), cluster }, alive, context)
      await lease.end('ok')
    }
    expect((await listClusters(storage)).toSorted()).toEqual(['--file=x', '../up', 'a/b', 'naïve 🌊'].toSorted())
  })
})

describe('the lease', () => {
  test('a second run is refused while the first gives signs of life', async () => {
    await using storage = memoryStorage({ clock: systemClock })
    const context = contextAt('2026-11-21T10:00:00Z')
    await using first = await takeLease(storage, begin('r1'), alive, context)
    await expect(takeLease(storage, begin('r2'), alive, context)).rejects.toMatchObject({ code: 'locked', exitCode: 11 })
    expect(first.epoch).toBe(1)
  })

  test('of sixteen runs that begin at once exactly one gets the lease', async () => {
    await using storage = memoryStorage({ clock: systemClock })
    const context = contextAt('2026-11-21T10:00:00Z')
    const results = await Promise.allSettled(Array.from({ length: 16 }, (_, number) => takeLease(storage, begin(`r${number}`), alive, context)))
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1)
    for (const result of results) if (result.status === 'fulfilled') await result.value.end('ok')
  })

  test('a stale holder that wakes after a takeover cannot commit', async () => {
    await using storage = memoryStorage({ clock: systemClock })
    const context = contextAt('2026-11-21T10:00:00Z')
    await using stale = await takeLease(storage, begin('r1'), alive, context)
    const second = await takeLease(storage, begin('r2'), gone, context)
    await expect(stale.append({ kind: 'backup', epoch: stale.epoch, backup: facts('1'), manifest, run: 'r1' })).rejects.toMatchObject({ code: 'locked' })
    await second.append({ kind: 'backup', epoch: second.epoch, backup: facts('2'), manifest, run: 'r2' })
    await second.end('ok')
    expect(livingBackups(await readClusterLog(storage, 'nexo', context)).map((record) => record.facts.id)).toEqual(['2'])
  })

  test('what a dead run left is removed, but never the file of a committed backup', async () => {
    await using storage = memoryStorage({ clock: systemClock })
    const context = contextAt('2026-11-21T10:00:00Z')
    await using first = await takeLease(storage, begin('r1', ['1.dump.zst']), alive, context)
    await storage.put('1.dump.zst', Buffer.from('kept'))
    await first.append({ kind: 'backup', epoch: first.epoch, backup: facts('1'), manifest, run: 'r1' })
    await using second = await takeLease(storage, begin('r2', ['2.dump.zst']), gone, context)
    await storage.put('2.dump.zst', Buffer.from('orphan'))
    const third = await takeLease(storage, begin('r3'), gone, context)
    expect(second.epoch).toBeLessThan(third.epoch)
    expect(await storage.stat('1.dump.zst')).toBeDefined()
    expect(await storage.stat('2.dump.zst')).toBeUndefined()
    expect(third.state().burntKeys.has('2.dump.zst')).toBe(true)
    await third.end('ok')
  })
})

describe('a log that is put back while a run is at work', () => {
  /** A backup, and a run that has begun (entry 4). */
  async function begun() {
    const storage = memoryStorage({ clock: systemClock })
    const context: Context = { emit: () => undefined, signal: new AbortController().signal, clock: { ...systemClock, sleep: briefly } }
    const first = await takeLease(storage, begin('r1'), alive, context)
    await first.append({ kind: 'backup', epoch: first.epoch, backup: facts('1'), manifest, run: 'r1' })
    await first.end('ok')
    const lease = await takeLease(storage, begin('r2'), alive, context)
    const commit = () => lease.append({ kind: 'backup', epoch: lease.epoch, backup: facts('2'), manifest, run: 'r2' })
    return { storage, context, lease, commit }
  }
  /** Looks again at once; heartbeats wait. */
  const briefly = (ms: number, signal?: AbortSignal) => systemClock.sleep(ms > 1000 ? ms : 0, signal)
  const ids = async (storage: Storage, context: Context) => livingBackups(await readClusterLog(storage, 'nexo', context)).map(({ facts: { id } }) => id)

  test('gets no entry behind the hole: the run fails, writes nothing more, and the log can be read', async () => {
    const { storage, context, lease, commit } = await begun()
    await storage.delete(commitKey('nexo', 4))
    await expect(commit()).rejects.toMatchObject({ code: 'integrity', message: expect.stringContaining('lost its entry 4') as string })
    await expect(lease.abandon()).rejects.toMatchObject({ code: 'integrity' })
    await expect(lease.end('failed')).rejects.toMatchObject({ code: 'integrity' })
    expect(await ids(storage, context)).toEqual(['1'])
    await lease[Symbol.asyncDispose]()
  })

  test('and is written on by another run: the first one does not take the other entry of that number for its own', async () => {
    const { storage, context, lease, commit } = await begun()
    await storage.delete(commitKey('nexo', 4))
    const other = await takeLease(storage, begin('r3'), alive, context)
    expect(other.epoch).toBe(lease.epoch)
    await expect(commit()).rejects.toMatchObject({ code: 'integrity', message: expect.stringContaining('another entry 4') as string })
    await other.end('ok')
    expect(await ids(storage, context)).toEqual(['1'])
    await lease[Symbol.asyncDispose]()
  })

  test.for([
    { moment: 'before the commit is written', lost: [4] },
    { moment: 'after the commit is written', lost: [4, 5] },
  ])('$moment: the run does not say that its backup exists, and adds nothing', async ({ lost }) => {
    const { storage, lease, commit } = await begun()
    const { put } = storage
    storage.put = async (key, body, options) => {
      const stored = await put.call(storage, key, body, options)
      if (key === commitKey('nexo', 5)) for (const number of lost) await storage.delete(commitKey('nexo', number))
      return stored
    }
    await expect(commit()).rejects.toMatchObject({ code: 'integrity' })
    await expect(lease.abandon()).rejects.toMatchObject({ code: 'integrity' })
    expect(await storage.stat(commitKey('nexo', 6))).toBeUndefined()
    await lease[Symbol.asyncDispose]()
  })

  test('is not what a storage looks like that answers late', async () => {
    const { storage, context, lease, commit } = await begun()
    const { read } = storage
    let misses = 2
    storage.read = (key, options) => {
      if (key === commitKey('nexo', 4) && misses > 0) {
        misses -= 1
        return read.call(storage, 'not there yet', options)
      }
      return read.call(storage, key, options)
    }
    await commit()
    await lease.end('ok')
    expect(misses).toBe(0)
    expect(await ids(storage, context)).toEqual(['2', '1'])
  })
})

describe('latest', () => {
  test('skips partial and damaged backups', async () => {
    await using storage = memoryStorage({ clock: systemClock })
    const context = contextAt('2026-11-21T10:00:00Z')
    const lease = await takeLease(storage, begin('r1'), alive, context)
    for (const [id, change] of [
      ['1', {}],
      ['2', { partial: true }],
      ['3', {}],
    ] as const) {
      await lease.append({ kind: 'backup', epoch: lease.epoch, backup: facts(id, change), manifest, run: 'r1' })
    }
    expect(latestGood(lease.state())?.facts.id).toBe('3')
    await lease.append({ kind: 'damaged', backup: '3', problems: [], run: 'r1' })
    expect(latestGood(lease.state())?.facts.id).toBe('1')
    await lease.end('ok')
  })
})
