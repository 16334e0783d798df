import { randomBytes } from 'node:crypto'
import { readdir, rmdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { RepositorySettings } from '../config/settings.ts'
import type { Context } from '../kernel/context.ts'
import { asFailure, Failure, messageOf, systemCodeOf } from '../kernel/failure.ts'
import { findEnclosingServer, insideServer } from '../postgres/data-directory.ts'
import { conformanceCases, conformanceTools, removeAll, runConformance, type ConformanceResult } from '../storage/conformance.ts'
import { probeConditionalCreate } from '../storage/probe.ts'
import type { ConditionalCreate, Storage } from '../storage/storage.ts'
import { openStorageOf, repositoryNames, type Workspace } from './workspace.ts'

export interface TestRepositoriesOptions {
  readonly repositories?: readonly string[]
  readonly slow: boolean
  /** Bytes written and read for the bandwidth estimate; default 32 MiB. */
  readonly bandwidthBytes?: number
  readonly onStorage?: (name: string, location: string) => void
  readonly onCase?: (result: CaseResult) => void
  readonly onEnd?: (test: StorageTest) => void
}

export interface CaseResult {
  readonly name: string
  readonly ok: boolean
  readonly message: string | null
  readonly durationSeconds: number
}

export interface StorageTest {
  readonly name: string
  readonly location: string
  readonly ok: boolean
  readonly cases: readonly CaseResult[]
  /** Null when it could not be tried. */
  readonly conditionalCreate: ConditionalCreate | null
  /** Estimates over one object, latency included. */
  readonly writeBytesPerSecond: number | null
  readonly readBytesPerSecond: number | null
  readonly freeBytes: number | null
}

/** Runs the storage suite over each configured storage, below a scratch prefix of its own, and removes everything that it wrote. */
export async function testRepositories(workspace: Workspace, options: TestRepositoriesOptions): Promise<readonly StorageTest[]> {
  const tests: StorageTest[] = []
  for (const name of repositoryNames(workspace, undefined, options.repositories)) {
    const test = await tryStorage(workspace, repositorySettings(workspace, name), { ...options, cases: options.slow ? 'all' : 'fast' })
    options.onEnd?.(test)
    tests.push(test)
  }
  return tests
}

export function repositorySettings(workspace: Workspace, name: string): RepositorySettings {
  const settings = workspace.settings.repositories[name]
  if (settings !== undefined) return settings
  throw new Failure('usage-invalid', `no repository is called "${name}"`, { hints: [`configured: ${Object.keys(workspace.settings.repositories).join(', ')}`] })
}

/** What `init` tries: enough to know that backups can be written, read, kept from being overwritten and deleted. */
export const fewCases: readonly string[] = [
  'keeps every byte of empty, small and odd-sized objects',
  'leaves an existing object alone when asked to create it',
  'reads exactly the range that was asked for',
  'shows at once what was stored and removed',
]

export interface TryStorageOptions extends Pick<TestRepositoriesOptions, 'bandwidthBytes' | 'onStorage' | 'onCase'> {
  readonly cases: 'few' | 'fast' | 'all'
}

/** Tries one storage and clears up. What it finds is the result; only cancelling rejects. */
export async function tryStorage(workspace: Workspace, settings: RepositorySettings, options: TryStorageOptions): Promise<StorageTest> {
  const { context } = workspace
  const prefix = `.tidemark/probe/test-${randomBytes(6).toString('hex')}/`
  const cases: CaseResult[] = []
  const told = (result: CaseResult) => {
    cases.push(result)
    options.onCase?.(result)
  }
  const attempt = async <T>(name: string, work: () => Promise<T>): Promise<T | null> => {
    const begunMs = context.clock.monotonicMs()
    try {
      return await work()
    } catch (error) {
      context.signal.throwIfAborted()
      told({ name, ok: false, message: asFailure(error).message, durationSeconds: (context.clock.monotonicMs() - begunMs) / 1000 })
      return null
    }
  }

  await using storage = await openStorageOf(workspace, settings)
  options.onStorage?.(settings.name, storage.location)
  const before = settings.storage.kind === 'posix' ? await existingFolders(settings.storage.path) : []
  const owner = settings.storage.kind === 'posix' ? await findEnclosingServer(settings.storage.path) : null
  if (owner !== null) {
    // Nothing is written into a server's files, not even a scratch object.
    told({ name: 'lies outside of every data directory', ok: false, message: insideServer(storage.location, owner).message, durationSeconds: 0 })
    return {
      name: settings.name,
      location: storage.location,
      ok: false,
      cases,
      conditionalCreate: null,
      writeBytesPerSecond: null,
      readBytesPerSecond: null,
      freeBytes: null,
    }
  }
  try {
    const conditionalCreate = await attempt('creates objects only if they are absent', () =>
      probeConditionalCreate(storage, prefix, { signal: context.signal }),
    )
    if (conditionalCreate !== null) {
      const why = {
        atomic: null,
        racy: 'two writers can both win: a repository here would lose backups',
        unsupported: 'it cannot: a repository here would lose backups',
      }[conditionalCreate]
      told({ name: 'creates objects only if they are absent', ok: why === null, message: why, durationSeconds: 0 })
    }
    // A storage that does not even answer would fail each of forty cases after its own time limit.
    if (conditionalCreate !== null && options.cases === 'few') await runFew(storage, prefix, context, told)
    else if (conditionalCreate !== null) {
      await runConformance(storage, {
        clock: context.clock,
        prefix,
        slow: options.cases === 'all',
        signal: context.signal,
        told: (result) => told(caseOf(result)),
      })
    }
    const speed =
      conditionalCreate === null || options.cases === 'few'
        ? null
        : await attempt('moves data', () => measure(storage, prefix, options.bandwidthBytes ?? 32 * 1024 * 1024, context))
    const freeBytes = storage.freeBytes === undefined ? null : await attempt('tells its free space', () => storage.freeBytes?.() ?? Promise.resolve(null))
    return {
      name: settings.name,
      location: storage.location,
      ok: cases.every((each) => each.ok),
      cases,
      conditionalCreate,
      writeBytesPerSecond: speed?.write ?? null,
      readBytesPerSecond: speed?.read ?? null,
      freeBytes,
    }
  } finally {
    await clearUp(storage, prefix, settings, before, context)
  }
}

async function runFew(storage: Storage, prefix: string, context: Context, told: (result: CaseResult) => void): Promise<void> {
  for (const { name, run } of conformanceCases.filter((each) => fewCases.includes(each.name))) {
    context.signal.throwIfAborted()
    const begunMs = context.clock.monotonicMs()
    const message = await run(storage, conformanceTools(prefix)).then(
      () => null,
      (error: unknown) => asFailure(error).message,
    )
    told({ name, ok: message === null, message, durationSeconds: (context.clock.monotonicMs() - begunMs) / 1000 })
  }
}

function caseOf({ name, problem, durationMs }: ConformanceResult): CaseResult {
  return { name, ok: problem === undefined, message: problem === undefined ? null : problem.message, durationSeconds: durationMs / 1000 }
}

/** One object of noise, which no store can compress, there and back. */
async function measure(storage: Storage, prefix: string, sizeBytes: number, context: Context): Promise<{ write: number; read: number }> {
  const block = randomBytes(1024 * 1024)
  const body = async function* () {
    for (let sent = 0; sent < sizeBytes; sent += block.length) yield block.subarray(0, Math.min(block.length, sizeBytes - sent))
  }
  const seconds = async (work: () => Promise<unknown>) => {
    const begunMs = context.clock.monotonicMs()
    await work()
    return Math.max(0.001, (context.clock.monotonicMs() - begunMs) / 1000)
  }
  const key = `${prefix}bandwidth`
  const write = await seconds(() => storage.put(key, body, { sizeBytes, signal: context.signal }))
  const read = await seconds(async () => {
    let found = 0
    for await (const chunk of storage.read(key, { signal: context.signal })) found += chunk.byteLength
    if (found !== sizeBytes) throw new Failure('storage-failed', `${sizeBytes} bytes were stored and ${found} were read`)
  })
  return { write: Math.round(sizeBytes / write), read: Math.round(sizeBytes / read) }
}

async function clearUp(storage: Storage, prefix: string, settings: RepositorySettings, before: readonly string[], context: Context): Promise<void> {
  try {
    await removeAll(storage, prefix)
    if (settings.storage.kind === 'posix') {
      await removeEmptyTree(join(settings.storage.path, ...prefix.split('/').filter((part) => part !== '')))
      for (const path of ownFolders(settings.storage.path)) if (!before.includes(path)) await removeIfEmpty(path)
    }
  } catch (error) {
    context.emit({
      type: 'warning',
      code: 'clean-up-failed',
      message: `what the test wrote below ${prefix} in ${storage.location} could not be removed: ${messageOf(error)}`,
    })
  }
}

/** Folders that a test makes by the way, deepest first. */
function ownFolders(root: string): readonly string[] {
  return [join(root, '.tidemark', 'probe'), join(root, '.tidemark'), join(root, '.tidemark-tmp'), root]
}

async function existingFolders(root: string): Promise<readonly string[]> {
  const found = await Promise.all(ownFolders(root).map((path) => stat(path).then(() => path, ifAbsent)))
  return found.filter((path) => path !== undefined)
}

async function removeEmptyTree(path: string): Promise<void> {
  const entries = await readdir(path, { withFileTypes: true }).catch(ifAbsent)
  for (const entry of entries ?? []) if (entry.isDirectory()) await removeEmptyTree(join(path, entry.name))
  if (entries !== undefined) await removeIfEmpty(path)
}

/** Only what is empty: a writer that came meanwhile keeps its folder. */
async function removeIfEmpty(path: string): Promise<void> {
  await rmdir(path).catch((error: unknown) => {
    if (!['ENOENT', 'ENOTEMPTY', 'EEXIST', 'EBUSY'].includes(systemCodeOf(error) ?? '')) throw error
  })
}

function ifAbsent(error: unknown): undefined {
  if (['ENOENT', 'ENOTDIR'].includes(systemCodeOf(error) ?? '')) return undefined
  throw error
}
