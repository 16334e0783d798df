import { open, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Backup } from '../../src/repository/backup.ts'
import { sharedCluster } from '../support/cluster.ts'
import { openShop, type Shop } from '../support/shop.ts'
import { debianClients, stockClient } from '../support/stock-tools.ts'

/** The JSON keys that scripts may rely on. A key that is missing breaks somebody's script, so each is named here. */
const backupKeys =
  `id cluster database type state name startedAt endedAt sizeBytes storedBytes checksum format compression encryption key path postgresVersion startLsn stopLsn
  timeline tables category keptUntil keptBecause pinned repositories container user hostname fileName toolVersion partial`.split(/\s+/)
const utcTime = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

let shop: Shop
let backup: Backup & { warnings: string[] }

beforeAll(async () => {
  shop = await openShop(await sharedCluster(15))
  backup = await shop.room.json(['backup'])
})

afterAll(() => shop[Symbol.asyncDispose]())

function expectBackup(value: object): void {
  expect(Object.keys(value)).toEqual(expect.arrayContaining(backupKeys))
  expect(Object.values(value)).not.toContain(undefined)
}

describe('JSON documents', () => {
  test('backup: the Backup and its warnings', () => {
    expectBackup(backup)
    expect(backup).toMatchObject({
      cluster: shop.name,
      database: shop.name,
      type: 'dump',
      state: 'verified',
      name: null,
      format: 'custom',
      compression: 'zstd:3',
      encryption: null,
      timeline: null,
      keptUntil: null,
      keptBecause: null,
      pinned: false,
      container: null,
      user: 'postgres',
      partial: false,
      repositories: ['local'],
      warnings: [],
      path: join(shop.room.repository, backup.fileName),
    })
    expect(backup.id).toMatch(/^\d{8}-\d{6}-[0-9a-z]{4}$/)
    expect(backup.startedAt).toMatch(utcTime)
    expect(backup.endedAt).toMatch(utcTime)
    expect(backup.checksum).toMatch(/^sha256:[0-9a-f]{64}$/)
    expect(backup.postgresVersion).toMatch(/^15\.\d+$/)
    expect(backup.startLsn).toMatch(/^[0-9A-F]+\/[0-9A-F]+$/)
    expect(backup.tables).toEqual([
      { schema: 'public', name: 'customers', rows: 50 },
      { schema: 'public', name: 'orders', rows: 200 },
    ])
  })

  test('list: backups and windows; show and latest: the Backup; all say the same', async () => {
    // What was left out is in the manifest, which a list does not read: null is "not said here".
    const { warnings: _warnings, leftOut: _leftOut, ...facts } = backup
    const listed = await shop.room.json<{ backups: Backup[]; windows: unknown[] }>(['list'])
    expect(listed).toEqual({ backups: [{ ...facts, leftOut: null }], windows: [], warnings: [] })
    for (const args of [['show'], ['show', backup.id], ['show', backup.id.slice(0, 12)], ['show', backup.fileName], ['latest']]) {
      const shown = await shop.room.json<Backup>(args)
      expectBackup(shown)
      expect(shown).toMatchObject(facts)
    }
    expect(await shop.room.json(['list', '--type', 'full'])).toEqual({ backups: [], windows: [], warnings: [] })
  })

  test('several backups of one call: { backups, warnings }', async () => {
    await using other = await openShop(shop.cluster)
    const both = await shop.room.json<{ backups: Backup[]; warnings: string[] }>(['backup', '--database', shop.name, '--database', other.name, '--schema-only'])
    expect(both.warnings).toEqual([])
    expect(both.backups.map((each) => each.database)).toEqual([shop.name, other.name])
    for (const each of both.backups) {
      expectBackup(each)
      expect(each.partial).toBe(true)
      await shop.room.json(['delete', each.id, '--yes'])
    }
  })

  test('verify: each backup with its problems', async () => {
    expect(await shop.room.json(['verify'])).toEqual({
      backups: [
        {
          id: backup.id,
          valid: true,
          opened: true,
          state: 'verified',
          problems: [],
          checksum: backup.checksum,
          readBytes: expect.any(Number) as number,
          tables: backup.tables,
        },
      ],
      warnings: [],
    })
  })

  test('restore --dry-run: the plan and no result; restore: the plan and the result, the password masked', async () => {
    const planned = await shop.room.json<{ plan: object; result: null }>(['restore', '--as', `${shop.name}_copy`, '--dry-run'])
    expect(planned.result).toBeNull()
    expect(planned.plan).toMatchObject({
      backup: backup.id,
      file: null,
      takenAt: backup.endedAt,
      database: `${shop.name}_copy`,
      action: 'create',
      existing: null,
      keptAs: null,
      safetyBackup: false,
      refusals: [],
      warnings: [],
    })
    expect(await shop.databases()).toEqual([shop.name])

    const { plan, result } = await shop.room.json<{ plan: object; result: Record<string, unknown> }>(['restore', '--as', `${shop.name}_copy`])
    // What is free changes from one moment to the next.
    const steady = (of: object) => JSON.stringify(of, (key, value: unknown) => (key === 'freeBytes' ? typeof value : value))
    expect(steady(plan)).toBe(steady(planned.plan))
    expect(result).toMatchObject({
      database: `${shop.name}_copy`,
      directory: null,
      host: '127.0.0.1',
      port: shop.target.port,
      user: 'postgres',
      socketDirectory: null,
      connection: `postgresql://postgres:***@127.0.0.1:${shop.target.port}/${shop.name}_copy`,
      reachedLsn: backup.startLsn,
      reachedTime: backup.startedAt,
      errors: [],
      warnings: [],
      keptAs: null,
      safetyBackup: null,
      dropped: false,
      tables: [
        { schema: 'public', name: 'customers', rows: 50, restoredRows: 50, match: true },
        { schema: 'public', name: 'orders', rows: 200, restoredRows: 200, match: true },
      ],
    })
    expect(result['durationSeconds']).toBeGreaterThan(0)

    const undone = await shop.room.json<{ plan: object; done: boolean }>(['undo', String(result['run']), '--yes'])
    expect(undone).toMatchObject({
      done: true,
      plan: { run: result['run'], kind: 'drop-created', database: `${shop.name}_copy`, setAside: null, refusals: [], lines: [expect.any(String)] },
    })
    expect(await shop.databases()).toEqual([shop.name])
  })

  test('drill: the proof', async () => {
    const { proof } = await shop.room.json<{ proof: Record<string, unknown> }>(['drill', '--server', 'same'])
    expect(proof).toMatchObject({
      backup: backup.id,
      outcome: 'proven',
      tables: [
        { name: 'public.customers', rows: 50, restoredRows: 50, match: true },
        { name: 'public.orders', rows: 200, restoredRows: 200, match: true },
      ],
      checks: [],
      problems: [],
      // Of a base backup: the replay of its WAL.
      recoverySeconds: null,
    })
    expect(proof['restoreSeconds']).toBeGreaterThan(0)
    expect(await shop.room.json<Backup>(['show'])).toMatchObject({ state: 'proven' })
  })

  test('delete: a plan for each repository; the last good backup is refused (15), a dry run says the same', async () => {
    const refused = await shop.room.json<{ error: { code: string; message: string } }>(['delete', backup.id, '--yes'], { exitCode: 15 })
    expect(refused.error.code).toBe('target-unsafe')
    const dry = await shop.room.json<{ plans: { plan: { refusals: string[] } }[]; deleted: boolean }>(['delete', backup.id, '--dry-run'], { exitCode: 15 })
    expect(dry.deleted).toBe(false)
    expect(dry.plans[0]?.plan.refusals).not.toEqual([])

    const newer = await shop.room.json<Backup>(['backup'])
    const done = await shop.room.json<{ plans: { repository: string; plan: Record<string, unknown> }[]; deleted: boolean }>([
      'delete',
      backup.id,
      '--yes',
      '--reason',
      'a test',
    ])
    expect(done).toMatchObject({ deleted: true, plans: [{ repository: 'local', plan: { backup: backup.id, database: shop.name, fileName: backup.fileName } }] })
    expect(await readdir(shop.room.repository)).not.toContain(backup.fileName)
    expect((await shop.room.json<{ backups: Backup[] }>(['list'])).backups.map((each) => each.id)).toEqual([newer.id])
    backup = { ...newer, warnings: [] }
  })

  test('pin holds a backup against deletion, and says why it is kept', async () => {
    const other = await shop.room.json<Backup>(['backup'])
    expect(await shop.room.json<Backup>(['pin', other.id, '--reason', 'audit'])).toMatchObject({ pinned: true, keptBecause: 'pinned: audit' })
    await shop.room.json(['delete', other.id, '--yes'], { exitCode: 15 })
    expect(await shop.room.json<Backup>(['unpin', other.id])).toMatchObject({ pinned: false, keptBecause: null })
    await shop.room.json(['delete', other.id, '--yes'])
  })

  test('without a terminal a deletion or replacement needs --yes: exit 15, and the command to look first', async () => {
    const newer = await shop.room.json<Backup>(['backup'])
    for (const args of [
      ['delete', newer.id],
      ['restore', '--replace'],
    ]) {
      const { error } = await shop.room.json<{ error: { code: string; exitCode: number; hints: string[] } }>(args, { exitCode: 15 })
      expect(error).toMatchObject({ code: 'target-unsafe', exitCode: 15, hints: [expect.stringContaining('--dry-run')] })
    }
    expect(await shop.databases()).toEqual([shop.name])
    await shop.room.json(['delete', newer.id, '--yes'])
  })

  test('a failure carries what was reached: a refused restore has its plan beside the error', async () => {
    const document = await shop.room.json<{ plan: { refusals: string[] }; result: null; error: object }>(['restore', '--as', shop.name], { exitCode: 15 })
    expect(document.plan.refusals).toHaveLength(2)
    expect(document.result).toBeNull()
    expect(document.error).toMatchObject({
      code: 'target-unsafe',
      exitCode: 15,
      message: expect.stringContaining('--replace') as string,
      hints: [expect.any(String)],
    })
  })

  test('--progress=json: events on stderr, one JSON document each, and the result alone on stdout', async () => {
    const end = await shop.room.run(['backup', '--schema-only', '--json', '--progress', 'json'])
    expect(end.exitCode).toBe(0)
    expectBackup(end.json<object>())
    const events = end.stderr
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { type: string; step?: string })
    expect(events.map((event) => event.type)).toEqual(expect.arrayContaining(['step-begun', 'step-ended']))
    expect(events.some((event) => event.step === 'dump')).toBe(true)
    await shop.room.json(['delete', end.json<Backup>().id, '--yes'])
  })

  test('--quiet says nothing but the result; NO_COLOR and a pipe mean no escapes', async () => {
    const end = await shop.room.run(['list', '--quiet'])
    expect(end).toMatchObject({ exitCode: 0, stderr: '' })
    expect(end.stdout).toContain(backup.id)
    expect(end.stdout).not.toContain('\u001b')
  })
})

describe('damage', () => {
  test('verify and drill end with 13 and name the object; restore touches nothing and names the newest intact backup', async () => {
    const bad = await shop.room.json<Backup>(['backup'])
    const path = bad.path ?? ''
    await flipByte(path)
    const verified = await shop.room.json<{
      backups: { id: string; valid: boolean; state: string; problems: { code: string; object: string; message: string }[] }[]
    }>(['verify', bad.id], { exitCode: 13 })
    expect(verified.backups).toMatchObject([
      {
        id: bad.id,
        valid: false,
        state: 'damaged',
        problems: [{ code: 'integrity', object: expect.stringContaining(bad.fileName) as string, message: expect.any(String) as string }],
      },
    ])
    for (const args of [
      ['restore', bad.id, '--as', `${shop.name}_copy`],
      ['restore', bad.id, '--replace', '--no-safety-backup', '--yes'],
      ['restore', bad.id, '--dry-run'],
    ]) {
      const { error } = await shop.room.json<{ error: { code: string; message: string; hints: string[] } }>(args, { exitCode: 13 })
      expect(error).toMatchObject({
        code: 'integrity',
        message: expect.stringContaining('nothing was touched') as string,
        hints: [expect.stringContaining(backup.id)],
      })
    }
    expect((await shop.room.json<{ error: { code: string } }>(['drill', '--backup', bad.id, '--server', 'same'], { exitCode: 13 })).error.code).toBe(
      'integrity',
    )
    expect(await shop.databases()).toEqual([shop.name])
    // `latest` means the intact one from now on.
    expect((await shop.room.run(['latest'])).stdout).toBe(`${backup.id}\n`)
    expect((await shop.room.run(['verify', bad.id])).stdout).toContain(backup.id)
  })

  test('of one byte in a row that stock pg_restore restores without a word is found by verify, restore and drill', async () => {
    const bad = await shop.room.json<Backup>(['backup', '--compress', 'none'])
    const bytes = await readFile(bad.path ?? '')
    const at = bytes.indexOf('name 33')
    expect(at).toBeGreaterThan(0)
    bytes.write('X', at)
    await writeFile(bad.path ?? '', bytes)
    await shop.sql(`CREATE DATABASE ${shop.name}_stock`, 'postgres')
    await stockClient(debianClients, 'pg_restore', ['--exit-on-error', '-d', `${shop.name}_stock`, bad.path ?? ''], shop.target)
    expect(await shop.sql(`SELECT name FROM customers WHERE id = 33`, `${shop.name}_stock`)).toEqual([{ name: 'Xame 33' }])
    await shop.sql(`DROP DATABASE ${shop.name}_stock`, 'postgres')
    await shop.room.json(['restore', bad.id, '--as', `${shop.name}_copy`], { exitCode: 13 })
    await shop.room.json(['drill', '--backup', bad.id, '--server', 'same'], { exitCode: 13 })
    await shop.room.json(['verify', bad.id], { exitCode: 13 })
    expect(await shop.databases()).toEqual([shop.name])
  })

  test.each([
    ['truncated', async (path: string) => truncate(path, 100)],
    ['emptied', async (path: string) => writeFile(path, '')],
    ['removed', async (path: string) => rm(path)],
    ['another file', async (path: string) => writeFile(path, 'not a dump at all')],
  ])('a dump that was %s', async (_name, damage) => {
    const bad = await shop.room.json<Backup>(['backup'])
    await damage(bad.path ?? '')
    const verified = await shop.room.json<{ backups: { valid: boolean; problems: unknown[] }[] }>(['verify', bad.id], { exitCode: 13 })
    expect(verified.backups).toMatchObject([{ valid: false, problems: [expect.anything()] }])
    await shop.room.json(['restore', bad.id, '--as', `${shop.name}_copy`], { exitCode: 13 })
    expect(await shop.databases()).toEqual([shop.name])
  })
})

async function flipByte(path: string): Promise<void> {
  await using file = await open(path, 'r+')
  const { size } = await file.stat()
  const byte = Buffer.alloc(1)
  await file.read(byte, 0, 1, Math.floor(size / 2))
  byte[0] = (byte[0] ?? 0) ^ 1
  await file.write(byte, 0, 1, Math.floor(size / 2))
}
