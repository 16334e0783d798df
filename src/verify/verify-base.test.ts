import { randomBytes } from 'node:crypto'
import { beforeAll, describe, expect, it } from 'vitest'
import type { Event } from '../kernel/event.ts'
import type { Storage } from '../storage/storage.ts'
import {
  collect,
  contextFor,
  deleteBase,
  listed,
  newStorage,
  note,
  openBase,
  sealedContexts,
  takeBase,
  verifyBase,
  warningsIn,
} from '../../test/support/base-history.ts'
import { putPicture, takePicture, type Picture } from '../../test/support/repository-state.ts'
import { createPagesLookedAt } from './pages-looked-at.ts'

const context = contextFor([])

/** Two backups that share the pages of one file, and one that shares nothing. */
async function threeBackups(): Promise<{ readonly storage: Storage; readonly picture: Picture }> {
  const storage = newStorage()
  const shared = randomBytes(1_500_000)
  await takeBase(storage, { run: 'one', files: new Map([['base/1/shared', shared]]) }, context)
  await takeBase(
    storage,
    {
      run: 'two',
      files: new Map([
        ['base/1/shared', shared],
        ['base/1/own', randomBytes(300_000)],
      ]),
    },
    context,
  )
  await takeBase(storage, { run: 'alone', files: new Map([['base/1/other', randomBytes(300_000)]]), full: true }, context)
  return { storage, picture: await takePicture(storage) }
}

const kinds = {
  root: /^\.tidemark\/roots\/main\/two\.pack$/,
  index: /^\.tidemark\/indexes\/main\/two\.pack$/,
  leaves: /^\.tidemark\/leaves\/main\/two\.pack$/,
  'pack of pages': /^\.tidemark\/packs\/main\/two\//,
  'pack that is shared': /^\.tidemark\/packs\/main\/one\//,
} as const

type Damage = 'is gone' | 'was cut' | 'has grown' | 'has another bit' | 'is another of its kind'

async function damage(storage: Storage, picture: Picture, key: string, how: Damage): Promise<void> {
  const bytes = Buffer.from(picture.objects.get(key) ?? Buffer.alloc(0))
  if (how === 'is gone') return storage.delete(key)
  if (how === 'is another of its kind') {
    const other = [...picture.objects].find(([each]) => each !== key && each.split('/')[1] === key.split('/')[1] && each.includes('alone'))
    if (other === undefined) throw new Error(`nothing is like ${key}`)
    await storage.put(key, other[1])
    return
  }
  if (how === 'has another bit') bytes.writeUInt8(bytes.readUInt8(bytes.length >> 1) ^ 1, bytes.length >> 1)
  await storage.put(key, how === 'was cut' ? bytes.subarray(0, bytes.length - 40) : how === 'has grown' ? Buffer.concat([bytes, Buffer.alloc(1)]) : bytes)
}

describe('verifying a base backup', () => {
  let picture: Picture
  beforeAll(async () => {
    picture = (await threeBackups()).picture
  })
  const copy = async (): Promise<Storage> => {
    const storage = newStorage()
    await putPicture(storage, picture)
    return storage
  }
  const keyOf = (kind: keyof typeof kinds): string => {
    const key = [...picture.objects.keys()].find((each) => kinds[kind].test(each))
    if (key === undefined) throw new Error(`there is no ${kind}`)
    return key
  }

  it('reads every page, and says so in the log', async () => {
    const storage = await copy()
    for (const id of ['one', 'two', 'alone']) {
      const found = await verifyBase(storage, id, context)
      expect(found).toMatchObject({ id, valid: true, state: 'verified', problems: [] })
      expect(found.readBytes).toBeGreaterThan(300_000)
    }
  })

  describe.for(Object.keys(kinds) as (keyof typeof kinds)[])('of which the %s', (kind) => {
    it.for<Damage>(['is gone', 'was cut', 'has grown', 'has another bit', 'is another of its kind'])(
      '%s finds it, names it, and whom else it concerns',
      async (how) => {
        const storage = await copy()
        const key = keyOf(kind)
        await damage(storage, picture, key, how)
        const found = await verifyBase(storage, 'two', context)
        expect(found).toMatchObject({ valid: false, state: 'damaged' })
        expect(found.problems.map(({ object }) => object)).toContain(key)
        const isShared = kind === 'pack that is shared'
        // Nobody is offered a backup as good that shares what is broken.
        expect(await listed(storage, context)).toMatchObject({ two: 'damaged', alone: 'verified', one: isShared ? 'damaged' : 'verified' })
        for (const { object, message } of found.problems) if (object === key) expect(message.includes('needed by one, too'), message).toBe(isShared)
        expect(await verifyBase(storage, 'one', context)).toMatchObject({ valid: !isShared })
        expect(await verifyBase(storage, 'alone', context)).toMatchObject({ valid: true })
      },
    )
  })

  it('finds a changed bit wherever it is in any object that the backup needs', { timeout: 120_000 }, async () => {
    const needed = Object.values(kinds).flatMap((pattern) => [...picture.objects.keys()].filter((key) => pattern.test(key)))
    for (const key of needed) {
      const bytes = picture.objects.get(key) ?? Buffer.alloc(0)
      for (const at of [0, 9, 13, 40, 63, 64, bytes.length >> 2, bytes.length - 30, bytes.length - 17, bytes.length - 16, bytes.length - 9, bytes.length - 1]) {
        const storage = await copy()
        const changed = Buffer.from(bytes)
        changed.writeUInt8(changed.readUInt8(at) ^ 0x10, at)
        await storage.put(key, changed)
        const backup = key.includes('/one/') ? 'one' : 'two'
        const found = await verifyBase(storage, backup, context)
        expect(
          found.problems.map(({ object }) => object),
          `byte ${at} of ${key}`,
        ).toContain(key)
      }
    }
  })

  it('names a leaf that cannot be read, and looks at the others all the same', async () => {
    const storage = await copy()
    const leaves = keyOf('leaves')
    const shared = keyOf('pack that is shared')
    await damage(storage, picture, leaves, 'has another bit')
    await damage(storage, picture, shared, 'is gone')
    const objects = (await verifyBase(storage, 'two', context)).problems.map(({ object }) => object)
    expect(objects).toContain(leaves)
    expect(objects).toContain(shared)
  })

  it('says nothing of a backup when the storage does not answer, whatever was found before', async () => {
    const storage = await copy()
    const failing: Storage = {
      ...storage,
      read: (key, options) => {
        if (key.startsWith('.tidemark/packs/')) throw new Error('the network is gone')
        return storage.read(key, options)
      },
    }
    await expect(verifyBase(failing, 'two', context)).rejects.toThrow('the network is gone')
    expect((await listed(storage, context))['two']).toBe('verified')
  })

  it('opens no frame twice where backups share it, and yet finds damage for each of them', async () => {
    const storage = await copy()
    const read: string[] = []
    const counting: Storage = {
      ...storage,
      read: (key, options) => {
        read.push(key)
        return storage.read(key, options)
      },
    }
    const looked = createPagesLookedAt()
    expect(await verifyBase(counting, 'two', context, looked)).toMatchObject({ valid: true })
    read.length = 0
    const second = await verifyBase(counting, 'one', context, looked)
    expect(second).toMatchObject({ valid: true })
    // What belongs to the first backup alone: its label, its control file, its WAL.
    expect(second.readBytes).toBeLessThan(1_600_000)
    const shared = keyOf('pack that is shared')
    const fresh = createPagesLookedAt()
    await damage(storage, picture, shared, 'has another bit')
    const first = await verifyBase(counting, 'two', context, fresh)
    read.length = 0
    const again = await verifyBase(counting, 'one', context, fresh)
    expect([first.valid, again.valid]).toEqual([false, false])
    expect(again.problems.map(({ object }) => object)).toEqual([shared])
    expect(read.filter((key) => key === shared)).toEqual([])
  })

  it('finds damage in what a repack moved, too', async () => {
    const events: Event[] = []
    const storage = newStorage()
    const noisy = contextFor(events)
    const kept = randomBytes(200_000)
    const much = ['a', 'b', 'c', 'd', 'e', 'f'].map((name): [string, Buffer] => [name, randomBytes(1 << 20)])
    await takeBase(storage, { run: 'full', files: new Map([...much, ['kept', kept]]) }, noisy)
    await takeBase(storage, { run: 'incr', files: new Map([['kept', kept]]) }, noisy)
    await deleteBase(storage, 'full', noisy)
    await collect(storage, noisy, { run: 'moving' })
    const moved = await takePicture(storage)
    const packs = [...moved.objects.keys()].filter((key) => key.startsWith('.tidemark/packs/main/moving/'))
    expect(packs.length).toBeGreaterThan(0)
    expect((await openBase(storage, 'incr', noisy)).tables.packs.length).toBeGreaterThan(0)
    for (const key of [...packs, [...moved.objects.keys()].find((each) => each.startsWith('.tidemark/repacks/')) ?? '']) {
      for (const how of ['is gone', 'was cut', 'has another bit'] as const) {
        await damage(storage, moved, key, how)
        const found = await verifyBase(storage, 'incr', noisy)
        expect(
          found.problems.map(({ object }) => object),
          `${key} ${how}`,
        ).toContain(key)
        await storage.put(key, moved.objects.get(key) ?? Buffer.alloc(0))
      }
    }
    expect(await verifyBase(storage, 'incr', noisy)).toMatchObject({ valid: true })
  })

  it('raises no state on a host that may not read its pages, and finds there what can be found without', async () => {
    const events: Event[] = []
    const { reading, writeOnly } = sealedContexts(contextFor(events))
    const storage = newStorage()
    await takeBase(storage, { run: 'one', files: new Map([['a', randomBytes(100_000)]]) }, reading)
    await note(storage, { kind: 'damaged', backup: 'one', problems: [], run: 'test' }, reading)
    expect(await verifyBase(storage, 'one', writeOnly)).toMatchObject({ valid: true, opened: false, state: 'damaged', readBytes: 0 })
    expect(warningsIn(events)).toEqual([expect.stringMatching(/^not-opened: the pages of one are sealed/)])
    expect(await verifyBase(storage, 'one', reading)).toMatchObject({ valid: true, opened: true, state: 'verified' })
    const sealed = await takePicture(storage)
    for (const pattern of [/^\.tidemark\/packs\//, /^\.tidemark\/leaves\//, /^\.tidemark\/roots\//]) {
      const key = [...sealed.objects.keys()].find((each) => pattern.test(each)) ?? ''
      await damage(storage, sealed, key, 'is gone')
      expect((await verifyBase(storage, 'one', writeOnly)).problems.map(({ object }) => object)).toContain(key)
      await storage.put(key, sealed.objects.get(key) ?? Buffer.alloc(0))
    }
    await expect(verifyBase(storage, 'one', contextFor([]))).rejects.toMatchObject({ code: 'key-missing' })
  })
})
