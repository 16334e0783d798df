import { chmod, cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { adoptFiles } from '../../src/api/adopt-files.ts'
import { drillBackup } from '../../src/api/drill-backup.ts'
import { restoreBackup } from '../../src/api/restore-backup.ts'
import { showBackup } from '../../src/api/show-backup.ts'
import { takeBackups } from '../../src/api/take-backups.ts'
import { undoRestore } from '../../src/api/undo-restore.ts'
import { verifyBackups } from '../../src/api/verify-backups.ts'
import type { ClusterSettings } from '../../src/config/settings.ts'
import { systemClock } from '../../src/kernel/clock.ts'
import type { Event } from '../../src/kernel/event.ts'
import { Secret } from '../../src/kernel/secret.ts'
import { readObject } from '../../src/repository/bytes.ts'
import { readClusterLog } from '../../src/repository/commit-log.ts'
import type { KeysAtHand } from '../../src/repository/keys/keys-at-hand.ts'
import { encryptAge, decryptAge } from '../../src/seal/age.ts'
import { generateAgeIdentity } from '../../src/seal/age-keys.ts'
import { memoryStorage } from '../../src/storage/memory.ts'
import { posixStorage } from '../../src/storage/posix.ts'
import type { Storage } from '../../src/storage/storage.ts'
import { embeddedDrills } from '../support/embedded-drills.ts'
import { collect } from '../support/streams.ts'
import { sealedPlace, type SealedPlace } from '../support/sealed-place.ts'
import { backupOf, clusterName, sweepRoom, type SweepRoom } from '../support/sweep-room.ts'

let room: SweepRoom
beforeAll(async () => {
  room = await sweepRoom()
})
afterAll(() => room[Symbol.asyncDispose]())

const made: string[] = []
afterEach(async () => {
  await using session = await room.server.session()
  for (const name of made.splice(0)) await session.query(`DROP DATABASE IF EXISTS "${name}" WITH (FORCE)`)
  expect(await room.stages()).toEqual([])
})

type DumpSettings = ClusterSettings['dump']
const dump: DumpSettings = {
  databases: [],
  format: 'custom',
  compression: { method: 'zstd', level: 3 },
  jobs: 2,
  nameTemplate: 'shop_<id>',
  globals: true,
  fingerprint: true,
}
const memory = () => memoryStorage({ clock: systemClock })

async function contentKeys(storage: Storage): Promise<readonly string[]> {
  const keys: string[] = []
  for await (const { key } of storage.list('')) if (!key.startsWith('.tidemark/')) keys.push(key)
  return keys
}

async function bytesOf(storage: Storage, key: string): Promise<Buffer> {
  return Buffer.from(await readObject(storage, key, 1 << 26))
}

async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

async function stateOf({ repository }: SealedPlace, id: string): Promise<string | undefined> {
  return (await readClusterLog(repository.storage, clusterName, room.context)).backups.get(id)?.state
}

async function rowsOf(database: string): Promise<number> {
  await using session = await room.server.session(database)
  const [row] = await session.query<{ rows: string }>('SELECT count(*)::text AS rows FROM orders')
  return Number(row?.rows)
}

async function restoreAs(sealed: SealedPlace, name: string, backup: string, options: Parameters<typeof restoreBackup>[1] = {}): Promise<void> {
  made.push(name)
  const { result } = await restoreBackup(sealed.workspace({ realDump: true }), { backup, as: name, validate: 'content', ...options })
  expect(result).toMatchObject({ database: name, errors: [], validation: 'content' })
}

describe.each([
  ['custom, compressed by us', {}, ['.dump.zst.age']],
  ['custom with gzip inside', { compression: { method: 'gzip', level: 6 } }, ['.dump.age']],
  ['plain in gzip', { format: 'plain', compression: { method: 'gzip', level: 6 } }, ['.sql.gz.age']],
  ['plain as it is', { format: 'plain', compression: { method: 'none' } }, ['.sql.age']],
  ['directory', { format: 'directory', compression: { method: 'gzip', level: 1 } }, ['.d/toc.dat.age']],
] as const satisfies readonly (readonly [string, Partial<DumpSettings>, readonly string[]])[])('a sealed dump, %s', (_name, settings, expected) => {
  it('lies there sealed to the last file, and is verified and restored', { timeout: 120_000 }, async () => {
    const storage = memory()
    const sealed = await sealedPlace(room, storage)
    const workspace = sealed.workspace({ realDump: true, cluster: { dump: { ...dump, ...settings } } })
    const backup = await backupOf(workspace)
    expect(backup).toMatchObject({ state: 'verified', encryption: 'age', partial: false })

    const keys = await contentKeys(storage)
    for (const key of keys) {
      expect(key).toMatch(/\.age$/)
      const bytes = await bytesOf(storage, key)
      expect(bytes.subarray(0, 21).toString('latin1'), key).toBe('age-encryption.org/v1')
      for (const word of ['orders', 'PGDMP', 'CREATE ROLE', room.source.target.database]) expect(bytes.includes(word), `${word} in ${key}`).toBe(false)
      // Every one opens with the recovery kit alone.
      await collect(decryptAge(pieces(bytes), { identities: [sealed.kit.identity] }))
    }
    for (const ending of [...expected, '.info.age', '.globals.sql.age'])
      expect(
        keys.some((key) => key.endsWith(ending)),
        ending,
      ).toBe(true)

    expect((await verifyBackups(workspace, { backups: [backup.id] })).backups).toMatchObject([{ valid: true, opened: true, state: 'verified' }])
    const name = `${room.source.target.database}_sealed`
    await restoreAs(sealed, name, backup.id, { jobs: 2 })
    expect(await rowsOf(name)).toBe(201)
  })
})

describe('a sealed repository', () => {
  it('proves a backup, gives one table back, and takes a sealed safety backup of what it replaces', { timeout: 240_000 }, async () => {
    const storage = memory()
    const sealed = await sealedPlace(room, storage)
    const workspace = sealed.workspace({ realDump: true })
    const approve = async () => undefined
    const backup = await backupOf(workspace)
    const drilled = await drillBackup(workspace, { backup: backup.id })
    expect(drilled.proof).toMatchObject({ outcome: 'proven' })
    expect(await stateOf(sealed, backup.id)).toBe('proven')

    const name = `${room.source.target.database}_part`
    made.push(name)
    await restoreBackup(workspace, { backup: backup.id, as: name, tables: ['orders'] })
    expect(await rowsOf(name)).toBe(201)

    const { result } = await restoreBackup(workspace, { backup: backup.id, replace: 'swap', cluster: clusterName, approve })
    const safety = result?.safetyBackup ?? ''
    const record = (await readClusterLog(sealed.repository.storage, clusterName, room.context)).backups.get(safety)
    expect(record).toMatchObject({ state: 'verified', facts: { safety: true, encryption: 'age' } })
    expect((await bytesOf(storage, record?.facts.key ?? '')).subarray(0, 21).toString()).toBe('age-encryption.org/v1')
    const replaced = room.source.target.database
    expect(await rowsOf(replaced)).toBe(201)
    await undoRestore(workspace, { approve })
    expect(await rowsOf(replaced)).toBe(201)
    await using session = await room.server.session()
    for (const { datname } of await session.query<{ datname: string }>(`SELECT datname FROM pg_database WHERE datname LIKE '${replaced}\\_%'`))
      made.push(datname)
  })

  it('has roles of sealed globals in the server of its own that a drill starts', { timeout: 240_000 }, async () => {
    const sealed = await sealedPlace(room, memory())
    const { TIDEMARK_CACHE_DIR: cacheDirectory = '' } = await embeddedDrills()
    // The server runs under another account, which must be able to pass.
    const workDirectory = await mkdtemp(join(tmpdir(), 'tidemark-drilled-'))
    await chmod(workDirectory, 0o755)
    const workspace = sealed.workspace({ realDump: true, machine: { cacheDirectory, workDirectory } })
    const backup = await backupOf(workspace)
    const { proof } = await drillBackup(workspace, { backup: backup.id, server: 'embedded' })
    expect(proof).toMatchObject({ outcome: 'proven', problems: [] })
    await rm(workDirectory, { recursive: true })
  })

  it('says of the same file another size and digest in each repository, and names it as it is there', { timeout: 120_000 }, async () => {
    const [clear, storage] = [memory(), memory()]
    const sealed = await sealedPlace(room, storage)
    const workspace = sealed.workspace({ cluster: { repositories: ['main', 'clear'] } })
    const { main } = workspace.settings.repositories
    if (main === undefined) throw new Error('no repository')
    const both = {
      ...workspace,
      settings: { ...workspace.settings, repositories: { main, clear: { ...main, name: 'clear', isClear: true } } },
      openStorage: async ({ name }: { name: string }) => (name === 'main' ? storage : clear),
    }
    const backup = await backupOf(both)
    expect(backup.repositories).toEqual(['main', 'clear'])
    const inClear = (await readClusterLog(clear, clusterName, room.context)).backups.get(backup.id)
    if (inClear === undefined) throw new Error('not in the clear one')
    expect(inClear.facts).toMatchObject({ encryption: null, fileName: backup.fileName.replace(/\.age$/, '') })
    expect(inClear.facts.checksum).not.toBe(backup.checksum)
    expect(inClear.facts.storedBytes).toBeLessThan(backup.storedBytes)
    expect((await contentKeys(clear)).filter((key) => key.endsWith('.age'))).toEqual([])
    expect((await verifyBackups(both, { backups: [backup.id] })).backups).toMatchObject([{ valid: true, opened: true }])
  })

  it('takes a file that somebody put in the place of a dump for damage, whoever sealed it', { timeout: 120_000 }, async () => {
    const storage = memory()
    const sealed = await sealedPlace(room, storage)
    const first = await backupOf(sealed.workspace())
    const second = await backupOf(sealed.workspace())
    const plain = await collect(decryptAge(pieces(await bytesOf(storage, first.key)), { identities: [sealed.kit.identity] }))
    const strangers = { recipients: [generateAgeIdentity().recipient] }
    const forgeries = new Map([
      ['another backup', await bytesOf(storage, first.key)],
      ['sealed anew to the same readers', await collect(encryptAge(pieces(plain), { recipients: sealed.repository.keyring?.readers() ?? [] }))],
      ['sealed to strangers', await collect(encryptAge(pieces(plain), strangers))],
      ['in clear', plain],
    ])
    const true_ = await bytesOf(storage, second.key)
    for (const [what, bytes] of forgeries) {
      await storage.put(second.key, bytes)
      await expect(restoreBackup(sealed.workspace(), { backup: second.id, as: 'never' }), what).rejects.toMatchObject({ code: 'integrity', exitCode: 13 })
      const [checked] = (await verifyBackups(sealed.workspace(), { backups: [second.id] })).backups
      expect(checked, what).toMatchObject({ valid: false, state: 'damaged', problems: [{ code: 'integrity', object: second.key }] })
    }
    await storage.put(second.key, true_)
    expect((await verifyBackups(sealed.workspace(), { backups: [second.id] })).backups).toMatchObject([{ valid: true, state: 'verified' }])
  })

  it('says which part of a directory dump was changed', { timeout: 120_000 }, async () => {
    const storage = memory()
    const sealed = await sealedPlace(room, storage)
    const workspace = sealed.workspace({ realDump: true, cluster: { dump: { ...dump, format: 'directory', compression: { method: 'gzip', level: 1 } } } })
    const backup = await backupOf(workspace)
    const part = (await contentKeys(storage)).find((key) => key.endsWith('.dat.gz.age')) ?? ''
    const bytes = await bytesOf(storage, part)
    bytes.writeUInt8(bytes.readUInt8(bytes.length - 20) ^ 1, bytes.length - 20)
    await storage.put(part, bytes)
    expect((await verifyBackups(workspace, { backups: [backup.id] })).backups).toMatchObject([
      { valid: false, problems: [{ code: 'integrity', object: part }] },
    ])
  })
})

describe('a write-only host', () => {
  it('reads back what it just sealed, and later can only compare stored bytes, which raises no state', { timeout: 120_000 }, async () => {
    const storage = memory()
    const sealed = await sealedPlace(room, storage, 'metadata')
    const events: Event[] = []
    const workspace = sealed.workspace({ emit: (event) => events.push(event) })
    const read = await backupOf(workspace)
    expect(read.state).toBe('verified')
    const { identity } = sealed.host
    await expect(collect(decryptAge(pieces(await bytesOf(storage, read.key)), { identities: [identity] }))).rejects.toMatchObject({ code: 'key-missing' })

    const request = await takeBackups(workspace, { verify: false })
    const unread = request.kind === 'done' ? request.backups[0] : undefined
    if (unread === undefined) throw new Error('no backup')
    expect(unread.state).toBe('stored')
    expect((await verifyBackups(workspace, { backups: [unread.id] })).backups).toMatchObject([{ valid: true, opened: false, state: 'stored' }])
    expect(await stateOf(sealed, unread.id)).toBe('stored')
    expect(events.some((event) => event.type === 'warning' && event.code === 'not-opened')).toBe(true)

    // Who reads data raises it.
    const reader = sealed.workspace({ keys: { kit: sealed.kit, host: sealed.host } })
    expect((await verifyBackups(reader, { backups: [unread.id] })).backups).toMatchObject([{ valid: true, opened: true, state: 'verified' }])

    // What is changed is seen without a key, too.
    const bytes = await bytesOf(storage, unread.key)
    bytes.writeUInt8(bytes.readUInt8(bytes.length - 20) ^ 1, bytes.length - 20)
    await storage.put(unread.key, bytes)
    expect((await verifyBackups(workspace, { backups: [unread.id] })).backups).toMatchObject([
      { valid: false, state: 'damaged', problems: [{ object: unread.key }] },
    ])
  })

  it('restores nothing and drills nothing, and says so before anything is written', { timeout: 120_000 }, async () => {
    const storage = memory()
    const sealed = await sealedPlace(room, storage, 'metadata')
    const backup = await backupOf(sealed.workspace())
    const before = await contentKeys(storage)
    const database = room.source.target.database
    const failure = { code: 'key-missing', exitCode: 12 }
    await expect(restoreBackup(sealed.workspace(), { backup: backup.id, replace: 'swap', cluster: clusterName })).rejects.toMatchObject(failure)
    await expect(restoreBackup(sealed.workspace(), { backup: backup.id, as: `${database}_never` })).rejects.toMatchObject(failure)
    await expect(drillBackup(sealed.workspace(), { backup: backup.id })).rejects.toMatchObject(failure)
    expect(await contentKeys(storage)).toEqual(before)
    expect(await stateOf(sealed, backup.id)).toBe('verified')
  })
})

describe('a sealed file on disk', () => {
  it('is verified and restored with an identity of its readers, and with no other', { timeout: 120_000 }, async () => {
    const root = join(room.directory, `files-${made.length}`)
    const storage = posixStorage({ root })
    const sealed = await sealedPlace(room, storage)
    const backup = await backupOf(sealed.workspace())
    const file = join(room.directory, 'carried-away.dump.zst.age')
    await writeFile(file, await readFile(join(root, backup.key)))

    const clear = memory()
    const carried = (keys: Parameters<SealedPlace['workspace']>[0]) => ({ ...sealed.workspace({ realDump: true, ...keys }), openStorage: async () => clear })
    const kit = carried({ keys: { identities: [sealed.kit.identity] } })
    const stranger = carried({ keys: { identities: [generateAgeIdentity()] } })
    const nobody = carried({ keys: {} })
    expect((await verifyBackups(kit, { file })).backups).toMatchObject([{ valid: true, opened: true }])
    for (const other of [stranger, nobody]) await expect(verifyBackups(other, { file })).rejects.toMatchObject({ code: 'key-missing', exitCode: 12 })
    for (const other of [stranger, nobody])
      await expect(restoreBackup(other, { file, as: 'never' })).rejects.toMatchObject({ code: 'key-missing', exitCode: 12 })

    const name = `${room.source.target.database}_carried`
    made.push(name)
    await restoreBackup(kit, { file, as: name })
    expect(await rowsOf(name)).toBe(201)

    const bytes = await readFile(file)
    bytes.writeUInt8(bytes.readUInt8(bytes.length - 20) ^ 1, bytes.length - 20)
    await writeFile(`${file}.changed`, bytes)
    expect((await verifyBackups(kit, { file: `${file}.changed` })).backups).toMatchObject([{ valid: false, state: 'damaged' }])
  })

  it('may be a directory, sealed file by file, or one that somebody sealed with text armor or a passphrase', { timeout: 120_000 }, async () => {
    const root = join(room.directory, 'parts')
    const sealed = await sealedPlace(room, posixStorage({ root }))
    const settings = { dump: { ...dump, format: 'directory', compression: { method: 'gzip', level: 1 } } } as const
    const backup = await backupOf(sealed.workspace({ realDump: true, cluster: settings }))
    const directory = join(room.directory, 'carried.d')
    await cp(join(root, backup.key), directory, { recursive: true })
    const clear = memory()
    const carried = (keys: KeysAtHand) => ({ ...sealed.workspace({ realDump: true, keys }), openStorage: async () => clear })
    const kit = carried({ identities: [sealed.kit.identity] })
    const [checked] = (await verifyBackups(kit, { file: directory })).backups
    expect(checked).toMatchObject({ valid: true, checksum: backup.checksum, tables: backup.tables })
    const failure = { code: 'key-missing', exitCode: 12 }
    await expect(verifyBackups(carried({}), { file: directory })).rejects.toMatchObject(failure)
    await expect(restoreBackup(carried({}), { file: directory, as: 'never' })).rejects.toMatchObject(failure)
    const name = `${room.source.target.database}_directory`
    made.push(name)
    await restoreBackup(kit, { file: directory, as: name, jobs: 2 })
    expect(await rowsOf(name)).toBe(201)

    const toc = (await readdir(directory)).find((part) => part.startsWith('toc.dat')) ?? ''
    const bytes = await readFile(join(directory, toc))
    await writeFile(join(directory, toc), bytes.subarray(0, -1))
    expect((await verifyBackups(kit, { file: directory })).backups).toMatchObject([{ valid: false, state: 'damaged' }])

    const plain = await readFile(join(import.meta.dirname, '../fixtures/dump/pg15.sql'))
    const passphrase = new Secret('correct horse battery staple')
    const locked = join(room.directory, 'locked.sql.age')
    await writeFile(locked, await collect(encryptAge(pieces(plain), { passphrase, logN: 10 })))
    const armored = join(room.directory, 'armored.sql.age')
    const inside = await collect(encryptAge(pieces(plain), { recipients: [sealed.kit.identity.recipient] }))
    const lines = inside.toString('base64').match(/.{1,64}/g) ?? []
    await writeFile(armored, ['-----BEGIN AGE ENCRYPTED FILE-----', ...lines, '-----END AGE ENCRYPTED FILE-----', ''].join('\n'))
    const both = carried({ identities: [sealed.kit.identity], passphrases: [passphrase] })
    for (const file of [locked, armored]) expect((await verifyBackups(both, { file })).backups, file).toMatchObject([{ valid: true }])
    await expect(verifyBackups(kit, { file: locked })).rejects.toMatchObject(failure)
  })

  it('is one that the line of `show` opens', { timeout: 120_000 }, async () => {
    const storage = posixStorage({ root: join(room.directory, 'shown') })
    const sealed = await sealedPlace(room, storage)
    const backup = await backupOf(sealed.workspace())
    const { open } = await showBackup(sealed.workspace(), { backup: backup.id })
    expect(open).toBe(`age -d -i IDENTITY '${backup.path}' | zstd -dc | pg_restore --dbname=restored`)
    expect(await storage.readAlias?.('latest_backup.dump.zst.age')).toBe(backup.key)
  })
})

describe('dumps of others, taken into a sealed repository', () => {
  it('are sealed when they are copied in, and known again by what they were', { timeout: 120_000 }, async () => {
    const storage = posixStorage({ root: join(room.directory, 'adopting') })
    const sealed = await sealedPlace(room, storage, 'metadata')
    const directory = join(room.directory, 'old')
    await oldDumps(directory)
    const outcome = await adopt(sealed, directory)
    expect(outcome.adopted).toMatchObject([{ encryption: 'age', fileName: 'shop_20250102_030405.sql.age', state: 'verified', adopted: true }])
    expect(await contentKeys(storage)).toEqual(['shop_20250102_030405.globals.sql.age', 'shop_20250102_030405.info.age', 'shop_20250102_030405.sql.age'])
    for (const key of await contentKeys(storage)) expect((await bytesOf(storage, key)).subarray(0, 21).toString(), key).toBe('age-encryption.org/v1')
    expect((await adopt(sealed, directory)).repositories).toMatchObject([{ files: [{ verdict: 'known', backup: outcome.adopted[0]?.id }] }])

    const reader = sealed.workspace({ realDump: true, keys: { kit: sealed.kit } })
    const name = `${room.source.target.database}_old`
    made.push(name)
    await restoreBackup(reader, { backup: outcome.adopted[0]?.id ?? '', as: name })
    expect(await rowsOf(name)).toBe(201)
  })

  it('stay in clear where they lie in it, which is said', { timeout: 120_000 }, async () => {
    const root = join(room.directory, 'adopting-in-place')
    const storage = posixStorage({ root })
    const sealed = await sealedPlace(room, storage)
    await oldDumps(join(root, 'old'))
    const before = await contentKeys(storage)
    const outcome = await adopt(sealed, join(root, 'old'), root)
    expect(outcome.adopted).toMatchObject([{ encryption: null, fileName: 'shop_20250102_030405.sql' }])
    expect(outcome.repositories[0]?.files[0]?.warnings).toEqual([expect.stringMatching(/in clear/)])
    expect(await contentKeys(storage)).toEqual(before)
    expect((await verifyBackups(sealed.workspace(), { backups: [outcome.adopted[0]?.id ?? ''] })).backups).toMatchObject([{ valid: true, opened: true }])
  })

  it('come from another sealed repository, where a key of it is at hand: sealed anew, to the readers here', { timeout: 120_000 }, async () => {
    const elsewhere = join(room.directory, 'elsewhere')
    const other = await sealedPlace(room, posixStorage({ root: elsewhere }))
    const old = await backupOf(other.workspace())
    const storage = posixStorage({ root: join(room.directory, 'adopting-sealed') })
    const sealed = await sealedPlace(room, storage)
    const { host } = sealed
    expect((await adopt(sealed, elsewhere)).repositories).toMatchObject([
      { files: [{ verdict: 'refused', reason: expect.stringMatching(/none of the keys/) }] },
    ])
    const outcome = await adopt(sealed, elsewhere, undefined, { host, identities: [other.kit.identity] })
    expect(outcome.adopted).toMatchObject([{ encryption: 'age', state: 'verified', tables: old.tables }])
    const [key] = (await contentKeys(storage)).filter((each) => each.endsWith('.dump.zst.age'))
    const bytes = await bytesOf(storage, key ?? '')
    await collect(decryptAge(pieces(bytes), { identities: [sealed.kit.identity] }))
    await expect(collect(decryptAge(pieces(bytes), { identities: [other.kit.identity] }))).rejects.toMatchObject({ code: 'key-missing' })
  })
})

async function oldDumps(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true })
  const storage = memory()
  const plain = { dump: { ...dump, format: 'plain', compression: { method: 'none' } } } as const
  const backup = await backupOf(room.workspace(storage, { realDump: true, cluster: plain }))
  await writeFile(join(directory, 'shop_20250102_030405.sql'), await bytesOf(storage, backup.key))
  await writeFile(join(directory, 'shop_20250102_030405.info'), '{"database":"shop"}')
  await writeFile(join(directory, 'shop_20250102_030405.globals.sql'), 'CREATE ROLE nobody_here;\n')
}

async function adopt(sealed: SealedPlace, directory: string, root?: string, keys: KeysAtHand = { host: sealed.host }) {
  const workspace = sealed.workspace({ keys })
  const { main } = workspace.settings.repositories
  if (main === undefined || main.storage.kind !== 'posix') throw new Error('no repository')
  const repositories = { main: root === undefined ? main : { ...main, storage: { ...main.storage, path: root } } }
  return adoptFiles({ ...workspace, settings: { ...workspace.settings, repositories } }, { directory, dryRun: false, approve: async () => undefined })
}
