import { createHash } from 'node:crypto'
import { systemClock } from '../../src/kernel/clock.ts'
import type { Context } from '../../src/kernel/context.ts'
import type { Event } from '../../src/kernel/event.ts'
import type { BackupFacts } from '../../src/repository/backup.ts'
import { readObject } from '../../src/repository/bytes.ts'
import { livingBackups } from '../../src/repository/cluster-log.ts'
import { readClusterLog } from '../../src/repository/commit-log.ts'
import { digestOf } from '../../src/repository/commit-entry.ts'
import { commitKey, commitsPrefix, manifestKey, repositoryKey } from '../../src/repository/layout.ts'
import { takeLease, type Lease, type Whereabouts } from '../../src/repository/lease.ts'
import { decodeManifest, encodeManifest, type Manifest, type StoredFile } from '../../src/repository/manifest.ts'
import { memoryStorage } from '../../src/storage/memory.ts'
import type { Storage } from '../../src/storage/storage.ts'
import { backupFacts } from './backup-facts.ts'

export const gone: Whereabouts = { self: { host: 'a', pid: 1, place: null, startedTicks: null }, isGone: async () => true }
export const bytes = Buffer.from('a dump')

export const repositoryId = '0123456789abcdef0123456789abcdef'
const sha256Of = (content: Uint8Array) => createHash('sha256').update(content).digest('hex')

interface RunFile {
  readonly stem: string
  readonly format: BackupFacts['format']
  readonly content: Uint8Array
  readonly isSealed: boolean
}

function facts(id: string, { stem, format, content, isSealed }: RunFile): BackupFacts {
  const fileName = format === 'directory' ? `${stem}.d` : `${stem}.dump${isSealed ? '.age' : ''}`
  const times = { startedAt: `2026-11-21T10:0${id}:00.000Z`, endedAt: `2026-11-21T10:0${id}:30.000Z` }
  return backupFacts(id, {
    ...times,
    key: fileName,
    fileName,
    format,
    sizeBytes: 6,
    storedBytes: content.length,
    checksum: `sha256:${sha256Of(content)}`,
    encryption: isSealed ? 'age' : null,
  })
}

export interface RunOptions {
  readonly until?: Step
  readonly format?: BackupFacts['format']
  readonly verb?: string
  /** Of its file names; the run's id when absent. */
  readonly stem?: string
  readonly content?: Uint8Array
  /** Its files have the names of sealed ones. */
  readonly isSealed?: boolean
}

export interface Scene {
  readonly storage: Storage
  readonly events: Event[]
  readonly context: Context
  keys(): Promise<readonly string[]>
  /** Writes what a backup run writes, in its order, up to (not including) the step named. */
  run(id: string, options?: RunOptions): Promise<Lease>
  /** Keeps the log as it is now; the answer puts it back. */
  keepLog(): Promise<() => Promise<void>>
  /** Writes another manifest beside that of a backup, as somebody who knows the format might. */
  forge(from: string, id: string, change: (manifest: Manifest) => object): Promise<void>
  /** Removes the log's entries from `first` on, as if an older copy of it had been put back. */
  cutLog(first: number): Promise<void>
  next(run?: string): Promise<Lease>
  listed(): Promise<Record<string, string>>
}
export type Step = 'info' | 'manifest' | 'commit' | 'end'

/** A repository in memory, and runs in it that stop where they are told to. */
export async function scene(): Promise<Scene> {
  const storage = memoryStorage({ clock: systemClock })
  const descriptor = { format: 'tidemark-repository/1', id: repositoryId, createdAt: '2026-11-21T00:00:00.000Z', layout: 'flat', conditionalCreate: 'atomic' }
  await storage.put(repositoryKey, Buffer.from(JSON.stringify(descriptor)))
  const events: Event[] = []
  const context: Context = { clock: systemClock, emit: (event) => events.push(event), signal: new AbortController().signal }
  const keys = async () => {
    const found: string[] = []
    for await (const { key } of storage.list('')) if (!key.startsWith('.tidemark/')) found.push(key)
    return found
  }
  const next = (run = 'next') => takeLease(storage, { cluster: 'nexo', run, verb: 'backup', objects: () => [] }, gone, context)
  return {
    storage,
    events,
    context,
    keys,
    next,
    async run(id, { until, format = 'custom', verb = 'backup', stem = id, content = bytes, isSealed = false } = {}) {
      const backup = facts(id, { stem, format, content, isSealed })
      const named = (key: string) => (isSealed ? `${key}.age` : key)
      const contents = (format === 'directory' ? [`${stem}.d/toc.dat`, `${stem}.d/1.dat`] : [`${stem}.dump`]).map(named)
      const objects = [format === 'directory' ? `${stem}.d/` : named(`${stem}.dump`), named(`${stem}.info`), named(`${stem}.globals.sql`)]
      const lease = await takeLease(storage, { cluster: 'nexo', run: id, verb, objects: () => objects }, gone, context)
      for (const key of contents) await storage.put(key, content)
      await storage.put(named(`${stem}.globals.sql`), bytes)
      if (until === 'info') return lease
      await storage.put(named(`${stem}.info`), bytes)
      if (until === 'manifest') return lease
      const sha256 = sha256Of(content)
      const files: StoredFile[] = [
        ...contents.map((key) => ({ key, role: format === 'directory' ? ('part' as const) : ('dump' as const), sizeBytes: content.length, sha256 })),
        { key: named(`${stem}.globals.sql`), role: 'globals', sizeBytes: bytes.length, sha256: sha256Of(bytes) },
        { key: named(`${stem}.info`), role: 'info', sizeBytes: bytes.length, sha256: '' },
      ]
      const manifest = encodeManifest({
        format: 'tidemark-manifest/1',
        repository: repositoryId,
        cluster: 'nexo',
        backup,
        source: null,
        files,
        plainBytes: 6,
        fingerprint: null,
        leftOut: [],
        warnings: [],
        dumpTool: null,
        selection: null,
        blockOffsets: [],
      })
      await storage.put(manifestKey('nexo', id), manifest)
      if (until === 'commit') return lease
      await lease.append({ kind: 'backup', epoch: lease.epoch, backup, manifest: { key: manifestKey('nexo', id), sha256: digestOf(manifest) }, run: id })
      if (until !== 'end') await lease.end('ok')
      return lease
    },
    async keepLog() {
      const kept = new Map<string, Uint8Array>()
      for await (const { key } of storage.list(commitsPrefix('nexo'))) kept.set(key, await readObject(storage, key, 1 << 20))
      return async () => {
        const now: string[] = []
        for await (const { key } of storage.list(commitsPrefix('nexo'))) now.push(key)
        for (const key of now) await storage.delete(key)
        for (const [key, content] of kept) await storage.put(key, content)
      }
    },
    async forge(from, id, change) {
      const manifest = decodeManifest(from, await readObject(storage, manifestKey('nexo', from), 1 << 20))
      const forged = { ...manifest, backup: { ...manifest.backup, id }, ...change(manifest) }
      await storage.put(manifestKey('nexo', id), Buffer.from(JSON.stringify(forged)))
    },
    async cutLog(first) {
      for await (const { key } of storage.list(commitsPrefix('nexo'))) if (key >= commitKey('nexo', first)) await storage.delete(key)
    },
    listed: async () => Object.fromEntries(livingBackups(await readClusterLog(storage, 'nexo', context)).map((record) => [record.facts.id, record.state])),
  }
}

export const warnings = ({ events }: Scene) => events.flatMap((event) => (event.type === 'warning' ? [`${event.code}: ${event.message}`] : []))
