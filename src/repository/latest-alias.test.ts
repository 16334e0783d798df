import { mkdir, mkdtemp, readdir, readlink, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { backupFacts } from '../../test/support/backup-facts.ts'
import { systemClock } from '../kernel/clock.ts'
import type { Context } from '../kernel/context.ts'
import type { Event } from '../kernel/event.ts'
import { posixStorage } from '../storage/posix.ts'
import type { Storage } from '../storage/storage.ts'
import { readClusterLog } from './commit-log.ts'
import { updateLatestAlias } from './latest-alias.ts'
import { takeLease, type Whereabouts } from './lease.ts'

const alive: Whereabouts = { self: { host: 'a', pid: 1, place: null, startedTicks: null }, isGone: async () => false }
const events: Event[] = []
const context: Context = { clock: systemClock, emit: (event) => events.push(event), signal: new AbortController().signal }
let root: string
let storage: Storage
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'tidemark-alias-'))
  storage = posixStorage({ root })
  events.length = 0
})
afterEach(() => rm(root, { recursive: true, force: true }))

let taken = 0
/** A verified backup of a cluster, with its alias moved as every verb does it. */
async function backUp(cluster: string, fileName: string): Promise<void> {
  taken += 1
  const id = `20261121-100000-${String(taken).padStart(4, '0')}`
  const backup = backupFacts(id, { cluster, database: cluster, key: fileName, fileName })
  await using lease = await takeLease(storage, { cluster, run: id, verb: 'backup', objects: () => [fileName] }, alive, context)
  await storage.put(fileName, Buffer.from('x'))
  const state = await lease.append({ kind: 'backup', epoch: lease.epoch, backup, manifest: { key: 'm', sha256: 'sha256:00' }, run: id })
  await updateLatestAlias(storage, state, context)
  await lease.end('ok')
}

async function links(): Promise<Record<string, string>> {
  const names = (await readdir(root)).filter((name) => name.startsWith('latest_backup'))
  return Object.fromEntries(await Promise.all(names.map(async (name) => [name, await readlink(join(root, name))])))
}

describe('the link to the latest backup', () => {
  test('is plain where the repository has one cluster, and follows the newest of any extension', async () => {
    await backUp('nexo', 'one.dump')
    expect(await links()).toEqual({ 'latest_backup.dump': 'one.dump' })
    await backUp('nexo', 'two.sql')
    expect(await links()).toEqual({ 'latest_backup.sql': 'two.sql' })
    // A keyring was made, and the link to what is in clear goes.
    await backUp('nexo', 'three.dump.zst.age')
    expect(await links()).toEqual({ 'latest_backup.dump.zst.age': 'three.dump.zst.age' })
    await backUp('nexo', 'four.dump.zst')
    expect(await links()).toEqual({ 'latest_backup.dump.zst': 'four.dump.zst' })
  })

  test('never leads from one cluster into another: with several each has its own, and the shared one goes with the run of the cluster it named', async () => {
    await backUp('nexo', 'n1.dump')
    await backUp('shop/eu', 's1.dump')
    // Still right, for it names what is the newest of the first cluster.
    expect(await links()).toEqual({ 'latest_backup.dump': 'n1.dump', 'latest_backup_shop%2Feu.dump': 's1.dump' })
    await backUp('shop/eu', 's2.sql')
    expect(await links()).toEqual({ 'latest_backup.dump': 'n1.dump', 'latest_backup_shop%2Feu.sql': 's2.sql' })
    await backUp('nexo', 'n2.dump')
    expect(await links()).toEqual({ 'latest_backup_nexo.dump': 'n2.dump', 'latest_backup_shop%2Feu.sql': 's2.sql' })
  })

  test('is not forced on a link or a file of somebody else: it is said, and the backup is made all the same', async () => {
    const script = await mkdtemp(join(tmpdir(), 'tidemark-foreign-'))
    try {
      await writeFile(join(script, 'mine.sql'), 'x')
      await symlink(join(script, 'mine.sql'), join(root, 'latest_backup.sql'))
      await backUp('nexo', 'one.dump')
      expect(events.filter(({ type }) => type === 'warning')).toEqual([])
      await backUp('nexo', 'two.sql')
      expect(await links()).toEqual({ 'latest_backup.sql': join(script, 'mine.sql') })
      expect(events).toContainEqual(expect.objectContaining({ code: 'alias-not-moved', message: expect.stringContaining('a link out of the repository') }))
      await writeFile(join(root, 'latest_backup.dump'), 'not a link')
      await backUp('nexo', 'three.dump')
      expect(events.filter((event) => event.type === 'warning' && event.code === 'alias-not-moved')).toHaveLength(2)
    } finally {
      await rm(script, { recursive: true, force: true })
    }
  })

  test('of an extension that is out of use is left alone when it names a file that was never a backup, and removed when it leads nowhere', async () => {
    await mkdir(join(root, 'by-hand'))
    await writeFile(join(root, 'by-hand/x.sql'), 'x')
    await symlink('by-hand/x.sql', join(root, 'latest_backup.sql'))
    await symlink('gone.sql.gz', join(root, 'latest_backup.sql.gz'))
    await backUp('nexo', 'one.dump')
    expect(await links()).toEqual({ 'latest_backup.dump': 'one.dump', 'latest_backup.sql': 'by-hand/x.sql' })
    // Whoever moves it next finds the same: nothing is undone.
    await updateLatestAlias(storage, await readClusterLog(storage, 'nexo', context), context)
    expect(Object.keys(await links())).toEqual(['latest_backup.dump', 'latest_backup.sql'])
  })
})
