import { cp, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { giveToServer } from '../support/base-backups.ts'
import { amcheck, baseRoom, contentOf } from '../support/base-room.ts'
import { ownCluster, type TestCluster } from '../support/cluster.ts'

const settings = { full_page_writes: 'on', wal_level: 'replica', summarize_wal: 'on', autovacuum: 'off' }

async function fill(cluster: TestCluster): Promise<void> {
  await using admin = await cluster.session()
  await admin.query('CREATE DATABASE shop')
  await using shop = await cluster.session('shop')
  await shop.query('CREATE TABLE orders (id int PRIMARY KEY, cents int NOT NULL, note text)')
  await shop.query(`INSERT INTO orders SELECT g, g, repeat(md5(g::text), 8) FROM generate_series(1, 120000) g`)
  await shop.query('CREATE TABLE cut AS SELECT g AS id, repeat(md5(g::text), 8) AS note FROM generate_series(1, 20000) g')
  await shop.query('CREATE TABLE still AS SELECT g AS id FROM generate_series(1, 50000) g')
  // Commits of these servers are not waited for, and VACUUM calls nothing visible that is not durable.
  await shop.query('CHECKPOINT')
  await shop.query('VACUUM (FREEZE) orders, cut, still')
  expect(await shop.query(`SELECT count(*)::int AS hidden FROM pg_class WHERE relname IN ('orders', 'cut', 'still') AND relallvisible * 2 < relpages`)).toEqual(
    [{ hidden: 0 }],
  )
}

/** What summaries get wrong most easily: pages cleared of visibility, files that shrink and grow, relations that are rewritten, dropped and made again. */
const rounds: readonly (readonly string[])[] = [
  ['DELETE FROM orders WHERE id % 1000 = 3', 'UPDATE orders SET cents = -1 WHERE id = 60000', 'CHECKPOINT'],
  ['DELETE FROM cut WHERE id > 5000', 'VACUUM (TRUNCATE) cut', `INSERT INTO cut SELECT g, 'again' FROM generate_series(1, 9000) g`],
  ['TRUNCATE cut', `INSERT INTO cut SELECT g, 'new' FROM generate_series(1, 3000) g`, 'VACUUM FULL orders', 'CREATE INDEX ON orders (cents)'],
  ['DROP TABLE still', 'CREATE TABLE still AS SELECT g AS id FROM generate_series(1, 10) g', 'VACUUM orders', 'DELETE FROM orders WHERE id < 2000'],
]

describe.for([17, 18])("an incremental backup by the server's summaries, PostgreSQL %i", (major) => {
  it(
    'holds what the cluster held, round after round, also where pages lost their visibility, files shrank, and relations were made anew',
    { timeout: 180_000 },
    async () => {
      const cluster = await ownCluster(major, settings, ['-k'])
      await using _server = cluster.server
      await fill(cluster)
      await using room = await baseRoom(cluster)
      await room.backup('full', ['--reader', 'stream'])
      const taken: { readonly id: string; readonly content: Awaited<ReturnType<typeof contentOf>> }[] = []
      for (const statements of rounds) {
        await using shop = await cluster.session('shop')
        for (const sql of statements) await shop.query(sql)
        const backup = await room.backup('incr')
        expect(await room.room.json(['show', backup.id])).toMatchObject({ base: { how: 'summaries', why: [] } })
        expect(backup).toMatchObject({ type: 'incr', state: 'verified', warnings: [] })
        taken.push({ id: backup.id, content: await contentOf(cluster.session) })
      }
      for (const { id, content } of taken) {
        const copy = await room.restore(id)
        await using shop = await copy.session('shop')
        // A page that is called visible to all, and holds a deleted row, makes index-only scans return that row.
        await shop.query('CREATE EXTENSION pg_visibility')
        expect(
          await shop.query(`SELECT c.relname FROM pg_class c WHERE c.relname IN ('orders', 'cut', 'still') AND EXISTS (SELECT FROM pg_check_visible(c.oid))`),
        ).toEqual([])
        expect(await contentOf(copy.session)).toEqual(content)
        expect(await amcheck(shop)).toEqual([])
        await copy.stop()
      }
    },
  )
})

describe('an incremental backup', () => {
  it.for([
    { why: 'summaries are off', off: { summarize_wal: 'off' }, said: 'summarize_wal is off' },
    { why: 'hint bits may change without WAL', off: {}, said: 'neither data checksums nor wal_log_hints', initdb: ['--no-data-checksums'] },
  ])('reads every page, and says so, where $why', { timeout: 60_000 }, async ({ off, said, initdb = ['-k'] }) => {
    const cluster = await ownCluster(18, { ...settings, ...off }, initdb)
    await using _server = cluster.server
    await using room = await baseRoom(cluster)
    await room.backup('full', ['--reader', 'stream'])
    const end = await room.room.run(['backup', '--type', 'incr', '--verbose'])
    expect(end.exitCode).toBe(0)
    expect(end.stderr).toContain(said)
  })
})

describe('summaries of a server', () => {
  it('that was put back to an older copy of its files are not believed: what was changed in between is in none of them', { timeout: 120_000 }, async () => {
    const cluster = await ownCluster(17, settings, ['-k'])
    await using server = cluster.server
    {
      await using session = await cluster.session()
      await session.query(`CREATE TABLE a AS SELECT g AS id, 0 AS v, repeat('x', 200) AS p FROM generate_series(1, 3000) g`)
      await session.query('VACUUM FREEZE a')
      await session.query('CHECKPOINT')
    }
    const { dataDirectory } = server
    const [older, lost] = [join(dataDirectory, '../older'), join(dataDirectory, '../lost')]
    await server.stop()
    await cp(dataDirectory, older, { recursive: true, preserveTimestamps: true })
    if (process.getuid?.() === 0) await giveToServer(older, server)
    await server.start()
    await using room = await baseRoom(cluster)
    {
      await using session = await cluster.session()
      await session.query('UPDATE a SET v = 1 WHERE id BETWEEN 1000 AND 1500')
      await session.query('CHECKPOINT')
      await session.query('SELECT pg_switch_wal()')
    }
    await room.backup('full', ['--reader', 'stream'])
    await server.stop()
    await rename(dataDirectory, lost)
    await rename(older, dataDirectory)
    await server.start()
    {
      await using session = await cluster.session()
      for (let round = 0; round < 4; round += 1) {
        await session.query(`INSERT INTO a SELECT 10000 + g, 0, 'y' FROM generate_series(1, 300) g`)
        await session.query('SELECT pg_switch_wal()')
      }
      await session.query('CHECKPOINT')
    }
    const backup = await room.backup('incr')
    expect(await room.room.json(['show', backup.id])).toMatchObject({ base: { how: 'direct', why: [expect.stringContaining('put back to an older copy')] } })
    const copy = await room.restore(backup.id)
    await using session = await copy.session()
    expect(await session.query('SELECT count(*)::int AS count, sum(v)::int AS changed FROM a')).toEqual([{ count: 4200, changed: 0 }])
  })
})
