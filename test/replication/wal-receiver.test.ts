import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/kernel/clock.ts'
import { Failure } from '../../src/kernel/failure.ts'
import { openReplicationConnection } from '../../src/postgres/replication/replication-connection.ts'
import { createTemporarySlot, identifySystem } from '../../src/postgres/replication/replication-commands.ts'
import { receiveWal, WalSteering } from '../../src/postgres/replication/wal-receiver.ts'
import { parseLsn } from '../../src/pgdata/lsn.ts'
import { backupOptions, openRoom, receiveBaseBackup, startRestored } from '../support/base-backups.ts'
import { ownCluster, type TestCluster } from '../support/cluster.ts'

const named = { applicationName: 'tidemark test' }
const megabyte = 1024n * 1024n
/** Small segments, so that a test sees many. */
const segments = ['--wal-segsize=1']
const settings = { wal_keep_size: '512MB', max_wal_size: '512MB' }

/** `TTTTTTTTXXXXXXXXYYYYYYYY` for segments of 1 MB, of which 4096 make 4 GB. */
const segmentName = (timeline: number, lsn: bigint) =>
  [BigInt(timeline), lsn >> 32n, (lsn & 0xffff_ffffn) / megabyte].map((part) => part.toString(16).padStart(8, '0').toUpperCase()).join('')
const segmentOf = (lsn: bigint) => lsn - (lsn % megabyte)

async function currentLsn(cluster: TestCluster): Promise<bigint> {
  await using session = await cluster.session()
  const [row] = await session.query<{ lsn: string }>('SELECT pg_current_wal_flush_lsn()::text AS lsn')
  return parseLsn(row?.lsn ?? '')
}

/** Collects WAL; every third call is slow. */
function collector() {
  const parts: { start: bigint; bytes: Buffer }[] = []
  return {
    parts,
    all: () => Buffer.concat(parts.map(({ bytes }) => bytes)),
    wal: (start: bigint, bytes: Buffer): void | Promise<void> => {
      const keep = () => void parts.push({ start, bytes: Buffer.from(bytes) })
      return parts.length % 3 === 2 ? nextTurn().then(keep) : keep()
    },
  }
}

let cluster: TestCluster | undefined
afterEach(async () => {
  await cluster?.server[Symbol.asyncDispose]()
  cluster = undefined
})

describe.each([13, 14, 15, 16, 17, 18])('WAL of PostgreSQL %i', (major) => {
  it('comes byte for byte as it is in pg_wal, over many segments, and the connection can be used afterwards', async () => {
    cluster = await ownCluster(major, settings, segments)
    await using wire = await openReplicationConnection(cluster.target, named)
    const slot = await createTemporarySlot(wire, { major, name: 'kept' })
    const startLsn = segmentOf(slot.restartLsn)
    const steering = new WalSteering()
    const sink = collector()
    const receiving = receiveWal(wire, { slot: slot.name, startLsn, timeline: 1, steering, clock: systemClock }, sink)
    await using session = await cluster.session()
    await session.query('CREATE TABLE t AS SELECT i, md5(i::text) AS t FROM generate_series(1, 100000) i')
    await session.query('SELECT pg_switch_wal()')
    await session.query('INSERT INTO t SELECT * FROM t')
    await session.query('SELECT pg_switch_wal()')
    const stopLsn = segmentOf((await currentLsn(cluster)) + megabyte - 1n)
    steering.stopAt(stopLsn)
    expect(await receiving).toEqual({ kind: 'stopped', endLsn: stopLsn })

    const all = sink.all()
    expect(startLsn + BigInt(all.length)).toBe(stopLsn)
    expect(all.length / Number(megabyte)).toBeGreaterThan(10)
    for (let lsn = startLsn; lsn < stopLsn; lsn += megabyte) {
      const at = Number(lsn - startLsn)
      const file = await readFile(join(cluster.server.dataDirectory, 'pg_wal', segmentName(1, lsn)))
      expect(file.equals(all.subarray(at, at + Number(megabyte))), segmentName(1, lsn)).toBe(true)
    }
    for (const { start, bytes } of sink.parts) expect(segmentOf(start)).toBe(segmentOf(start + BigInt(bytes.length) - 1n))
    expect((await identifySystem(wire)).timeline).toBe(1)
    await expect(createTemporarySlot(wire, { major, name: 'kept' })).rejects.toMatchObject({ details: { sqlState: '42710' } })
  })

  it('stops exactly where it is told, however early or late that is', async () => {
    cluster = await ownCluster(major, settings, segments)
    await using wire = await openReplicationConnection(cluster.target, named)
    const startLsn = segmentOf((await identifySystem(wire)).walLsn)
    const attempt = async (stopLsn: bigint) => {
      const steering = new WalSteering()
      steering.stopAt(stopLsn)
      const sink = collector()
      const { endLsn } = await receiveWal(wire, { slot: null, startLsn, timeline: 1, steering, clock: systemClock }, sink)
      expect(BigInt(sink.all().length)).toBe(endLsn - startLsn)
      return endLsn - startLsn
    }
    for (const bytes of [0n, 1n, 8192n, 12_345n]) expect(await attempt(startLsn + bytes)).toBe(bytes)
    expect(await attempt(startLsn - megabyte)).toBe(0n)

    // Told when the stream has been idle for a while.
    const steering = new WalSteering()
    const upTo = (await identifySystem(wire)).walLsn
    const idle = Promise.withResolvers<void>()
    const receiving = receiveWal(
      wire,
      { slot: null, startLsn, timeline: 1, steering, clock: systemClock },
      {
        wal: (start, bytes) => {
          if (start + BigInt(bytes.length) >= upTo) idle.resolve()
        },
      },
    )
    await idle.promise
    steering.stopAt(startLsn + 1n)
    expect((await receiving).endLsn).toBeGreaterThanOrEqual(upTo)
  })
})

describe.each([13, 18])('a server of PostgreSQL %i that streams WAL', (major) => {
  it('lets go of what is durable and of no more, and does not think we are dead while nothing happens or our disk is slow', async () => {
    cluster = await ownCluster(major, { ...settings, wal_sender_timeout: '600ms' }, segments)
    await using wire = await openReplicationConnection(cluster.target, named)
    const slot = await createTemporarySlot(wire, { major, name: 'kept' })
    const steering = new WalSteering()
    const startLsn = segmentOf(slot.restartLsn)
    const slow = Promise.withResolvers<void>()
    const held = Promise.withResolvers<void>()
    let received = startLsn
    const receiving = receiveWal(
      wire,
      { slot: slot.name, startLsn, timeline: 1, steering, clock: systemClock },
      {
        wal: (start, bytes) => {
          received = start + BigInt(bytes.length)
          if (start < startLsn + 2n * megabyte) return undefined
          slow.resolve()
          return held.promise
        },
      },
    )
    receiving.catch(() => undefined)
    await using session = await cluster.session()
    const restartLsn = async () => {
      const [row] = await session.query<{ lsn: string; active: boolean }>(
        `SELECT restart_lsn::text AS lsn, active FROM pg_replication_slots WHERE slot_name = 'kept'`,
      )
      expect(row?.active).toBe(true)
      return parseLsn(row?.lsn ?? '')
    }
    await systemClock.sleep(1_500)
    expect(await restartLsn()).toBe(slot.restartLsn)
    await session.query('CREATE TABLE t AS SELECT i, md5(i::text) AS t FROM generate_series(1, 100000) i')
    await slow.promise
    // Much more has come to the socket, and the sink holds it up for longer than the server waits for signs of life.
    await systemClock.sleep(1_500)
    expect(await restartLsn()).toBe(slot.restartLsn)
    steering.flushedTo(startLsn + megabyte)
    await expect.poll(restartLsn).toBe(startLsn + megabyte)
    steering.flushedTo(1n << 60n)
    await expect.poll(restartLsn).toBe(received)
    held.resolve()
    steering.stopAt(startLsn + 5n * megabyte)
    expect(await receiving).toEqual({ kind: 'stopped', endLsn: startLsn + 5n * megabyte })
  })

  it('can shut down although a slot waits for us, which is a failure here', async () => {
    cluster = await ownCluster(major, settings, segments)
    await using wire = await openReplicationConnection(cluster.target, named)
    const slot = await createTemporarySlot(wire, { major, name: 'kept' })
    const steering = new WalSteering()
    const startLsn = segmentOf(slot.restartLsn)
    let received = startLsn
    let asked = 0
    const begun = Promise.withResolvers<void>()
    const receiving = receiveWal(
      wire,
      { slot: slot.name, startLsn, timeline: 1, steering, clock: systemClock },
      {
        wal: (start, bytes) => {
          received = start + BigInt(bytes.length)
          begun.resolve()
        },
        flush: async () => {
          asked += 1
          await nextTurn()
          steering.flushedTo(received)
        },
      },
    )
    const outcome = receiving.then(
      () => 'finished',
      (error: unknown) => error,
    )
    await begun.promise
    steering.flushedTo(startLsn + 1n)
    const before = performance.now()
    await cluster.server.stop()
    expect(performance.now() - before).toBeLessThan(8_000)
    expect(asked).toBeGreaterThan(0)
    expect(await outcome).toMatchObject({ code: 'connection-lost' })
  })

  it('says when WAL is gone that we need, or when we ask for what cannot be', async () => {
    cluster = await ownCluster(major, { wal_keep_size: '0', max_wal_size: '2MB', min_wal_size: '2MB' }, segments)
    await using wire = await openReplicationConnection(cluster.target, named)
    const startLsn = segmentOf((await identifySystem(wire)).walLsn)
    await using session = await cluster.session()
    await session.query('CREATE TABLE t AS SELECT i FROM generate_series(1, 100000) i')
    await session.query('CHECKPOINT')
    await session.query('CHECKPOINT')
    const receive = (changes: { slot?: string; startLsn?: bigint; timeline?: number }) =>
      receiveWal(wire, { slot: null, startLsn, timeline: 1, steering: new WalSteering(), clock: systemClock, ...changes }, { wal: () => undefined })
    await expect(receive({})).rejects.toMatchObject({ details: { sqlState: '58P01' }, hints: [expect.stringContaining('new base backup'), expect.any(String)] })
    await expect(receive({ timeline: 7 })).rejects.toBeInstanceOf(Failure)
    await expect(receive({ slot: 'nobody' })).rejects.toMatchObject({ details: { sqlState: '42704' } })
    await expect(receive({ slot: 'x; DROP' })).rejects.toMatchObject({ code: 'usage-invalid' })
    await expect(receive({ startLsn: startLsn + 8192n })).rejects.toThrow('not the beginning of a segment')
  })

  it('tells where a timeline ends and which one follows', async () => {
    await using room = await openRoom()
    cluster = await ownCluster(major, settings, segments)
    await using source = await openReplicationConnection(cluster.target, named)
    const backup = await receiveBaseBackup(source, backupOptions(major), room.path)
    await using session = await cluster.session()
    await session.query('CREATE TABLE t AS SELECT i FROM generate_series(1, 30000) i')
    const startLsn = segmentOf(backup.startLsn)
    const before = new WalSteering()
    before.stopAt(await currentLsn(cluster))
    const collected = collector()
    await receiveWal(source, { slot: null, startLsn, timeline: 1, steering: before, clock: systemClock }, collected)

    // Recovery from an archive ends on a timeline of its own.
    const base = join(room.path, 'base')
    const padded = Buffer.concat([collected.all(), Buffer.alloc(Number(megabyte))])
    for (let at = 0; at < collected.all().length; at += Number(megabyte))
      await writeFile(join(base, 'pg_wal', segmentName(1, startLsn + BigInt(at))), padded.subarray(at, at + Number(megabyte)))
    await writeFile(join(base, 'recovery.signal'), '')
    await using copy = await startRestored(backup, cluster.server, room.path, { ...settings, restore_command: 'false' })
    await using wire = await openReplicationConnection(copy.target, named)
    const [history] = await wire.run('TIMELINE_HISTORY 2')
    const switchLsn = parseLsn(/^1\t(\S+)\t/m.exec(history?.[0]?.['content'] ?? '')?.[1] ?? '')

    const old = collector()
    const receive = (from: bigint, timeline: number, steering: WalSteering, sink = collector()) =>
      receiveWal(wire, { slot: null, startLsn: from, timeline, steering, clock: systemClock }, sink)
    expect(await receive(startLsn, 1, new WalSteering(), old)).toEqual({ kind: 'timeline-ended', endLsn: switchLsn, nextTimeline: 2 })
    expect(startLsn + BigInt(old.all().length)).toBe(switchLsn)
    const next = new WalSteering()
    next.stopAt(switchLsn)
    const again = collector()
    expect(await receive(segmentOf(switchLsn), 2, next, again)).toEqual({ kind: 'stopped', endLsn: switchLsn })
    expect(again.all().equals(old.all().subarray(Number(segmentOf(switchLsn) - startLsn)))).toBe(true)
  })
})
