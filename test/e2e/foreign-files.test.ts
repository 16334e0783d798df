import { access, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { RestoreResult } from '../../src/api/restore-options.ts'
import { sharedCluster } from '../support/cluster.ts'
import { openShop, type Shop } from '../support/shop.ts'
import { debianClients, stockClient } from '../support/stock-tools.ts'

interface Refused {
  error: { code: string; message: string; hints: string[] }
}

let shop: Shop
let plain: Buffer
let custom: Buffer

beforeAll(async () => {
  shop = await openShop(await sharedCluster(15))
  plain = await stockClient(debianClients, 'pg_dump', [], shop.target)
  custom = await stockClient(debianClients, 'pg_dump', ['-Fc'], shop.target)
})

afterAll(() => shop[Symbol.asyncDispose]())

async function file(name: string, content: Uint8Array | string): Promise<string> {
  await writeFile(join(shop.room.directory, name), content)
  return name
}

let copies = 0
const copyName = () => `${shop.name}_copy_${(copies += 1)}`

describe('a dump that stock programs made', () => {
  test.each([
    ['plain.sql', () => plain],
    ['plain.sql.gz', () => gzipSync(plain)],
    ['plain.sql.zst', () => zstdCompressSync(plain)],
    ['custom.dump', () => custom],
    ['custom.dump.zst', () => zstdCompressSync(custom)],
    // Its content says what it is, not its name.
    ['misnamed.sql', () => custom],
    ['--file=x.dump', () => custom],
    ['odd " name; $(x).sql', () => plain],
  ])('%s is verified and restored', async (name, bytes) => {
    await file(name, bytes())
    const verified = await shop.room.json<{ backups: { valid: boolean; tables: unknown[] }[] }>(['verify', '--file', name])
    expect(verified.backups).toMatchObject([{ valid: true }])
    expect(verified.backups[0]?.tables).toHaveLength(2)
    const copy = copyName()
    const { result } = await shop.room.json<{ result: RestoreResult }>(['restore', '--file', name, '--as', copy])
    expect(result.tables.map(({ name: table, restoredRows, match }) => [table, restoredRows, match])).toEqual([
      ['customers', 50, true],
      ['orders', 200, true],
    ])
    expect(await readFile(join(shop.room.directory, name))).toEqual(Buffer.from(bytes()))
  })

  test('as a directory is restored', async () => {
    await stockClient(debianClients, 'pg_dump', ['-Fd', '-f', join(shop.room.directory, 'stock.d')], shop.target)
    await shop.room.json(['verify', './stock.d'])
    const { result } = await shop.room.json<{ result: RestoreResult }>(['restore', './stock.d', '--as', copyName()])
    expect(result.tables.every((table) => table.match)).toBe(true)
  })

  test('replaces production only through a safety backup and a swap', async () => {
    await using other = await openShop(shop.cluster)
    await writeFile(join(other.room.directory, 'old.sql'), plain)
    await other.sql('DELETE FROM orders')
    const { result } = await other.room.json<{ result: RestoreResult }>(['restore', './old.sql', '--replace', '--yes'])
    expect(result).toMatchObject({ safetyBackup: expect.any(String) as string, keptAs: expect.any(String) as string })
    expect(await other.sql('SELECT count(*)::int AS n FROM orders')).toEqual([{ n: 200 }])
    await other.room.json(['undo', '--yes'])
    expect(await other.sql('SELECT count(*)::int AS n FROM orders')).toEqual([{ n: 0 }])
  })
})

describe('a file that is no whole dump is refused before anything is created', () => {
  test.each([
    ['empty.sql', () => Buffer.alloc(0), 13],
    ['empty.sql.gz', () => gzipSync(''), 13],
    ['half.sql', () => plain.subarray(0, plain.length / 2), 13],
    // The archive's table of contents is whole, and pg_restore --list says nothing (M1).
    ['half.dump', () => custom.subarray(0, custom.length - 200), 13],
    ['half.sql.gz', () => gzipSync(plain).subarray(0, 500), 13],
    ['flipped.sql.gz', () => flip(gzipSync(plain)), 13],
    ['half.dump.zst', () => zstdCompressSync(custom).subarray(0, 500), 13],
    ['letter.txt', () => Buffer.from('Dear reader,\nthis is no dump.\n'), 2],
    ['image.dump', () => Buffer.from('\u0089PNG\r\n\u001a\n', 'latin1'), 2],
    ['data.tar', () => Buffer.concat([Buffer.alloc(257), Buffer.from('ustar\u000000'), Buffer.alloc(760)]), 2],
  ])('%s', async (name, bytes, exitCode) => {
    await file(name, bytes())
    const before = await shop.databases()
    const restored = await shop.room.run(['restore', '--file', name, '--as', copyName(), '--json'])
    const { error } = restored.json<Refused>()
    expect({ name, exitCode: restored.exitCode, code: error.code }).toMatchObject(
      exitCode === 2
        ? { exitCode: 2 }
        : {
            exitCode: expect.toSatisfy((code: number) => code === 13 || code === 1) as number,
            code: expect.stringMatching(/^(integrity|dump-empty)$/) as string,
          },
    )
    expect(error.message).toContain(name)
    const verified = await shop.room.run(['verify', '--file', name, '--json'])
    expect(verified.exitCode).toBe(exitCode)
    expect(await shop.databases()).toEqual(before)
  })

  test('SQL that would run programs on this machine is refused (15), and nothing of it runs', async () => {
    const marker = join(shop.room.directory, 'was here')
    const evil = Buffer.from(plain.toString().replace('-- Data for Name: orders', `\\! touch "${marker}"\n-- Data for Name: orders`))
    expect(evil).not.toEqual(plain)
    await file('evil.sql', evil)
    const before = await shop.databases()
    const { error } = await shop.room.json<Refused>(['restore', '--file', 'evil.sql', '--as', copyName()], { exitCode: 15 })
    expect(error.message).toContain('\\!')
    await expect(access(marker)).rejects.toThrow('ENOENT')
    expect(await shop.databases()).toEqual(before)
  })

  test('SQL that stops at an error fails, says at which, and leaves no half database', async () => {
    const copy = copyName()
    await file('wrong.sql', plain.toString().replace('CREATE TABLE public.orders', 'CREATE TABLE nowhere.orders'))
    const { error } = await shop.room.json<Refused>(['restore', '--file', 'wrong.sql', '--as', copy], { exitCode: 1 })
    expect(error.message).toContain('nowhere')
    expect(await shop.databases()).not.toContain(copy)
  })
})

function flip(bytes: Buffer): Buffer {
  const at = bytes.length >> 1
  bytes[at] = (bytes[at] ?? 0) ^ 0xff
  return bytes
}
