import { describe, expect, it } from 'vitest'
import { Secret, type SecretBytes } from '../../src/kernel/secret.ts'
import { changeKeyring, type KeyringChange } from '../../src/repository/keys/change-keyring.ts'
import { createKeyring } from '../../src/repository/keys/create-keyring.ts'
import { generateHostKey } from '../../src/repository/keys/key-file.ts'
import { passphrasesPrefix } from '../../src/repository/keys/key-layout.ts'
import { generateAgeIdentity } from '../../src/seal/age-keys.ts'
import type { Storage } from '../../src/storage/storage.ts'
import { faultyStorage } from '../support/faulty-storage.ts'
import { keyScene, type KeyScene } from '../support/key-scene.ts'
import { eachOf, endingOf, everyPlan, nameOf } from '../support/sweep.ts'

const hex = (key: SecretBytes) => Buffer.from(key.reveal()).toString('hex')
const passphrase = new Secret('correct horse battery')
const boss = { kind: 'passphrase', name: 'boss', passphrase, logN: 4 } as const

/** The keys of the objects; a passphrase's file by its ring only. */
async function names(scene: KeyScene): Promise<readonly string[]> {
  return [...(await scene.objects()).keys()].map((key) => (key.startsWith(passphrasesPrefix) ? key.replace(/[0-9a-f]{16}\.age$/, '*.age') : key)).toSorted()
}

describe('a fault at any storage operation while keys are made or changed', () => {
  it('making a keyring: none or the whole of it is there, and the same call again makes it', async () => {
    const make = (scene: KeyScene, storage: Storage) =>
      createKeyring(
        scene.on(storage),
        { kitFile: scene.path('kit.txt'), host: { name: 'db1', keyFile: scene.path('host.key'), reads: 'everything' }, members: [boss] },
        scene.context,
      )
    await using clean = await keyScene()
    const counting = faultyStorage(clean.storage)
    await make(clean, counting)
    const expected = await names(clean)
    expect(expected).toEqual(['.tidemark/keys/passphrases/0000000001-*.age', '.tidemark/keys/rings/0000000001.age', '.tidemark/keys/rings/0000000001.copy.age'])

    await eachOf(everyPlan(counting.operations), 2, async (plan) => {
      await using scene = await keyScene()
      const what = nameOf(plan, counting.operations)
      const ending = await endingOf(() => make(scene, faultyStorage(scene.storage, plan)))
      expect(ending.kind, `${what}: ${'message' in ending ? ending.message : ''}`).not.toBe('bug')
      const isThere = (await names(scene)).some((key) => key.startsWith('.tidemark/keys/rings/'))
      if (ending.kind === 'done') expect(isThere, what).toBe(true)
      const again = await make(scene, scene.storage)
      for (const keys of [{ kit: again.kit }, { host: again.host ?? undefined }, { passphrases: [passphrase] }]) {
        expect(hex((await scene.open(keys)).metadataKey().key), what).toBe(hex(again.keyring.metadataKey().key))
      }
      expect(await names(scene), what).toEqual(expected)
    })
  })

  it('changing one: it opens as before or as after, no run key is lost, and the same call again ends well with nothing left over', async () => {
    const prepare = async () => {
      const scene = await keyScene()
      const { kit, host } = await scene.create()
      const leaving = generateHostKey('db2', kit.rootKey.verifyKey)
      const asMember = {
        kind: 'host',
        name: 'db2',
        recipient: leaving.identity.recipient,
        verifyKey: leaving.signingKey.verifyKey,
        reads: 'everything',
      } as const
      await changeKeyring(scene.repository, kit, { add: [asMember] }, scene.context)
      const keyring = await scene.open({ host: leaving })
      const runs = ['a', 'b', 'c'].map((run) => ({
        name: { cluster: run === 'b' ? 'x/y' : 'nexo', run },
        made: keyring.newRunKey({ cluster: run === 'b' ? 'x/y' : 'nexo', run }),
      }))
      for (const { made } of runs) await made.store()
      const owner = generateAgeIdentity()
      const change: KeyringChange = { add: [{ kind: 'recipient', name: 'ops', recipient: owner.recipient }, boss], remove: ['db2'] }
      return { scene, kit, host, leaving, owner, runs, change }
    }
    const clean = await prepare()
    await using _ = clean.scene
    const counting = faultyStorage(clean.scene.storage)
    await changeKeyring(clean.scene.on(counting), clean.kit, clean.change, clean.scene.context)
    const expected = await names(clean.scene)
    expect(counting.operations.length).toBeGreaterThan(20)

    await eachOf(everyPlan(counting.operations), 2, async (plan) => {
      const what = nameOf(plan, counting.operations)
      const { scene, kit, host, leaving, owner, runs, change } = await prepare()
      await using _ = scene
      const ending = await endingOf(() => changeKeyring(scene.on(faultyStorage(scene.storage, plan)), kit, change, scene.context))
      expect(ending.kind, `${what}: ${'message' in ending ? ending.message : ''}`).not.toBe('bug')

      const allReadableBy = async (keys: Parameters<KeyScene['open']>[0]) => {
        const keyring = await scene.open(keys)
        for (const { name, made } of runs) expect(hex(await keyring.openRunKey(name, scene.context)), what).toBe(hex(made.key))
        return keyring
      }
      const { ring } = await allReadableBy({ host })
      const isNew = ring.number === 3
      expect([2, 3], what).toContain(ring.number)
      if (ending.kind === 'done') expect(isNew, what).toBe(true)
      await allReadableBy({ kit })
      const old = await endingOf(() => scene.open({ host: leaving }))
      expect(old.kind === 'failed' ? old.exitCode : old.kind, what).toBe(isNew ? 12 : 'done')

      await changeKeyring(scene.repository, kit, change, scene.context)
      for (const keys of [{ kit }, { host }, { identities: [owner] }, { passphrases: [passphrase] }])
        expect((await allReadableBy(keys)).ring.number, what).toBe(3)
      expect((await endingOf(() => scene.open({ host: leaving }))).kind, what).toBe('failed')
      expect(await names(scene), what).toEqual(expected)
    })
  })

  it('storing a run key: it is there, whole, or not, and storing it again ends well', async () => {
    const prepare = async () => {
      const scene = await keyScene()
      return { scene, ...(await scene.create()) }
    }
    const name = { cluster: 'nexo', run: 'a' }
    const clean = await prepare()
    await using _ = clean.scene
    const counting = faultyStorage(clean.scene.storage)
    await (await clean.scene.open({ host: clean.host }, counting)).newRunKey(name).store()

    await eachOf(everyPlan(counting.operations), 2, async (plan) => {
      const what = nameOf(plan, counting.operations)
      const { scene, host } = await prepare()
      await using _ = scene
      const made = { key: '' }
      const ending = await endingOf(async () => {
        const run = (await scene.open({ host }, faultyStorage(scene.storage, plan))).newRunKey(name)
        made.key = hex(run.key)
        await run.store().catch(async (error: unknown) => {
          if (plan.persistent === true) throw error
          await run.store()
        })
      })
      expect(ending.kind, `${what}: ${'message' in ending ? ending.message : ''}`).not.toBe('bug')
      const found = await endingOf(async () => hex(await (await scene.open({ host })).openRunKey(name, scene.context)))
      if (ending.kind === 'done') expect(found, what).toEqual({ kind: 'done', value: made.key })
      if (found.kind === 'done') expect(found.value, what).toBe(made.key)
      else expect(found, what).toMatchObject({ kind: 'failed', exitCode: 13 })
    })
  })
})
