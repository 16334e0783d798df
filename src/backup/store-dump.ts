import type { Context } from '../kernel/context.ts'
import { Failure } from '../kernel/failure.ts'
import { createDumpReader, type DumpReader } from '../dump/dump-reader.ts'
import { fingerprintSettings } from '../dump/pinned-settings.ts'
import type { ClientProcess } from '../postgres/client-process.ts'
import { sweepContainerStages } from '../postgres/container-stage.ts'
import { fromReadable, givingBack, withProgress, type Stage } from '../stream/chunks.ts'
import { compressGzip } from '../stream/gzip-members.ts'
import { Tally } from '../stream/tally.ts'
import { tee } from '../stream/tee.ts'
import { compressZstd } from '../stream/zstd-frames.ts'
import type { Compression } from './file-names.ts'
import { startPgDump, type DumpWork } from './run-pg-dump.ts'
import { storeDirectoryDump } from './store-directory-dump.ts'
import { createContent, createObject, type StoredBytes, type StoreTarget, type Targets } from './store-target.ts'
import { describeStored, type StoredDump } from './stored-dump.ts'

/** Runs pg_dump and stores what it writes in every target at once, looking at the bytes as they pass. Nothing is visible unless pg_dump succeeded and the dump is whole. */
export async function storeDump(work: DumpWork, targets: Targets, context: Context): Promise<StoredDump> {
  const { request, source, compression } = work
  if (request.format === 'directory') return storeDirectoryDump(work, targets, context)
  if (source.dumpTool.container !== null) await sweepContainerStages(source.dumpTool.container, source.target, context)
  const begunMs = context.clock.monotonicMs()
  context.emit({ type: 'step-begun', step: 'dump', subject: source.facts.database, expectedBytes: source.facts.databaseBytes })
  await using pgDump = await startPgDump(work, { directory: null }, context)
  const reader = createDumpReader(request.format === 'plain' ? 'plain' : 'custom', { fingerprint: request.fingerprint, settings: fingerprintSettings })
  const dump = rememberFailure(wholeDump(pgDump, reader, context.signal))
  const plain = withProgress(dump.bytes, {
    clock: context.clock,
    everyMs: 250,
    report: (doneBytes) => context.emit({ type: 'step-progress', step: 'dump', doneBytes, expectedBytes: source.facts.databaseBytes }),
  })
  const living = targets.requireLiving()
  // Where nothing is sealed all store the same bytes.
  const common = new Tally({ digest: living.some(({ sealer }) => sealer === null) ? 'sha256' : 'none' })
  const sealed = new Map<StoreTarget, StoredBytes>()
  const branches = tee(common.through(outerStage(request.format, compression, request.jobs, context.signal)(plain)), living.length)
  // All of them to their end, so that nothing is still being written when a failed run clears up.
  const outcomes = await Promise.allSettled(
    living.map((target, index) => storeBranch(target, branches[index], { targets, sealed, sourceFailed: dump.failed }, context)),
  )
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
  targets.requireLiving()

  const content = reader.content()
  context.emit({
    type: 'step-ended',
    step: 'dump',
    subject: source.facts.database,
    durationSeconds: (context.clock.monotonicMs() - begunMs) / 1000,
    doneBytes: content.sizeBytes,
    note: `${content.tables.length} tables`,
  })
  return {
    ...describeStored(content, { version: source.dumpTool.version, stderrLines: pgDump.stderrLines }),
    in: (target) => {
      const { sizeBytes, sha256 } = sealed.get(target) ?? { sizeBytes: common.sizeBytes, sha256: common.sha256() }
      return { storedBytes: sizeBytes, sha256, files: [{ key: target.keys.dump, role: 'dump', sizeBytes, sha256 }] }
    },
  }
}

/** pg_dump's output, ending only when the program reported success *and* the dump's own structure is complete; else it throws, and so nothing is stored. */
async function* wholeDump(pgDump: ClientProcess, reader: DumpReader, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  for await (const chunk of fromReadable(pgDump.stdout, signal)) {
    reader.write(chunk)
    await reader.pending()
    yield chunk
  }
  await pgDump.requireSuccess()
  const content = await reader.end()
  if (content.sizeBytes === 0)
    throw new Failure('dump-empty', 'pg_dump reported success and wrote nothing', { hints: ['nothing was stored; earlier backups are untouched'] })
  if (content.scope !== 'database')
    throw new Failure('integrity', 'pg_dump wrote several dumps in one, which is not what it was asked for', {
      hints: ['nothing was stored; is pg_dump really the program of PostgreSQL?'],
    })
}

function outerStage(format: 'custom' | 'plain' | 'directory', compression: Compression, workers: number, signal: AbortSignal): Stage {
  if (compression.method === 'zstd') return (bytes) => compressZstd(givingBack(bytes), { level: compression.level, workers, signal })
  if (compression.method === 'gzip' && format === 'plain') return (bytes) => compressGzip(givingBack(bytes), { level: compression.level, workers, signal })
  return (bytes) => bytes
}

/** Tells a failing dump from a failing storage: both end the upload with an error. */
function rememberFailure(source: AsyncIterable<Uint8Array>): { bytes: AsyncIterable<Uint8Array>; failed: () => boolean } {
  let failed = false
  const bytes = (async function* () {
    try {
      yield* source
    } catch (error) {
      failed = true
      throw error
    }
  })()
  return { bytes, failed: () => failed }
}

/** A storage that fails is given up; its branch is closed so that the stream goes on to the others. A dump that fails ends the run. */
async function storeBranch(
  target: StoreTarget,
  branch: AsyncIterable<Uint8Array> | undefined,
  { targets, sealed, sourceFailed }: { targets: Targets; sealed: Map<StoreTarget, StoredBytes>; sourceFailed: () => boolean },
  context: Context,
): Promise<void> {
  if (branch === undefined) throw new Error('a target without a branch')
  try {
    const options = { contentType: 'application/octet-stream', signal: context.signal }
    if (target.sealer === null) await createObject(target, target.keys.dump, branch, options)
    else sealed.set(target, await createContent(target, target.keys.dump, branch, options))
  } catch (error) {
    await branch[Symbol.asyncIterator]().return?.()
    if (sourceFailed()) throw error
    await targets.giveUp(target, error)
  }
}
