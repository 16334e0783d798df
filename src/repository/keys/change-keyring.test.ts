import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { keyScene, type KeyScene } from '../../../test/support/key-scene.ts'
import { pausedStorage } from '../../../test/support/paused-storage.ts'
import { Secret, type SecretBytes } from '../../kernel/secret.ts'
import { generateAgeIdentity } from '../../seal/age-keys.ts'
import { changeKeyring, type NewMember } from './change-keyring.ts'
import { generateHostKey, type HostKey } from './key-file.ts'
import { passphrasesPrefix, ringCopyKey, ringKey, runKeyKey } from './key-layout.ts'

let scene: KeyScene
beforeEach(async () => {
  scene = await keyScene()
})
afterEach(() => scene[Symbol.asyncDispose]())

const names = Array.from({ length: 20 }, (_, index) => ({ cluster: index % 2 === 0 ? 'nexo' : 'shop/ü', run: `20261121-1000${10 + index}-abcd` }))
const hex = (key: SecretBytes) => Buffer.from(key.reveal()).toString('hex')
const integrity = { code: 'integrity', exitCode: 13 }
const wrongKey = { code: 'key-missing', exitCode: 12 }

function asMember(host: HostKey, reads: 'everything' | 'metadata' = 'everything'): NewMember {
  return { kind: 'host', name: host.name, recipient: host.identity.recipient, verifyKey: host.signingKey.verifyKey, reads }
}

describe('adding', () => {
  it('a reader lets it read what was backed up before', async () => {
    const { kit, keyring } = await scene.create()
    const runs = names.map((name) => ({ name, made: keyring.newRunKey(name) }))
    for (const { made } of runs) await made.store()
    const owner = generateAgeIdentity()
    const change = { add: [{ kind: 'recipient', name: 'ops', recipient: owner.recipient }] } as const
    await expect(scene.open({ identities: [owner] })).rejects.toMatchObject(wrongKey)

    const changed = await changeKeyring(scene.repository, kit, change, scene.context)
    expect(changed).toMatchObject({ isNewRing: true, resealed: names.length, ring: { number: 2 } })
    const opened = await scene.open({ identities: [owner], root: kit.rootKey.verifyKey })
    for (const { name, made } of runs) expect(hex(await opened.openRunKey(name, scene.context))).toBe(hex(made.key))
    expect(opened.metadataKey().epoch).toBe(1)
    // The same once more is nothing to do.
    expect(await changeKeyring(scene.repository, kit, change, scene.context)).toMatchObject({ isNewRing: false, resealed: 0, ring: { number: 2 } })
  })

  it('a write-only host does not seal run keys to it, and its own signature counts', async () => {
    const { kit, keyring } = await scene.create()
    await keyring.newRunKey(names[0]!).store()
    const second = generateHostKey('db2', kit.rootKey.verifyKey)
    await changeKeyring(scene.repository, kit, { add: [asMember(second, 'metadata')] }, scene.context)
    const opened = await scene.open({ host: second })
    expect(opened.readsData).toBe(false)
    await expect(opened.openRunKey(names[0]!, scene.context)).rejects.toMatchObject(wrongKey)
    await opened.newRunKey(names[1]!).store()
    const reader = await scene.open({ kit })
    await reader.openRunKey(names[1]!, scene.context)
    expect(reader.verify('x', Buffer.from('y'), opened.sign('x', Buffer.from('y'))).name).toBe('db2')
  })

  it('a name or key that is taken, an impossible name, or without the right kit, changes nothing', async () => {
    const { kit, host } = await scene.create()
    const before = [...(await scene.objects()).keys()]
    const recipient = generateAgeIdentity().recipient
    for (const [add, code] of [
      [{ kind: 'recipient', name: 'db1', recipient }, 'name-taken'],
      [{ kind: 'recipient', name: 'x', recipient: host.identity.recipient }, 'name-taken'],
      [asMember(host, 'metadata'), 'name-taken'],
      [{ kind: 'recipient', name: 'a\nb', recipient }, 'usage-invalid'],
      [{ kind: 'recipient', name: '', recipient }, 'usage-invalid'],
    ] as const) {
      await expect(changeKeyring(scene.repository, kit, { add: [add] }, scene.context)).rejects.toMatchObject({ code })
    }
    await using other = await keyScene()
    await expect(changeKeyring(scene.repository, (await other.create()).kit, { rotate: true }, scene.context)).rejects.toMatchObject(wrongKey)
    expect([...(await scene.objects()).keys()]).toEqual(before)
  })
})

describe('removing', () => {
  it('a host takes its run keys, makes a new metadata key, and keeps what it signed readable', async () => {
    const { kit, keyring } = await scene.create()
    const second = generateHostKey('db2', kit.rootKey.verifyKey)
    await changeKeyring(scene.repository, kit, { add: [asMember(second)] }, scene.context)
    const theirs = await scene.open({ host: second })
    const made = theirs.newRunKey(names[0]!)
    await made.store()
    const signature = theirs.sign('backup-root', Buffer.from('a root'))
    const before = (await scene.objects()).get(runKeyKey(names[0]!.cluster, names[0]!.run))

    const changed = await changeKeyring(scene.repository, kit, { remove: ['db2'] }, scene.context)
    expect(changed.ring.metadataKeys.map(({ epoch }) => epoch)).toEqual([1, 2])
    expect(hex(changed.ring.metadataKeys[1]!.key)).not.toBe(hex(changed.ring.metadataKeys[0]!.key))
    await expect(scene.open({ host: second })).rejects.toMatchObject(wrongKey)
    await expect(theirs.newRunKey(names[1]!).store()).rejects.toMatchObject(wrongKey)
    expect((await scene.objects()).get(runKeyKey(names[0]!.cluster, names[0]!.run))).not.toEqual(before)

    const reader = await scene.open({ kit })
    expect(hex(await reader.openRunKey(names[0]!, scene.context))).toBe(hex(made.key))
    expect(reader.verify('backup-root', Buffer.from('a root'), signature)).toMatchObject({ name: 'db2', lastRing: 2 })
    // Beside the kit, which then signs itself.
    const both = await scene.open({ kit, host: second })
    expect(reader.verify('backup-root', Buffer.from('x'), both.sign('backup-root', Buffer.from('x')))).toMatchObject({ id: 'root', name: 'recovery kit' })
    const known = await scene.open({ host: second, identities: [kit.identity] })
    expect(() => known.sign('backup-root', Buffer.from('x'))).toThrow(expect.objectContaining({ ...wrongKey, message: expect.stringContaining('no longer') }))
    expect(hex(keyring.metadataKey().key)).toBe(hex(reader.metadataKey(1).key))
  })

  it('a passphrase removes its file too', async () => {
    const { kit } = await scene.create()
    const passphrase = new Secret('correct horse battery')
    await changeKeyring(scene.repository, kit, { add: [{ kind: 'passphrase', name: 'boss', passphrase }] }, scene.context)
    expect((await scene.open({ passphrases: [passphrase] })).readsData).toBe(true)
    await changeKeyring(scene.repository, kit, { remove: ['boss'] }, scene.context)
    expect([...(await scene.objects()).keys()].filter((key) => key.startsWith(passphrasesPrefix))).toEqual([])
    await expect(scene.open({ passphrases: [passphrase] })).rejects.toMatchObject(wrongKey)
  })

  it('nobody, or the kit, is refused', async () => {
    const { kit } = await scene.create()
    for (const remove of ['nobody', 'recovery kit'])
      await expect(changeKeyring(scene.repository, kit, { remove: [remove] }, scene.context)).rejects.toMatchObject({ code: 'usage-invalid' })
  })
})

describe('two at once', () => {
  it('both happen, whoever is first', async () => {
    const { kit } = await scene.create()
    const hosts = Array.from({ length: 4 }, (_, index) => generateHostKey(`db${index + 2}`, kit.rootKey.verifyKey))
    await Promise.all(hosts.map((host) => changeKeyring(scene.repository, kit, { add: [asMember(host)] }, scene.context)))
    for (const host of hosts) expect((await scene.open({ host })).ring.number).toBe(5)
    expect((await scene.open({ kit })).ring.members.length).toBe(6)
  })

  it('a run that stores its key while a reader is added: the reader can open it, at whatever moment', async () => {
    let moments = 0
    for (let isReached = true, at = 1; isReached; at++) {
      for (const when of ['before', 'after'] as const) {
        await using each = await keyScene()
        const { kit, host } = await each.create()
        const owner = generateAgeIdentity()
        const storage = pausedStorage(each.storage, { at, when })
        const name = names[0]!
        const run = (async () => {
          const made = (await each.open({ host }, storage)).newRunKey(name)
          await made.store()
          return made
        })()
        isReached = await Promise.race([storage.reached.then(() => true), run.then(() => false)])
        await changeKeyring(each.repository, kit, { add: [{ kind: 'recipient', name: 'ops', recipient: owner.recipient }] }, each.context)
        storage.resume()
        const made = await run
        const opened = await each.open({ identities: [owner], root: kit.rootKey.verifyKey })
        expect(hex(await opened.openRunKey(name, each.context)), `${when} operation ${at}`).toBe(hex(made.key))
        if (isReached) moments += 1
      }
    }
    expect(moments).toBeGreaterThanOrEqual(12)
  })
})

describe('what a change finds damaged', () => {
  it('is left as it is and said, and the other run keys are sealed anew', async () => {
    const { kit, keyring } = await scene.create()
    for (const name of names.slice(0, 3)) await keyring.newRunKey(name).store()
    const damaged = runKeyKey(names[1]!.cluster, names[1]!.run)
    await scene.storage.put(damaged, Buffer.from('rubbish'))
    const owner = generateAgeIdentity()
    const changed = await changeKeyring(scene.repository, kit, { add: [{ kind: 'recipient', name: 'ops', recipient: owner.recipient }] }, scene.context)
    expect(changed.resealed).toBe(2)
    expect(scene.warnings).toEqual([expect.stringContaining(damaged)])
    expect((await scene.objects()).get(damaged)?.toString()).toBe('rubbish')
  })

  it('an interrupted sealing anew shows as damage to the new reader, with the way out, and the next change carries it on', async () => {
    const { kit, keyring } = await scene.create()
    const made = keyring.newRunKey(names[0]!)
    await made.store()
    const key = runKeyKey(names[0]!.cluster, names[0]!.run)
    const old = (await scene.objects()).get(key)!
    const owner = generateAgeIdentity()
    await changeKeyring(scene.repository, kit, { add: [{ kind: 'recipient', name: 'ops', recipient: owner.recipient }] }, scene.context)
    await scene.storage.put(key, old)
    await scene.storage.delete(ringCopyKey(2))
    const opened = await scene.open({ identities: [owner], root: kit.rootKey.verifyKey })
    await expect(opened.openRunKey(names[0]!, scene.context)).rejects.toMatchObject({ ...integrity, hints: [expect.stringContaining('--kit')] })
    expect(await changeKeyring(scene.repository, kit, {}, scene.context)).toMatchObject({ isNewRing: false, resealed: 1 })
    expect(hex(await opened.openRunKey(names[0]!, scene.context))).toBe(hex(made.key))
    const objects = await scene.objects()
    expect(objects.get(ringCopyKey(2))).toEqual(objects.get(ringKey(2)))
  })
})
