import { execFile } from 'node:child_process'
import { mkdir, open, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { systemClock } from '../../src/kernel/clock.ts'
import { runBaseBackup, uploadManifest } from '../../src/postgres/replication/base-backup.ts'
import { formatLsn } from '../../src/pgdata/lsn.ts'
import { openReplicationConnection } from '../../src/postgres/replication/replication-connection.ts'
import { createTemporarySlot, identifySystem } from '../../src/postgres/replication/replication-commands.ts'
import { receiveWal, WalSteering } from '../../src/postgres/replication/wal-receiver.ts'
import { backupOptions, discard, giveToServer, manifestComplaints, openRoom, receiveBaseBackup, startRestored } from '../support/base-backups.ts'
import { ownCluster, sharedCluster } from '../support/cluster.ts'

const named = { applicationName: 'tidemark test' }
const segmentBytes = 16n * 1024n * 1024n

describe.each([13, 14, 15, 16, 17, 18])('a base backup of PostgreSQL %i', (major) => {
  it('and the WAL received beside it are a server that starts, with tablespaces, whatever was written meanwhile', async () => {
    await using room = await openRoom()
    const cluster = await ownCluster(major)
    await using _server = cluster.server
    const tablespace = join(room.path, 'away')
    await mkdir(tablespace, { mode: 0o700 })
    await giveToServer(tablespace, cluster.server)
    await using session = await cluster.session()
    await session.query(`CREATE TABLESPACE away LOCATION '${tablespace}'`)
    await session.query('CREATE TABLE here AS SELECT i, md5(i::text) AS t FROM generate_series(1, 20000) i')
    await session.query('CREATE TABLE there TABLESPACE away AS SELECT * FROM here')

    await using wire = await openReplicationConnection(cluster.target, named)
    await using walWire = await openReplicationConnection(cluster.target, named)
    const slot = await createTemporarySlot(walWire, { major, name: 'beside_the_backup' })
    const steering = new WalSteering()
    const wal: Buffer[] = []
    const walStart = slot.restartLsn - (slot.restartLsn % segmentBytes)
    const receiving = receiveWal(
      walWire,
      { slot: slot.name, startLsn: walStart, timeline: 1, steering, clock: systemClock },
      { wal: (_start, bytes) => void wal.push(Buffer.from(bytes)) },
    )
    receiving.catch(() => undefined)
    const writing = { on: true }
    const writer = (async () => {
      await using other = await cluster.session()
      while (writing.on) for (const table of ['here', 'there']) await other.query(`INSERT INTO ${table} SELECT i, 'late' FROM generate_series(1, 50) i`)
    })()
    const restored = join(room.path, 'restored')
    await mkdir(restored, { mode: 0o755 })
    const backup = await receiveBaseBackup(wire, backupOptions(major, { progress: true }), restored)
    writing.on = false
    await writer
    steering.stopAt(((backup.stopLsn + segmentBytes - 1n) / segmentBytes) * segmentBytes)
    const { kind, endLsn } = await receiving

    expect(backup.startLsn).toBeGreaterThanOrEqual(slot.restartLsn)
    expect(backup).toMatchObject({ startTimeline: 1, stopTimeline: 1, checksumFailures: null })
    const oid = Number([...backup.directories.keys()][0])
    expect(backup.tablespaces).toEqual([
      { oid, path: tablespace, sizeBytes: expect.any(Number) },
      { oid: null, path: null, sizeBytes: expect.any(Number) },
    ])
    expect({ kind, endLsn: formatLsn(endLsn) }).toEqual({ kind: 'stopped', endLsn: formatLsn(walStart + BigInt(Buffer.concat(wal).length)) })
    expect(await manifestComplaints(backup)).toEqual([])
    const base = backup.directories.get('base') ?? ''
    expect(await readFile(join(base, 'tablespace_map'), 'utf8')).toBe(`${oid} ${tablespace}\n`)
    expect(await readFile(join(base, 'backup_label'), 'utf8')).toContain(`START WAL LOCATION: ${formatLsn(backup.startLsn)} `)

    const all = Buffer.concat(wal)
    for (let at = 0; at < all.length; at += Number(segmentBytes)) {
      const segment = (walStart + BigInt(at)) / segmentBytes
      const name = `00000001${(segment >> 8n).toString(16).padStart(8, '0')}${(segment & 0xffn).toString(16).padStart(8, '0')}`.toUpperCase()
      await writeFile(join(base, 'pg_wal', name), all.subarray(at, at + Number(segmentBytes)))
    }
    await using copy = await startRestored(backup, cluster.server, restored)
    await using reader = await copy.session()
    const count = `SELECT (SELECT count(*) FROM here WHERE t <> 'late')::int AS here, (SELECT count(*) FROM there WHERE t <> 'late')::int AS there,
      (SELECT count(*) FROM there WHERE t = 'late')::int > 0 AS late, (SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'away') AS away`
    expect(await reader.query(count)).toEqual([{ here: 20_000, there: 20_000, late: true, away: backup.directories.get(String(oid)) }])
  })

  it('can be taken several times on one connection, with what was asked for and no more', async () => {
    const cluster = await sharedCluster(major)
    await using wire = await openReplicationConnection(cluster.server.socketTarget, named)
    const seen: string[] = []
    const take = (changes: Parameters<typeof backupOptions>[1]) =>
      runBaseBackup(wire, backupOptions(major, changes), {
        ...discard,
        manifest: (bytes) => void seen.push(bytes.toString()),
        archiveEnd: () => void seen.push('end'),
      })
    expect((await take({ manifest: false, label: 'it\'s a \\ label; with "quotes"', maxRateKb: 1_000_000 })).tablespaces).toEqual([
      { oid: null, path: null, sizeBytes: null },
    ])
    expect(seen).toEqual(['end'])
    seen.length = 0
    await take({ manifestChecksums: 'NONE', verifyChecksums: false })
    expect(seen[0]).toBe('end')
    expect(seen.join('')).toContain('"Path": "backup_label"')
    expect(seen.join('')).not.toContain('"Checksum"')
    seen.length = 0
    await take({ manifestChecksums: 'CRC32C' })
    expect(seen.join('')).toContain('"Checksum-Algorithm": "CRC32C"')
    expect((await identifySystem(wire)).timeline).toBe(1)
  })
})

describe.each([13, 15, 18])('pages whose checksum is wrong in PostgreSQL %i', (major) => {
  it('are named, and the backup is complete all the same', async () => {
    await using room = await openRoom()
    const cluster = await ownCluster(major, {}, ['--data-checksums'])
    await using _server = cluster.server
    const path = await (async () => {
      await using session = await cluster.session()
      await session.query('CREATE TABLE bad AS SELECT i FROM generate_series(1, 10000) i')
      const [row] = await session.query<{ path: string }>(`SELECT pg_relation_filepath('bad') AS path`)
      return row?.path ?? ''
    })()
    await cluster.server.stop()
    await using file = await open(join(cluster.server.dataDirectory, path), 'r+')
    for (const block of [3, 7]) await file.write(Buffer.from('oh'), 0, 2, block * 8192 + 5000)
    await cluster.server.start()

    await using wire = await openReplicationConnection(cluster.target, named)
    const backup = await receiveBaseBackup(wire, backupOptions(major), room.path)
    expect(backup.checksumFailures?.pages).toEqual([
      { path, block: 3 },
      { path, block: 7 },
    ])
    expect(backup.checksumFailures?.warnings).toContainEqual(expect.stringContaining('total'))
    expect(await manifestComplaints(backup)).toEqual([])
    // Without looking there is nothing to complain of; the connection is as good as before.
    expect((await runBaseBackup(wire, backupOptions(major, { verifyChecksums: false }), discard)).checksumFailures).toBeNull()
  })
})

describe.each([17, 18])('an incremental base backup of PostgreSQL %i', (major) => {
  it('holds what changed since the manifest that was uploaded, and is refused without one', async () => {
    await using room = await openRoom()
    const cluster = await ownCluster(major, { summarize_wal: 'on' })
    await using _server = cluster.server
    await using wire = await openReplicationConnection(cluster.target, named)
    await using session = await cluster.session()
    await session.query('CREATE TABLE t AS SELECT i FROM generate_series(1, 100000) i')
    const full = join(room.path, 'full')
    const incremental = join(room.path, 'incremental')
    await mkdir(full)
    await mkdir(incremental)
    const { manifest } = await receiveBaseBackup(wire, backupOptions(major), full)
    await expect(runBaseBackup(wire, backupOptions(major, { incremental: true }), discard)).rejects.toMatchObject({
      code: 'query-failed',
      details: { sqlState: '55000' },
    })
    await session.query('UPDATE t SET i = 0 WHERE i = 1')
    await uploadManifest(
      wire,
      (async function* () {
        for (let at = 0; at < manifest.length; at += 10_000) yield manifest.subarray(at, at + 10_000)
      })(),
    )
    const backup = await receiveBaseBackup(wire, backupOptions(major, { incremental: true }), incremental)
    expect(await manifestComplaints(backup)).toEqual([])
    expect((await readdir(join(incremental, 'base', 'base', '5'))).filter((name) => name.startsWith('INCREMENTAL.')).length).toBeGreaterThan(50)
  })

  it('is not based on a manifest that was sent in part or damaged', async () => {
    const cluster = await sharedCluster(major)
    await using wire = await openReplicationConnection(cluster.target, named)
    const broken = new Error('cannot read the manifest')
    const half = async function* () {
      yield Buffer.from('{ "PostgreSQL-Backup-Manifest-Version": 2,\n')
      throw broken
    }
    await expect(uploadManifest(wire, half())).rejects.toBe(broken)
    const nonsense = async function* () {
      yield Buffer.from('this is no manifest')
    }
    await expect(uploadManifest(wire, nonsense())).rejects.toMatchObject({ code: 'query-failed' })
    expect((await identifySystem(wire)).timeline).toBe(1)
  })
})

it('is what pg_verifybackup accepts, and a byte that differs is noticed', async () => {
  await using room = await openRoom()
  const { target } = await sharedCluster(15)
  await using wire = await openReplicationConnection(target, named)
  const backup = await receiveBaseBackup(wire, backupOptions(15), room.path)
  const base = join(room.path, 'base')
  await writeFile(join(base, 'backup_manifest'), backup.manifest)
  const verify = () => promisify(execFile)('/usr/lib/postgresql/15/bin/pg_verifybackup', ['-n', base])
  expect((await verify()).stdout).toContain('successfully verified')
  await using file = await open(join(base, 'PG_VERSION'), 'r+')
  await file.write('9', 0)
  await expect(verify()).rejects.toMatchObject({ stderr: expect.stringContaining('"PG_VERSION"') })
  expect(await manifestComplaints(backup)).toEqual(['PG_VERSION is not what it was'])
})

it('an incremental backup is not asked of a server that would refuse it, nor a label that would forge lines of backup_label', async () => {
  const { target } = await sharedCluster(15)
  await using wire = await openReplicationConnection(target, named)
  await expect(runBaseBackup(wire, backupOptions(15, { incremental: true }), discard)).rejects.toMatchObject({ code: 'usage-invalid' })
  await expect(runBaseBackup(wire, backupOptions(15, { label: 'a\nSTART TIMELINE: 9' }), discard)).rejects.toMatchObject({ code: 'usage-invalid' })
})
