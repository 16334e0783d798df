import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { systemClock } from '../../src/kernel/clock.ts'
import { Failure } from '../../src/kernel/failure.ts'
import { runBaseBackup } from '../../src/postgres/replication/base-backup.ts'
import { openReplicationConnection } from '../../src/postgres/replication/replication-connection.ts'
import { identifySystem } from '../../src/postgres/replication/replication-commands.ts'
import { receiveWal, WalSteering } from '../../src/postgres/replication/wal-receiver.ts'
import { backupOptions, discard } from '../support/base-backups.ts'
import { int16, int64, message, ready, result, startFalseWalsender } from '../support/false-walsender.ts'

const named = { applicationName: 'tidemark test' }

const start = result(['recptr', 'tli'], ['0/2000028', '1'])
const onlyBase = result(['spcoid', 'spclocation', 'size'], [null, null, null])
const copyOut = message('H', 0, int16(0))
const copyDone = message('c')
const named1 = message('d', 'nbase.tar\0\0')
const stop = Buffer.concat([result(['recptr', 'tli'], ['0/2000100', '1']), message('C', 'SELECT\0')])
const manifest = Buffer.concat([message('d', 'm'), message('d', 'd{ "manifest"'), message('d', 'd: 1 }')])
/** A well-formed answer of 15 and newer, and of those before. */
const answer15 = Buffer.concat([
  start,
  onlyBase,
  copyOut,
  named1,
  message('d', 'dtar'),
  message('d', 'p', int64(5n)),
  message('d', 'd{'),
  manifest,
  copyDone,
  stop,
  ready,
])
const answer14 = Buffer.concat([
  start,
  onlyBase,
  copyOut,
  message('d', 'tar'),
  message('d', '{'),
  copyDone,
  copyOut,
  message('d', '{ "manifest"'),
  message('d', ': 1 }'),
  copyDone,
  stop,
  ready,
])

async function backUpFrom(answer: Uint8Array | null, { major = 15, cutBytes = Infinity, wantsManifest = true } = {}) {
  await using server = await startFalseWalsender(() => answer, cutBytes)
  await using wire = await openReplicationConnection(server.target, named)
  const seen: string[] = []
  const backup = await runBaseBackup(wire, backupOptions(major, { manifest: wantsManifest }), {
    started: () => void seen.push('started'),
    archive: (oid) => void seen.push(`archive ${oid}:`),
    data: (bytes) => void seen.push(bytes.toString()),
    archiveEnd: () => void seen.push(':end'),
    manifest: (bytes) => void seen.push(bytes.toString()),
  })
  expect(backup.stopLsn).toBe(0x2000100n)
  return seen.join('')
}

describe('a base backup', () => {
  it.each([1, 2, 3, 5, 7, 11, Infinity])('is told apart rightly when it comes %i bytes at a time, whatever its data look like', async (cutBytes) => {
    const whole = 'startedarchive null:tar{:end{ "manifest": 1 }'
    expect(await backUpFrom(answer15, { cutBytes })).toBe(whole)
    expect(await backUpFrom(answer14, { major: 14, cutBytes })).toBe(whole)
  })

  it.each<[string, readonly Uint8Array[], { major?: number; wantsManifest?: boolean }?]>([
    ['only ready', [ready]],
    ['no archive', [start, onlyBase, stop, ready]],
    ['no archive in the stream', [start, onlyBase, copyOut, copyDone, stop, ready]],
    ['no manifest', [start, onlyBase, copyOut, named1, message('d', 'dtar'), copyDone, stop, ready]],
    ['a manifest that was not asked for', [answer15], { wantsManifest: false }],
    ['a manifest that was not asked for, before 15', [answer14], { major: 14, wantsManifest: false }],
    ['no end of the backup', [start, onlyBase, copyOut, named1, manifest, copyDone, ready]],
    ['an archive too many', [start, onlyBase, copyOut, named1, named1, manifest, copyDone, stop, ready]],
    ['a stream too many', [start, onlyBase, copyOut, copyDone, copyOut, copyDone, copyOut, copyDone, stop, ready], { major: 14 }],
    ['a stream too few', [start, onlyBase, copyOut, copyDone, stop, ready], { major: 14 }],
    ['the archive of another tablespace', [start, onlyBase, copyOut, message('d', 'n16384.tar\0/x\0'), manifest, copyDone, stop, ready]],
    ['an archive name without an end', [start, onlyBase, copyOut, message('d', 'nbase.tar'), ready]],
    ['a long message that is no data', [start, onlyBase, copyOut, message('d', `n${'x'.repeat(100_000)}`), ready]],
    ['a message of an unknown kind', [start, onlyBase, copyOut, message('d', 'zoom'), ready]],
    ['an empty message', [start, onlyBase, copyOut, message('d'), ready]],
    ['data before the first archive', [start, onlyBase, copyOut, message('d', 'dtar'), ready]],
    ['data outside of a stream', [start, onlyBase, message('d', 'dtar'), ready]],
    ['streams before the start', [copyOut, named1, ready]],
    ['no tablespaces', [start, result(['spcoid', 'spclocation', 'size']), ready]],
    ['no data directory', [start, result(['spcoid', 'spclocation', 'size'], ['5', '/x', null]), ready]],
    ['a start that is no place', [result(['recptr', 'tli'], ['here', '1']), ready]],
    ['a start without a timeline', [result(['recptr', 'tli'], ['0/1', null]), ready]],
    ['an empty start', [result(['recptr', 'tli']), ready]],
    ['a row that is too short', [message('T', int16(1), 'a\0', Buffer.alloc(18)), message('D', int16(1), 9, 'x'), ready]],
    ['a row of other columns', [message('T', int16(1), 'a\0', Buffer.alloc(18)), message('D', int16(2), 1, 'x', 1, 'x'), ready]],
    ['a row of nothing', [message('D', int16(1), 1, 'x'), ready]],
    ['an error without an end', [message('E', 'SERROR\0C42')]],
    ['a stream that wants something from us', [message('G', 0, int16(0))]],
    ['an end of nothing', [copyDone, ready]],
    ['a message of an unknown type', [message('?', 'x')]],
    ['a length below its own', [Buffer.from([0x44, 0, 0, 0, 3])]],
    ['a length beyond reason', [Buffer.from([0x44, 0x7f, 0xff, 0xff, 0xff])]],
    ['HTTP', [Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')]],
    ['zeros', [Buffer.alloc(100_000)]],
  ])('that has %s is a failure', async (_what, parts, how = {}) => {
    await expect(backUpFrom(Buffer.concat(parts), how)).rejects.toMatchObject({ code: 'connection-lost' })
    await expect(backUpFrom(Buffer.concat(parts), { ...how, cutBytes: 64 })).rejects.toMatchObject({ code: 'connection-lost' })
  })

  it('that is cut anywhere is a failure', async () => {
    for (let bytes = 0; bytes < answer15.length; bytes += 3) {
      await using server = await startFalseWalsender(() => answer15.subarray(0, bytes))
      await using wire = await openReplicationConnection(server.target, named)
      const backing = runBaseBackup(wire, backupOptions(15), discard)
      const patience = setTimeout(() => server.hangUp(), 20)
      await expect(backing).rejects.toMatchObject({ code: 'connection-lost' })
      clearTimeout(patience)
    }
  })

  it('with bytes that were changed ends, well or with a failure, and never otherwise', async () => {
    const change = fc.record({ at: fc.nat(answer15.length - 1), to: fc.integer({ min: 0, max: 255 }) })
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), fc.boolean(), async (changes, newer) => {
        const bytes = Buffer.from(newer ? answer15 : answer14)
        for (const { at, to } of changes) if (at < bytes.length) bytes[at] = to
        await using server = await startFalseWalsender((command) => (command.startsWith('BASE_BACKUP') ? bytes : null))
        await using wire = await openReplicationConnection(server.target, named)
        const backing = runBaseBackup(wire, backupOptions(newer ? 15 : 14), discard)
        // A length that was made larger waits for bytes that do not come, until the server ends the connection.
        const patience = setTimeout(() => server.hangUp(), 100)
        await backing.catch((error: unknown) => {
          if (!(error instanceof Failure) || error.code === 'bug') throw error
        })
        clearTimeout(patience)
      }),
      { numRuns: 150 },
    )
  })
})

describe('WAL', () => {
  const setting = (command: string) => (command.includes('wal_segment_size') ? '1048576' : '60000')
  const wal = (lsn: bigint, bytes: string) => message('d', 'w', int64(lsn), int64(lsn), int64(0n), bytes)
  const stream = (...messages: readonly Uint8Array[]) => Buffer.concat([message('W', 0, int16(0)), ...messages])

  async function receiveFrom(answer: Uint8Array, cutBytes = Infinity) {
    await using server = await startFalseWalsender(
      (command) => (command.startsWith('SELECT') ? Buffer.concat([result(['setting'], [setting(command)]), ready]) : answer),
      cutBytes,
    )
    await using wire = await openReplicationConnection(server.target, named)
    const seen: string[] = []
    const steering = new WalSteering()
    const outcome = await receiveWal(
      wire,
      { slot: null, startLsn: 0n, timeline: 1, steering, clock: systemClock },
      { wal: (_start, bytes) => void seen.push(bytes.toString()) },
    )
    return { outcome, seen: seen.join('') }
  }
  const timelineEnd = (lsn: string) =>
    Buffer.concat([copyDone, result(['next_tli', 'next_tli_startpos'], ['2', lsn]), message('C', 'START_STREAMING\0'), ready])

  it.each([1, 3, 26, Infinity])('comes through %i bytes at a time', async (cutBytes) => {
    const keepalive = message('d', 'k', int64(9n), int64(0n), Buffer.from([1]))
    expect(await receiveFrom(stream(wal(0n, 'abc'), keepalive, wal(3n, ''), wal(3n, 'defg'), timelineEnd('0/7')), cutBytes)).toEqual({
      outcome: { kind: 'timeline-ended', endLsn: 7n, nextTimeline: 2 },
      seen: 'abcdefg',
    })
  })

  it.each([
    ['a gap', stream(wal(0n, 'abc'), wal(4n, 'efg')), 'integrity'],
    ['WAL twice', stream(wal(0n, 'abc'), wal(0n, 'abc')), 'integrity'],
    ['another beginning', stream(wal(1n, 'abc')), 'integrity'],
    ['an end of the timeline that we have not reached', stream(wal(0n, 'abc'), timelineEnd('0/8')), 'integrity'],
    ['an end without a next timeline', stream(wal(0n, 'abc'), copyDone, ready), 'connection-lost'],
    ['a head that is cut', stream(message('d', 'w', int64(0n))), 'connection-lost'],
    ['an empty message', stream(message('d')), 'connection-lost'],
    ['a message of another kind', stream(message('d', 'x'.repeat(100))), 'connection-lost'],
    ['a long keepalive', stream(message('d', 'k'.repeat(100))), 'connection-lost'],
  ])('with %s is a failure', async (_what, answer, code) => {
    await expect(receiveFrom(answer)).rejects.toMatchObject({ code })
    await expect(receiveFrom(answer, 7)).rejects.toMatchObject({ code })
  })
})

it('an abort ends a wait for a server that never answers', async () => {
  await using server = await startFalseWalsender(() => Buffer.alloc(0))
  const abort = new AbortController()
  await using wire = await openReplicationConnection(server.target, { ...named, signal: abort.signal })
  const asking = identifySystem(wire)
  const reason = new Failure('cancelled', 'stopped')
  abort.abort(reason)
  await expect(asking).rejects.toBe(reason)
})
