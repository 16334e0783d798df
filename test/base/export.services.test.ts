import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import type { Exported } from '../../src/restore/export/export-request.ts'
import { baseRoom, tablespaceDirectory } from '../support/base-room.ts'
import { ownCluster } from '../support/cluster.ts'
import { verifyBackup } from '../support/exported.ts'
import { describeWith } from '../support/services.ts'

describeWith('clients17', 'an exported directory of PostgreSQL 17', ({ binDir }) => judged(17, binDir))

describeWith('clients18', 'an exported directory of PostgreSQL 18', ({ binDir }) => judged(18, binDir))

function judged(major: number, binDir: string): void {
  it('that was put together by the summaries of the server is accepted by pg_verifybackup, and a changed byte is not', async () => {
    const cluster = await ownCluster(major, { full_page_writes: 'on', summarize_wal: 'on' }, ['-k'])
    await using _server = cluster.server
    await using session = await cluster.session()
    await session.query('CREATE TABLE t AS SELECT g AS id FROM generate_series(1, 700000) g')
    await using room = await baseRoom(cluster)
    await room.backup('full')
    await session.query('UPDATE t SET id = 0 WHERE id % 9000 = 1')
    await session.query('CHECKPOINT')
    const { id } = await room.backup('incr')
    expect(await room.room.json(['show', id])).toMatchObject({ base: { how: 'summaries' } })
    const directory = room.place()
    expect((await room.room.json<Exported>(['export', id, '--to', directory])).plan.manifest).toBe('written')
    expect(await verifyBackup(binDir, directory, ['--no-parse-wal'])).toMatchObject({ ok: true })
    await spoil(join(directory, 'global/1260'))
    expect(await verifyBackup(binDir, directory, ['--no-parse-wal'])).toMatchObject({ ok: false, text: expect.stringContaining('global/1260') as string })
  })

  it.each(['stream', 'direct'])('that was read by way of "%s" is accepted by pg_verifybackup, with its links, and a changed byte is not', async (reader) => {
    const cluster = await ownCluster(major, { full_page_writes: 'on' })
    await using _server = cluster.server
    await using session = await cluster.session()
    await session.query(`CREATE TABLESPACE elsewhere LOCATION '${await tablespaceDirectory(cluster, 'space one')}'`)
    await session.query('CREATE TABLE t TABLESPACE elsewhere AS SELECT g AS id FROM generate_series(1, 5000) g')
    await using room = await baseRoom(cluster)
    const { id } = await room.backup('full', ['--reader', reader])
    const directory = room.place()
    await room.room.json(['export', id, '--to', directory])
    expect(await verifyBackup(binDir, directory, ['--no-parse-wal'])).toMatchObject({ ok: true })
    await spoil(join(directory, 'global/1260'))
    expect(await verifyBackup(binDir, directory, ['--no-parse-wal'])).toMatchObject({ ok: false, text: expect.stringContaining('global/1260') as string })
  })
}

/** The first that reads archives. It never comes to the end of a gzip file of several members. */
describeWith('clients18', 'exported archives', ({ binDir }) => {
  it.each([
    [15, 'none', 'base.tar'],
    [15, 'zstd:3', 'base.tar.zst'],
    [15, 'gzip:6', 'base.tar.gz'],
    [18, 'gzip:1', 'base.tar.gz'],
  ])('of PostgreSQL %i, compressed with %s, are accepted by pg_verifybackup, and plain ones with a changed byte are not', async (major, compress, name) => {
    const cluster = await ownCluster(major, { full_page_writes: 'on' })
    await using _server = cluster.server
    await using session = await cluster.session()
    await session.query(`CREATE TABLESPACE elsewhere LOCATION '${await tablespaceDirectory(cluster, 'space one')}'`)
    await session.query('CREATE TABLE t TABLESPACE elsewhere AS SELECT g AS id FROM generate_series(1, 5000) g')
    await using room = await baseRoom(cluster)
    const { id } = await room.backup('full')
    const directory = room.place()
    await room.room.json(['export', id, '--to', directory, '--format', 'tar', '--compress', compress])
    expect(await verifyBackup(binDir, directory, ['--no-parse-wal'])).toMatchObject({ ok: true })
    if (compress !== 'none') return
    await spoil(join(directory, name), 1 << 20)
    expect(await verifyBackup(binDir, directory, ['--no-parse-wal'])).toMatchObject({ ok: false, text: expect.stringContaining('checksum mismatch') as string })
  })
})

async function spoil(path: string, at = 100): Promise<void> {
  const bytes = await readFile(path)
  bytes[at] = (bytes[at] ?? 0) ^ 1
  await writeFile(path, bytes)
}
