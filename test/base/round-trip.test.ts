import { execFile } from 'node:child_process'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { amcheck, baseRoom, contentOf, tablespaceDirectory } from '../support/base-room.ts'
import { ownCluster, type TestCluster } from '../support/cluster.ts'
import { debianClients } from '../support/stock-tools.ts'

const run = promisify(execFile)

/** What a cluster has in several places: two databases, a tablespace, an unlogged table, TOAST, a large object, a sequence, a prepared transaction. */
async function fill(cluster: TestCluster): Promise<void> {
  const place = await tablespaceDirectory(cluster, 'space one')
  await using admin = await cluster.session()
  await admin.query(`CREATE TABLESPACE elsewhere LOCATION '${place}'`)
  await admin.query('CREATE DATABASE shop')
  await admin.query('CREATE DATABASE far TABLESPACE elsewhere')
  await using shop = await cluster.session('shop')
  await shop.query('CREATE TABLE orders (id serial PRIMARY KEY, cents int NOT NULL, note text)')
  await shop.query(`INSERT INTO orders (cents, note) SELECT g, repeat(md5(g::text), g % 40) FROM generate_series(1, 30000) g`)
  await shop.query('CREATE TABLE wide (id int PRIMARY KEY, body text)')
  await shop.query('ALTER TABLE wide ALTER body SET STORAGE EXTERNAL')
  await shop.query(`INSERT INTO wide SELECT g, repeat(md5(g::text), 3000) FROM generate_series(1, 40) g`)
  await shop.query('CREATE UNLOGGED TABLE lost (id int PRIMARY KEY)')
  await shop.query('INSERT INTO lost SELECT generate_series(1, 1000)')
  await shop.query('CREATE TABLE spaced (id int) TABLESPACE elsewhere')
  await shop.query('INSERT INTO spaced SELECT generate_series(1, 5000)')
  await shop.query(`SELECT lo_from_bytea(0, decode(repeat('ab', 100000), 'hex'))`)
}

async function change(cluster: TestCluster, round: number): Promise<void> {
  await using shop = await cluster.session('shop')
  await shop.query(`UPDATE orders SET cents = cents + ${round} WHERE id % 500 = ${round}`)
  await shop.query(`DELETE FROM orders WHERE id % 700 = ${round}`)
  await shop.query(`CREATE TABLE round_${round} AS SELECT g AS id FROM generate_series(1, 2000) g`)
  if (round === 2) await shop.query('DROP TABLE round_1')
  if (round === 3) await shop.query('TRUNCATE spaced')
  await shop.query('VACUUM orders')
}

describe.for([13, 14, 15, 16, 17, 18])('a cluster of PostgreSQL %i', (major) => {
  it('comes back as it was, from a full backup and from each of its incrementals, every one by itself', { timeout: 180_000 }, async () => {
    const cluster = await ownCluster(major, { max_prepared_transactions: '4', full_page_writes: 'on', wal_level: 'replica' }, ['-k'])
    await using _server = cluster.server
    await fill(cluster)
    await using room = await baseRoom(cluster)
    const taken: { readonly id: string; readonly content: Awaited<ReturnType<typeof contentOf>> }[] = []
    for (const round of [0, 1, 2, 3]) {
      if (round > 0) await change(cluster, round)
      // Each way of reading is compared with the other.
      const backup = await room.backup(round === 0 ? 'full' : 'incr', ['--reader', round % 2 === 0 ? 'stream' : 'auto'])
      expect(backup).toMatchObject({ type: round === 0 ? 'full' : 'incr', state: 'verified', database: null, timeline: 1, warnings: [] })
      taken.push({ id: backup.id, content: await contentOf(cluster.session) })
    }
    expect(Object.keys(taken[0]?.content ?? {})).toEqual(expect.arrayContaining(['shop "public"."orders"', 'shop "public"."spaced"']))

    for (const { id, content } of taken.toReversed()) {
      const copy = await room.restore(id)
      expect(await contentOf(copy.session)).toEqual(content)
      await using shop = await copy.session('shop')
      expect(await amcheck(shop)).toEqual([])
      expect(await shop.query('SELECT count(*)::int AS count FROM lost')).toEqual([{ count: 0 }])
      // What is done to a copy stays in the copy: its tablespaces are its own, and it archives nothing.
      await shop.query('DROP TABLE spaced')
      expect(await shop.query(`SELECT setting FROM pg_settings WHERE name = 'archive_mode'`)).toEqual([{ setting: 'off' }])
      expect(await shop.query(`SELECT pg_tablespace_location(oid) AS place FROM pg_tablespace WHERE spcname = 'elsewhere'`)).toEqual([
        { place: expect.stringContaining(`${copy.directory}-tablespaces/`) as string },
      ])
      await copy.stop()
    }
    expect(await contentOf(cluster.session)).toEqual(taken.at(-1)?.content)
  })
})

describe('a restored directory', () => {
  it('is accepted by pg_verifybackup and pg_checksums, and both see a changed byte', { timeout: 120_000 }, async () => {
    const cluster = await ownCluster(15, { full_page_writes: 'on' }, ['-k'])
    await using _server = cluster.server
    await using room = await baseRoom(cluster)
    await using session = await cluster.session()
    await session.query('CREATE TABLE t AS SELECT g AS id FROM generate_series(1, 5000) g')
    const { id } = await room.backup('full', ['--reader', 'stream'])
    const directory = room.place()
    await room.room.json(['restore', id, '--into', directory])
    const verify = () => run(join(debianClients, 'pg_verifybackup'), ['--no-parse-wal', directory])
    expect((await verify()).stdout).toContain('backup successfully verified')
    expect((await stat(directory)).mode & 0o777).toBe(0o700)
    const path = join(directory, 'global/1260')
    const bytes = await readFile(path)
    bytes[100] = (bytes[100] ?? 0) ^ 1
    await writeFile(path, bytes)
    await expect(verify()).rejects.toThrow('global/1260')
    // By content, not by size or time.
    await room.room.json(['restore', id, '--into', directory, '--delta', '--yes'])
    expect((await verify()).stdout).toContain('backup successfully verified')
  })
})
