import { rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Backup } from '../../src/repository/backup.ts'
import { sharedCluster } from '../support/cluster.ts'
import { openShop, type Shop } from '../support/shop.ts'

const config = `clusters:
  shop: { url: "env:DATABASE_URL" }
repositories:
  local: { path: ./backups }
  offsite: { path: ./offsite }
`
let shop: Shop
let backup: Backup

beforeAll(async () => {
  shop = await openShop(await sharedCluster(15), { config })
  backup = await shop.room.json<Backup>(['backup'])
})

afterAll(() => shop[Symbol.asyncDispose]())

describe.each([
  ['local', 'the first'],
  ['offsite', 'the second'],
])('%s, %s of two repositories, is gone', (gone) => {
  const path = () => join(shop.room.directory, gone === 'local' ? 'backups' : 'offsite')
  beforeAll(() => rename(path(), `${path()}.away`))
  afterAll(() => rename(`${path()}.away`, path()))

  it('readers show what the other has, name the one that could not be asked, and do not end with 0', async () => {
    const listed = await shop.room.json<{ backups: Backup[]; warnings: string[] }>(['list'], { exitCode: 3 })
    expect(listed.backups.map(({ id }) => id)).toEqual([backup.id])
    expect(listed.warnings).toEqual([expect.stringContaining(`repository "${gone}"`)])
    for (const args of [['list'], ['latest'], ['show'], ['verify'], ['verify', '--all'], ['show', backup.id]]) {
      const end = await shop.room.run(args)
      expect({ args, exitCode: end.exitCode }).toEqual({ args, exitCode: 3 })
      expect(end.stdout).toContain(backup.id)
      expect(end.stderr).toContain(`repository "${gone}" cannot be used`)
    }
    expect((await shop.room.run(['latest'])).stdout).toBe(`${backup.id}\n`)
  })

  it('undo without a run wants all, for the newest replacement may be recorded there', async () => {
    await shop.room.json(['undo', '--yes'], { exitCode: 10 })
  })
})

it('a log that is damaged in one of them is damage to verify, and no obstacle to the others', async () => {
  const entry = join(shop.room.directory, 'backups/.tidemark/commits/shop/0000000002.json')
  await rename(entry, `${entry}.away`)
  try {
    await writeFile(entry, '{}\n')
    expect((await shop.room.json<{ backups: Backup[] }>(['list'], { exitCode: 3 })).backups).toHaveLength(1)
    const verified = await shop.room.json<{ error: { code: string }; backups: { valid: boolean }[] }>(['verify'], { exitCode: 13 })
    expect(verified.error.code).toBe('integrity')
    expect(verified.backups).toMatchObject([{ valid: true }])
  } finally {
    await rename(`${entry}.away`, entry)
  }
})

it('show gives no command to open a file that is not there', async () => {
  await shop.room.json(['show'])
  const file = join(shop.room.directory, 'backups', backup.fileName)
  await rename(file, `${file}.away`)
  try {
    expect(await shop.room.json<{ open: string | null }>(['show'])).toMatchObject({ open: null })
    expect((await shop.room.run(['show'])).stderr).toContain('its file cannot be opened')
  } finally {
    await rename(`${file}.away`, file)
  }
  const shown = await shop.room.run(['show'])
  expect(shown.stdout).toMatch(/Without Tidemark: {2}createdb restored\n +zstd -dc/)
})

it('both gone is a failure, as before', async () => {
  await rm(join(shop.room.directory, 'backups'), { recursive: true })
  await rm(join(shop.room.directory, 'offsite'), { recursive: true })
  await shop.room.json(['list'], { exitCode: 10 })
})
