import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { drillBackup } from '../../src/api/drill-backup.ts'
import { restoreBackup } from '../../src/api/restore-backup.ts'
import { takeBackups } from '../../src/api/take-backups.ts'
import { verifyBackups } from '../../src/api/verify-backups.ts'
import { systemClock } from '../../src/kernel/clock.ts'
import { readObject } from '../../src/repository/bytes.ts'
import { memoryStorage } from '../../src/storage/memory.ts'
import type { Storage } from '../../src/storage/storage.ts'
import { copiesOf, dropDatabases, lookAtProduction } from '../support/live-databases.ts'
import { putPicture, takePicture, type Picture } from '../support/repository-state.ts'
import { clusterName, sweepRoom, type SweepRoom } from '../support/sweep-room.ts'
import { endingOf, isComplete, seeded } from '../support/sweep.ts'

let room: SweepRoom
let content: string
beforeAll(async () => {
  room = await sweepRoom()
  content = (await lookAtProduction(room.server, room.source.name))?.rows ?? ''
})
afterAll(async () => {
  await clearCopies()
  await room[Symbol.asyncDispose]()
})

async function clearCopies(): Promise<void> {
  await using admin = await room.server.session()
  await dropDatabases(admin, await copiesOf(room.server, room.source.name))
}

async function prepared(picture: Picture = room.base): Promise<Storage> {
  const storage = memoryStorage({ clock: systemClock })
  await putPicture(storage, picture)
  return storage
}

type Damage = { readonly name: string; spoil(bytes: Uint8Array): Uint8Array | null }

const gone: Damage = { name: 'gone', spoil: () => null }
const empty: Damage = { name: 'zero bytes long', spoil: () => new Uint8Array(0) }
const cutAt = (share: number): Damage => ({ name: `cut to ${share * 100} %`, spoil: (bytes) => bytes.slice(0, Math.floor(bytes.length * share)) })
const lastByteOff: Damage = { name: 'one byte short', spoil: (bytes) => bytes.slice(0, -1) }
const longer: Damage = { name: 'one byte longer', spoil: (bytes) => Buffer.concat([bytes, Buffer.from([0])]) }
const zeroed: Damage = { name: 'zeroed in the middle', spoil: (bytes) => Buffer.from(bytes).fill(0, bytes.length >> 2, bytes.length >> 1) }
const flipped = (at: number, bit: number): Damage => ({
  name: `bit ${bit} of byte ${at} flipped`,
  spoil: (bytes) => {
    const copy = Buffer.from(bytes)
    copy[at] = (copy[at] ?? 0) ^ (1 << bit)
    return copy
  },
})
const whole = [gone, empty, cutAt(0.01), cutAt(0.5), lastByteOff, longer, zeroed]

/** Every byte in the complete form, a seeded few else; first and last always. */
function flips(length: number, seed: number, few = 12): readonly Damage[] {
  const places = Array.from({ length }, (_, at) => at)
  const chosen = isComplete ? places : [0, length - 1, ...seeded(places.slice(1, -1), few / length, seed)]
  return chosen.map((at) => flipped(at, (at * 7 + seed) % 8))
}

async function spoiled(key: string, damage: Damage): Promise<Storage> {
  const storage = await prepared()
  const bytes = await readObject(storage, key, 64 * 1024 * 1024)
  await storage.delete(key)
  const after = damage.spoil(bytes)
  if (after !== null) await storage.put(key, after)
  return storage
}

const [first, second] = [() => room.earlier[0], () => room.earlier[1]]
const keyOf = (what: 'dump' | 'globals' | 'manifest'): string => {
  const newest = second()
  if (newest === undefined) throw new Error('the room has no second backup')
  if (what === 'manifest') return `.tidemark/manifests/${clusterName}/${newest.id}.json`
  return what === 'dump' ? newest.key : newest.key.replace(/\.dump\.zst$/, '.globals.sql')
}

describe.for(['dump', 'globals', 'manifest'] as const)('a stored %s that is not what was stored', (what) => {
  it('is found by verify, which names it and the newest intact backup, and never called whole again', async () => {
    const key = keyOf(what)
    const size = room.base.objects.get(key)?.length ?? 0
    const wrong: string[] = []
    for (const damage of [...whole, ...flips(size, 13)]) {
      const storage = await spoiled(key, damage)
      const { backups, intact } = await verifyBackups(room.workspace(storage), { all: true })
      const bad = backups.find(({ id }) => id === second()?.id)
      const good = backups.find(({ id }) => id === first()?.id)
      if (bad?.valid !== false || bad.state !== 'damaged') wrong.push(`${damage.name}: verify says ${JSON.stringify(bad)}`)
      else if (bad.problems[0]?.object !== key) wrong.push(`${damage.name}: verify names ${JSON.stringify(bad.problems)}`)
      if (good?.valid !== true) wrong.push(`${damage.name}: the other backup is called damaged`)
      if (intact !== first()?.id) wrong.push(`${damage.name}: ${String(intact)} is called the newest intact one`)
    }
    expect(wrong).toEqual([])
  })

  it('is found by restore and drill before anything is touched, with exit code 13; the backup beside it can be restored', async () => {
    const key = keyOf(what)
    const before = await databases()
    for (const damage of isComplete ? whole : [gone, cutAt(0.5), flipped((room.base.objects.get(key)?.length ?? 0) >> 1, 3)]) {
      const storage = await spoiled(key, damage)
      const wanted = second()?.id ?? ''
      // Roles are not restored by a restore into an existing server: a damaged list of them is no reason to refuse the data.
      if (what !== 'globals') {
        const works: readonly (() => Promise<unknown>)[] = [
          () => restoreBackup(room.workspace(storage), { wanted, as: `${room.source.name}_damaged`, approve: async () => undefined }),
          () => restoreBackup(room.workspace(storage), { wanted, replace: 'swap', safetyBackup: false, approve: async () => undefined }),
          () => drillBackup(room.workspace(storage), { backup: wanted }),
        ]
        for (const work of works) {
          expect(await endingOf(work), damage.name).toMatchObject({ kind: 'failed', exitCode: 13 })
          expect(await databases()).toEqual(before)
        }
      }
      expect((await lookAtProduction(room.server, room.source.name))?.rows).toBe(content)
    }
    const storage = await spoiled(key, flipped(5, 1))
    const proof = await drillBackup(room.workspace(storage), { backup: first()?.id ?? '' })
    expect(proof.proof.outcome).toBe('proven')
  })
})

async function databases(): Promise<readonly string[]> {
  await using admin = await room.server.session()
  const rows = await admin.query<{ name: string }>(`SELECT datname || ' ' || oid AS name FROM pg_catalog.pg_database ORDER BY 1`)
  return rows.map(({ name }) => name)
}

describe('a commit log that was tampered with', () => {
  const entries = () => [...room.base.objects.keys()].filter((key) => key.startsWith('.tidemark/commits/'))

  it('is never skipped over: every verb stops with 13 and names the entry, and nothing is written', { timeout: isComplete ? 3_600_000 : 120_000 }, async () => {
    const wrong: string[] = []
    const last = entries().at(-1) ?? ''
    for (const key of isComplete ? entries() : [entries()[0] ?? '', entries()[1] ?? '', last]) {
      const size = room.base.objects.get(key)?.length ?? 0
      const damages = [...whole, ...flips(size, 29, 6)].filter((damage) => !(damage.name === 'gone' && key === last))
      for (const damage of damages) {
        const storage = await spoiled(key, damage)
        const before = await takePicture(storage)
        for (const [verb, work] of [
          ['verify', () => verifyBackups(room.workspace(storage), { all: true })],
          ['backup', () => takeBackups(room.workspace(storage))],
          ['restore', () => restoreBackup(room.workspace(storage), { as: 'never', approve: async () => undefined })],
        ] as const) {
          const ending = await endingOf(work as () => Promise<unknown>)
          if (ending.kind !== 'failed' || (ending.exitCode !== 13 && ending.exitCode !== 10))
            wrong.push(`${verb} with ${key} ${damage.name}: ${JSON.stringify(ending).slice(0, 200)}`)
        }
        const after = await takePicture(storage)
        if (after.objects.size !== before.objects.size) wrong.push(`${key} ${damage.name}: something was written`)
      }
    }
    expect(wrong).toEqual([])
  })

  it('and has lost its end costs no backup: the next run finds every dump whole, lists it again, and all of them verify', async () => {
    const wrong: string[] = []
    for (const [cut, key] of entries().entries()) {
      const storage = await prepared()
      for (const lost of entries().slice(cut)) await storage.delete(lost)
      await takeBackups(room.workspace(storage))
      const after = await takePicture(storage)
      for (const [kept, bytes] of room.base.objects) {
        if (!kept.startsWith('.tidemark/') && Buffer.compare(after.objects.get(kept) ?? Buffer.of(), bytes) !== 0)
          wrong.push(`without ${key} and later: ${kept} is gone`)
      }
      const { backups } = await verifyBackups(room.workspace(storage), { all: true })
      if (backups.length !== 3 || backups.some(({ valid }) => !valid)) wrong.push(`without ${key} and later: ${JSON.stringify(backups)}`)
      // The newest is what was taken last, and not what was found again.
      if (backups.slice(0, 1).some(({ id }) => room.earlier.some((earlier) => earlier.id === id))) wrong.push(`without ${key}: an old backup is the newest`)
    }
    expect(wrong).toEqual([])
  })

  it('with an entry of another repository in it is refused', async () => {
    const other = await prepared()
    await takeBackups(room.workspace(other))
    const storage = await prepared()
    await takeBackups(room.workspace(storage))
    const stranger = '.tidemark/commits/shop/0000000008.json'
    const bytes = await readObject(other, stranger, 1_000_000)
    await storage.put(stranger, bytes)
    expect(await endingOf(() => verifyBackups(room.workspace(storage), { all: true }))).toMatchObject({ kind: 'failed', exitCode: 13 })
  })
})

describe('objects of one backup in the place of those of another', () => {
  it.for(['dump', 'manifest'] as const)('a swapped %s is found', async (what) => {
    const key = keyOf(what)
    const foreign = what === 'dump' ? (first()?.key ?? '') : `.tidemark/manifests/${clusterName}/${first()?.id ?? ''}.json`
    const storage = await prepared()
    await storage.put(key, await readObject(storage, foreign, 1_000_000))
    const { backups } = await verifyBackups(room.workspace(storage), { all: true })
    expect(Object.fromEntries(backups.map(({ id, valid }) => [id, valid]))).toEqual({ [first()?.id ?? '']: true, [second()?.id ?? '']: false })
  })
})

describe('repository.json', () => {
  it('that is gone, torn or of a newer version stops every verb with 10, and a backup does not make a new repository over the old one', async () => {
    const wrong: string[] = []
    const key = '.tidemark/repository.json'
    const newer: Damage = {
      name: 'of a newer version',
      spoil: (bytes) => Buffer.from(Buffer.from(bytes).toString().replace('tidemark-repository/1', 'tidemark-repository/2')),
    }
    for (const damage of [empty, cutAt(0.5), newer, gone]) {
      for (const [verb, work] of [
        ['verify', (storage: Storage) => verifyBackups(room.workspace(storage), { all: true })],
        ['restore', (storage: Storage) => restoreBackup(room.workspace(storage), { as: 'never', approve: async () => undefined })],
        ['backup', (storage: Storage) => takeBackups(room.workspace(storage))],
      ] as const) {
        const storage = await spoiled(key, damage)
        const ending = await endingOf(() => work(storage) as Promise<unknown>)
        if (ending.kind !== 'failed' || ending.exitCode !== 10) wrong.push(`${verb} with ${key} ${damage.name}: ${JSON.stringify(ending).slice(0, 200)}`)
        if ((await takePicture(storage)).objects.size > room.base.objects.size) wrong.push(`${verb} with ${key} ${damage.name}: something was written`)
      }
    }
    expect(wrong).toEqual([])
  })
})

describe('a commit log that somebody puts back while a backup runs', () => {
  /** After the put that is named, the entries that the base had are the only ones. */
  function putBackAfter(storage: Storage, isMoment: (key: string) => boolean): Storage {
    return {
      ...storage,
      put: async (key, body, options) => {
        const stored = await storage.put(key, body, options)
        const entries: string[] = []
        if (isMoment(key)) for await (const entry of storage.list('.tidemark/commits/')) if (!room.base.objects.has(entry.key)) entries.push(entry.key)
        for (const entry of entries) await storage.delete(entry)
        return stored
      },
    }
  }
  const dumpOf = async (storage: Storage) => (await verifyBackups(room.workspace(storage), { all: true })).backups

  it('makes it fail, not say VERIFIED over a hole; the log stays readable, and the next backup lists the dump', async () => {
    const storage = await prepared()
    const broken = await endingOf(() => takeBackups(room.workspace(putBackAfter(storage, (key) => key.startsWith('.tidemark/manifests/')))))
    expect(broken).toMatchObject({ kind: 'failed', exitCode: 13, message: expect.stringContaining('while this run was at work') as string })
    expect(await dumpOf(storage)).toHaveLength(2)
    expect(await endingOf(() => takeBackups(room.workspace(storage)))).toMatchObject({ kind: 'done', value: { partial: false } })
    const backups = await dumpOf(storage)
    expect(backups).toHaveLength(4)
    for (const { valid } of backups) expect(valid).toBe(true)
  })

  it('right after its commit makes it end as partial: its backup may not be listed', async () => {
    const storage = await prepared()
    // The last thing before `end`.
    const { setAlias } = storage
    const moved: Storage = {
      ...storage,
      setAlias: async (key, target) => {
        await setAlias?.call(storage, key, target)
        await putBackAfter(storage, () => true).put('.tidemark/leases/any', new Uint8Array([10]))
      },
    }
    expect(await endingOf(() => takeBackups(room.workspace(moved)))).toMatchObject({ kind: 'done', value: { partial: true } })
    expect(await dumpOf(storage)).toHaveLength(2)
  })
})
