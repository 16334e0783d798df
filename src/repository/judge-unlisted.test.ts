import { describe, expect, test } from 'vitest'
import { bytes, scene, warnings, type Scene } from '../../test/support/repository-scene.ts'
import { Failure } from '../kernel/failure.ts'
import { executeDelete, planDelete } from './delete-backup.ts'
import { commitKey, manifestKey, repositoryKey } from './layout.ts'
import type { Repository } from './repository.ts'

const other = Buffer.from('b dump')
const third = Buffer.from('c dump')

const isThere = async ({ storage }: Scene, key: string) => (await storage.stat(key)) !== undefined
const notes = ({ events }: Scene) => events.flatMap((event) => (event.type === 'note' ? [event.message] : []))

/** Deletes a backup under a lease of its own, as `tidemark delete` does. */
async function remove(room: Scene, id: string): Promise<void> {
  const lease = await room.next(`delete-${id}`)
  const record = lease.state().backups.get(id)
  if (record === undefined) throw new Error(`no backup ${id}`)
  const repository: Repository = { name: 'local', id: 'r', layout: 'flat', storage: room.storage, keyring: null }
  const plan = { ...(await planDelete(repository, { state: lease.state(), record, keys: null }, room.context)), refusals: [] }
  await executeDelete(repository, lease, { plan, reason: 'test', run: `delete-${id}` }, room.context)
  await lease.end('ok')
}

/** Backup A of a name is deleted, B gets the name, and a log from before both is put back: A is listed, and B's bytes lie there. */
async function reusedName(format: 'custom' | 'directory' = 'custom'): Promise<Scene> {
  const room = await scene()
  await room.run('1')
  await room.run('2', { stem: 'nightly', format })
  const putBack = await room.keepLog()
  await room.run('3')
  await remove(room, '2')
  await room.run('4', { stem: 'nightly', content: other, format })
  await putBack()
  return room
}

describe('a name that was given again before the log lost its end', () => {
  test.for(['custom', 'directory'] as const)(
    '(%s): the bytes tell whose they are; the listed backup is damaged and the other one is listed',
    async (format) => {
      const room = await reusedName(format)
      await (await room.next()).end('ok')
      expect(await room.listed()).toMatchObject({ 1: 'verified', 2: 'damaged', 4: 'stored' })
      expect(warnings(room)).toContainEqual(expect.stringMatching(/^backup-overwritten: backup 2 is damaged: nightly\.d.* it is backup 4/))
    },
  )

  test('costs the other backup nothing when the listed one is deleted, in whatever order they go', async () => {
    for (const order of [
      ['2', '4'],
      ['4', '2'],
    ] as const) {
      const room = await reusedName()
      await remove(room, order[0])
      expect(await isThere(room, 'nightly.dump')).toBe(true)
      await (await room.next()).end('ok')
      expect(await isThere(room, 'nightly.dump')).toBe(true)
      await remove(room, order[1])
      expect(await isThere(room, 'nightly.dump')).toBe(false)
    }
  })

  test('and where the bytes are of the listed one, only the manifest of the other goes, and it is said', async () => {
    const room = await reusedName()
    await room.storage.put('nightly.dump', bytes)
    await (await room.next()).end('ok')
    expect(await room.listed()).toMatchObject({ 2: 'verified' })
    expect(Object.keys(await room.listed())).not.toContain('4')
    expect(notes(room)).toContainEqual(expect.stringMatching(/removed the manifest .*4\.json.*given again: what lies there is backup 2/))
  })

  test('and where they are of neither, both are damaged, and nothing is removed before both are deleted', async () => {
    const room = await reusedName()
    await room.storage.put('nightly.dump', third)
    await (await room.next()).end('ok')
    expect(await room.listed()).toMatchObject({ 2: 'damaged', 4: 'damaged' })
    await remove(room, '2')
    expect(await isThere(room, 'nightly.dump')).toBe(true)
  })

  test('stops no backup when the bytes cannot be read; then nothing is decided, and a deletion spares them', async () => {
    const room = await reusedName()
    const { read } = room.storage
    room.storage.read = (key, options) => {
      if (key === 'nightly.dump') throw new Failure('storage-failed', 'a bad sector')
      return read.call(room.storage, key, options)
    }
    await remove(room, '2')
    expect(await isThere(room, 'nightly.dump')).toBe(true)
    expect(warnings(room)).toContainEqual(expect.stringMatching(/^manifest-unlisted: .*4\.json.*a bad sector/))
    expect(warnings(room)).toContainEqual(expect.stringMatching(/^object-kept: nightly\.dump is not removed with backup 2/))
    room.storage.read = read
    await (await room.next('last')).end('ok')
    expect(await room.listed()).toMatchObject({ 4: 'stored' })
  })

  test('lets no later time win over the bytes: the manifest whose dump lies there is the one that stays', async () => {
    const room = await scene()
    await room.run('1')
    await room.cutLog(2)
    await room.forge('1', '9', ({ backup, files }) => ({
      backup: { ...backup, id: '9', startedAt: '2026-11-21T23:00:00.000Z' },
      files: files.map((file) => ({ ...file, sha256: 'ff'.repeat(32) })),
    }))
    await (await room.next()).end('ok')
    expect(await room.listed()).toEqual({ 1: 'stored' })
    expect(await isThere(room, manifestKey('nexo', '1'))).toBe(true)
  })
})

describe('a manifest that no run of ours writes', () => {
  const evil = '../../../../etc/evil.dump.zst'
  test.for([
    {
      what: 'names our own files as its files',
      change: () => ({
        files: [
          { key: '9.dump', role: 'dump', sizeBytes: 6, sha256: 'aa' },
          { key: commitKey('nexo', 1), role: 'globals', sizeBytes: 1, sha256: 'aa' },
          { key: repositoryKey, role: 'globals', sizeBytes: 1, sha256: 'aa' },
        ],
      }),
    },
    { what: 'names a file outside the storage', change: () => ({ files: [{ key: '../../etc/passwd', role: 'dump', sizeBytes: 6, sha256: 'aa' }] }) },
    { what: 'names a dump of another name', change: () => ({ files: [{ key: '1.dump', role: 'dump', sizeBytes: 6, sha256: 'aa' }] }) },
    { what: 'names a stranger as its companion', change: () => ({ files: [{ key: 'holiday.jpg', role: 'globals', sizeBytes: 6, sha256: 'aa' }] }) },
    { what: 'names no dump', change: () => ({ files: [] }) },
    { what: 'lies outside the storage', facts: { key: '/etc/passwd', fileName: evil } },
    { what: 'has a file name that is a path', facts: { fileName: evil } },
    { what: 'began at no time', facts: { startedAt: 'yesterday' } },
    { what: 'is of another repository', change: () => ({ repository: 'f'.repeat(32) }) },
    { what: 'is of another cluster', facts: { cluster: 'other' } },
  ])('and $what is not listed, stops nothing and removes nothing', async ({ change, facts }) => {
    const room = await scene()
    await room.run('1')
    await room.storage.put('9.dump', other)
    await room.forge('1', '9', ({ backup, files }) => ({
      backup: { ...backup, id: '9', key: '9.dump', fileName: '9.dump', ...facts },
      files: files.filter(({ role }) => role === 'dump').map((file) => ({ ...file, key: '9.dump' })),
      ...change?.(),
    }))
    const before = await room.keys()
    await (await room.next()).end('ok')
    expect(await room.listed()).toEqual({ 1: 'verified' })
    expect(warnings(room)).toEqual([expect.stringMatching(/^manifest-unlisted: manifest \.tidemark\/manifests\/nexo\/9\.json .*left as it is/)])
    expect(await room.keys()).toEqual(before)
    expect(await isThere(room, manifestKey('nexo', '9'))).toBe(true)
    expect(await isThere(room, repositoryKey)).toBe(true)
  })

  test('does not keep what a killed run left: only files that it names are kept, and they are not called stored', async () => {
    const room = await scene()
    await room.forge(...(await forgedFrom(room)))
    await room.run('5', { until: 'info' })
    await room.run('6', { until: 'info' })
    await (await room.next()).end('ok')
    expect(await isThere(room, '5.dump')).toBe(true)
    expect(await isThere(room, '6.dump')).toBe(false)
    const spared = warnings(room).filter((warning) => warning.startsWith('orphans-spared'))
    expect(spared).toEqual([expect.stringMatching(/^orphans-spared: 5\.dump was left by run 5, which died; .*tidemark verify/)])
    expect(spared.join()).not.toMatch(/was stored by|repo adopt/)
  })

  /** Of another repository, and names the dump of run 5. */
  async function forgedFrom(room: Scene): Promise<Parameters<Scene['forge']>> {
    await room.run('1')
    return [
      '1',
      '9',
      ({ backup, files }) => ({
        repository: 'f'.repeat(32),
        backup: { ...backup, id: '9', key: '5.dump', fileName: '5.dump' },
        files: files.filter(({ role }) => role === 'dump').map((file) => ({ ...file, key: '5.dump', sha256: 'aa' })),
      }),
    ]
  }

  test('makes a deletion remove nothing but files of backups, even where the log itself names others', async () => {
    const room = await scene()
    await room.run('1')
    await room.run('2')
    const lease = await room.next()
    const objects = ['1.dump', repositoryKey, '../../etc/passwd', '.Tidemark/commits/']
    await lease.append({ kind: 'delete', backup: '1', reason: 'test', objects, run: 'next' })
    await lease.purge()
    await lease.end('ok')
    expect(await isThere(room, '1.dump')).toBe(false)
    expect(await isThere(room, repositoryKey)).toBe(true)
    expect(warnings(room).filter((warning) => warning.startsWith('object-kept'))).toHaveLength(3)
  })
})

describe('a manifest of a dump that is listed under another id', () => {
  test('(adopted, and then the manifest came) is removed, so that it neither warns for ever nor keeps what killed runs leave', async () => {
    const room = await scene()
    await room.run('1')
    await room.forge('1', '9', () => ({}))
    await room.run('5', { until: 'info' })
    await (await room.next()).end('ok')
    expect(await room.listed()).toEqual({ 1: 'verified' })
    expect(warnings(room)).toEqual([])
    expect(notes(room)).toContainEqual(expect.stringMatching(/removed the manifest .*9\.json.*the same bytes are backup 1/))
    expect(await room.keys()).toEqual(['1.dump', '1.globals.sql', '1.info'])
  })
})
