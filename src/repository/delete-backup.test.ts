import { describe, expect, test } from 'vitest'
import { backupFacts } from '../../test/support/backup-facts.ts'
import { systemClock } from '../kernel/clock.ts'
import type { Context } from '../kernel/context.ts'
import { memoryStorage } from '../storage/memory.ts'
import type { ClusterState } from './cluster-log.ts'
import { append, readClusterLog } from './commit-log.ts'
import { executeDelete, type DeletePlan } from './delete-backup.ts'
import { takeLease, type Whereabouts } from './lease.ts'
import type { Repository } from './repository.ts'

const context: Context = { clock: systemClock, emit: () => undefined, signal: new AbortController().signal }
const alive: Whereabouts = { self: { host: 'a', pid: 1, place: null, startedTicks: null }, isGone: async () => false }

const facts = (id: string) => backupFacts(id, { endedAt: `2026-11-21T10:00:0${id}.000Z` })

/** Two backups, and a deletion of the first that somebody has agreed to, under its lease. */
async function agreed() {
  const storage = memoryStorage({ clock: systemClock })
  for (const id of ['1', '2']) {
    const lease = await takeLease(storage, { cluster: 'nexo', run: `r${id}`, verb: 'backup', objects: () => [] }, alive, context)
    await storage.put(`${id}.dump`, Buffer.from('x'))
    await lease.append({ kind: 'backup', epoch: lease.epoch, backup: facts(id), manifest: { key: 'm', sha256: 'sha256:00' }, run: `r${id}` })
    await lease.end('ok')
  }
  const plan: DeletePlan = { backup: '1', database: 'nexo', fileName: '1.dump', objects: ['1.dump'], freedBytes: 1, refusals: [], warnings: [] }
  const lease = await takeLease(storage, { cluster: 'nexo', run: 'd', verb: 'delete', objects: () => [] }, alive, context)
  const repository: Repository = { name: 'local', id: 'r', layout: 'flat', storage, keyring: null }
  const between = async (entry: Parameters<typeof append>[2]) => append(storage, await readClusterLog(storage, 'nexo', context), entry, context)
  return { storage, plan, lease, repository, between }
}

const survives = (state: ClusterState) => state.backups.get('1')?.deleted === null

describe('a deletion that was agreed to', () => {
  test('is carried out when nothing changed', async () => {
    const { storage, plan, lease, repository } = await agreed()
    await executeDelete(repository, lease, { plan, reason: 'test', run: 'd' }, context)
    expect(survives(await readClusterLog(storage, 'nexo', context))).toBe(false)
    expect(await storage.stat('1.dump')).toBeUndefined()
    await lease.end('ok')
  })

  test('does not remove a backup that was pinned in the meantime, by somebody who needs no lease', async () => {
    const { storage, plan, lease, repository, between } = await agreed()
    await between({ kind: 'pin', backup: '1', reason: 'audit', run: 'p' })
    await expect(executeDelete(repository, lease, { plan, reason: 'test', run: 'd' }, context)).rejects.toMatchObject({
      code: 'target-unsafe',
      message: expect.stringContaining('audit') as string,
    })
    expect(survives(await readClusterLog(storage, 'nexo', context))).toBe(true)
    expect(await storage.stat('1.dump')).toBeDefined()
    await lease.end('failed')
  })

  test('does not remove what became the last good backup in the meantime', async () => {
    const { storage, plan, lease, repository, between } = await agreed()
    await between({ kind: 'damaged', backup: '2', problems: [{ code: 'integrity', object: '2.dump', message: 'bad' }], run: 'v' })
    await expect(executeDelete(repository, lease, { plan, reason: 'test', run: 'd' }, context)).rejects.toMatchObject({
      code: 'target-unsafe',
      message: expect.stringContaining('last good') as string,
    })
    expect(survives(await readClusterLog(storage, 'nexo', context))).toBe(true)
    await lease.end('failed')
  })
})
