import { execFile } from 'node:child_process'
import { mkdtemp, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { showBackup } from '../../src/api/show-backup.ts'
import { generateAgeIdentity, formatAgeIdentity } from '../../src/seal/age-keys.ts'
import { posixStorage } from '../../src/storage/posix.ts'
import { debianClients, libpqEnvironment } from '../support/stock-tools.ts'
import { sealedPlace } from '../support/sealed-place.ts'
import { backupOf, sweepRoom, type SweepRoom } from '../support/sweep-room.ts'

// The real age and zstd: test/services/with-services.sh installs them; where they are missing these tests fail.

let room: SweepRoom
beforeAll(async () => {
  room = await sweepRoom()
})
afterAll(() => room[Symbol.asyncDispose]())
beforeEach(() => sql('CREATE DATABASE restored'))
afterEach(() => sql('DROP DATABASE restored WITH (FORCE)'))

async function sql(statement: string): Promise<void> {
  await using session = await room.server.session()
  await session.query(statement)
}

/** As a person would type it, whose machine has no Tidemark. */
async function inShell(line: string): Promise<void> {
  const env = { PATH: `${debianClients}:/usr/bin:/bin`, LC_ALL: 'C.UTF-8', ...libpqEnvironment(room.source.target) }
  await promisify(execFile)('bash', ['-o', 'pipefail', '-c', line], { env, cwd: await mkdtemp(join(room.directory, 'shell-')) })
}

const common = { databases: [], jobs: 1, nameTemplate: "o'shop_<id>", globals: true, fingerprint: true } as const

describe.each([
  ['custom', { ...common, format: 'custom', compression: { method: 'zstd', level: 3 } }],
  ['custom with gzip inside', { ...common, format: 'custom', compression: { method: 'gzip', level: 6 } }],
  ['plain', { ...common, format: 'plain', compression: { method: 'gzip', level: 6 } }],
  ['directory', { ...common, format: 'directory', compression: { method: 'gzip', level: 1 } }],
] as const)('the line that `show` prints for a sealed dump, %s', (name, dump) => {
  it('restores it with stock programs and the recovery kit, and with no other key', { timeout: 120_000 }, async () => {
    const root = join(room.directory, name.replaceAll(' ', '-'))
    const sealed = await sealedPlace(room, posixStorage({ root }), 'metadata')
    const backup = await backupOf(sealed.workspace({ realDump: true, cluster: { dump } }))
    const { open } = await showBackup(sealed.workspace(), { backup: backup.id })
    expect(open).toContain('age -d -i IDENTITY ')

    const stranger = join(room.directory, 'stranger.txt')
    await writeFile(stranger, `${formatAgeIdentity(generateAgeIdentity()).reveal()}\n`, { mode: 0o600 })
    await expect(inShell(open?.replace('IDENTITY', stranger) ?? '')).rejects.toThrow(/no identity matched/)
    await inShell(open?.replace('IDENTITY', sealed.kitFile) ?? '')
    await using session = await room.server.session('restored')
    expect(await session.query('SELECT count(*)::int AS rows, max(item) AS item FROM orders')).toEqual([{ rows: 201, item: 'one more' }])
    expect(await session.query(`SELECT convert_from(lo_get(oid), 'UTF8') AS text FROM pg_largeobject_metadata`)).toEqual([{ text: 'a large object' }])
  })
})
