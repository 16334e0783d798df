import { chmod, readFile, stat, writeFile } from 'node:fs/promises'
import { inspect } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { keyScene, keySceneId, type KeyScene } from '../../../test/support/key-scene.ts'
import { Secret, type SecretBytes } from '../../kernel/secret.ts'
import { formatAgeIdentity, generateAgeIdentity } from '../../seal/age-keys.ts'
import { decryptAge, encryptAge } from '../../seal/age.ts'
import { generateSigningKey, signMessage } from '../../seal/signing.ts'
import { readAll } from '../../stream/chunks.ts'
import { posixStorage } from '../../storage/posix.ts'
import { changeKeyring } from './change-keyring.ts'
import { createKeyring } from './create-keyring.ts'
import { formatHostKey, generateHostKey, generateRecoveryKit, type RecoveryKit } from './key-file.ts'
import { ringCopyKey, ringKey, runKeyKey } from './key-layout.ts'
import { fileMemory } from './key-memory.ts'
import { openKeyring } from './keyring.ts'
import { formatRing, hostIdOf } from './ring.ts'
import { readKeyFile, requireSafePlace } from './secret-file.ts'
import { formatSignedText } from './signed-text.ts'
import { sealBytes } from './stored-secret.ts'

let scene: KeyScene
beforeEach(async () => {
  scene = await keyScene()
})
afterEach(() => scene[Symbol.asyncDispose]())

const name = { cluster: 'nexo', run: '20261121-100000-abcd' }
const hex = (key: SecretBytes) => Buffer.from(key.reveal()).toString('hex')
const integrity = { code: 'integrity', exitCode: 13 }
const wrongKey = { code: 'key-missing', exitCode: 12 }

describe('a new keyring', () => {
  it('is opened by the kit alone and by the host alone, with the same keys', async () => {
    const { kit, host, keyring } = await scene.create()
    const run = keyring.newRunKey(name)
    await run.store()
    for (const keys of [{ kit }, { host }, { kit, host }]) {
      const opened = await scene.open(keys)
      expect(opened.readsData).toBe(true)
      expect(hex(opened.metadataKey().key)).toBe(hex(keyring.metadataKey(1).key))
      expect(hex(await opened.openRunKey(name, scene.context))).toBe(hex(run.key))
    }
    expect(scene.warnings).toEqual([])
  })

  it('has a kit and a host key that only their owner can read, and whose files alone are enough', async () => {
    const { keyring } = await scene.create()
    for (const file of ['kit.txt', 'host.key']) {
      expect((await stat(scene.path(file))).mode & 0o777).toBe(0o600)
      const found = await readKeyFile(scene.path(file), scene.context)
      const opened = await scene.open(found.kind === 'kit' ? { kit: found.kit } : found.kind === 'host' ? { host: found.host } : {})
      expect(hex(opened.metadataKey().key)).toBe(hex(keyring.metadataKey().key))
    }
    expect(await readFile(scene.path('kit.txt'), 'utf8')).toContain(`repository: ${scene.repository.id} memory`)
  })

  it('has objects in which no secret and no name stands', async () => {
    const { kit, host, keyring } = await scene.create({ members: [{ kind: 'passphrase', name: 'the boss', passphrase: new Secret('correct horse battery') }] })
    const run = keyring.newRunKey(name)
    await run.store()
    const secrets = [formatAgeIdentity(kit.identity), formatAgeIdentity(host.identity)].map((one) => one.reveal())
    const keys = [run.key, keyring.metadataKey().key].flatMap((key) => [hex(key), Buffer.from(key.reveal()).toString('base64')])
    for (const [key, bytes] of await scene.objects())
      for (const secret of [...secrets, ...keys, 'db1', 'the boss', 'correct horse']) expect(bytes.includes(secret), key).toBe(false)
    const shown = inspect([keyring, run, kit, host], { depth: 20, showHidden: true }) + JSON.stringify([keyring, run, kit, host])
    for (const secret of [...secrets, ...keys]) expect(shown.includes(secret.slice(20, 40))).toBe(false)
  })

  it('is made once, by the same call again as well, and never over the keys of others', async () => {
    const first = await scene.create()
    const again = await scene.create()
    expect(hex(again.keyring.metadataKey().key)).toBe(hex(first.keyring.metadataKey().key))
    await expect(scene.create({ kitFile: scene.path('kit2.txt') })).rejects.toMatchObject({ code: 'already-done' })

    await using other = await keyScene()
    await writeFile(other.path('host.key'), formatHostKey(generateHostKey('x', generateRecoveryKit().rootKey.verifyKey)).reveal(), { mode: 0o600 })
    await expect(other.create()).rejects.toMatchObject({ code: 'name-taken' })
    await writeFile(other.path('notes.txt'), 'milk, bread')
    await expect(other.create({ kitFile: other.path('notes.txt') })).rejects.toMatchObject(wrongKey)
    expect(await readFile(other.path('notes.txt'), 'utf8')).toBe('milk, bread')
    expect([...(await other.objects()).keys()]).toEqual([])
  })

  it('does not lie with what it opens', async () => {
    await using storage = posixStorage({ root: scene.path('repository') })
    await expect(requireSafePlace(scene.path('repository/kit.txt'), storage)).rejects.toMatchObject({ code: 'target-unsafe' })
    await expect(requireSafePlace(scene.path('repository/.tidemark/kit.txt'), storage)).rejects.toMatchObject({ code: 'target-unsafe' })
    await requireSafePlace(scene.path('repository2/kit.txt'), storage)
  })
})

describe('opening', () => {
  it('without a keyring: null without keys, 12 with some, 13 where there was one', async () => {
    expect(await openKeyring(scene.repository, {}, scene.context)).toBeNull()
    const kit = generateRecoveryKit()
    await expect(scene.open({ kit })).rejects.toMatchObject(wrongKey)
    const memory = fileMemory(scene.path('seen'))
    await memory.remember(scene.repository.id, { number: 2, sha256: 'sha256:0' })
    await expect(scene.open({ kit, memory })).rejects.toMatchObject(integrity)
  })

  it('with no key, a stranger’s key, or keys of two keyrings is 12', async () => {
    const { host } = await scene.create()
    const stranger = generateRecoveryKit()
    await expect(scene.open({})).rejects.toMatchObject(wrongKey)
    await expect(scene.open({ identities: [generateAgeIdentity()] })).rejects.toMatchObject(wrongKey)
    await expect(scene.open({ kit: stranger })).rejects.toMatchObject(wrongKey)
    await expect(scene.open({ host: generateHostKey('db2', host.root) })).rejects.toMatchObject(wrongKey)
    await expect(scene.open({ host, kit: stranger })).rejects.toMatchObject(wrongKey)
    await expect(readKeyFile(scene.path('nowhere'), scene.context)).rejects.toMatchObject(wrongKey)
  })

  it('with an owner’s identity or passphrase works, and says which root was believed', async () => {
    const owner = generateAgeIdentity()
    const { host } = await scene.create({
      members: [
        { kind: 'recipient', name: 'ops', recipient: owner.recipient },
        { kind: 'passphrase', name: 'boss', passphrase: new Secret('correct horse battery') },
      ],
    })
    for (const keys of [{ identities: [owner] }, { passphrases: [new Secret('correct horse battery')] }]) {
      scene.warnings.length = 0
      expect((await scene.open(keys)).readsData).toBe(true)
      expect(scene.warnings).toEqual([expect.stringContaining(host.root.text)])
      expect((await scene.open({ ...keys, root: host.root })).ring.number).toBe(1)
      expect(scene.warnings.length).toBe(1)
    }
    await expect(scene.open({ passphrases: [new Secret('correct horse batterx')] })).rejects.toMatchObject(wrongKey)
    await expect(scene.open({ identities: [owner], root: generateRecoveryKit().rootKey.verifyKey })).rejects.toMatchObject(integrity)
    await expect(
      changeKeyring(scene.repository, (await scene.create()).kit, { add: [{ kind: 'passphrase', name: 'x', passphrase: new Secret('short') }] }, scene.context),
    ).rejects.toMatchObject({ code: 'usage-invalid' })
  }, 60_000)

  it('warns of a key file that others may read', async () => {
    await scene.create()
    await chmod(scene.path('kit.txt'), 0o644)
    await readKeyFile(scene.path('kit.txt'), scene.context)
    expect(scene.warnings).toEqual([expect.stringMatching(/^key-file-open: .*chmod 600/)])
  })
})

describe('a write-only host', () => {
  it('makes run keys, signs and reads metadata, and cannot read back a run key, also its own', async () => {
    const { kit, host, keyring } = await scene.create({ host: { name: 'db1', keyFile: scene.path('host.key'), reads: 'metadata' } })
    expect(keyring.readsData).toBe(false)
    const run = keyring.newRunKey(name)
    await run.store()
    await expect((await scene.open({ host })).openRunKey(name, scene.context)).rejects.toMatchObject({
      ...wrongKey,
      hints: [expect.stringContaining('write-only'), expect.anything()],
    })
    const opened = await scene.open({ kit })
    expect(hex(await opened.openRunKey(name, scene.context))).toBe(hex(run.key))
    expect(hex(keyring.metadataKey().key)).toBe(hex(opened.metadataKey().key))

    const dump = await readAll(encryptAge(pieces('rows'), { recipients: keyring.readers() }), 10_000)
    await expect(readAll(decryptAge(pieces(dump), { identities: keyring.identities }), 100)).rejects.toMatchObject(wrongKey)
    expect(Buffer.from(await readAll(decryptAge(pieces(dump), { identities: opened.identities }), 100)).toString()).toBe('rows')
  })
})

async function* pieces(content: string | Uint8Array): AsyncGenerator<Uint8Array> {
  yield typeof content === 'string' ? Buffer.from(content) : content
}

describe('a run key', () => {
  it('is stored once: another key for the same run is refused, the same one again is not', async () => {
    const { keyring } = await scene.create()
    const run = keyring.newRunKey(name)
    await run.store()
    await run.store()
    await expect(keyring.newRunKey(name).store()).rejects.toMatchObject({ code: 'object-exists' })
    expect(hex(await keyring.openRunKey(name, scene.context))).toBe(hex(run.key))
  })

  it('that is missing, damaged, another’s, or made by somebody else is found', async () => {
    const { keyring, kit, host } = await scene.create()
    const other = { cluster: 'nexo', run: '20261121-110000-abcd' }
    await expect(keyring.openRunKey(name, scene.context)).rejects.toMatchObject({ code: 'object-missing' })
    await keyring.newRunKey(name).store()
    await keyring.newRunKey(other).store()
    const good = await scene.objects()
    const bytes = good.get(runKeyKey(name.cluster, name.run)) ?? Buffer.alloc(0)

    await scene.storage.put(runKeyKey(other.cluster, other.run), bytes)
    await expect(keyring.openRunKey(other, scene.context)).rejects.toMatchObject({ ...integrity, message: expect.stringContaining('another run') })
    for (const cut of [0, 10, bytes.length - 1]) {
      await scene.storage.put(runKeyKey(name.cluster, name.run), bytes.subarray(0, cut))
      await expect(keyring.openRunKey(name, scene.context)).rejects.toMatchObject(integrity)
    }
    for (let at = 0; at < bytes.length; at += 3) {
      const changed = Buffer.from(bytes)
      changed.writeUInt8(changed.readUInt8(at) ^ 4, at)
      await scene.storage.put(runKeyKey(name.cluster, name.run), changed)
      await expect(keyring.openRunKey(name, scene.context)).rejects.toMatchObject(integrity)
    }
    // Who sees the recipients can seal to them, and is not believed.
    await using forger = await keyScene()
    const theirs = await forger.create()
    await theirs.keyring.newRunKey(name).store()
    const plain = await readAll(decryptAge(forger.storage.read(runKeyKey(name.cluster, name.run)), { identities: [theirs.kit.identity] }), 10_000)
    await scene.storage.put(runKeyKey(name.cluster, name.run), await sealBytes(plain, { recipients: [kit.identity.recipient, host.identity.recipient] }))
    await expect(keyring.openRunKey(name, scene.context)).rejects.toMatchObject({ ...integrity, message: expect.stringContaining('nobody of this repository') })
  })

  it('of another repository is refused, though the same keys open it', async () => {
    const { keyring } = await scene.create()
    await keyring.newRunKey(name).store()
    await using second = await keyScene()
    const repository = { ...second.repository, id: 'f'.repeat(32) }
    const { keyring: other } = await createKeyring(
      repository,
      { kitFile: scene.path('kit.txt'), host: { name: 'db1', keyFile: scene.path('host.key'), reads: 'everything' }, members: [] },
      second.context,
    )
    expect(second.warnings).toEqual([expect.stringContaining('kit-incomplete')])
    const key = runKeyKey(name.cluster, name.run)
    await second.storage.put(key, (await scene.objects()).get(key) ?? Buffer.alloc(0))
    await expect(other.openRunKey(name, scene.context)).rejects.toMatchObject(integrity)
  })
})

describe('signatures', () => {
  it('say who signed, and count for their purpose and bytes', async () => {
    const { keyring, kit } = await scene.create()
    const signature = keyring.sign('backup-root', Buffer.from('a root'))
    expect(signature.length).toBe(80)
    const reader = await scene.open({ kit })
    expect(reader.verify('backup-root', Buffer.from('a root'), signature)).toMatchObject({ name: 'db1', lastRing: null })
    expect(() => reader.verify('backup-root', Buffer.from('a rooT'), signature)).toThrow(expect.objectContaining(integrity))
    expect(() => reader.verify('audit-head', Buffer.from('a root'), signature)).toThrow(expect.objectContaining(integrity))
    expect(() => reader.verify('backup-root', Buffer.from('a root'), signature.subarray(1))).toThrow(expect.objectContaining(integrity))
    expect(() => reader.verify('backup-root', Buffer.from('a root'), Buffer.concat([Buffer.alloc(16), signature.subarray(16)]))).toThrow(
      expect.objectContaining(integrity),
    )
    const stranger = await scene.open({ identities: [kit.identity] })
    expect(() => stranger.sign('backup-root', Buffer.from('x'))).toThrow(expect.objectContaining(wrongKey))
  })

  it('of the recovery kit count where a host is gone, and of no other kit', async () => {
    const { keyring, kit } = await scene.create()
    const message = Buffer.from('a proof')
    const signature = (await scene.open({ kit })).sign('metadata', message)
    expect(keyring.verify('metadata', message, signature)).toMatchObject({ id: 'root', name: 'recovery kit', lastRing: null })
    expect(() => keyring.verify('backup-root', message, signature)).toThrow(expect.objectContaining(integrity))
    const other = signMessage(generateRecoveryKit().rootKey, { purpose: 'metadata', repository: keySceneId, message })
    expect(() => keyring.verify('metadata', message, Buffer.concat([Buffer.alloc(16), other]))).toThrow(expect.objectContaining(integrity))
  })
})

describe('a forger who knows everything but the secrets', () => {
  /** What lies at a key, as its reader sees it: the statement, and the line about who signed it. */
  async function linesAt(key: string, kit: RecoveryKit): Promise<readonly [statement: string, signature: string]> {
    const plain = await readAll(decryptAge(scene.storage.read(key), { identities: [kit.identity] }), 100_000)
    const [statement = '', signature = ''] = Buffer.from(plain).toString().split('\n')
    return [statement, signature]
  }

  it('cannot make a ring: under the name of the root, with a host’s key, or with another’s signature', async () => {
    const { kit, host } = await scene.create()
    const good = await scene.objects()
    const [line, signature] = await linesAt(ringKey(1), kit)
    const subject = { purpose: 'ring', repository: scene.repository.id } as const
    const statement = JSON.parse(line) as { metadataKeys: unknown }
    const changed = { ...statement, metadataKeys: [{ epoch: 1, key: Buffer.alloc(32).toString('base64'), at: '' }] }
    const hostId = hostIdOf({ verifyKey: host.signingKey.verifyKey, recipient: host.identity.recipient })
    const forgeries = [
      formatSignedText(statement, { signer: 'root', key: generateSigningKey('root') }, subject),
      formatSignedText(changed, { signer: 'root', key: host.signingKey }, subject),
      formatSignedText(changed, { signer: hostId, key: host.signingKey }, subject),
      formatSignedText(statement, { signer: 'root', key: kit.rootKey }, { ...subject, purpose: 'run-key' }),
      formatSignedText(statement, { signer: 'root', key: kit.rootKey }, { ...subject, repository: 'f'.repeat(32) }),
      Buffer.from(`${JSON.stringify(changed)}\n${signature}\n`),
      Buffer.from(`${line}\n`),
      Buffer.from(`${line}\n${signature}\n\n`),
    ]
    const recipients = [kit.identity.recipient, host.identity.recipient]
    for (const [index, forgery] of forgeries.entries()) {
      for (const key of [ringKey(1), ringCopyKey(1)]) await scene.storage.put(key, await sealBytes(forgery, { recipients }))
      for (const keys of [{ host }, { kit }]) await expect(scene.open(keys), `forgery ${index}`).rejects.toMatchObject(integrity)
    }
    // The same way with the true signature is taken: it was the forgery that was refused.
    await scene.storage.put(ringKey(1), await sealBytes(Buffer.from(`${line}\n${signature}\n`), { recipients }))
    expect((await scene.open({ host })).ring.number).toBe(1)
    await scene.put(good)
  })

  it('cannot make a run key: under the name of a host or the root, or with another’s signature', async () => {
    const { kit, host, keyring } = await scene.create()
    await keyring.newRunKey(name).store()
    const key = runKeyKey(name.cluster, name.run)
    const [line, signature] = await linesAt(key, kit)
    const subject = { purpose: 'run-key', repository: scene.repository.id } as const
    const changed = { ...(JSON.parse(line) as object), key: Buffer.alloc(32).toString('base64') }
    const hostId = hostIdOf({ verifyKey: host.signingKey.verifyKey, recipient: host.identity.recipient })
    const forgeries = [
      formatSignedText(changed, { signer: hostId, key: generateSigningKey('host') }, subject),
      formatSignedText(changed, { signer: 'root', key: generateSigningKey('root') }, subject),
      formatSignedText(changed, { signer: 'root', key: host.signingKey }, subject),
      formatSignedText(changed, { signer: '0'.repeat(32), key: host.signingKey }, subject),
      formatSignedText(changed, { signer: hostId, key: host.signingKey }, { ...subject, purpose: 'ring' }),
      Buffer.from(`${JSON.stringify(changed)}\n${signature}\n`),
    ]
    const recipients = [kit.identity.recipient, host.identity.recipient]
    for (const [index, forgery] of forgeries.entries()) {
      await scene.storage.put(key, await sealBytes(forgery, { recipients }))
      await expect(keyring.openRunKey(name, scene.context), `forgery ${index}`).rejects.toMatchObject(integrity)
    }
    await scene.storage.put(key, await sealBytes(Buffer.from(`${line}\n${signature}\n`), { recipients }))
    await keyring.openRunKey(name, scene.context)
  })
})

describe('a hostile or damaged repository', () => {
  it('with another root is found by who has a host key or the kit', async () => {
    const { kit, host } = await scene.create()
    await using forger = await keyScene()
    const theirs = await forger.create()
    // The forger's ring, sealed to the true members.
    const ring = {
      ...theirs.keyring.ring,
      members: [
        ...theirs.keyring.ring.members,
        { kind: 'recipient' as const, name: 'victim', recipient: host.identity.recipient, reads: 'everything' as const, verifyKey: null },
      ],
    }
    const bytes = await sealBytes(formatRing(ring, theirs.kit.rootKey, '2026-11-21T00:00:00.000Z'), {
      recipients: [host.identity.recipient, kit.identity.recipient],
    })
    for (const key of [ringKey(1), ringCopyKey(1)]) await scene.storage.put(key, bytes)
    await expect(scene.open({ host })).rejects.toMatchObject({ ...integrity, message: expect.stringContaining('root key') })
    await expect(scene.open({ kit })).rejects.toMatchObject(integrity)
  })

  it('whose ring is damaged is read by its copy; without one nothing is sealed, and older rings are still read', async () => {
    const { kit, host, keyring } = await scene.create()
    const run = keyring.newRunKey(name)
    await run.store()
    await changeKeyring(scene.repository, kit, { rotate: true }, scene.context)
    const good = await scene.objects()
    const damaged = Buffer.from(good.get(ringKey(2)) ?? [])
    damaged.writeUInt8(damaged.readUInt8(damaged.length - 1) ^ 1, damaged.length - 1)

    for (const spoil of [() => scene.storage.put(ringKey(2), damaged), () => scene.storage.delete(ringKey(2))]) {
      await spoil()
      const byCopy = await scene.open({ host })
      expect([byCopy.ring.number, byCopy.metadataKey().epoch]).toEqual([2, 2])
      expect(scene.warnings.splice(0)).toEqual([expect.stringContaining(ringCopyKey(2))])
    }

    await scene.storage.put(ringKey(2), damaged)
    await scene.storage.delete(ringCopyKey(2))
    for (const keys of [{ host }, { kit }]) {
      const reading = await scene.open(keys)
      expect(scene.warnings.splice(0)).toEqual([expect.stringContaining('for reading only')])
      expect(hex(await reading.openRunKey(name, scene.context))).toBe(hex(run.key))
      expect(hex(reading.metadataKey(1).key)).toBe(hex(keyring.metadataKey(1).key))
      for (const sealing of [
        () => reading.metadataKey(),
        () => reading.metadataKey(2),
        () => reading.readers(),
        () => reading.newRunKey(name),
        () => reading.sign('x', Buffer.alloc(1)),
      ]) {
        expect(sealing).toThrow(expect.objectContaining(integrity))
      }
    }
    await expect(changeKeyring(scene.repository, kit, { rotate: true }, scene.context)).rejects.toMatchObject(integrity)
    await scene.put(good)
    expect((await scene.open({ host })).metadataKey(2).epoch).toBe(2)
  })

  it('in which somebody put a ring of a far number blocks sealing, not reading, and not for long', async () => {
    const { kit, host } = await scene.create()
    await scene.storage.put(ringKey(9_999_999_999), Buffer.from('rubbish'))
    const reading = await scene.open({ host })
    expect(reading.ring.number).toBe(1)
    expect(() => reading.readers()).toThrow(expect.objectContaining(integrity))
    // Sealed to strangers: only the kit knows that it cannot be a ring.
    await scene.storage.put(ringKey(9_999_999_999), await sealBytes(Buffer.from('x'), { recipients: [generateAgeIdentity().recipient] }))
    await expect(scene.open({ host })).rejects.toMatchObject(wrongKey)
    expect((await scene.open({ kit })).ring.number).toBe(1)
  })

  it('in which ring 2 was put in the place of ring 1, or ring 1 of ring 2, is refused', async () => {
    const { kit, host } = await scene.create()
    await changeKeyring(scene.repository, kit, { rotate: true }, scene.context)
    const objects = await scene.objects()
    for (const key of [ringKey(2), ringCopyKey(2)]) await scene.storage.put(key, objects.get(ringKey(1)) ?? Buffer.alloc(0))
    const reading = await scene.open({ host })
    expect(reading.ring.number).toBe(1)
    expect(() => reading.readers()).toThrow(expect.objectContaining(integrity))
  })

  it('that was put back to an older state is read with a warning and not written to by a host that remembers', async () => {
    const { kit, host } = await scene.create()
    const old = await scene.objects()
    const memory = fileMemory(scene.path('host.key.seen'))
    await changeKeyring(scene.repository, kit, { rotate: true }, scene.context)
    expect((await scene.open({ host, memory })).metadataKey().epoch).toBe(2)
    for (const key of [ringKey(2), ringCopyKey(2)]) await scene.storage.delete(key)
    await scene.put(old)
    const reading = await scene.open({ host, memory })
    expect(scene.warnings.splice(0)).toEqual([expect.stringContaining('key-rollback')])
    expect(reading.metadataKey(1).epoch).toBe(1)
    expect(() => reading.metadataKey()).toThrow(expect.objectContaining(integrity))
    expect(() => reading.newRunKey(name)).toThrow(expect.objectContaining(integrity))
    // Another ring 2 than the one that was seen.
    await changeKeyring(scene.repository, kit, { rotate: true }, scene.context)
    expect(() => reading.readers()).toThrow(expect.objectContaining(integrity))
    const forked = await scene.open({ host, memory })
    expect(() => forked.readers()).toThrow(expect.objectContaining({ ...integrity, message: expect.stringContaining('another ring 2') }))
    expect((await scene.open({ host })).readers().length).toBe(2)
  })

  it('gets an answer also when the memory cannot be written', async () => {
    const { host } = await scene.create()
    expect((await scene.open({ host, memory: fileMemory(scene.path('no/such/directory/seen')) })).ring.number).toBe(1)
    expect(scene.warnings).toEqual([expect.stringContaining('key-memory')])
    await writeFile(scene.path('seen'), '{}')
    await expect(scene.open({ host, memory: fileMemory(scene.path('seen')) })).rejects.toMatchObject(wrongKey)
  })
})
