import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { faultyStorage, type Fault } from '../../../test/support/faulty-storage.ts'
import { systemClock } from '../../kernel/clock.ts'
import type { Context } from '../../kernel/context.ts'
import { memoryStorage } from '../../storage/memory.ts'
import { requireDump } from '../backup.ts'
import type { Storage } from '../../storage/storage.ts'
import { readObject } from '../bytes.ts'
import { checkStoredDump } from '../check-stored.ts'
import { latestGood, livingBackups } from '../cluster-log.ts'
import { readClusterLog } from '../commit-log.ts'
import type { Whereabouts } from '../lease.ts'
import { readManifest } from '../manifest.ts'
import { openOrCreateRepository, openRepository, type Repository } from '../repository.ts'
import { adoptDumps, type AdoptionOutcome } from './adopt-dumps.ts'
import { planAdoption, type AdoptionSource } from './plan-adoption.ts'

const fixtures = join(import.meta.dirname, '../../../test/fixtures/dump')
const files = new Map<string, Uint8Array>()
const context: Context = { clock: systemClock, emit: () => undefined, signal: new AbortController().signal }
/** Every earlier process is gone, as after a crash. */
const whereabouts: Whereabouts = { self: { host: 'here', pid: 1, place: null, startedTicks: null }, isGone: async () => true }
const request = { cluster: 'nexo', database: 'nexo', timeZone: 'UTC', again: false }

beforeAll(async () => {
  files.set('nexo_20260101_020000.sql', await readFile(join(fixtures, 'pg15.sql')))
  files.set('nexo_20260102_020000.dump', await readFile(join(fixtures, 'pg15-gzip.dump')))
  files.set('nexo_20260102_020000.info', Buffer.from('{"database":"nexo","user":"ada"}'))
})

async function holdFiles(storage: Storage): Promise<Storage> {
  for (const [key, bytes] of files) await storage.put(key, bytes)
  return storage
}

const memory = () => memoryStorage({ clock: systemClock })

async function adoptAll(repository: Repository, source: AdoptionSource, run = 'run'): Promise<AdoptionOutcome> {
  const plan = await planAdoption(repository, source, request, context)
  return adoptDumps(repository, plan.dumps, { ...request, run, source, whereabouts }, context)
}

async function keysOutside(storage: Storage): Promise<readonly string[]> {
  const keys: string[] = []
  for await (const { key } of storage.list('')) if (!key.startsWith('.tidemark/')) keys.push(key)
  return keys
}

/** Everything that the log calls a backup is read to its end; returns how many there are. */
async function readAllBackups(storage: Storage): Promise<number> {
  const state = await readClusterLog(storage, 'nexo', context)
  for (const record of livingBackups(state)) {
    const manifest = await readManifest(storage, record, context.signal)
    await checkStoredDump(
      { storage, keysOf: () => ({}) },
      {
        format: requireDump(record.facts, 'check it').format,
        fileName: record.facts.fileName,
        files: manifest.files,
        plainBytes: manifest.plainBytes,
        fingerprint: manifest.fingerprint,
      },
      context,
    )
  }
  return livingBackups(state).length
}

const faults: readonly Fault[] = [{ kind: 'fail' }, { kind: 'fail-after' }, { kind: 'cut' }, { kind: 'stop' }, { kind: 'stop-after' }]

describe.each([{ inPlace: false }, { inPlace: true }])('adoption, in place: $inPlace', ({ inPlace }) => {
  /** A repository on `storage`, and the files in it or elsewhere. */
  async function scene(storage: Storage): Promise<{ repository: Repository; source: AdoptionSource }> {
    const repository = await openRepository('local', storage)
    return { repository, source: { storage: inPlace ? storage : await holdFiles(memory()), prefix: '', inPlace, without: null } }
  }

  async function freshRepository(): Promise<Storage> {
    const storage = inPlace ? await holdFiles(memory()) : memory()
    await openOrCreateRepository('local', storage, 'flat', context)
    return storage
  }

  it(
    'breaks at no operation into a lost file, a listed backup that cannot be read, or something that a second run cannot mend',
    { timeout: 120_000 },
    async () => {
      const calm = faultyStorage(await freshRepository())
      const { repository, source } = await scene(calm)
      const before = calm.operations.length
      expect((await adoptAll(repository, source)).adopted).toHaveLength(2)
      const count = calm.operations.length
      expect(count - before).toBeGreaterThan(20)

      for (let at = before + 1; at <= count; at += 1) {
        for (const fault of faults) {
          const inner = await freshRepository()
          const broken = faultyStorage(inner, { fault, at })
          const scenery = await scene(broken)
          const outcome = await adoptAll(scenery.repository, scenery.source).catch((error: unknown) => error)
          const where = `${fault.kind} at ${broken.operations[at - 1]?.name ?? ''} ${broken.operations[at - 1]?.key ?? ''} (${String(outcome)})`
          for (const [key, bytes] of files)
            expect(Buffer.compare(await readObject(inPlace ? inner : scenery.source.storage, key, 1 << 24), bytes), where).toBe(0)
          await readAllBackups(inner)
          const again = await scene(inner)
          await adoptAll(again.repository, again.source, 'second')
          expect(await readAllBackups(inner), where).toBe(2)
          const orphans = (await keysOutside(inner)).filter((key) => !(inPlace && files.has(key)) && !key.startsWith('latest_backup'))
          // Where a dump was named anew, its name was burnt by the run that died; nothing else may be left.
          const owned = new Set(
            livingBackups(await readClusterLog(inner, 'nexo', context)).flatMap(({ facts }) => [facts.key, facts.key.replace(/\.(sql|dump)$/, '.info')]),
          )
          expect(
            orphans.filter((key) => !owned.has(key)),
            where,
          ).toEqual([])
        }
      }
    },
  )

  it('takes no file in that changed after it was read', async () => {
    const storage = await freshRepository()
    const { repository, source } = await scene(storage)
    const plan = await planAdoption(repository, source, request, context)
    await source.storage.put('nexo_20260102_020000.dump', files.get('nexo_20260101_020000.sql') ?? new Uint8Array())
    const outcome = await adoptDumps(repository, plan.dumps, { ...request, run: 'run', source, whereabouts }, context).catch((error: unknown) => error)
    const taken = livingBackups(await readClusterLog(storage, 'nexo', context)).map(({ facts }) => facts.fileName)
    expect(taken).toEqual(['nexo_20260101_020000.sql'])
    expect(outcome).toMatchObject({ changed: [{ file: 'nexo_20260102_020000.dump' }] })
    if (!inPlace) expect(await keysOutside(storage)).toEqual(['nexo_20260101_020000.sql'])
  })

  it('gives one file the same id in every repository', async () => {
    const [one, two] = [await scene(await freshRepository()), await scene(await freshRepository())]
    const ids = await Promise.all([one, two].map(async ({ repository, source }) => (await adoptAll(repository, source)).adopted.map((backup) => backup.id)))
    expect(ids[0]).toEqual(ids[1])
  })

  describe('beside the .info that we wrote', () => {
    const dump = 'nexo_20260102_020000.dump'
    const info = 'nexo_20260102_020000.info'
    const sha256 = () =>
      createHash('sha256')
        .update(files.get(dump) ?? '')
        .digest('hex')

    /** The sources' dumps, of which one has this `.info`. */
    async function adoptBeside(notes: object): Promise<{ readonly storage: Storage; readonly outcome: AdoptionOutcome; readonly refused: readonly unknown[] }> {
      const storage = await freshRepository()
      const { repository, source } = await scene(storage)
      await source.storage.put(info, Buffer.from(JSON.stringify({ backup_file: dump, tool: 'tidemark 0', ...notes })))
      const plan = await planAdoption(repository, source, request, context)
      const outcome = await adoptDumps(repository, plan.dumps, { ...request, run: 'run', source, whereabouts }, context)
      return { storage, outcome, refused: plan.verdicts.filter(({ verdict }) => verdict === 'refused') }
    }

    it.for([
      { notes: { partial: true }, facts: { partial: true, safety: false } },
      { notes: { partial: 'yes' }, facts: { partial: true, safety: false } },
      { notes: { safety: true }, facts: { partial: false, safety: true } },
      { notes: { partial: false, safety: false }, facts: { partial: false, safety: false } },
    ])('a dump that counts for less keeps counting for less: $notes', async ({ notes, facts }) => {
      const { storage, outcome } = await adoptBeside(notes)
      const taken = outcome.adopted.find(({ fileName }) => fileName === dump)
      expect(taken).toMatchObject(facts)
      const isWhole = !facts.partial && !facts.safety
      expect(latestGood(await readClusterLog(storage, 'nexo', context))?.facts.fileName).toBe(isWhole ? dump : 'nexo_20260101_020000.sql')
    })

    it('a file that is not what we stored is refused, however whole it looks', async () => {
      const good = await adoptBeside({ checksum: `sha256:${sha256()}` })
      expect(good.outcome.adopted).toHaveLength(2)
      const bad = await adoptBeside({ checksum: `sha256:${'0'.repeat(64)}` })
      expect(bad.outcome.adopted.map(({ fileName }) => fileName)).toEqual(['nexo_20260101_020000.sql'])
      expect(bad.refused).toEqual([expect.objectContaining({ file: dump, reason: expect.stringContaining('it is not what was stored') as string })])
      // A file that somebody named anew, or compressed otherwise, is another one.
      expect((await adoptBeside({ checksum: `sha256:${'0'.repeat(64)}`, backup_file: 'other.dump' })).outcome.adopted).toHaveLength(2)
    })
  })
})
