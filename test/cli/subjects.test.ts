import { copyFile, readlink, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { runChecks } from '../../src/drill/run-checks.ts'
import { systemClock } from '../../src/kernel/clock.ts'
import type { Backup } from '../../src/repository/backup.ts'
import { sharedCluster } from '../support/cluster.ts'
import { openShop, type Shop } from '../support/shop.ts'

interface FailureDocument {
  readonly error: { readonly code: string; readonly message: string; readonly hints: readonly string[] }
}
interface PlanDocument {
  readonly plan: Readonly<Record<string, unknown>> & { readonly lines: readonly string[] }
}

const config = `clusters:
  one: { url: "env:DATABASE_URL", repositories: [local] }
  two: { url: "env:DATABASE_URL", repositories: [local] }
repositories:
  local: { path: ./backups }
`
let shop: Shop
let one: Backup
let two: Backup

beforeAll(async () => {
  shop = await openShop(await sharedCluster(15), { config })
  one = await shop.room.json<Backup>(['backup', 'one', '--name', 'named'])
  two = await shop.room.json<Backup>(['backup', 'two'])
})

afterAll(() => shop[Symbol.asyncDispose]())

const verified = async (args: readonly string[]) => (await shop.room.json<{ backups: { id: string }[] }>(['verify', ...args])).backups.map((each) => each.id)

describe('what a word means', () => {
  it('verify takes clusters, of each of which the latest is meant, and backups, which they restrict', async () => {
    expect(await verified(['one', 'two'])).toEqual([one.id, two.id])
    expect(await verified(['two'])).toEqual([two.id])
    expect(await verified(['one', 'named'])).toEqual([one.id])
    expect(await verified(['--backup', 'named', '--backup', two.id])).toEqual([one.id, two.id])
    await shop.room.json(['verify', 'two', 'named'], { exitCode: 1 })
  })

  it('--backup forces a backup for every verb that takes one, and a cluster means its latest for show', async () => {
    expect((await shop.room.json<Backup>(['show', '--backup', 'named'])).id).toBe(one.id)
    expect((await shop.room.json<Backup>(['show', 'one'])).id).toBe(one.id)
    expect((await shop.room.json<PlanDocument>(['pin', '--backup', 'named', '--dry-run'])).plan['backup']).toBe(one.id)
    expect(
      (await shop.room.json<{ plans: { plan: { backup: string } }[] }>(['delete', '--backup', 'named', '--dry-run'], { exitCode: 15 })).plans[0]?.plan.backup,
    ).toBe(one.id)
    expect((await shop.room.json<FailureDocument>(['delete', 'one', '--yes'], { exitCode: 2 })).error.code).toBe('usage-invalid')
  })

  it('a cluster that is neither configured nor in the repository is exit 2 and names the known ones; an empty list is not the answer', async () => {
    for (const args of [
      ['list', 'nosuch'],
      ['latest', 'nosuch'],
      ['show', '--cluster', 'nosuch'],
      ['verify', '--cluster', 'nosuch'],
      ['drill', '--cluster', 'nosuch'],
      ['pin', 'latest', '--cluster', 'nosuch'],
    ]) {
      const { error } = await shop.room.json<FailureDocument>(args, { exitCode: 2 })
      expect(error).toMatchObject({ code: 'usage-invalid', message: 'no cluster is called "nosuch"', hints: [expect.stringContaining('one, two')] })
    }
  })

  it('the file of a known backup is that backup, by its path and by a link to it; show says of any other file that it is none', async () => {
    const path = join('backups', one.fileName)
    expect(await verified([path])).toEqual([one.id])
    expect((await shop.room.json<Backup>(['show', path])).id).toBe(one.id)
    expect((await shop.room.json<PlanDocument>(['drill', path, '--dry-run'])).plan['backup']).toBe(one.id)
    // Two clusters write here, so each has a link of its own.
    const alias = './backups/latest_backup_one.dump.zst'
    const target = await readlink(join(shop.room.directory, alias))
    const resolved = [one, two].find((each) => each.fileName === target)
    const linked = await shop.room.run(['verify', alias, '--verbose'])
    expect(linked).toMatchObject({ exitCode: 0, stdout: expect.stringContaining(resolved?.id ?? 'no backup') as string })
    expect(linked.stderr).toContain(`${alias} is ${target}`)
    await copyFile(one.path ?? '', join(shop.room.directory, 'other.dump.zst'))
    expect((await shop.room.json<FailureDocument>(['show', './other.dump.zst'], { exitCode: 2 })).error.hints.join()).toContain('verify --file')
  })

  it('the name of a backup beside a file of that name has two meanings; with ./ or --backup it has one', async () => {
    const file = join(shop.room.directory, 'named')
    await copyFile(one.path ?? '', file)
    try {
      const { error } = await shop.room.json<FailureDocument>(['verify', 'named'], { exitCode: 2 })
      expect(error.hints.join()).toContain('--backup named')
      expect(await verified(['--backup', 'named'])).toEqual([one.id])
      expect(await verified(['./named'])).not.toEqual([one.id])
    } finally {
      await rename(file, join(shop.room.directory, 'elsewhere'))
    }
    expect(await verified(['named'])).toEqual([one.id])
  })
})

describe('--dry-run', () => {
  it('of pin, unpin, drill and repo init says where and what, and changes nothing', async () => {
    const before = await shop.room.json(['list'])
    const pin = await shop.room.json<PlanDocument>(['pin', one.id, '--reason', 'audit', '--dry-run'])
    expect(pin.plan).toMatchObject({ action: 'pin', backup: one.id, reason: 'audit', repositories: ['local'] })
    expect((await shop.room.json<PlanDocument>(['unpin', one.id, '--dry-run'])).plan.lines.join()).toContain('not pinned already')
    const drill = await shop.room.json<PlanDocument>(['drill', 'one', '--server', 'same', '--dry-run'])
    expect(drill.plan).toMatchObject({ backup: one.id, cluster: 'one', repository: 'local', server: `${shop.target.host}:${shop.target.port}` })
    expect((await shop.room.run(['drill', 'one', '--dry-run'])).stdout).toContain('Nothing was changed.')
    const init = await shop.room.json<PlanDocument>(['repo', 'init', '--repo', 'local', '--repo', './fresh', '--dry-run'])
    expect(init.plan['repositories']).toMatchObject([{ name: 'local', exists: true }, { exists: false }])
    expect((await shop.room.run(['verify', './fresh'])).exitCode).not.toBe(0)
    expect(await shop.room.json(['list'])).toEqual(before)
    expect(await shop.databases()).toEqual([shop.name])
  })
})

describe('what is left out', () => {
  it('is said by backup and by show, in JSON and in words', async () => {
    const made = await shop.room.json<Backup>(['backup', 'one', '--no-globals', '--schema-only'])
    const expected = [
      { what: 'the rows of all tables', why: 'schema only' },
      { what: 'roles and tablespaces', why: 'not wanted (--no-globals)' },
    ]
    expect(made.leftOut).toEqual(expected)
    const shown = await shop.room.json<Backup & { open: string }>(['show', made.id])
    expect(shown.leftOut).toEqual(expected)
    expect(shown.open).toContain('pg_restore --dbname=restored')
    expect((await shop.room.run(['show', made.id])).stdout).toContain('left out: roles and tablespaces (not wanted (--no-globals))')
    expect((await shop.room.json<{ backups: Backup[] }>(['list', 'one'])).backups.map((each) => each.leftOut)).toEqual([null, null])
    await shop.room.json(['delete', made.id, '--yes'])
  })
})

describe('checks of a drill', () => {
  it('count what the server answers, and a server that is gone as none: it says nothing about the backup', async () => {
    const context = { clock: systemClock, emit: () => undefined, signal: new AbortController().signal }
    await using session = await shop.cluster.session(shop.name)
    expect(await runChecks(session, [{ sql: 'SELECT 1/0', expect: 1 }], context)).toMatchObject([
      { ok: false, actual: expect.stringContaining('division') as string },
    ])
    const lost = runChecks(session, [{ sql: 'SELECT pg_terminate_backend(pg_backend_pid())', expect: true }], context)
    await expect(lost).rejects.toMatchObject({ code: expect.stringMatching(/^connection-/) as string })
  })
})
