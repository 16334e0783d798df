import { describe, expect, test } from 'vitest'
import { bytes, gone, repositoryId, scene, warnings } from '../../test/support/repository-scene.ts'
import type { Storage } from '../storage/storage.ts'
import { keysInUse } from './adopt/keys-in-use.ts'
import { readObject } from './bytes.ts'
import { livingBackups, latestGood } from './cluster-log.ts'
import { manifestKey } from './layout.ts'
import { takeLease } from './lease.ts'

describe('a commit log that lost its end', () => {
  test.for([
    { lost: 'the end of the newest run', first: 6, states: { 2: 'verified', 1: 'verified' } },
    { lost: 'the commit of the newest backup', first: 5, states: { 2: 'stored', 1: 'verified' } },
    { lost: 'the whole newest run', first: 4, states: { 2: 'stored', 1: 'verified' } },
    { lost: 'two backups', first: 2, states: { 2: 'stored', 1: 'stored' } },
    { lost: 'everything', first: 1, states: { 2: 'stored', 1: 'stored' } },
  ])('($lost) costs no dump: the next run lists again what it finds, in the order of time', async ({ first, states }) => {
    const room = await scene()
    await room.run('1')
    await room.run('2')
    await room.cutLog(first)
    const before = await room.keys()
    const lease = await room.next()
    expect(await room.keys()).toEqual(before)
    expect(await room.listed()).toEqual(states)
    expect(latestGood(lease.state())?.facts.id).toBe('2')
    expect(warnings(room)).toHaveLength(Object.values(states).filter((state) => state === 'stored').length)
    for (const warning of warnings(room)) expect(warning).toMatch(/^backup-relisted: .*listed again; read it back with: tidemark verify \d$/)
    // Nothing is left to be found by the run after it.
    await lease.end('ok')
    room.events.length = 0
    await (await room.next('after')).end('ok')
    expect(warnings(room)).toEqual([])
    expect(await room.listed()).toEqual(states)
  })

  test('never takes the listing for the run that did it: what that run then writes and gives up is removed', async () => {
    const room = await scene()
    await room.run('1')
    await room.cutLog(2)
    const lease = await takeLease(room.storage, { cluster: 'nexo', run: '2', verb: 'backup', objects: () => ['2.dump'] }, gone, room.context)
    await room.storage.put('2.dump', bytes)
    expect(lease.state().open?.committed).toBe(null)
    await (await room.next('3')).end('ok')
    expect(await room.keys()).toEqual(['1.dump', '1.globals.sql', '1.info'])
    expect(Object.keys(await room.listed())).toEqual(['1'])
  })

  test('and a sweeper that dies at any moment still cost no dump', async () => {
    const calm = await scene()
    await calm.run('1', { until: 'end' })
    await calm.cutLog(2)
    const { storage } = calm
    let left = 0
    const dying: Storage = new Proxy(storage, {
      get(target, name: keyof Storage) {
        const member = target[name]
        if (name !== 'put' && name !== 'delete') return member
        return (...given: readonly unknown[]) => {
          left -= 1
          return left < 0 ? Promise.reject(new Error('dead')) : (member as (...given: readonly unknown[]) => unknown).apply(target, [...given])
        }
      },
    })
    for (let steps = 0; steps < 12; steps += 1) {
      left = steps
      await takeLease(dying, { cluster: 'nexo', run: `n${steps}`, verb: 'backup', objects: () => [] }, gone, calm.context).catch(() => undefined)
      expect(await calm.keys()).toEqual(['1.dump', '1.globals.sql', '1.info'])
    }
    left = 1000
    await (await calm.next('last')).end('ok')
    expect(await calm.listed()).toEqual({ 1: 'stored' })
  })

  test('of a directory dump that is not whole any more: it is listed as damaged, and nothing of it is removed', async () => {
    const room = await scene()
    await room.run('1', { format: 'directory' })
    await room.cutLog(2)
    await room.storage.delete('1.d/toc.dat')
    await room.next()
    expect(await room.keys()).toEqual(['1.d/1.dat', '1.globals.sql', '1.info'])
    expect(await room.listed()).toEqual({ 1: 'damaged' })
    expect(warnings(room)).toEqual([expect.stringMatching(/as damaged: 1\.d\/toc\.dat: it is gone/)])
  })

  test('and its manifests: a dump beside its .info is kept, its names are told to the log, and adoption may have it', async () => {
    for (const damage of ['lost', 'unreadable'] as const) {
      const room = await scene()
      await room.run('1')
      await room.cutLog(2)
      if (damage === 'lost') await room.storage.delete(manifestKey('nexo', '1'))
      else await room.storage.put(manifestKey('nexo', '1'), Buffer.from('{}'))
      const lease = await room.next()
      expect(await room.keys()).toEqual(['1.dump', '1.globals.sql', '1.info'])
      expect([...lease.state().sparedKeys]).toEqual(['1.dump', '1.info', '1.globals.sql'])
      expect(warnings(room).at(-1)).toMatch(/^orphans-spared: 1\.dump .* is kept, and nobody will remove it; .*repo adopt/)
      const repository = { name: 'local', id: repositoryId, layout: 'flat', storage: room.storage, keyring: null } as const
      expect((await keysInUse(repository, lease.state(), room.context)).has('1.dump')).toBe(false)
      // A new dump still never gets its name.
      expect(lease.state().burntKeys.has('1.dump')).toBe(true)
      await lease.end('ok')
      room.events.length = 0
      await room.next('after')
      expect(await room.keys()).toEqual(['1.dump', '1.globals.sql', '1.info'])
      if (damage === 'lost') expect(warnings(room)).toEqual([])
    }
  })

  test('brings back nothing of a deleted backup: where no dump is left its manifest goes, too', async () => {
    const room = await scene()
    await room.run('1')
    await room.cutLog(1)
    await room.storage.delete('1.dump')
    await room.next()
    expect(await room.listed()).toEqual({})
    expect(await room.storage.stat(manifestKey('nexo', '1'))).toBeUndefined()
    expect(await room.keys()).toEqual(['1.globals.sql', '1.info'])
  })

  test('lists an older dump again behind a newer one that the log knows, so that it never becomes the latest', async () => {
    const room = await scene()
    await room.run('1', { until: 'commit' })
    // The suspended run's manifest comes late, after another has taken over and swept.
    const late = await readObject(room.storage, manifestKey('nexo', '1'), 1 << 20)
    await room.storage.delete(manifestKey('nexo', '1'))
    await room.run('2')
    await room.storage.put(manifestKey('nexo', '1'), late)
    const lease = await room.next()
    expect(await room.listed()).toEqual({ 2: 'verified', 1: 'stored' })
    expect(livingBackups(lease.state()).map(({ facts: { id } }) => id)).toEqual(['2', '1'])
  })
})

describe('a run that died', () => {
  test('before its dump was read back leaves nothing', async () => {
    const room = await scene()
    await room.run('1', { until: 'info' })
    await room.next()
    expect(await room.keys()).toEqual([])
    expect(warnings(room)).toEqual([])
  })

  test('between its manifest and its commit leaves a whole backup, which the next run lists', async () => {
    const room = await scene()
    await room.run('1', { until: 'commit' })
    await room.next()
    expect(await room.listed()).toEqual({ 1: 'stored' })
    expect(await room.keys()).toEqual(['1.dump', '1.globals.sql', '1.info'])
  })

  test('after it gave up leaves nothing, however much it had written', async () => {
    for (const until of ['manifest', 'commit'] as const) {
      const room = await scene()
      const lease = await room.run('1', { until })
      expect(await lease.abandon()).toBe('abandoned')
      await room.next()
      expect(await room.keys()).toEqual([])
      expect(await room.listed()).toEqual({})
      expect(await room.storage.stat(manifestKey('nexo', '1'))).toBeUndefined()
    }
  })

  test('while it adopted is no whole backup for the .info that it had copied', async () => {
    const room = await scene()
    await room.run('1', { until: 'manifest', verb: 'adopt' })
    await room.next()
    expect(await room.keys()).toEqual([])
  })
})

describe.for(['custom', 'directory'] as const)('sealed files of a %s dump are treated as those in clear', (format) => {
  const sealed = { format, isSealed: true } as const

  test('listed again, and then found whole', async () => {
    const room = await scene()
    await room.run('1', sealed)
    await room.run('2', { ...sealed, until: 'commit' })
    const before = await room.keys()
    const lease = await room.next()
    expect(await room.keys()).toEqual(before)
    expect(await room.listed()).toEqual({ 1: 'verified', 2: 'stored' })
    expect(lease.state().backups.get('2')?.problems).toEqual([])
    expect(warnings(room)).toEqual([expect.stringMatching(/^backup-relisted: .*listed again; read it back/)])
  })

  test('swept to the last one where the run died before it was whole, and beside those of a living backup', async () => {
    const room = await scene()
    await room.run('1', sealed)
    const before = await room.keys()
    await room.run('2', { ...sealed, until: 'info' })
    expect((await room.keys()).length).toBeGreaterThan(before.length)
    await room.next()
    expect(await room.keys()).toEqual(before)
  })

  test('kept where the sealed .info lies beside the dump and its manifest is gone', async () => {
    const room = await scene()
    await room.run('1', { ...sealed, until: 'manifest' })
    const before = await room.keys()
    expect(before).toContain('1.info.age')
    const lease = await room.next()
    expect(await room.keys()).toEqual(before)
    expect(lease.state().sparedKeys.has('1.info.age')).toBe(true)
    expect(warnings(room).at(-1)).toMatch(/^orphans-spared: 1\.d(ump\.age|\/) .* is kept/)
  })

  test('and their names are in use, whoever died under them', async () => {
    const room = await scene()
    await room.run('1', sealed)
    const dead = { cluster: 'other', run: '2', verb: 'backup', objects: () => ['1.dump.age', '1.d/', '1.info.age', '1.globals.sql.age', 'own.info.age'] }
    await takeLease(room.storage, dead, gone, room.context)
    await room.storage.put('own.info.age', bytes)
    const before = await room.keys()
    await takeLease(room.storage, { ...dead, run: '3', objects: () => [] }, gone, room.context)
    expect(await room.keys()).toEqual(before.filter((key) => key !== 'own.info.age'))
  })
})
