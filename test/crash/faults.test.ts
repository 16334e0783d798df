import { execFile } from 'node:child_process'
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { platform, tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { restoreBackup } from '../../src/api/restore-backup.ts'
import { takeBackups } from '../../src/api/take-backups.ts'
import { verifyBackups } from '../../src/api/verify-backups.ts'
import type { Workspace } from '../../src/api/workspace.ts'
import { systemClock } from '../../src/kernel/clock.ts'
import type { Event } from '../../src/kernel/event.ts'
import { asFailure } from '../../src/kernel/failure.ts'
import { discoverClientTools } from '../../src/postgres/client-tools.ts'
import { readObject } from '../../src/repository/bytes.ts'
import { livingBackups } from '../../src/repository/cluster-log.ts'
import { memoryStorage } from '../../src/storage/memory.ts'
import { posixStorage } from '../../src/storage/posix.ts'
import type { Storage } from '../../src/storage/storage.ts'
import { ownCluster } from '../support/cluster.ts'
import { findClientPrograms, sessionsOf, untilNone } from '../support/left-behind.ts'
import { copiesOf, dropDatabases, lookAtProduction } from '../support/live-databases.ts'
import { orphansIn, putPicture, repositoryProblems } from '../support/repository-state.ts'
import { stalledStorage } from '../support/stalled-storage.ts'
import { backupOf, clusterName, sweepRoom, type RoomOptions, type SweepRoom } from '../support/sweep-room.ts'
import { endingOf } from '../support/sweep.ts'

const run = promisify(execFile)
let room: SweepRoom
beforeAll(async () => {
  room = await sweepRoom()
})
afterEach(async () => {
  await using admin = await room.server.session()
  await dropDatabases(admin, await copiesOf(room.server, room.source.name))
})
afterAll(() => room[Symbol.asyncDispose]())

async function prepared(): Promise<Storage> {
  const storage = memoryStorage({ clock: systemClock })
  await putPicture(storage, room.base)
  return storage
}

/** Earlier backups are as they were, there is no new one, and nothing lies about; a rerun succeeds. */
async function expectUntouched(storage: Storage, rerun = true): Promise<void> {
  const { problems, state } = await repositoryProblems(storage, { cluster: clusterName, before: room.base }, room.context)
  expect(problems).toEqual([])
  expect(livingBackups(state)).toHaveLength(room.earlier.length)
  expect(await orphansIn(storage, clusterName, room.context)).toEqual([])
  if (rerun) expect(await endingOf(() => takeBackups(room.workspace(storage)))).toMatchObject({ kind: 'done' })
}

/** 24 MB that no compression makes small, so that pg_dump is in the middle of it when the storage stalls. */
async function fillDatabase(query: (text: string) => Promise<unknown>): Promise<void> {
  await query(
    `CREATE TABLE big AS SELECT g AS id, (SELECT string_agg(md5(g || ' ' || h), '') FROM generate_series(1, 32) h) AS noise FROM generate_series(1, 24000) g`,
  )
}

const uncompressed = {
  dump: { databases: [], format: 'custom', compression: { method: 'none' }, jobs: 1, nameTemplate: 'big_<id>', globals: false, fingerprint: true },
} as const

describe('pg_dump', () => {
  beforeAll(async () => {
    await using session = await room.source.session()
    await fillDatabase((text) => session.query(text))
  })
  afterAll(async () => {
    await using session = await room.source.session()
    await session.query('DROP TABLE IF EXISTS big')
  })

  it('killed half-way (out of memory, by hand) is a failure that names the signal, and its bytes are discarded', async () => {
    const inner = await prepared()
    const storage = stalledStorage(inner)
    const ending = endingOf(() => takeBackups(room.workspace(storage, { realDump: true, cluster: uncompressed })))
    await storage.stalled
    const dumps = (await findClientPrograms(room.server.target.port)).filter(({ name }) => name.startsWith('tidemark pg_dump '))
    expect(dumps).toHaveLength(1)
    for (const { pid } of dumps) process.kill(pid, 'SIGKILL')
    storage.release()
    expect(await ending).toMatchObject({ kind: 'failed', exitCode: 1, message: expect.stringContaining('SIGKILL') })
    await expectUntouched(inner)
    expect(await untilNone(() => sessionsOf(room.server, room.source.name))).toEqual([])
  })

  it('whose session is ended by an administrator half-way is a failure, never a short backup', async () => {
    const inner = await prepared()
    const storage = stalledStorage(inner)
    const ending = endingOf(() => takeBackups(room.workspace(storage, { realDump: true, cluster: uncompressed })))
    await storage.stalled
    await using admin = await room.server.session()
    await admin.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'tidemark pg_dump %'`)
    storage.release()
    expect(await ending).toMatchObject({ kind: 'failed', exitCode: 1 })
    await expectUntouched(inner)
  })

  it('that is cancelled half-way ends with 130, with its session, and leaves nothing', async () => {
    const inner = await prepared()
    const storage = stalledStorage(inner)
    const cancel = new AbortController()
    const work = takeBackups(room.workspace(storage, { realDump: true, cluster: uncompressed, signal: cancel.signal }))
    await storage.stalled
    cancel.abort()
    storage.release()
    expect(asFailure(await work.catch((error: unknown) => error)).exitCode).toBe(130)
    await expectUntouched(inner)
    expect(await untilNone(() => sessionsOf(room.server, room.source.name))).toEqual([])
    expect(await untilNone(async () => (await findClientPrograms(room.server.target.port)).map(({ name }) => name))).toEqual([])
  })
})

describe('a program in the place of pg_dump', () => {
  let directory: string
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'tidemark-fake-dump-'))
  })
  afterAll(() => rm(directory, { recursive: true }))

  let count = 0
  /** A workspace whose pg_dump is this script. `$DUMP` is the file of a whole dump. */
  async function with_(script: string, storage: Storage, options: RoomOptions = {}): Promise<Workspace> {
    const bin = join(directory, `bin-${(count += 1)}`)
    await mkdir(bin)
    const whole = memoryStorage({ clock: systemClock })
    const made = await backupOf(room.workspace(whole, { realDump: true, cluster: uncompressed }))
    await writeFile(join(bin, 'whole'), await readObject(whole, made.key, 64 * 1024 * 1024))
    await writeFile(
      join(bin, 'pg_dump'),
      `#!/bin/sh\nif [ "$1" = --version ]; then echo 'pg_dump (PostgreSQL) 15.98'; exit 0; fi\nDUMP='${join(bin, 'whole')}'\nPATH=/usr/bin:/bin\n${script}\n`,
    )
    await chmod(join(bin, 'pg_dump'), 0o755)
    const tools = await discoverClientTools({ path: bin })
    return { ...room.workspace(storage, { ...options, cluster: uncompressed }), discoverTools: async () => tools }
  }

  it.for([
    ['writes everything and exits 1', 'cat "$DUMP"; echo "pg_dump: error: something" >&2; exit 1', /something/],
    ['writes nothing and exits 0', 'exit 0', /wrote nothing|empty/],
    ['writes half and exits 0', 'head -c 2000 "$DUMP"', /ends|end|short|cut|incomplete/i],
    ['lacks its last byte and exits 0', 'head -c -1 "$DUMP"', /./],
    ['writes something else and exits 0', 'echo hello', /./],
    ['writes everything twice and exits 0', 'cat "$DUMP" "$DUMP"', /./],
    ['writes everything and is killed', 'cat "$DUMP"; kill -9 $$', /SIGKILL/],
  ] as const)('that %s is a failure with exit code 1, and nothing is kept', async ([, script, says]) => {
    const storage = await prepared()
    const ending = await endingOf(async () => takeBackups(await with_(script, storage)))
    expect(ending).toMatchObject({ kind: 'failed' })
    if (ending.kind === 'failed') {
      expect([1, 13]).toContain(ending.exitCode)
      expect(ending.message).toMatch(says)
    }
    await expectUntouched(storage)
  })

  it('that warns and exits 0 makes a backup that keeps the warning', async () => {
    const storage = await prepared()
    const result = await takeBackups(await with_('echo "pg_dump: warning: there are circular foreign-key constraints" >&2; cat "$DUMP"', storage))
    expect(result).toMatchObject({ kind: 'done', warnings: expect.arrayContaining([expect.stringContaining('circular')]) })
  })
})

describe('a server', () => {
  it('that is restarted in the middle of a dump: exit code 1, nothing is kept, and the next backup succeeds', async () => {
    const other = await ownCluster(15)
    await using _server = other.server
    {
      await using session = await other.session()
      await fillDatabase((text) => session.query(text))
    }
    const inner = await prepared()
    const storage = stalledStorage(inner)
    const ending = endingOf(() => takeBackups(room.workspace(storage, { realDump: true, cluster: { ...uncompressed, target: other.target } })))
    await storage.stalled
    await other.server.restart()
    storage.release()
    const end = await ending
    expect(end).toMatchObject({ kind: 'failed', exitCode: 1, message: expect.stringMatching(/pg_dump/) })
    await expectUntouched(inner, false)
    expect(await endingOf(() => takeBackups(room.workspace(inner, { realDump: true, cluster: { ...uncompressed, target: other.target } })))).toMatchObject({
      kind: 'done',
    })
  })

  it('on which another session holds ACCESS EXCLUSIVE on a table: given up after the configured time, the holder named, nothing kept', async () => {
    await using blocker = await room.source.session()
    await blocker.query('BEGIN')
    await blocker.query('LOCK TABLE orders IN ACCESS EXCLUSIVE MODE')
    const [row] = await blocker.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
    const storage = await prepared()
    const work = takeBackups(room.workspace(storage, { realDump: true, cluster: { lockWaitSeconds: 1 } }))
    await expect(work).rejects.toMatchObject({
      code: 'lock-timeout',
      exitCode: 1,
      hints: expect.arrayContaining([expect.stringContaining(`PID ${row?.pid ?? '?'} `)]),
    })
    await expectUntouched(storage)
  })
})

/** Mounting needs root and the right to mount, which containers often lack: then these tests say so and are skipped. */
const mounts = platform() === 'linux' && process.getuid?.() === 0 && (await canMount())
if (!mounts) process.stderr.write('SKIPPED: tests with full and read-only file systems (they need root and mount)\n')

async function canMount(): Promise<boolean> {
  const place = await mkdtemp(join(tmpdir(), 'tidemark-mount-'))
  try {
    await run('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tidemark-test', place])
    await run('umount', [place])
    return true
  } catch {
    return false
  } finally {
    await rm(place, { recursive: true })
  }
}

interface SmallDisk extends AsyncDisposable {
  readonly path: string
  remount(options: string): Promise<void>
}

async function smallDisk(sizeMiB: number): Promise<SmallDisk> {
  const path = await mkdtemp(join(tmpdir(), 'tidemark-disk-'))
  await run('mount', ['-t', 'tmpfs', '-o', `size=${sizeMiB}m,mode=0755`, 'tidemark-test', path])
  return {
    path,
    remount: async (options) => {
      await run('mount', ['-o', `remount,${options}`, path])
    },
    [Symbol.asyncDispose]: async () => {
      await run('umount', ['-l', path])
      await rm(path, { recursive: true })
    },
  }
}

// A disk that is really full or read-only takes a mount, hence root; where that cannot be had, the skips are counted and said.
describe.skipIf(!mounts)('a disk', () => {
  beforeAll(async () => {
    await using session = await room.source.session()
    await fillDatabase((text) => session.query(text))
  })
  afterAll(async () => {
    await using session = await room.source.session()
    await session.query('DROP TABLE IF EXISTS big')
  })

  it('of the repository that becomes full in the middle of a dump: exit code 1, earlier backups untouched, no partial file; with space again it goes on', async () => {
    await using disk = await smallDisk(6)
    const storage = posixStorage({ root: join(disk.path, 'repository') })
    await putPicture(storage, room.base)
    const ending = await endingOf(() => takeBackups(room.workspace(storage, { realDump: true, cluster: uncompressed })))
    expect(ending).toMatchObject({ kind: 'failed', exitCode: 1, message: expect.stringMatching(/no space/) })
    await expectUntouched(storage, false)
    expect(await readdir(join(disk.path, 'repository', '.tidemark-tmp')).catch(() => [])).toEqual([])
    await disk.remount('size=64m')
    expect(await endingOf(() => takeBackups(room.workspace(storage, { realDump: true, cluster: uncompressed })))).toMatchObject({ kind: 'done' })
  })

  it('of the repository without a single free byte: even the log cannot be written, which is said, and nothing is lost', async () => {
    await using disk = await smallDisk(4)
    const storage = posixStorage({ root: join(disk.path, 'repository') })
    await putPicture(storage, room.base)
    await run('dd', ['if=/dev/zero', `of=${join(disk.path, 'filler')}`, 'bs=64k']).catch(() => undefined)
    const ending = await endingOf(() => takeBackups(room.workspace(storage)))
    expect(ending).toMatchObject({ kind: 'failed', exitCode: 1 })
    const { problems } = await repositoryProblems(storage, { cluster: clusterName, before: room.base }, room.context)
    expect(problems).toEqual([])
    await rm(join(disk.path, 'filler'))
    expect(await endingOf(() => takeBackups(room.workspace(storage)))).toMatchObject({ kind: 'done' })
    expect(await orphansIn(storage, clusterName, room.context)).toEqual([])
  })

  it('of the spool that is too small is noticed before anything is fetched or touched', async () => {
    await using disk = await smallDisk(8)
    const storage = await prepared()
    const machine = { workDirectory: join(disk.path, 'work') }
    const old = await lookAtProduction(room.server, room.source.name)
    expect(
      await endingOf(() => restoreBackup(room.workspace(storage, { machine }), { replace: 'swap', safetyBackup: false, approve: async () => undefined })),
    ).toMatchObject({ kind: 'failed', exitCode: 15, message: expect.stringMatching(/free/) })
    expect(await lookAtProduction(room.server, room.source.name)).toEqual(old)
    expect(await copiesOf(room.server, room.source.name)).toEqual([])
    const directory = { dump: { ...uncompressed.dump, format: 'directory' } } as const
    expect(await endingOf(() => takeBackups(room.workspace(storage, { realDump: true, machine, cluster: directory })))).toMatchObject({
      kind: 'failed',
      exitCode: 1,
      message: expect.stringMatching(/free/),
    })
    await expectUntouched(storage, false)
    expect(await readdir(machine.workDirectory)).toEqual([])
  })

  it('of the spool that others fill in the middle of a directory dump: exit code 1, nothing kept', async () => {
    await using disk = await smallDisk(40)
    const storage = await prepared()
    await using blocker = await room.source.session()
    await blocker.query('BEGIN')
    await blocker.query('LOCK TABLE orders IN ACCESS EXCLUSIVE MODE')
    const directory = { lockWaitSeconds: 60, dump: { ...uncompressed.dump, format: 'directory' } } as const
    const ending = endingOf(() => takeBackups(room.workspace(storage, { realDump: true, machine: { workDirectory: disk.path }, cluster: directory })))
    await untilNone(async () => ((await findClientPrograms(room.server.target.port)).length > 0 ? [] : ['pg_dump has not begun']))
    await run('dd', ['if=/dev/zero', `of=${join(disk.path, 'filler')}`, 'bs=64k']).catch(() => undefined)
    await blocker.query('ROLLBACK')
    expect(await ending).toMatchObject({ kind: 'failed', exitCode: 1, message: expect.stringMatching(/space/) })
    await expectUntouched(storage, false)
    expect(await readdir(disk.path)).toEqual(['filler'])
  })

  it('that is read-only: a backup fails with 1; backups there can be verified and restored all the same', async () => {
    await using disk = await smallDisk(16)
    const storage = posixStorage({ root: join(disk.path, 'repository') })
    await putPicture(storage, room.base)
    await disk.remount('ro')
    expect(await endingOf(() => takeBackups(room.workspace(storage)))).toMatchObject({
      kind: 'failed',
      exitCode: 1,
      message: expect.stringMatching(/read-only/),
    })
    const events: Event[] = []
    const { backups } = await verifyBackups(room.workspace(storage, { emit: (event) => events.push(event) }), { all: true })
    expect(backups.map(({ valid }) => valid)).toEqual([true, true])
    expect(events.filter((event) => event.type === 'warning').map(({ code }) => code)).toContain('not-recorded')
    const outcome = await restoreBackup(room.workspace(storage), { as: `${room.source.name}_from_read_only`, approve: async () => undefined })
    expect(outcome.result?.database).toBe(`${room.source.name}_from_read_only`)
    expect(outcome.partial).toBe(true)
  })
})
