import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { restoreBackup } from '../../src/api/restore-backup.ts'
import { takeBackups } from '../../src/api/take-backups.ts'
import { undoRestore } from '../../src/api/undo-restore.ts'
import { systemClock, type Clock } from '../../src/kernel/clock.ts'
import { undoableRuns } from '../../src/restore/run-record.ts'
import { memoryStorage } from '../../src/storage/memory.ts'
import { posixStorage } from '../../src/storage/posix.ts'
import type { Backup } from '../../src/repository/backup.ts'
import { copiesOf, dropDatabases } from '../support/live-databases.ts'
import { putPicture } from '../support/repository-state.ts'
import { openShop } from '../support/shop.ts'
import { backupOf, clusterName, sweepRoom, type SweepRoom } from '../support/sweep-room.ts'

let room: SweepRoom
beforeAll(async () => {
  room = await sweepRoom()
})
afterAll(async () => {
  await using admin = await room.server.session()
  await dropDatabases(admin, await copiesOf(room.server, room.source.name))
  await room[Symbol.asyncDispose]()
})

describe('a very first backup that fails', () => {
  it.for([
    { why: 'no server answers', change: { port: 1 }, code: 'connection-failed' },
    { why: 'there is no such database', change: { database: 'never_made' }, code: null },
  ])('because $why leaves the machine as it was: no repository, no directory', async ({ change, code }) => {
    const directory = await mkdtemp(join(tmpdir(), 'tidemark-first-'))
    try {
      const storage = posixStorage({ root: join(directory, 'deep/backups') })
      const target = { ...room.source.target, ...change }
      const ending = await takeBackups(room.workspace(storage, { cluster: { target } })).catch((error: unknown) => error)
      expect(ending).toBeInstanceOf(Error)
      if (code !== null) expect(ending).toMatchObject({ code })
      expect(await readdir(directory)).toEqual([])
      // With a server that answers, the same call makes it.
      await backupOf(room.workspace(storage))
      expect(await readdir(join(directory, 'deep/backups'))).toContain('latest_backup.dump.zst')
    } finally {
      await rm(directory, { recursive: true, force: true })
    }
  })
})

describe('a dump whose commit and manifest were lost', () => {
  it('is kept by the next run, and repo adopt takes it in', async () => {
    await using shop = await openShop(room.server)
    const lost = await shop.room.json<Backup>(['backup'])
    const tidemark = join(shop.room.repository, '.tidemark')
    for (const entry of [2, 3]) await rm(join(tidemark, 'commits', shop.name, `${String(entry).padStart(10, '0')}.json`))
    await rm(join(tidemark, 'manifests', shop.name, `${lost.id}.json`))
    // Two dumps of the same rows within one second are the same bytes, and are not taken in twice.
    await shop.sql(`INSERT INTO customers (name) VALUES ('after the loss')`)
    // The holder of that lease is a process that is gone.
    const next = await shop.room.run(['backup'])
    expect([next.exitCode, next.stderr]).toEqual([0, expect.stringContaining(`take it in with: tidemark repo adopt ${shop.room.repository}`)])
    expect(await readdir(shop.room.repository)).toContain(lost.fileName)
    const { adopted } = await shop.room.json<{ adopted: Backup[] }>(['repo', 'adopt', shop.room.repository, '--yes'])
    expect(adopted).toMatchObject([{ fileName: lost.fileName, checksum: lost.checksum, state: 'verified' }])
    // Once said is enough.
    expect((await shop.room.run(['backup'])).stderr).not.toContain('repo adopt')
  })

  it('and was a part of a database stays that when it is taken in: it is never latest, and nothing better is deleted for it', async () => {
    await using shop = await openShop(room.server)
    const full = await shop.room.json<Backup>(['backup'])
    const part = await shop.room.json<Backup>(['backup', '--table', 'orders'])
    const tidemark = join(shop.room.repository, '.tidemark')
    for (const entry of [5, 6]) await rm(join(tidemark, 'commits', shop.name, `${String(entry).padStart(10, '0')}.json`))
    await rm(join(tidemark, 'manifests', shop.name, `${part.id}.json`))
    await shop.sql(`INSERT INTO orders (customer, cents) VALUES (1, 1)`)
    await shop.room.run(['backup', '--table', 'orders'])
    const { adopted } = await shop.room.json<{ adopted: Backup[] }>(['repo', 'adopt', shop.room.repository, '--yes'])
    expect(adopted).toMatchObject([{ fileName: part.fileName, partial: true }])
    expect((await shop.room.run(['delete', full.id, '--yes'])).exitCode).toBe(15)
    expect((await shop.room.json<Backup>(['latest'])).id).toBe(full.id)
    expect(JSON.parse(await readFile(join(shop.room.repository, full.fileName.replace(/\.dump.*$/, '.info')), 'utf8'))).toMatchObject({
      partial: false,
      safety: false,
    })
  })
})

describe('a restore', () => {
  it('records which server it was on by its system identifier, and not only by a host that may be given to another', async () => {
    const storage = memoryStorage({ clock: systemClock })
    await putPicture(storage, room.base)
    await restoreBackup(room.workspace(storage), { as: `${room.source.name}_recorded`, approve: async () => undefined })
    await using session = await room.server.session()
    const [row] = await session.query<{ id: string }>('SELECT system_identifier::text AS id FROM pg_control_system()')
    const [record] = await undoableRuns(storage, clusterName)
    expect(record?.server.systemIdentifier).toBe(row?.id)
    expect(row?.id).toMatch(/^\d+$/)
  })
})

describe('undo', () => {
  it('sets aside under another name what a second undo in the same second would set aside under a name that is taken', async () => {
    const storage = memoryStorage({ clock: systemClock })
    await putPicture(storage, room.base)
    const moment = systemClock.now().add({ hours: 1 })
    const clock: Clock = { ...systemClock, now: () => moment }
    const names: (string | null)[] = []
    for (let round = 0; round < 2; round += 1) {
      await restoreBackup(room.workspace(storage), { replace: 'swap', safetyBackup: false, approve: async () => undefined })
      const { plan } = await undoRestore(room.workspace(storage, { clock }), { approve: async () => undefined })
      names.push(plan.setAside)
    }
    expect(names).toEqual([expect.stringMatching(/_undone_\d{8}_\d{6}$/), `${names[0]}_2`])
    expect((await copiesOf(room.server, room.source.name)).map(({ name }) => name)).toEqual(expect.arrayContaining(names))
  })
})
