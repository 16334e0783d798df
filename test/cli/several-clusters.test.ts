import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openTidemark, Failure } from '../../src/api/index.ts'
import type { Backup } from '../../src/repository/backup.ts'
import { sharedCluster } from '../support/cluster.ts'
import { openShop, type Shop } from '../support/shop.ts'

interface FailureDocument {
  readonly error: { readonly code: string; readonly message: string; readonly hints: readonly string[] }
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

describe('with several clusters', () => {
  it.each([
    [['restore', 'latest', '--replace', '--yes']],
    [['restore', '--replace', '--yes']],
    [['restore', '--backup', 'latest', '--as', 'x']],
    [['restore', '--dry-run']],
    [['drill']],
    [['drill', 'latest', '--dry-run']],
    [['undo', '--yes']],
    [['undo', '--dry-run']],
    [['show']],
    [['show', 'latest']],
    [['latest']],
    [['verify']],
    [['verify', 'latest']],
    [['verify', '--backup', 'latest']],
    [['pin', 'latest']],
    [['delete', 'latest', '--yes']],
    [['backup']],
  ])('%j does not take whichever was backed up last', async (args) => {
    const { error } = await shop.room.json<FailureDocument>(args, { exitCode: 2 })
    expect(error).toMatchObject({ code: 'usage-invalid', message: 'several clusters are configured; name one: one, two' })
    expect(error.hints.join()).toContain('--cluster one')
    expect(await shop.databases()).toEqual([shop.name])
  })

  it('a cluster, an id and a name say which is meant, and --all means all', async () => {
    expect((await shop.room.json<Backup>(['show', 'two'])).id).toBe(two.id)
    expect((await shop.room.run(['latest', 'one'])).stdout).toBe(`${one.id}\n`)
    expect((await shop.room.json<Backup>(['show', one.id])).id).toBe(one.id)
    expect((await shop.room.json<{ plan: { backup: string } }>(['restore', 'named', '--dry-run'])).plan.backup).toBe(one.id)
    expect((await shop.room.json<{ plan: { backup: string } }>(['restore', 'latest', '--cluster', 'two', '--dry-run', '--no-verify'])).plan.backup).toBe(two.id)
    expect((await shop.room.json<{ backups: object[] }>(['verify', '--all'])).backups).toHaveLength(2)
  })

  it('the Node API refuses likewise', async () => {
    await using tide = await openTidemark({ cwd: shop.room.directory, configFile: join(shop.room.directory, 'tidemark.yaml'), env: envOf(shop) })
    for (const call of [
      () => tide.latest(),
      () => tide.showBackup(),
      () => tide.drill(),
      () => tide.undo(),
      () => tide.verifyBackup(),
      () => tide.restoreBackup('latest', { replace: true }),
    ])
      expect(await failureOf(call())).toMatchObject({ code: 'usage-invalid', message: 'several clusters are configured; name one: one, two' })
    expect((await tide.latest({ cluster: 'one' })).id).toBe(one.id)
  })

  it('list names the cluster of each backup, and marks the latest of each', async () => {
    const { stdout } = await shop.room.run(['list'])
    expect(stdout).toMatch(/^ID +CLUSTER +DATABASE +TYPE/)
    expect(stdout).toMatch(new RegExp(`^${one.id} +one +${shop.name} +dump \\(latest\\)`, 'm'))
    expect(stdout).toMatch(new RegExp(`^${two.id} +two +${shop.name} +dump \\(latest\\)`, 'm'))
  })

  it('a word that is nothing is said to have been taken for a backup, with what else it is not', async () => {
    for (const verb of ['restore', 'show', 'verify', 'drill']) {
      const { error } = await shop.room.json<FailureDocument>([verb, 'nosuch'], { exitCode: 1 })
      expect(error.code).toBe('backup-missing')
      expect(error.message).toMatch(/"nosuch" was taken for a backup, for it is no configured cluster \(one, two\) and no file here/)
    }
  })
})

describe('after a replacement', () => {
  it('the old database is named with the SQL that drops it, for undo too; the safety backup is marked, can be left out, and is never the latest', async () => {
    const replaced = await shop.room.run(['restore', one.id, '--replace', '--yes', '--quiet'])
    expect(replaced.exitCode).toBe(0)
    const [, kept = ''] = /^ {2}when nobody needs it any more: DROP DATABASE "(.*)";$/m.exec(replaced.stdout) ?? []
    expect(await shop.databases()).toContain(kept)
    // Quiet, and nothing was asked: the plan is not printed.
    expect(replaced.stdout).not.toMatch(/^From |^ {2}1\. /m)
    const listed = (await shop.room.run(['list', 'one'])).stdout
    expect(listed).toMatch(/dump \(safety\)/)
    expect(listed).toMatch(new RegExp(`^${one.id} .*dump \\(latest\\)`, 'm'))
    expect((await shop.room.run(['list', 'one', '--no-safety'])).stdout).not.toContain('safety')
    const undone = await shop.room.run(['undo', '--cluster', 'one', '--yes'])
    expect(undone.exitCode).toBe(0)
    const [, aside = ''] = /any more: DROP DATABASE "(.*)";$/m.exec(undone.stdout) ?? []
    expect(aside).toContain('_undone_')
    expect(await shop.databases()).toContain(aside)
  })

  it('undo after --replace=drop names that run and its safety backup, not an older one that is undone', async () => {
    const { result } = await shop.room.json<{ result: { run: string; safetyBackup: string } }>(['restore', one.id, '--replace=drop', '--yes'])
    const { error } = await shop.room.json<FailureDocument>(['undo', '--cluster', 'one', '--yes'], { exitCode: 1 })
    expect(error.code).toBe('already-done')
    expect(error.message).toContain(result.run)
    expect(error.hints.join('\n')).toContain(`tidemark restore ${result.safetyBackup} --replace`)
  })

  it('what is printed after --server leads back there, and psql is given no ***', async () => {
    const url = shop.room.run(['restore', one.id, '--as', `${shop.name}_elsewhere`, '--server', 'env:DATABASE_URL'])
    const { stdout } = await url
    const [, run = ''] = /remove it again: tidemark undo (\S+) --server env:DATABASE_URL$/m.exec(stdout) ?? []
    expect(stdout).toMatch(/^ {2}connect: postgresql:\/\/[^:*]+@/m)
    expect((await shop.room.run(['undo', run, '--server', 'env:DATABASE_URL', '--yes'])).exitCode).toBe(0)
  })
})

function envOf({ room, target }: Shop): Record<string, string> {
  const { user, host, port, database, password } = target
  return {
    HOME: room.directory,
    TIDEMARK_WORK_DIR: room.work,
    PATH: process.env['PATH'] ?? '',
    DATABASE_URL: `postgresql://${user}:${password?.reveal() ?? ''}@${host ?? ''}:${port}/${database}`,
  }
}

async function failureOf(work: Promise<unknown>): Promise<Failure> {
  try {
    await work
  } catch (error) {
    if (error instanceof Failure) return error
    throw error
  }
  throw new Error('it succeeded')
}

describe('a cluster whose variable is not set', () => {
  const other = 'clusters:\n  one: { url: "env:DATABASE_URL" }\n  two: { url: "env:OTHER_DB" }\nrepositories:\n  local: { path: ./backups }\n'

  it('is no obstacle to a backup of another and to looking, still counts as a second, and stops a restore, which must know what it may not touch', async () => {
    await writeFile(join(shop.room.directory, 'other.yaml'), other)
    const config = ['--config', 'other.yaml']
    await shop.room.json(['backup', 'one', ...config])
    await shop.room.json(['list', 'two', ...config])
    expect((await shop.room.json<FailureDocument>(['latest', ...config], { exitCode: 2 })).error.message).toContain(
      'several clusters are configured; name one: one, two',
    )
    for (const args of [
      ['backup', 'two'],
      ['restore', one.id, '--as', 'never_made'],
      ['undo', '--cluster', 'one'],
      ['drill', 'one'],
      ['config', 'check'],
    ])
      expect((await shop.room.json<FailureDocument>([...args, ...config], { exitCode: 2 })).error.message).toContain('OTHER_DB is not set')
  })
})

it('restore takes --latest for what it says, and refuses it beside another backup', async () => {
  expect(
    (await shop.room.json<{ plan: { cluster?: string; backup: string } }>(['restore', '--latest', '--cluster', 'two', '--dry-run', '--no-verify'])).plan.backup,
  ).toBe(two.id)
  expect((await shop.room.json<FailureDocument>(['restore', one.id, '--latest'], { exitCode: 2 })).error.message).toContain('--latest')
})

it('an ambiguous id says how many more it means', async () => {
  for (let count = 0; count < 6; count += 1) await shop.room.json(['backup', 'two', '--schema-only', '--no-globals', '--no-verify'])
  const { error } = await shop.room.json<FailureDocument>(['show', two.id.slice(0, 8), '--cluster', 'two'], { exitCode: 2 })
  expect(error.hints.at(-1)).toMatch(/^… and \d+ more: tidemark list$/)
}, 60_000)
